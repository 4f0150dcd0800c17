"""What TensorBoard shows of a trial: all of it, and nothing of the trial changes."""

from __future__ import annotations

import pathlib
import subprocess
from collections.abc import Iterator

import pytest
from keras_networks import from_plain_result, same_numbers, trial

from mpinas.records import ShrinkOutcome, TrialResult, TrialSpec, TrialStatus

pytestmark = pytest.mark.keras

SHRUNK = {"epochs": 3, "shrink": {"enabled": True, "epochs": 2}}

Points = dict[str, list[tuple[int, float]]]


def curves(folder: pathlib.Path) -> dict[str, Points]:
    """(step, value) of each tag of each curve, as TensorFlow reads them."""
    import tensorflow as tf

    found: dict[str, Points] = {}
    for file in sorted(folder.glob("*/*")):
        assert "tfevents" in file.name, "TensorBoard looks at no other file"
        events = list(tf.compat.v1.train.summary_iterator(str(file)))
        assert events[0].file_version == "brain.Event:2"
        points = found.setdefault(file.parent.name, {})
        for event in events[1:]:
            assert event.wall_time > 0
            for value in event.summary.value:
                points.setdefault(value.tag, []).append((event.step, value.simple_value))
    return found


def near(expected: list[float], first: int = 1) -> object:
    """These values at steps from the first on; a file has them in single precision."""
    return [
        (step, pytest.approx(value, rel=1e-6)) for step, value in enumerate(expected, start=first)
    ]


@pytest.fixture(scope="module")
def plain(server, digits) -> TrialResult:
    return server.run(trial(digits))


@pytest.fixture(scope="module")
def plain_shrunk(server, digits) -> TrialResult:
    return server.run(trial(digits, **SHRUNK))


def logged(digits: str, folder: pathlib.Path, **changes: object) -> TrialSpec:
    return trial(digits, events_path=str(folder), **changes)


def test_the_curves_are_those_of_the_result_and_no_number_changes(server, digits, plain, tmp_path):
    folder = tmp_path / "tensorboard" / "g000-t000"
    result = server.run(logged(digits, folder))
    assert same_numbers(plain, result)
    found = curves(folder)
    assert set(found) == {"train", "validation"}
    seen = result.curves
    assert found["train"]["epoch_loss"] == near(seen.training_loss)
    assert found["train"]["epoch_accuracy"] == near(seen.training_accuracy)
    assert found["validation"]["epoch_loss"] == near(seen.validation_loss)
    assert found["validation"]["epoch_accuracy"] == near(seen.validation_accuracy)


def test_the_shrink_has_a_curve_of_its_own_before_the_others(
    server, digits, plain_shrunk, tmp_path
):
    result = server.run(logged(digits, tmp_path, **SHRUNK))
    assert same_numbers(plain_shrunk, result)
    assert result.shrink is not None
    assert result.shrink == plain_shrunk.shrink
    assert result.shrink.outcome is not ShrinkOutcome.BROKEN
    found = curves(tmp_path)
    assert [step for step, _ in found["shrink"]["epoch_loss"]] == [1, 2]
    assert [step for step, _ in found["shrink"]["epoch_accuracy"]] == [1, 2]
    seen = result.curves
    assert len(seen.training_loss) == 1
    assert found["train"]["epoch_loss"] == near(seen.training_loss, first=3)
    accuracies = [result.shrink.accuracy_before_cut, *seen.validation_accuracy]
    assert found["validation"]["epoch_accuracy"] == near(accuracies, first=2)


def test_a_trial_that_is_tried_again_begins_its_files_anew(server, digits, plain, tmp_path):
    for _ in range(2):
        assert same_numbers(plain, server.run(logged(digits, tmp_path)))
    assert len(list(tmp_path.glob("train/*"))) == 1


def test_without_a_wish_nothing_is_written(server, digits, tmp_path):
    server.run(trial(digits))
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def full(tmp_path) -> Iterator[pathlib.Path]:
    """A disk with room for the first file and not for the second."""
    command = ["mount", "-t", "tmpfs", "-o", "size=4096", "tmpfs", str(tmp_path)]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode != 0:
        pytest.skip(f"no file system may be mounted here: {mounted.stderr.strip()}")
    yield tmp_path
    subprocess.run(["umount", "-l", str(tmp_path)], check=True)


def test_a_full_disk_ends_the_log_and_not_the_trial(server, digits, plain, full):
    """TensorFlow's error for it is that of a lack of memory."""
    result = from_plain_result(server.ask(logged(digits, full / "g000-t000")))
    assert result.status is TrialStatus.COMPLETE, result.error
    assert same_numbers(plain, result)
    assert len(list(full.glob("*/*/*"))) < 4


def test_a_folder_that_cannot_be_made_ends_the_log_and_not_the_trial(
    server, digits, plain, tmp_path
):
    (tmp_path / "file").touch()
    result = server.run(logged(digits, tmp_path / "file" / "g000-t000"))
    assert same_numbers(plain, result)
