"""Tiny ImageNet as it is distributed: lists and folders, and what it gets where they disagree."""

from __future__ import annotations

import io
from pathlib import Path

import data_files
import numpy as np
import pytest
from image_folders import assert_same, faults_of, faults_of_again, prepared, remarks
from PIL import Image

from mpinas.config import ProblemConfig
from mpinas.errors import DataFault
from mpinas.problems import load

SHAPE = (8, 6, 3)
CLASSES = [f"n{label:08d}" for label in range(4)]
ANNOTATIONS = "val/val_annotations.txt"


def decoded(images: np.ndarray) -> np.ndarray:
    """What a reader of JPEG files must get."""
    contents = [data_files.image_bytes(image, "JPEG") for image in images]
    return np.stack([np.asarray(Image.open(io.BytesIO(content))) for content in contents])


ARRAYS = data_files.random_arrays(SHAPE)
IMAGES = {part: decoded(ARRAYS[f"x_{part}"]) for part in ("train", "test")}


def by_class(part: str, classes: int = 4) -> np.ndarray:
    """Rows of a part by class; in each in the order of its numbers, which is that of the array."""
    labels = ARRAYS[f"y_{part}"]
    order = np.argsort(labels, kind="stable")
    return order[labels[order] < classes]


@pytest.fixture
def home(tmp_path) -> Path:
    return data_files.save_tiny_imagenet(ARRAYS, tmp_path)


def replaced(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))


@pytest.mark.parametrize("classes", [None, 2])
def test_images_and_labels(home, classes):
    problem = prepared(home, classes=classes)
    assert problem.class_names == tuple(CLASSES[:classes])
    for part in ("train", "test"):
        rows = by_class(part, classes or 4)
        assert np.array_equal(getattr(problem, f"x_{part}"), IMAGES[part][rows])
        assert np.array_equal(getattr(problem, f"y_{part}"), ARRAYS[f"y_{part}"][rows])
    assert "val/ is the test part" in remarks(problem)


def test_more_than_ten_images_of_a_class_stand_in_the_order_of_their_numbers(tmp_path):
    """``_10`` comes after ``_9``."""
    arrays = data_files.random_arrays(SHAPE, classes=2, training=30, test=24)
    problem = prepared(data_files.save_tiny_imagenet(arrays, tmp_path))
    for part in ("train", "test"):
        rows = np.argsort(arrays[f"y_{part}"], kind="stable")
        assert np.array_equal(getattr(problem, f"x_{part}"), decoded(arrays[f"x_{part}"][rows]))


def test_archives_are_the_same(home):
    wanted = prepared(home)
    assert_same(prepared(data_files.save_zip(home)), wanted)
    assert_same(prepared(data_files.save_tar(home)), wanted)


def test_line_ends_and_empty_lines_do_not_matter(home):
    wanted = prepared(home)
    for name in ("wnids.txt", ANNOTATIONS):
        text = (home / name).read_text()
        (home / name).write_bytes(f"{text}\n".replace("\n", "\r\n").encode())
    assert_same(prepared(home), wanted)


def test_the_order_of_the_lines_does_not_matter(home):
    wanted = prepared(home)
    for name in ("wnids.txt", ANNOTATIONS):
        lines = (home / name).read_text().splitlines()
        (home / name).write_text("\n".join(reversed(lines)))
    assert_same(prepared(home), wanted)


def test_of_other_classes_nothing_is_decoded(home):
    (home / f"train/{CLASSES[3]}/images/{CLASSES[3]}_0.JPEG").write_bytes(b"no image")
    assert prepared(home, classes=3).class_names == tuple(CLASSES[:3])
    (line,) = faults_of_again(home)
    assert "1 of 32 images cannot be read" in line
    assert f"{CLASSES[3]}_0.JPEG (" in line


def test_there_are_fewer_classes_than_wanted(home):
    (line,) = faults_of(home, classes=5)
    assert "there are not that many classes" in line
    assert "classes=5, in the data=4" in line


@pytest.mark.parametrize(
    ("file", "old", "new", "rule"),
    [
        (ANNOTATIONS, CLASSES[0], "n99999999", "a file has no class, an unknown one"),
        (ANNOTATIONS, CLASSES[0], "", "a file has no class, an unknown one"),
        (ANNOTATIONS, "val_1.JPEG\t", "val_1.JPEG ", "a file has no class, an unknown one"),
        (ANNOTATIONS, "val_1.", "val_0.", "a file has no class, an unknown one, or comes twice"),
        (ANNOTATIONS, "val_1.", "val_9999.", "files that it names are missing"),
        (ANNOTATIONS, "val_1.", "../images/val_1.", "files that it names are missing"),
        (ANNOTATIONS, "val_1.", "v\x1bl_1.", "files that it names are missing"),
        (ANNOTATIONS, "val_1.", "größe_1.", "the file is no text"),
        ("wnids.txt", CLASSES[1], "n99999999", "a class has no training images"),
        ("wnids.txt", CLASSES[1], "", "a class is not in the list"),
        ("wnids.txt", CLASSES[1], "\xff", "the file is no text"),
    ],
)
def test_lists_that_are_wrong(home, file, old, new, rule):
    replaced(home / file, old, new)
    lines = faults_of(home)
    assert any(rule in line for line in lines), lines
    assert any(file in line for line in lines), lines


def test_all_that_is_wrong_comes_at_once(home):
    replaced(home / "wnids.txt", CLASSES[1], "n99999999")
    replaced(home / ANNOTATIONS, "val_1.", "val_9999.")
    (home / "val/images/val_2.JPEG").unlink()
    lines = "\n".join(faults_of(home))
    for words in ("n99999999", CLASSES[1], "val_9999.JPEG", "val_2.JPEG", "images are not in it"):
        assert words in lines


def test_lists_that_are_empty(home):
    (home / ANNOTATIONS).write_bytes(b"")
    lines = faults_of(home)
    assert "images are not in it" in lines[0]
    assert "there are no validation images" in lines[1]
    (home / "wnids.txt").write_bytes(b"\n\n")
    assert any("a class is not in the list" in line for line in faults_of(home))


def test_an_image_that_cannot_be_read_is_left_out_if_asked(home):
    (home / "val/images/val_3.JPEG").write_bytes(b"")
    assert "1 of 32 images cannot be read" in faults_of(home)[0]
    problem = prepared(home, skip_unreadable=True)
    rows = [row for row in by_class("test") if row != 3]
    assert np.array_equal(problem.x_test, IMAGES["test"][rows])
    assert np.array_equal(problem.y_test, ARRAYS["y_test"][rows])


def test_classes_without_validation_images_are_refused(tmp_path):
    """Rather than to set training images apart where the data have a test part."""
    arrays = data_files.random_arrays((8, 8, 3), classes=3, training=9, test=3)
    arrays["y_test"][:] = 2
    home = data_files.save_tiny_imagenet(arrays, tmp_path)
    with pytest.raises(DataFault, match="no image of the classes used"):
        load(ProblemConfig(name="images", path=str(home), classes=2))
