"""Image folders with images that cannot be read, or laid out otherwise: a line for each fault."""

from __future__ import annotations

import os
import re
import shutil

import data_files
import numpy as np
import pytest
from data_files import image_bytes, save_files
from image_folders import (
    SHAPE,
    assert_same,
    faults_of,
    faults_of_again,
    few,
    picture,
    prepared,
    remarks,
    values,
)

from mpinas.problems import labelled_files

# Images that cannot be read


def test_unreadable_images_are_named_counted_and_left_out_if_asked(tmp_path):
    files = few(images=20)
    whole = files["train/a/2.png"]
    files |= {"train/a/2.png": whole[:-20], "train/b/10.png": b"", "test/b/7.png": b"hello"}
    folder = save_files(files, tmp_path / "data")
    (line,) = faults_of(folder)
    assert "3 of 80 images cannot be read" in line
    assert "--skip-unreadable" in line
    assert re.findall(r"([^\s=]+\.png) \(", line) == [
        "test/b/7.png",
        "train/a/2.png",
        "train/b/10.png",
    ]
    assert "train/b/10.png (the file is empty)" in line
    problem = prepared(folder, skip_unreadable=True)
    assert values(problem.x_train) == [n for n in range(40) if n not in (2, 30)]
    assert problem.y_train.tolist() == [0] * 19 + [1] * 19
    assert values(problem.x_test) == [n for n in range(40, 80) if n != 67]
    line = "3 of 80 images cannot be read and are left out: test/b/7.png, train/a/2.png, train/b/10"
    assert line in remarks(problem)


def test_of_many_unreadable_images_ten_are_named(tmp_path):
    files = few(images=20) | {f"train/a/{n}.png": b"" for n in range(15)}
    folder = save_files(files, tmp_path / "data")
    (line,) = faults_of(folder)
    assert "15 of 80 images cannot be read" in line
    assert line.count(".png (") == 10
    assert "train/a/9.png (the file is empty) and 5 more" in line
    assert "train/a/9.png and 5 more" in remarks(prepared(folder, skip_unreadable=True))


def test_an_image_left_out_counts_for_nothing(tmp_path):
    """It is large, has colours, and is cut short."""
    files = {path: picture(value, SHAPE[:2]) for value, path in enumerate(few())}
    large = image_bytes(np.random.default_rng(0).integers(0, 256, (50, 50, 3), dtype=np.uint8))
    files["train/a/1.png"] = large[:5000]
    problem = prepared(save_files(files, tmp_path / "data"), skip_unreadable=True)
    assert problem.image_shape == (4, 5, 1)
    assert "scaled" not in remarks(problem)
    assert "become RGB" not in remarks(problem)


@pytest.mark.parametrize("damaged", [b"", picture(1)[:-20]])
def test_a_class_that_loses_all_its_images(tmp_path, damaged):
    files = few() | {f"train/b/{n}.png": damaged for n in range(3)}
    (line,) = faults_of(save_files(files, tmp_path / "data"), skip_unreadable=True)
    assert "fewer than 1 training images that can be read" in line
    assert "classes=b" in line


def test_a_class_of_one_image_where_a_test_part_is_to_be_set_apart(tmp_path):
    files = few(["train"]) | {"train/c/1.png": picture(1)}
    (line,) = faults_of(save_files(files, tmp_path / "data"))
    assert "fewer than 2 training images" in line
    assert "classes=c" in line


@pytest.mark.parametrize("part", ["train", "test"])
def test_no_image_of_a_part_can_be_read(tmp_path, part):
    files = {p: b"" if p.startswith(part) else content for p, content in few().items()}
    assert faults_of(save_files(files, tmp_path / "data"), skip_unreadable=True)


def test_an_image_bomb(tmp_path):
    header = bytearray(picture(1))
    header[16:24] = (60000).to_bytes(4, "big") * 2
    header[29:33] = data_files.png_checksum(bytes(header[12:29]))
    (line,) = faults_of(save_files(few() | {"train/a/1.png": bytes(header)}, tmp_path / "data"))
    assert "1 of 12 images cannot be read. Received: files=train/a/1.png (" in line
    assert "3600000000 pixels" in line


def test_images_that_do_not_fit_into_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(labelled_files, "memory_bytes", lambda: 12 * 60 - 1)
    folder = save_files(few(), tmp_path / "data")
    (line,) = faults_of(folder)
    assert "the images do not fit into memory: 720 bytes" in line
    assert "problem.image_size" in line
    assert prepared(folder, image_size=(4, 4)).image_shape == (4, 4, 3)
    assert "memory" in faults_of_again(folder, image_size=(4096, 4096))[0]


# Folders that are otherwise


def test_a_class_folder_without_images(tmp_path):
    folder = save_files(few() | {"train/c/notes.txt": b""}, tmp_path / "data")
    (folder / "train/d").mkdir()
    (folder / "test/a-later").mkdir()
    lines = faults_of(folder)
    assert "folder train: a class folder has no images" in lines[0]
    assert "folders=c, d" in lines[0]
    assert "folder test: a class is not in the training part" in lines[1]
    assert "classes=a-later" in lines[1]
    for archive in (data_files.save_zip, data_files.save_tar):
        assert len(faults_of(archive(folder))) == 2


def test_a_test_class_that_is_unknown_to_training(tmp_path):
    lines = faults_of(save_files(few() | {"test/c/1.png": picture(1)}, tmp_path / "data"))
    assert len(lines) == 1
    assert "folder test: a class is not in the training part" in lines[0]
    assert "classes=c" in lines[0]


def test_a_test_part_without_some_classes_is_taken(tmp_path):
    files = few(["train"], ["a", "b", "c"]) | {"test/c/1.png": picture(9)}
    folder = save_files(files, tmp_path / "data")
    assert prepared(folder).y_test.tolist() == [2]
    (line,) = faults_of_again(folder, classes=2)
    assert "folder test: it has no image of the classes that are used" in line


@pytest.mark.parametrize(
    ("files", "rule"),
    [
        (few(["test"]), "there is no train folder"),
        (few(["val", "test"]), "there is no train folder"),
        (few(["train", "Train"]), "two folders of one part"),
        (few(["val", "validation", "train"]), "two folders of one part"),
        (few(classes=["a"]), "there are fewer than two class folders"),
        ({"1.png": b"", "2.png": b""}, "there is no train folder"),
        ({"train/1.png": b"", "train/2.png": b""}, "there are fewer than two class folders"),
        (few() | {"train/loose.png": b""}, "images are in no class folder"),
        (few([""]) | {"loose.png": b""}, "images are in no class folder"),
        ({"a/1.txt": b"", "b/1.csv": b""}, "no layout that is known"),
    ],
)
def test_other_folders(tmp_path, files, rule):
    lines = faults_of(save_files(files, tmp_path / "data"))
    assert any(rule in line for line in lines), lines


def test_an_empty_test_folder_is_no_test_part_left_out(tmp_path):
    folder = save_files(few(["train"]), tmp_path / "data")
    (folder / "test").mkdir()
    (line,) = faults_of(folder)
    assert "folder test: it has no image" in line


def test_a_name_of_a_class_that_cannot_be_shown(tmp_path):
    for name in ("a\nb", "c\x1b[31m"):
        folder = save_files(few(classes=["a", name]), tmp_path / "data")
        assert "characters that cannot be shown" in faults_of(folder)[0]
        shutil.rmtree(folder)


def test_paths_that_differ_by_case(tmp_path):
    files = few() | {"train/a/0.PNG": picture(0), "train/A/1.png": picture(3), "test/A/1.png": b""}
    problem = prepared(save_files(files | few(["test"], ["A"]), tmp_path / "data"))
    assert problem.class_names == ("A", "a", "b")
    assert np.bincount(problem.y_train).tolist() == [1, 4, 3]


# Links and devices


def test_links_inside_are_followed(tmp_path):
    files = {f"data/{path}": content for path, content in few().items()}
    folder = save_files(files, tmp_path / "all")
    plain = prepared(folder)
    shutil.move(folder / "data/train/a/1.png", folder / ".store.png")
    (folder / "data/train/a/1.png").symlink_to("../../../.store.png")
    shutil.move(folder / "data/train/b", folder / ".b")
    (folder / "data/train/b").symlink_to(folder / ".b")
    assert_same(prepared(folder), plain)


@pytest.mark.parametrize(
    ("target", "rule"),
    [
        ("/etc/hostname", "leads out of the folder"),
        ("../../../outside.png", "leads out of the folder"),
        ("..", "leads to a folder that it stands in"),
        ("9.png", "leads nowhere"),
    ],
)
def test_other_links_are_refused(tmp_path, target, rule):
    folder = save_files(few(), tmp_path / "data")
    (tmp_path / "outside.png").write_bytes(picture(1))
    (folder / "train/a/8.png").symlink_to(target)
    (line,) = faults_of(folder)
    assert "train/a/8.png: a link" in line
    assert rule in line


def test_a_fifo_in_a_class_folder(tmp_path):
    folder = save_files(few(), tmp_path / "data")
    os.mkfifo(folder / "train/a/8.png")
    assert "train/a/8.png: neither a file nor a folder" in faults_of(folder)[0]
