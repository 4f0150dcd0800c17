"""``python -m mpinas prepare``: one file and a few lines, or a line a fault and nothing written."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import data_files
import h5py
import numpy as np
import pytest
from click.testing import CliRunner, Result
from searching import FAKE_SEARCH, config_file, with_key

from mpinas.cli import main
from mpinas.problems import open_prepared
from mpinas.problems.splits import split

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
ARRAYS = data_files.random_arrays((6, 5, 1), training=80, test=8)


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    """The current folder, with a data set in it."""
    monkeypatch.chdir(tmp_path)
    data_files.save_npz(ARRAYS, tmp_path)
    (tmp_path / "pipes").mkdir()
    os.mkfifo("pipes/one")
    return tmp_path


def invoke(*arguments: str) -> Result:
    before = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        return CliRunner().invoke(main, arguments)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_a_data_set_becomes_a_file_that_says_what_it_holds(place):
    repeated = {**ARRAYS, "x_test": ARRAYS["x_train"][:8], "y_test": ARRAYS["y_train"][:8]}
    np.savez(place / "data.npz", **repeated)
    result = invoke("prepare", "arrays", "--from", "data.npz")
    assert result.exit_code == 0, result.output
    assert "data/data.h5: 80 training and 8 test images of 6x5x1, 4 classes" in result.stdout
    assert "8 of 8 test images are also training images" in result.stdout
    assert str(place / "data.npz") in result.stdout
    problem = open_prepared(place / "data" / "data.h5", verify=True)
    assert problem.checksum in result.stdout
    assert np.array_equal(problem.x_train, ARRAYS["x_train"])


def test_the_file_for_other_programs(place):
    assert invoke("prepare", "arrays", "--from", "data.npz", "--out", "out.h5").exit_code == 0
    training, validation = split(
        ARRAYS["y_train"], training_images=68, validation_images=12, seed=0
    )
    with h5py.File("out.h5") as file:
        assert file["x_train"].chunks is None
        assert file["x_train"].compression is None
        assert np.array_equal(file["x_test"][:], ARRAYS["x_test"])
        assert np.array_equal(file["split_indices/training"][:], training)
        assert np.array_equal(file["split_indices/validation"][:], validation)
        assert list(file["class_names"].asstr()) == ["0", "1", "2", "3"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("arrrays", "--from", "data.npz"), "Did you mean 'arrays'"),
        (("arrays", "--from", "nothing.npz"), "nothing.npz: no such file"),
        (("mnist", "--from", "nothing.npz"), "nothing.npz: there is no such file"),
        (("mnist", "--from", "data.npz"), "not a data set of the form its name says"),
        (("arrays",), "needs data"),
        (("arrays", "--from", "data.npz", "--out", "no/folder.h5"), "Make the folder"),
        (("arrays", "--from", "data.npz", "--out", "data.npz"), "has this name"),
        (("arrays", "--from", "data.npz", "--classes", "5"), "not that many classes"),
        (("arrays", "--from", "data.npz", "--classes", "1"), "2 and above"),
        (("arrays", "--from", "data.npz", "--image-size", "9x9"), "only image files are changed"),
        (("arrays", "--from", "data.npz", "--image-size", "9"), "such as 64x48"),
        (("arrays", "--from", "data.npz", "--channels", "3"), "problem.channels"),
        (("images", "--from", "pipes"), "neither a file nor a folder"),
        (("digits", "--from", "data.npz"), "reads no files"),
        (("arrays", "--from", "data.npz", "--out", "n" * 300), "File name too long"),
        (("arrays", "--from", "data.npz", "--out", "pipes/one"), "has this name"),
    ],
)
def test_what_the_user_must_change_is_a_line_and_nothing_is_written(place, arguments, words):
    before = sorted(place.rglob("*"))
    result = invoke("prepare", *arguments)
    assert result.exit_code == 2
    (line,) = result.stderr.strip().splitlines()
    assert words in line
    assert sorted(place.rglob("*")) == before


def test_the_first_classes(place):
    assert invoke("prepare", "arrays", "--from", "data.npz", "--classes", "2").exit_code == 0
    problem = open_prepared(place / "data" / "data.h5")
    assert np.array_equal(problem.x_train, ARRAYS["x_train"][ARRAYS["y_train"] < 2])


SLOW_FUNCTION = """
import pathlib, time

def load():
    pathlib.Path("started").touch()
    time.sleep(60)
"""


@pytest.mark.parametrize("number", SIGNALS)
def test_an_interrupted_preparation_leaves_nothing(place, number):
    (place / "slow.py").write_text(SLOW_FUNCTION)
    before = {*place.rglob("*"), place / "started", place / "__pycache__"}
    job = subprocess.Popen(
        [sys.executable, "-m", "mpinas", "prepare", "python", "--from", "slow.py:load"],
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )
    try:
        while not (place / "started").exists():
            assert job.poll() is None, job.communicate()
        job.send_signal(number)
        _, errors = job.communicate(timeout=30)
    finally:
        job.kill()
    assert job.returncode == 130
    assert b"Traceback" not in errors
    assert set(place.rglob("*")) <= before


def test_a_run_maps_the_prepared_file_and_refuses_other_data_later(place):
    assert invoke("prepare", "arrays", "--from", "data.npz").exit_code == 0
    text = with_key(FAKE_SEARCH, "problem", name="arrays", path="data/data.h5")
    config_file(place, with_key(text, "trial", batch_size=16))
    assert invoke("run", "search.yaml", "--set", "tuner.generations=1").exit_code == 0
    assert not (place / "runs" / "small" / "problem.h5").exists()
    # The same data elsewhere, and as they were before they were prepared, are the same search.
    (place / "data" / "data.h5").rename("moved.h5")
    for path in ("moved.h5", "data.npz"):
        more = ("--set", f"problem.path={path}", "--set", "tuner.generations=2")
        result = invoke("run", "search.yaml", *more)
        assert result.exit_code == 0, result.output
    other = data_files.random_arrays((6, 5, 1), training=80, test=8, seed=9)
    data_files.save_npz(other, place)
    assert invoke("prepare", "arrays", "--from", "data.npz", "--out", "moved.h5").exit_code == 0
    result = invoke("run", "search.yaml", "--set", "problem.path=moved.h5")
    assert result.exit_code == 2
    assert "began with other data" in result.stderr


def test_a_standard_data_set_is_expected_where_prepare_writes_it(place):
    text = with_key(FAKE_SEARCH, "problem", name="cifar10")
    config_file(place, text)
    result = invoke("run", "search.yaml")
    assert result.exit_code == 2
    assert "data/cifar10.h5" in result.stderr
    assert "Run `python -m mpinas prepare cifar10` first" in result.stderr
    arrays = data_files.random_arrays((32, 32, 3), classes=10, training=200, test=20)
    data_files.save_npz(arrays, place)
    assert invoke("prepare", "cifar10", "--from", "data.npz").exit_code == 0
    result = invoke("run", "search.yaml", "--set", "tuner.generations=1")
    assert result.exit_code == 0, result.output


def search_of_prepared_data(place: Path) -> tuple[str, ...]:
    """The command of a search that maps data/data.h5."""
    assert invoke("prepare", "arrays", "--from", "data.npz").exit_code == 0
    text = with_key(FAKE_SEARCH, "problem", name="arrays", path="data/data.h5")
    config_file(place, with_key(text, "trial", batch_size=16))
    return ("run", "search.yaml", "--set", "tuner.generations=1")


def test_damaged_shared_data_are_refused_before_anything_is_written(place):
    command = search_of_prepared_data(place)
    file = place / "data" / "data.h5"
    whole = file.read_bytes()
    damaged = bytearray(whole)
    damaged[-100] ^= 1
    file.write_bytes(damaged)
    assert invoke(*command).exit_code == 2
    assert not (place / "runs" / "small").exists()
    file.write_bytes(whole)
    assert invoke(*command).exit_code == 0
    before = sorted((place / "runs").rglob("*"))
    file.write_bytes(damaged)
    assert invoke(*command, "--fresh").exit_code == 2
    assert invoke(*command).exit_code == 2
    assert sorted((place / "runs").rglob("*")) == before


def test_a_lost_start_does_not_let_other_data_in(place):
    command = search_of_prepared_data(place)
    assert invoke(*command).exit_code == 0
    (place / "runs" / "small" / "checkpoints" / "start.h5").unlink()
    data_files.save_npz(data_files.random_arrays((6, 5, 1), training=80, test=8, seed=9), place)
    assert invoke("prepare", "arrays", "--from", "data.npz").exit_code == 0
    result = invoke(*command[:2], "--set", "tuner.generations=2")
    assert result.exit_code == 2
    assert "began with other data" in result.stderr


def test_a_dry_run_of_a_begun_run_looks_at_its_data(place):
    command = search_of_prepared_data(place)
    assert invoke(*command).exit_code == 0
    data_files.save_npz(data_files.random_arrays((6, 5, 1), training=80, test=8, seed=9), place)
    assert invoke("prepare", "arrays", "--from", "data.npz", "--out", "other.h5").exit_code == 0
    result = invoke(*command, "--dry-run", "--set", "problem.path=other.h5")
    assert result.exit_code == 2
    assert "began with other data" in result.stderr


def test_a_dry_run_needs_raw_data_no_more_than_the_run_does(place):
    text = with_key(FAKE_SEARCH, "problem", name="arrays", path="data.npz")
    config_file(place, with_key(text, "trial", batch_size=16))
    command = ("run", "search.yaml", "--set", "tuner.generations=1")
    assert invoke(*command).exit_code == 0
    (place / "data.npz").unlink()
    result = invoke(*command, "--dry-run")
    assert result.exit_code == 0, result.output
    assert invoke(*command).exit_code == 0


def test_a_dry_run_refuses_raw_data_that_became_others(place):
    text = with_key(FAKE_SEARCH, "problem", name="arrays", path="data.npz")
    config_file(place, with_key(text, "trial", batch_size=16))
    command = ("run", "search.yaml", "--set", "tuner.generations=1")
    assert invoke(*command).exit_code == 0
    (place / "runs" / "small" / "problem.h5").unlink()
    data_files.save_npz(data_files.random_arrays((6, 5, 1), training=80, test=8, seed=9), place)
    for more in (("--dry-run",), ()):
        result = invoke(*command, *more)
        assert result.exit_code == 2
        assert "began with other data" in result.stderr


def test_a_link_is_written_through(place):
    (place / "scratch").mkdir()
    (place / "link.h5").symlink_to("scratch/data.h5")
    assert invoke("prepare", "arrays", "--from", "data.npz", "--out", "link.h5").exit_code == 0
    assert (place / "link.h5").is_symlink()
    assert open_prepared(place / "scratch" / "data.h5").classes == 4


def test_a_rank_of_a_search_does_not_load_what_reading_data_needs():
    """Hundreds of ranks import the package from one file system at once."""
    unwanted = (
        *("PIL", "tarfile", "http.client", "mpinas.problems.layouts", "mpinas.config_schema"),
        *("mpinas.doctor", "mpinas.jobs"),
    )
    program = f"import sys, mpinas.cli; print([one for one in {unwanted} if one in sys.modules])"
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert ran.stdout.strip() == "[]"
