"""Functions of users: their arrays come back, and nothing that they do breaks us."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import numpy as np
import psutil
import pytest

from mpinas.config import ProblemConfig
from mpinas.errors import DataFault
from mpinas.problems import python_function

GOOD = """
import numpy as np

def arrays():
    images = np.arange(40 * 6 * 5, dtype=np.int64).reshape(40, 6, 5) % 256
    labels = np.arange(40) % 4
    return {"x_train": images, "y_train": labels, "x_test": images[:8], "y_test": labels[:8]}
"""
IMAGES = np.arange(40 * 6 * 5).reshape(40, 6, 5) % 256


def load(folder, code, function="load"):
    file = folder / "my_data.py"
    file.write_text(GOOD + code)
    return python_function.load(ProblemConfig(name="python", path=f"{file}:{function}"))


def fault_of(folder, code, function="load") -> str:
    with pytest.raises(DataFault) as caught:
        load(folder, code, function)
    (line,) = caught.value.faults
    assert line.startswith(str(folder / "my_data.py"))
    assert line.isprintable()
    assert "Traceback" not in line
    return line


RETURNS = {
    "dict": "arrays()",
    "mapping": "__import__('types').MappingProxyType(arrays())",
    "pairs as of Keras": "tuple((a[f'x_{p}'], a[f'y_{p}']) for p in ('train', 'test'))",
    "lists": "{name: array.tolist() for name, array in a.items()}",
    "more than needed": "{**a, 'x_validation': None, 'class_names': None}",
    "floats": "{**a, **{x: (a[x] / 255).astype('float32') for x in ('x_train', 'x_test')}}",
}


@pytest.mark.parametrize("form", RETURNS)
def test_arrays_come_back(tmp_path, form):
    data = load(tmp_path, f"\ndef load():\n    a = arrays()\n    return {RETURNS[form]}\n")
    assert np.array_equal(data.x_train[..., 0], IMAGES)
    assert np.array_equal(data.x_test[..., 0], IMAGES[:8])
    assert np.array_equal(data.y_train, np.arange(40) % 4)
    assert np.array_equal(data.y_test, np.arange(8) % 4)
    assert data.source == f"{tmp_path / 'my_data.py'}:load"


@pytest.mark.parametrize("names", ["['a', 'b', 'c', 'ä']", "np.array(['a', 'b', 'c', 'ä'])"])
def test_names_of_classes_come_back(tmp_path, names):
    code = f"\ndef load():\n    return {{**arrays(), 'class_names': {names}}}\n"
    assert load(tmp_path, code).class_names == ("a", "b", "c", "ä")


RETURNED = "\ndef load():\n    a = arrays()\n    return "
BAD = [
    (RETURNED + "None", "it returned no arrays. Received: type=NoneType"),
    (RETURNED + "a['x_train']", "it returned no arrays. Received: type=ndarray"),
    (RETURNED + "(a['x_train'], a['y_train'])", "type=tuple of ndarray, ndarray"),
    (RETURNED + "tuple(a.values())", "type=tuple of ndarray, ndarray, ndarray, ndarray"),
    (RETURNED + "((1, 2), (3, 4), (5, 6))", "type=tuple of tuple, tuple, tuple"),
    (RETURNED + "()", "type=tuple of nothing"),
    (RETURNED + "{'x_train': a['x_train'], 7: 8}", "missing=y_train, x_test, y_test"),
    (RETURNED + "{**a, 'x_train': [[1, 2], [3]]}", "array x_train: no array can be made of it"),
    (RETURNED + "{**a, 'y_train': np.array([{}] * 40)}", "y_train=ndarray of Python objects"),
    (RETURNED + "{**a, 'x_train': None}", "x_train=NoneType of Python objects"),
    (RETURNED + "{**a, 'y_test': a['y_test'] + 4}", "array y_test: labels outside"),
    (RETURNED + "{**a, 'y_train': ['cat'] * 40}", "array y_train: wrong type of values"),
    (RETURNED + "{**a, 'class_names': 'abcd'}", "class_names is no list"),
    (RETURNED + "{**a, 'class_names': ['a', 'b', 'c', 4]}", "the name of a class is no name"),
    (RETURNED + "{**a, 'class_names': ['a', 'b', 'c', 'd', 'e']}", "a class has no training image"),
    (RETURNED + "1 / 0", "error=ZeroDivisionError: division by zero"),
    (RETURNED + "exit('a\\nb')", "error=SystemExit: a b"),
    (RETURNED + "input()", "error=EOFError"),
    (RETURNED + "__import__('os')._exit(3)", "exit code=3"),
    (RETURNED + "__import__('os').kill(__import__('os').getpid(), 11)", "signal=SIGSEGV"),
    (RETURNED + "[0] * 10**17", "error=MemoryError"),
    (RETURNED + "np.load(io.BytesIO(b''), allow_pickle=False)", "error="),
    (
        "\nimport io\ndef load():\n    file = io.BytesIO()\n    np.savez(file, **arrays())\n"
        "    file.seek(0)\n    with np.load(file) as closed:\n        return closed",
        "error=",
    ),
    ("\ndef load():\n    raise KeyboardInterrupt", "error=KeyboardInterrupt"),
    ("\ndef load():\n    raise ValueError('\x1b[31mred')", "error=ValueError: [31mred"),
    ("\ndef load(a, b):\n    pass", "error=TypeError"),
    ("\nload = 3", "load is not a function. Received: functions=arrays"),
    ("\ndef loads():\n    pass", "no such function. Received: functions=arrays, loads"),
    ("\nimport not_there_at_all", "error=ModuleNotFoundError: No module named"),
    ("\nraise RuntimeError('x' * 10_000)", "error=RuntimeError: xxx"),
    ("\ndef load(:", "the file cannot be imported. Received: error=SyntaxError"),
    ("\nimport sys; sys.exit(0)", "the file cannot be imported. Received: error=SystemExit"),
    (
        "\nclass Odd(Exception):\n    def __str__(self):\n        raise ValueError\nraise Odd",
        "error=Odd",
    ),
]


@pytest.mark.parametrize(("code", "rule"), BAD)
def test_what_goes_wrong_is_one_line(tmp_path, code, rule):
    line = fault_of(tmp_path, code)
    assert rule in line
    assert len(line) < 700


def test_the_line_of_the_user_is_named(tmp_path):
    file = tmp_path / "my_data.py"
    line = len(GOOD.splitlines()) + 3
    code = "\ndef load():\n    return np.zeros((2, 3)).reshape(7)\n"
    assert f"({file}, line {line})" in fault_of(tmp_path, code)
    assert f"({file}, line {line})" in fault_of(tmp_path, "\n\nx = = 3")


@pytest.mark.parametrize(
    ("path", "rule"),
    [
        ("my_data.py", "it names no function"),
        ("my_data.py:", "it names no function"),
        (":load", "it names no function"),
        ("my_data.py:load()", "it names no function"),
        ("absent.py:load", "no such file"),
        (".:load", "no such file"),
        ("x" * 300 + ".py:load", "no such file"),
    ],
)
def test_a_path_that_cannot_work(tmp_path, monkeypatch, path, rule):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_data.py").write_text(GOOD)
    with pytest.raises(DataFault, match=rule) as caught:
        python_function.load(ProblemConfig(name="python", path=path))
    assert len(caught.value.faults) == 1


def test_the_function_finds_its_neighbours_and_our_folder(tmp_path, monkeypatch):
    home, elsewhere = tmp_path / "home", tmp_path / "elsewhere"
    home.mkdir()
    elsewhere.mkdir()
    (home / "neighbour.py").write_text("FILE = 'here'")
    (elsewhere / "here").write_text("4")
    code = (
        "\nimport dataclasses, neighbour"
        "\n@dataclasses.dataclass\nclass Kept:\n    classes: 'int'"
        "\ndef load():\n    kept = Kept(int(open(neighbour.FILE).read()))"
        "\n    return {**arrays(), 'class_names': [f'c{i}' for i in range(kept.classes)]}\n"
    )
    (home / "my_data.py").write_text(GOOD + code)
    monkeypatch.chdir(elsewhere)
    data = python_function.load(ProblemConfig(name="python", path="../home/my_data.py:load"))
    assert data.class_names == ("c0", "c1", "c2", "c3")


def test_the_function_is_no_mpi_rank(tmp_path, monkeypatch):
    for name in ("PMI_RANK", "PMIX_NAMESPACE", "OMPI_COMM_WORLD_SIZE", "HYDRA_X"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("MY_OWN", "2")
    code = (
        "\nimport os"
        "\ndef load():\n    found = [n for n in os.environ if n[:4] in ('PMI_', 'PMIX', 'OMPI', "
        "'HYDR')]\n    assert not found, found\n    assert os.environ['MY_OWN'] == '2'"
        "\n    return arrays()\n"
    )
    load(tmp_path, code)
    assert os.environ["PMI_RANK"] == "1"


SCRIPT = """
import sys
from mpinas.config import ProblemConfig
from mpinas.problems import python_function
python_function.load(ProblemConfig(name="python", path=sys.argv[1]))
"""


def test_what_the_function_prints_is_error_output(tmp_path):
    """Our output is read by scripts."""
    file = tmp_path / "my_data.py"
    code = "\ndef load():\n    print('from python')\n    os.system('echo from a shell')\n"
    file.write_text(f"import os{GOOD}{code}    return arrays()\n")
    command = [sys.executable, "-c", SCRIPT, f"{file}:load"]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    assert ended.stdout == ""
    assert sorted(ended.stderr.split("\n")) == ["", "from a shell", "from python"]


def test_nothing_of_the_user_is_imported_here(tmp_path):
    load(tmp_path, "\ndef load():\n    return arrays()\n")
    assert "my_data" not in sys.modules
    assert str(tmp_path) not in sys.path


def test_the_function_ends_when_we_are_killed(tmp_path):
    file = tmp_path / "my_data.py"
    file.write_text(
        "import os, pathlib, time\ndef load():\n    folder = pathlib.Path(__file__).parent\n"
        "    (folder / 'new').write_text(str(os.getpid()))\n"
        "    (folder / 'new').rename(folder / 'pid')\n"
        "    time.sleep(600)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", SCRIPT, f"{file}:load"])
    try:
        while not (tmp_path / "pid").exists():
            assert parent.poll() is None
            time.sleep(0.01)
    finally:
        parent.kill()
        parent.wait()
    child = int((tmp_path / "pid").read_text())
    deadline = time.monotonic() + 30
    while psutil.pid_exists(child) and psutil.Process(child).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline, "it lives on"
        time.sleep(0.01)
