"""Small image folders, what is prepared of them, and the lines that bad ones get."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from data_files import image_bytes

from mpinas.config import ProblemConfig
from mpinas.errors import DataFault
from mpinas.problems import PreparedProblem, open_prepared, prepare

SHAPE = (4, 5, 3)


def prepared(path: Path, **section: object) -> PreparedProblem:
    """The prepared file of the images at a path."""
    file = path.parent / "prepared.h5"
    prepare(ProblemConfig(name="images", path=str(path), **section), file)
    return open_prepared(file, verify=True)


def faults_of(path: Path, **section: object) -> tuple[str, ...]:
    with pytest.raises(DataFault) as caught:
        prepared(path, **section)
    for line in caught.value.faults:
        assert line.isprintable()
        assert line.startswith(str(path))
        assert len(line) < 1000
    assert not (path.parent / "prepared.h5").exists()
    return caught.value.faults


def picture(value: int, shape: tuple[int, ...] = SHAPE) -> bytes:
    """An image of one colour; grey, where the shape has no channels or one."""
    return image_bytes(np.full(shape, value, np.uint8))


def few(
    parts: Sequence[str] = ("train", "test"), classes: Sequence[str] = ("a", "b"), images: int = 3
) -> dict[str, bytes]:
    """Images of one value each: 0, 1, 2, ... in the order of their paths."""
    paths = [f"{part}/{name}/{n}.png" for part in parts for name in classes for n in range(images)]
    return {path.lstrip("/"): picture(value) for value, path in enumerate(paths)}


def values(images: np.ndarray) -> list[int]:
    """The first value of each image."""
    return images[:, 0, 0, 0].tolist()


def remarks(problem: PreparedProblem) -> str:
    return "\n".join(problem.remarks)


def faults_of_again(folder: Path, **section: object) -> tuple[str, ...]:
    """The same where there is a prepared file of an earlier try."""
    (folder.parent / "prepared.h5").unlink()
    return faults_of(folder, **section)


def assert_same(found: PreparedProblem, wanted: PreparedProblem) -> None:
    for name in ("x_train", "y_train", "x_test", "y_test"):
        assert np.array_equal(getattr(found, name), getattr(wanted, name)), name
    assert found.class_names == wanted.class_names
    assert found.checksum == wanted.checksum
