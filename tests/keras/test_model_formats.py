"""What becomes of a model where the disk does not take it."""

from __future__ import annotations

import errno
import subprocess
from collections.abc import Iterator
from pathlib import Path

import keras
import pytest

from mpinas.trial.exported import FORMATS, ModelFiles
from mpinas.trial.model_formats import WRITERS, write_model


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk that is too small for any model."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(place)]
    ended = subprocess.run(mount, capture_output=True, text=True, check=False)
    if ended.returncode != 0:
        pytest.skip(f"no file system may be mounted here: {ended.stderr.strip()}")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.mark.parametrize("form", sorted(WRITERS))
def test_a_full_disk_is_one_and_no_lack_of_memory(disk: Path, form: str) -> None:
    model = keras.Sequential([keras.Input((4, 4, 1)), keras.layers.Flatten()])
    model.add(keras.layers.Dense(600))
    with pytest.raises(OSError, match="No space left on device") as told:
        write_model(model, ModelFiles(disk, "m"), form)
    assert told.value.errno == errno.ENOSPC
    assert list(disk.iterdir()) == []


def test_each_format_can_be_written() -> None:
    assert {"keras", *WRITERS} == set(FORMATS)
