"""Image folders: which image becomes which row, whatever holds them; and what a bad folder gets."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import data_files
import numpy as np
import pytest
from data_files import image_bytes, random_arrays, save_files

from mpinas.config import ProblemConfig
from mpinas.errors import DataFault
from mpinas.problems import labelled_files, open_prepared, prepare

SHAPE = (4, 5, 3)
ARRAYS = random_arrays(SHAPE, classes=12, training=60, test=24)


def prepared(path: Path, **section):
    """The prepared file of the images at a path."""
    file = path.parent / "prepared.h5"
    prepare(ProblemConfig(name="images", path=str(path), **section), file)
    return open_prepared(file, verify=True)


def faults_of(path: Path, **section) -> tuple[str, ...]:
    with pytest.raises(DataFault) as caught:
        prepared(path, **section)
    for line in caught.value.faults:
        assert line.isprintable()
        assert line.startswith(str(path))
        assert len(line) < 1000
    assert not (path.parent / "prepared.h5").exists()
    return caught.value.faults


def picture(value: int, shape=SHAPE) -> bytes:
    """An image of one colour; grey, where the shape has no channels or one."""
    return image_bytes(np.full(shape, value, np.uint8))


def few(parts=("train", "test"), classes=("a", "b"), images=3) -> dict[str, bytes]:
    """Images of one value each: 0, 1, 2, ... in the order of their paths."""
    paths = [f"{part}/{name}/{n}.png" for part in parts for name in classes for n in range(images)]
    return {path.lstrip("/"): picture(value) for value, path in enumerate(paths)}


def values(images) -> list[int]:
    """The first value of each image."""
    return images[:, 0, 0, 0].tolist()


def remarks(problem) -> str:
    return "\n".join(problem.remarks)


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


def assert_same(found, wanted) -> None:
    for name in ("x_train", "y_train", "x_test", "y_test"):
        assert np.array_equal(getattr(found, name), getattr(wanted, name)), name
    assert found.class_names == wanted.class_names
    assert found.checksum == wanted.checksum


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
        (["10" * 20, "9" * 30], ["10" * 20, "9" * 30]),
        (["٣", "1", "2"], ["1", "2", "٣"]),
    ],
)
def test_classes_are_sorted_by_name_or_by_value(tmp_path, names, order):
    files = {f"train/{name}/{n}.png": picture(order.index(name)) for name in names for n in (1, 2)}
    problem = prepared(save_files(files, tmp_path / "data"))
    assert problem.class_names == tuple(order)
    assert values(problem.x_train) == problem.y_train.tolist()


def test_images_of_a_class_stand_in_natural_order(tmp_path):
    names = ["a1.png", "a2.png", "a10.png", "a10b.png", "b/c.png", "b1/a.png", "x.PNG"]
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


def faults_of_again(folder: Path, **section) -> tuple[str, ...]:
    (folder.parent / "prepared.h5").unlink()
    return faults_of(folder, **section)


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


# Images that cannot be read


def test_unreadable_images_are_named_counted_and_left_out_if_asked(tmp_path):
    files = few(images=20)
    whole = files["train/a/2.png"]
    files |= {"train/a/2.png": whole[:-20], "train/b/10.png": b"", "test/b/7.png": b"hello"}
    folder = save_files(files, tmp_path / "data")
    first, *others = faults_of(folder)
    assert "3 of 80 images cannot be read" in first
    assert "--skip-unreadable" in first
    assert [line.split(": ")[0].rpartition(" ")[2] for line in others] == [
        "test/b/7.png",
        "train/a/2.png",
        "train/b/10.png",
    ]
    assert "reason=the file is empty" in others[2]
    problem = prepared(folder, skip_unreadable=True)
    assert values(problem.x_train) == [n for n in range(40) if n not in (2, 30)]
    assert problem.y_train.tolist() == [0] * 19 + [1] * 19
    assert values(problem.x_test) == [n for n in range(40, 80) if n != 67]
    line = "3 of 80 images cannot be read and are left out: test/b/7.png, train/a/2.png, train/b/10"
    assert line in remarks(problem)


def test_of_many_unreadable_images_ten_are_named(tmp_path):
    files = few(images=20) | {f"train/a/{n}.png": b"" for n in range(15)}
    folder = save_files(files, tmp_path / "data")
    lines = faults_of(folder)
    assert "15 of 80 images cannot be read" in lines[0]
    assert len(lines) == 11
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
    lines = faults_of(save_files(few() | {"train/a/1.png": bytes(header)}, tmp_path / "data"))
    assert "1 of 12 images cannot be read" in lines[0]
    assert "3600000000 pixels" in lines[1]


def test_images_that_do_not_fit_into_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(labelled_files, "memory_bytes", lambda: 12 * 60 - 1)
    folder = save_files(few(), tmp_path / "data")
    (line,) = faults_of(folder)
    assert "the images do not fit into memory: 720 bytes" in line
    assert "problem.image_size" in line
    assert prepared(folder, image_size=(4, 4)).image_shape == (4, 4, 3)
    assert "memory" in faults_of_again(folder, image_size=(2**20, 2**20))[0]


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
