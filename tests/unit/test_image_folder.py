"""Image folders: which image becomes which row, whatever holds them."""

from __future__ import annotations

from pathlib import Path

import data_files
import numpy as np
import pytest
from data_files import image_bytes, random_arrays, save_files
from image_folders import (
    SHAPE,
    assert_same,
    faults_of_again,
    few,
    picture,
    prepared,
    remarks,
    values,
)

ARRAYS = random_arrays(SHAPE, classes=12, training=60, test=24)


# The same as from arrays, to the byte


def named_through(labels) -> list[str]:
    """An array written out: images numbered through over all classes."""
    return [f"{label}/{row:05d}.png" for row, label in enumerate(labels)]


def named_through_unpadded(labels) -> list[str]:
    return [f"{label}/{row}.png" for row, label in enumerate(labels)]


def named_in_classes(labels) -> list[str]:
    """Each class counts its own images, without zeros in front."""
    seen = [0] * (max(labels) + 1)
    names = []
    for label in labels:
        names.append(f"{label}/img_{seen[label]}.png")
        seen[label] += 1
    return names


def by_class(arrays):
    """The arrays with their rows sorted by label."""
    order = {part: np.argsort(arrays[f"y_{part}"], kind="stable") for part in ("train", "test")}
    return {name: array[order[name[2:]]] for name, array in arrays.items()}


def save_named(arrays, folder: Path, naming) -> Path:
    files = {}
    for part in ("train", "test"):
        for name, image in zip(
            naming(arrays[f"y_{part}"].tolist()), arrays[f"x_{part}"], strict=True
        ):
            files[f"{part}/{name}"] = image_bytes(image)
    return save_files(files, folder / "images")


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("order", "naming"),
    [
        (dict, named_through),
        (dict, named_through_unpadded),
        (by_class, named_through),
        (by_class, named_in_classes),
    ],
)
def test_a_folder_of_pngs_and_the_npz_give_the_same_bytes(tmp_path, order, naming, channels):
    """Twelve classes: by their names ``10`` would stand before ``2``."""
    shape = (*SHAPE[:2], channels)
    arrays = order(random_arrays(shape, classes=12, training=60, test=24, seed=channels))
    (tmp_path / "npz").mkdir()
    wanted = prepared(data_files.save_npz(arrays, tmp_path / "npz"))
    for name, array in arrays.items():
        assert np.array_equal(getattr(wanted, name), array)
    found = prepared(save_named(arrays, tmp_path, naming))
    assert_same(found, wanted)
    assert found.class_names == tuple(str(label) for label in range(12))


def test_other_rows_have_another_checksum(tmp_path):
    folder = save_named(ARRAYS, tmp_path, named_through)
    before = prepared(folder).checksum
    first, second = sorted((folder / "train").rglob("*.png"))[:2]
    content = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(content)
    assert prepared(folder).checksum != before


@pytest.mark.parametrize("packing", ["zip", "", "gz", "bz2", "xz"])
def test_an_archive_gives_the_same_as_the_folder(tmp_path, packing):
    folder = save_named(ARRAYS, tmp_path, named_in_classes)
    archive = data_files.save_zip if packing == "zip" else data_files.save_tar
    path = archive(folder) if packing == "zip" else archive(folder, packing)
    assert_same(prepared(path), prepared(folder))


# Classes and rows


@pytest.mark.parametrize(
    ("names", "order"),
    [
        (["b", "a", "C"], ["C", "a", "b"]),
        (["10", "9", "-1"], ["-1", "10", "9"]),
        (["10", "9", "007"], ["007", "9", "10"]),
        (["class 10", "class 9"], ["class 10", "class 9"]),
        (["Ärger", "zoo", "v1.5 größer", "日本"], ["v1.5 größer", "zoo", "Ärger", "日本"]),
        (["cat", "Cat"], ["Cat", "cat"]),
        (["10" * 20, "9" * 30], ["9" * 30, "10" * 20]),
        (["٣", "10", "9"], ["10", "9", "٣"]),
    ],
)
def test_classes_are_sorted_by_name_or_by_value(tmp_path, names, order):
    files = {f"train/{name}/{n}.png": picture(order.index(name)) for name in names for n in (1, 2)}
    problem = prepared(save_files(files, tmp_path / "data"))
    assert problem.class_names == tuple(order)
    assert values(problem.x_train) == problem.y_train.tolist()


def test_images_of_a_class_stand_in_natural_order(tmp_path):
    names = ["a1.png", "a2.png", "a10.png", "a10b.png", "b/2.png", "b/10.png", "x.PNG"]
    files = {f"train/one/{name}": picture(value) for value, name in enumerate(names)}
    files |= {f"train/two/{name}": picture(7 + value) for value, name in enumerate(names)}
    files |= few(["test"], ["one", "two"])
    problem = prepared(save_files(files, tmp_path / "data"))
    assert values(problem.x_train) == list(range(14))
    assert problem.y_train.tolist() == [0] * 7 + [1] * 7


def test_a_number_that_comes_twice_is_none_of_an_array(tmp_path):
    """``1.png`` and ``01.jpg``: the rows stand by class then."""
    files = {"train/b/0.png": picture(2), "train/b/1.png": picture(3)}
    files |= {"train/a/5.png": picture(0), "train/a/01.png": picture(0)}
    problem = prepared(save_files(files | few(["test"]), tmp_path / "data"))
    assert problem.y_train.tolist() == [0, 0, 1, 1]


def test_only_the_first_classes(tmp_path):
    """Of the others no image is decoded; a fault among them is none."""
    files = few(classes=["1", "2", "10"])
    files["train/10/0.png"] = b"no image"
    folder = save_files(files, tmp_path / "data")
    problem = prepared(folder, classes=2)
    assert problem.class_names == ("1", "2")
    assert values(problem.x_train) == [0, 1, 2, 3, 4, 5]
    assert problem.y_test.tolist() == [0] * 3 + [1] * 3
    assert "there are not that many classes" in faults_of_again(folder, classes=4)[0]


# Parts


def test_val_without_test_is_the_test_part(tmp_path):
    problem = prepared(save_files(few(["train", "val"]), tmp_path / "data"))
    assert values(problem.x_train) == list(range(6))
    assert values(problem.x_test) == list(range(6, 12))
    assert "val/ is the test part" in remarks(problem)


def test_val_beside_test_is_training_data(tmp_path):
    problem = prepared(save_files(few(["train", "valid", "test"]), tmp_path / "data"))
    assert values(problem.x_train) == list(range(12))
    assert problem.y_train.tolist() == [0, 0, 0, 1, 1, 1] * 2
    assert values(problem.x_test) == list(range(12, 18))
    assert "valid/ is added to the training images" in remarks(problem)


@pytest.mark.parametrize("parts", [["train"], [""]])
def test_without_a_test_part_a_fifth_of_each_class_is_set_apart(tmp_path, parts):
    problem = prepared(save_files(few(parts, images=10), tmp_path / "data"))
    assert np.bincount(problem.y_train).tolist() == [8, 8]
    assert np.bincount(problem.y_test).tolist() == [2, 2]
    assert sorted(values(problem.x_train) + values(problem.x_test)) == list(range(20))
    assert "4 of 20 images, a fifth of each class, are set apart as test" in remarks(problem)
    (tmp_path / "again").mkdir()
    assert_same(prepared(save_files(few(parts, images=10), tmp_path / "again/x")), problem)


@pytest.mark.parametrize(
    "wrapping", ["one", "one/two", "training", "one/train", "test", "images/1.0"]
)
@pytest.mark.parametrize("parts", [("train", "test"), ("Training", "TESTING")])
def test_folders_around_it_do_not_matter(tmp_path, wrapping, parts):
    files = few(parts)
    plain = prepared(save_files(files, tmp_path / "plain"))
    files = {f"{wrapping}/{path}": content for path, content in files.items()}
    files["one/.hidden/train/c/1.png"] = files["__MACOSX/train/c/._1.png"] = b"x"
    files["one/read me.txt"] = b"x"
    assert_same(prepared(save_files(files, tmp_path / "wrapped")), plain)


def test_what_is_ignored_is_counted(tmp_path):
    files = few()
    files |= {"train/a/notes.txt": b"", "train/b/1.png.bak": b"", "test/a/x.tif": b"", "x.txt": b""}
    files |= {"extra/1.png": b"", "cover.jpg": b""}
    files |= {"train/a/.hidden.png": b"", "train/.hidden/1.png": b"", "train/__MACOSX/1.png": b""}
    problem = prepared(save_files(files, tmp_path / "data"))
    assert problem.class_names == ("a", "b")
    assert "3 files in class folders are no images" in remarks(problem)
    assert "2 images outside train/, test/ are ignored" in remarks(problem)


def test_a_folder_that_needs_no_remark_has_none(tmp_path):
    (line,) = prepared(save_files(few(), tmp_path / "data")).remarks
    assert "are also training images" in line


# Sizes and colours


def test_mixed_sizes_become_the_median(tmp_path):
    """Heights 2, 4, 6, 8 and widths 3, 3, 9, 20: of two in the middle the lower."""
    sizes = [(2, 9), (4, 3), (6, 20), (8, 3)]
    files = {f"train/{'ab'[n % 2]}/{n}.png": picture(n, (*s, 3)) for n, s in enumerate(sizes)}
    files |= {"test/a/1.png": picture(9, (90, 90, 3)), "test/b/1.png": picture(9, (4, 3, 3))}
    folder = save_files(files, tmp_path / "data")
    problem = prepared(folder)
    assert problem.image_shape == (4, 3, 3)
    assert "4 of 6 images are scaled and cropped to 4x3, median height" in remarks(problem)
    assert values(problem.x_train) == [0, 1, 2, 3]
    problem = prepared(folder, image_size=(8, 3))
    assert problem.image_shape == (8, 3, 3)
    assert "5 of 6 images are scaled and cropped to 8x3" in remarks(problem)
    assert "median" not in remarks(problem)


def test_test_images_alone_decide_no_size(tmp_path):
    files = few(["train"]) | {"test/a/1.png": picture(9, (9, 9, 3))}
    problem = prepared(save_files(files, tmp_path / "data"))
    assert problem.image_shape == SHAPE
    assert "1 of 7 images are scaled and cropped to 4x5" in remarks(problem)


@pytest.mark.parametrize("place", ["train/a/0.png", "test/b/2.png"])
def test_one_image_with_colours_makes_all_rgb(tmp_path, place):
    files = {path: picture(value, SHAPE[:2]) for value, path in enumerate(few())}
    folder = save_files(files, tmp_path / "data")
    assert prepared(folder).image_shape == (4, 5, 1)
    assert prepared(folder, channels=3).image_shape == SHAPE
    (folder / place).write_bytes(picture(100))
    problem = prepared(folder)
    assert problem.image_shape == SHAPE
    assert "11 of 12 images are grey and become RGB" in remarks(problem)
    assert prepared(folder, channels=1).image_shape == (4, 5, 1)


def test_mixed_formats(tmp_path):
    image = ARRAYS["x_train"][0]
    names = {"1.png": "PNG", "2.BMP": "BMP", "3.JPEG": "JPEG", "4.webp": "WEBP", "5.Gif": "GIF"}
    files = {f"train/{c}/{n}": image_bytes(image, names[n]) for c in "ab" for n in names}
    problem = prepared(save_files(files | few(["test"]), tmp_path / "data"))
    assert problem.x_train.shape == (10, *SHAPE)
    assert np.array_equal(problem.x_train[0], image)
    assert np.array_equal(problem.x_train[1], image)


def test_a_wrong_suffix_does_not_matter(tmp_path):
    files = {f"{path[:-4]}.jpg": content for path, content in few().items()}
    assert values(prepared(save_files(files, tmp_path / "data")).x_train) == list(range(6))
