"""The arrows: every import goes up the list of rows, and guarded packages stay in their files.

The rules stand here as data. The first half of the tests applies them to ``mpinas/``; the second
half gives the checker bad code and sees that it notices.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import pytest

import mpinas

PACKAGE = Path(mpinas.__file__).parent

ROWS: tuple[tuple[str, ...], ...] = (
    ("errors", "files", "signals", "environment"),
    ("config_values", "records"),
    ("config_comparison", "config_fake", "config_shrink"),
    ("config",),
    ("config_faults", "config_yaml"),
    ("config_file", "streams", "clock"),
    ("config_schema", "walltime"),
    ("config_reference",),
    ("problems",),
    ("space",),
    ("evolution",),
    ("tuners",),
    ("assembly",),
    ("morphnet",),
    ("trial",),
    ("dispatch",),
    ("journal",),
    ("run_directory",),
    ("ownership", "results"),
    ("weights",),
    ("checkpoint",),
    ("attempts", "mending", "monitor", "run_log", "stored_config"),
    ("run_data",),
    ("search",),
    ("pump",),
    ("opening",),
    ("comparison", "starting"),
    ("comparison_opening", "session"),
    ("dry_run", "model_card", "proposals", "winners"),
    ("dry_comparison", "experiment"),
    ("export_data",),
    ("export", "doctor", "jobs"),
    ("export_session",),
    ("report",),
    ("cli",),
    ("__main__",),
)
"""Modules of the package in the order data flows. A module may import from any row above its own,
and from its own package; not from its neighbours in a row."""

TENSORFLOW_FILES = (
    "assembly/keras_model.py",
    "assembly/from_keras.py",
    "doctor/tensorflow_probe.py",
    "morphnet/gates.py",
    "morphnet/optimizer.py",
    "morphnet/regularizer.py",
    "morphnet/shrink.py",
    "trial/adapting.py",
    "trial/event_log.py",
    "trial/final.py",
    "trial/inputs.py",
    "trial/measuring.py",
    "trial/model_file.py",
    "trial/model_formats.py",
    "trial/predicting.py",
    "trial/run.py",
    "trial/shrinking.py",
    "trial/training.py",
)
ANYWHERE: dict[str, tuple[str, ...]] = {
    "tensorflow": TENSORFLOW_FILES,
    "keras": TENSORFLOW_FILES,
    "mpi4py": ("dispatch/mpi.py",),
    "h5py": ("checkpoint.py", "doctor/storage_probe.py", "problems/*"),
    "pickle": (),
    "cPickle": (),
    "dill": (),
    "cloudpickle": (),
    "joblib": (),
    "shelve": (),
    "marshal": (),
}
"""Guarded package -> the files that may import it."""

INSIDE_FUNCTIONS: dict[str, tuple[str, ...]] = {
    "tensorflow": ("export.py",),
    "keras": ("export.py",),
    "matplotlib": ("report/*",),
    "jinja2": ("report/*",),
}
"""Guarded package -> the files that may import it inside functions as well."""

MAY_PRINT = ("cli/*",)
LONGEST_FILE = 400
LONGEST_FUNCTION_BODY = 50

Place = tuple[int, bool]
"""Line number, and whether it is inside a function."""


def row_of(module: str) -> int | None:
    """Index of the row of a dotted name below ``mpinas``; None if it has none."""
    first = module.split(".")[0]
    return next((index for index, row in enumerate(ROWS) if first in row), None)


def faults(path: str, source: str) -> list[str]:
    """What a file breaks, one line each.

    Args:
        path: of the file below ``mpinas``, with slashes.
    """
    tree = ast.parse(source)
    found = [f"line {line}: {rule}" for line, rule in _import_faults(path, tree)]
    found += [f"line {line}: {rule}" for line, rule in _call_faults(path, tree)]
    found += [f"line {line}: {rule}" for line, rule in _long_functions(tree)]
    lines = len(source.splitlines())
    if lines > LONGEST_FILE:
        found.append(f"{lines} lines: a file is split at {LONGEST_FILE}")
    return found


def _imports(tree: ast.AST, inside: bool = False) -> Iterator[tuple[str, Place]]:
    """Dotted names that are imported, ``importlib.import_module("x")`` included."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, (node.lineno, inside)) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            origin = "." * node.level + (node.module or "")
            for alias in node.names:
                yield f"{origin}.{alias.name}", (node.lineno, inside)
        elif isinstance(node, ast.Call) and _name(node.func) in ("import_module", "__import__"):
            argument = node.args[0] if node.args else None
            if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                yield argument.value, (node.lineno, inside)
        is_function = isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        yield from _imports(node, inside or is_function)


def _name(function: ast.expr) -> str:
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


def _import_faults(path: str, tree: ast.AST) -> Iterator[tuple[int, str]]:
    for name, (line, inside) in _imports(tree):
        top, _, rest = name.partition(".")
        if not top:
            yield line, "a relative import"
        elif top == "mpinas":
            yield from ((line, rule) for rule in _arrow_faults(path, rest, inside))
        elif not _may_import(path, top, inside):
            yield line, f"{top} is guarded and may not be imported here"


def _arrow_faults(path: str, target: str, inside: bool) -> Iterator[str]:
    """Rules on importing ``mpinas.<target>`` into a file."""
    if target in ("", "__version__"):
        return
    own, goal = path.removesuffix(".py").split("/")[0], target.split(".")[0]
    row, goal_row = row_of(own), row_of(goal)
    if goal_row is None:
        yield f"mpinas.{goal} has no row: give it one in tests/test_layers.py"
    elif row is None or (own != goal and goal_row >= row):
        yield f"an arrow that points upwards: {own} imports {goal}"
    file = "/".join(target.split(".")[:2]) + ".py"
    if file in TENSORFLOW_FILES and path not in TENSORFLOW_FILES and not inside:
        yield f"mpinas/{file} brings TensorFlow with it: import it inside a function"


def _may_import(path: str, package: str, inside: bool) -> bool:
    if package not in ANYWHERE and package not in INSIDE_FUNCTIONS:
        return True
    patterns = ANYWHERE.get(package, ())
    if inside:
        patterns += INSIDE_FUNCTIONS.get(package, ())
    return _fits(path, patterns)


def _fits(path: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch(path, pattern) for pattern in patterns)


def _call_faults(path: str, tree: ast.AST) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id == "print" and not _fits(path, MAY_PRINT):
            yield node.lineno, "print belongs into cli/, logging everywhere else"


def _long_functions(tree: ast.AST) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            body = node.body[1:] if ast.get_docstring(node) is not None else node.body
            lines = (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0
            if lines > LONGEST_FUNCTION_BODY:
                rule = f"a function is split at {LONGEST_FUNCTION_BODY}"
                yield node.lineno, f"{node.name} has {lines} body lines: {rule}"


FILES = sorted(file.relative_to(PACKAGE).as_posix() for file in PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", FILES)
def test_file_keeps_the_rules(path: str) -> None:
    assert faults(path, (PACKAGE / path).read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("path", [file for file in FILES if file != "__init__.py"])
def test_module_has_a_row(path: str) -> None:
    assert row_of(path.removesuffix(".py").replace("/", ".")) is not None


def test_a_module_stands_in_one_row() -> None:
    names = [name for row in ROWS for name in row]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("module", ["mpinas.search", "mpinas.session", "mpinas.cli"])
def test_import_brings_nothing_heavy(module: str) -> None:
    heavy = "{'tensorflow', 'keras', 'mpi4py', 'matplotlib', 'sklearn'}"
    code = f"import sys, {module}; print(sorted({heavy} & sys.modules.keys()))"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert (result.returncode, result.stdout.strip()) == (0, "[]"), result.stderr


def test_only_its_own_files_bring_tensorflow() -> None:
    """What an MPI process may import, all at once: nothing of it loads TensorFlow."""
    names = [
        "mpinas." + file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        for file in FILES
        if file not in (*TENSORFLOW_FILES, "__init__.py", "__main__.py")
    ]
    code = f"import sys, {', '.join(names)}; print('tensorflow' in sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert (result.returncode, result.stdout.strip()) == (0, "False"), result.stderr


BAD = [
    ("evolution/genome.py", "import mpinas.search", "upwards"),
    ("evolution/genome.py", "from mpinas import search", "upwards"),
    ("evolution/genome.py", "from mpinas.tuners.base import Tuner", "upwards"),
    ("records.py", "from mpinas.config import RunConfig", "upwards"),
    ("errors.py", "def f():\n    from mpinas.records import TrialSpec", "upwards"),
    ("errors.py", "if TYPE_CHECKING:\n    import mpinas.records", "upwards"),
    ("space/layers.py", 'importlib.import_module("mpinas.cli")', "upwards"),
    ("doctor.py", "from mpinas.export import export", "upwards"),
    ("__init__.py", "from mpinas.errors import MpinasError", "upwards"),
    ("search.py", "from mpinas.nowhere import thing", "no row"),
    ("space/layers.py", "from . import domains", "relative"),
    ("space/layers.py", "from .domains import Domain", "relative"),
    ("space/layers.py", "from ..records import Shape", "relative"),
    ("dispatch/local.py", "import tensorflow as tf", "guarded"),
    ("dispatch/local.py", "def f():\n    import tensorflow.keras", "guarded"),
    ("dispatch/local.py", '__import__("keras")', "guarded"),
    ("export.py", "import tensorflow", "guarded"),
    ("trial/child.py", "from mpinas.trial.run import run_trial", "brings TensorFlow"),
    ("trial/child.py", "from mpinas.trial import run", "brings TensorFlow"),
    ("dispatch/local.py", "from mpi4py import MPI", "guarded"),
    ("run_directory.py", "import h5py", "guarded"),
    ("report/plots.py", "import matplotlib.pyplot as plt", "guarded"),
    ("cli/show.py", "def f():\n    import matplotlib", "guarded"),
    ("checkpoint.py", "def f():\n    import pickle", "guarded"),
    ("search.py", "def f():\n    print('x')", "print"),
    ("search.py", "each(rows, print)", "print"),
    ("search.py", "x = 1\n" * 401, "401 lines"),
    ("search.py", "def f():\n" + "    x = 1\n" * 51, "51 body lines"),
]
GOOD = [
    ("evolution/operators.py", "from mpinas.evolution.genome import Genome"),
    ("evolution/operators.py", "from mpinas.records import Shape\nfrom mpinas import __version__"),
    ("assembly/keras_model.py", "import keras\nimport tensorflow as tf"),
    ("trial/run.py", "from mpinas.assembly.keras_model import build_model"),
    ("trial/child.py", "def f():\n    from mpinas.trial.run import run_trial"),
    ("export.py", "def f():\n    import tensorflow"),
    ("dispatch/mpi.py", "from mpi4py import MPI"),
    ("problems/prepared.py", "import h5py"),
    ("report/plots.py", "def f():\n    import matplotlib.pyplot as plt"),
    ("cli/show.py", "print('x')\nfrom mpinas.report import tables"),
    ("search.py", "x = 1\n" * 400),
    ("search.py", 'def f():\n    """One.\n' + "\n" * 60 + '    """\n' + "    x = 1\n" * 50),
]


@pytest.mark.parametrize(("path", "source", "word"), BAD)
def test_checker_notices(path: str, source: str, word: str) -> None:
    assert any(word in fault for fault in faults(path, source))


@pytest.mark.parametrize(("path", "source"), GOOD)
def test_checker_allows(path: str, source: str) -> None:
    assert faults(path, source) == []
