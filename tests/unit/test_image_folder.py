"""Image folders and Tiny ImageNet: which file is which image of which class; what is refused."""

from __future__ import annotations

import io
import os
import shutil
from pathlib import Path

import data_files
import numpy as np
import pytest
from PIL import Image

from mpinas.config import ProblemConfig
from mpinas.errors import DataFault
from mpinas.problems import load, open_prepared, prepare

GREY = data_files.random_arrays((6, 5, 1), classes=3, training=18, test=6)
COLOUR = data_files.random_arrays((6, 5, 3), classes=3, training=18, test=6)


def read(path: Path, **section):
    return load(ProblemConfig(name="images", path=str(path), **section))


def faults_of(path: Path, **section) -> tuple[str, ...]:
    with pytest.raises(DataFault) as caught:
        read(path, **section)
    return caught.value.faults


def picture(shade: int = 0, size: tuple[int, int] = (6, 5), mode: str = "L") -> Image.Image:
    """Height and width; all pixels alike."""
    return Image.new(mode, size[::-1], shade if mode in ("L", "P") else (shade,) * len(mode))


def save(image: Image.Image, file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    image.save(file)


def folder_of(root: Path, names: dict[str, Image.Image]) -> Path:
    for name, image in names.items():
        save(image, root / name)
    return root


def two_classes(root: Path) -> Path:
    """Two classes with two training images and one test image each, all of another shade."""
    names = [f"train/{c}/{n}.png" for c in ("cat", "dog") for n in "ab"]
    names += ["test/cat/a.png", "test/dog/a.png"]
    return folder_of(root, {name: picture(10 * shade) for shade, name in enumerate(names)})


def shades(images) -> list[int]:
    return images[:, 0, 0, 0].tolist()


def in_folders(arrays, root: Path, name_of) -> Path:
    """Lossless copies; ``name_of(index in the part, index in the class)`` names the file."""
    for part in ("train", "test"):
        seen: dict[int, int] = {}
        for index, (image, label) in enumerate(
            zip(arrays[f"x_{part}"], arrays[f"y_{part}"], strict=True)
        ):
            rank = seen[int(label)] = seen.get(int(label), -1) + 1
            file = root / part / str(label) / f"{name_of(index, rank)}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data_files.image_bytes(image))
    return root


def by_class(arrays):
    """The same images, those of the first class first."""
    orders = {part: np.argsort(arrays[f"y_{part}"], kind="stable") for part in ("train", "test")}
    return {name: array[orders[name[2:]]] for name, array in arrays.items()}


@pytest.mark.parametrize("arrays", [GREY, COLOUR], ids=["grey", "colour"])
@pytest.mark.parametrize(
    ("is_sorted", "name_of"),
    [
        (False, lambda index, rank: f"{index:05d}"),
        (False, lambda index, rank: f"{index}"),
        (True, lambda index, rank: f"{index}"),
        (True, lambda index, rank: f"{rank}"),
        (True, lambda index, rank: f"image {rank}"),
    ],
    ids=["padded", "unpadded", "by class", "numbers per class", "names"],
)
def test_an_npz_and_its_lossless_images_prepare_to_the_same(tmp_path, arrays, is_sorted, name_of):
    arrays = by_class(arrays) if is_sorted else arrays
    npz, files = tmp_path / "npz.h5", tmp_path / "files.h5"
    prepare(ProblemConfig(name="arrays", path=str(data_files.save_npz(arrays, tmp_path))), npz)
    home = in_folders(arrays, tmp_path / "home", name_of)
    prepare(ProblemConfig(name="images", path=str(home)), files)
    one, other = open_prepared(npz), open_prepared(files)
    assert one.checksum == other.checksum
    assert one.x_train.tobytes() == other.x_train.tobytes() == arrays["x_train"].tobytes()
    assert one.y_train.tolist() == other.y_train.tolist() == arrays["y_train"].tolist()


def test_classes_that_are_numbers_go_by_value(tmp_path):
    names = {f"train/{label}/x{label}.png": picture(label) for label in range(12)}
    names |= {f"test/{label}/x.png": picture(label) for label in range(12)}
    data = read(folder_of(tmp_path, names))
    assert data.class_names == tuple(str(label) for label in range(12))
    assert shades(data.x_train) == list(range(12))


@pytest.mark.parametrize("packing", ["folder", "zip", "", "gz", "bz2", "xz"])
@pytest.mark.parametrize("inside", [".", "wrapped/twice", "training"])
def test_folders_and_archives_are_the_same(tmp_path, packing, inside):
    home = tmp_path / "home"
    two_classes(home / inside)
    if packing == "zip":
        home = data_files.save_zip(home)
    elif packing != "folder":
        home = data_files.save_tar(home, packing)
    data = read(home)
    assert data.class_names == ("cat", "dog")
    assert (shades(data.x_train), data.y_train.tolist()) == ([0, 10, 20, 30], [0, 0, 1, 1])
    assert (shades(data.x_test), data.y_test.tolist()) == ([40, 50], [0, 1])
    assert data.remarks == ()


def test_images_at_any_depth_belong_to_their_class_and_hidden_files_to_none(tmp_path):
    home = two_classes(tmp_path)
    save(picture(99), home / "train/cat/a/deep/one.png")
    for junk in ("train/cat/.hidden.png", "__MACOSX/train/cat/a.png", ".git/x.png"):
        save(picture(1), home / junk)
    data = read(home)
    assert 99 in shades(data.x_train)
    assert 1 not in shades(data.x_train)
    assert len(data.x_train) == 5


@pytest.mark.parametrize("validation", ["val", "valid", "Validation"])
def test_validation_images_are_the_test_part_or_more_training_images(tmp_path, validation):
    home = two_classes(tmp_path)
    for name in ("cat", "dog"):
        save(picture(77), home / validation / name / "z.png")
    data = read(home)
    assert (len(data.x_train), len(data.x_test)) == (6, 2)
    assert "is added to the training images" in data.remarks[0]
    shutil.rmtree(home / "test")
    data = read(home)
    assert (len(data.x_train), shades(data.x_test)) == (4, [77, 77])
    assert "is the test part" in data.remarks[0]


@pytest.mark.parametrize("prefix", ["", "train/"])
def test_without_test_images_a_fifth_of_each_class_is_set_apart(tmp_path, prefix):
    names = {f"{prefix}{c}/{n}.png": picture(n) for c in ("cat", "dog") for n in range(10)}
    home = folder_of(tmp_path, names)
    data, again = read(home), read(home)
    assert np.bincount(data.y_train).tolist() == [8, 8]
    assert np.bincount(data.y_test).tolist() == [2, 2]
    assert np.array_equal(data.x_test, again.x_test)
    assert "there are no test images: 4 of 20" in data.remarks[0]


def test_grey_images_stay_grey_until_one_has_colour(tmp_path):
    home = two_classes(tmp_path)
    assert read(home).x_train.shape == (4, 6, 5, 1)
    assert read(home, channels=3).x_train.shape == (4, 6, 5, 3)
    save(picture(200, mode="RGB"), home / "train/cat/c.png")
    data = read(home)
    assert data.x_train.shape == (5, 6, 5, 3)
    assert "6 of 7 images are grey and become RGB" in data.remarks
    assert read(home, channels=1).x_train.shape == (5, 6, 5, 1)


def test_mixed_formats_and_sizes(tmp_path):
    home = tmp_path
    formats = ["a.png", "b.bmp", "c.gif", "d.webp", "e.jpg", "f.JPEG"]
    for name in ("cat", "dog"):
        for height, file in enumerate(formats, start=6):
            save(picture(120, (height, 10)), home / "train" / name / file)
        save(picture(120, (8, 10)), home / "test" / name / "a.png")
    data = read(home)
    assert data.x_train.shape == (12, 8, 10, 3)  # WebP knows no grey
    assert abs(data.x_train.astype(int) - 120).max() <= 2
    assert any("scaled and cropped to 8x10, median" in remark for remark in data.remarks)
    data = read(home, image_size=(4, 7))
    assert data.x_train.shape == (12, 4, 7, 3)
    assert any("14 of 14 images are scaled and cropped to 4x7" in line for line in data.remarks)


def test_an_image_is_scaled_to_cover_and_cropped_around_its_centre(tmp_path):
    home = two_classes(tmp_path)
    wide = np.zeros((6, 15), np.uint8)
    wide[:, 5:10] = 200
    Image.fromarray(wide).save(home / "train/cat/0.png")
    assert (read(home, image_size=(6, 5)).x_train[0] == 200).all()


def test_the_first_classes(tmp_path):
    names = {
        f"{part}/{c}/{n}.png": picture(5) for part in ("train", "test") for c in "abc" for n in "xy"
    }
    home = folder_of(tmp_path, names)
    (home / "train/c/x.png").write_bytes(b"not looked at")
    data = read(home, classes=2)
    assert data.class_names == ("a", "b")
    assert (len(data.x_train), len(data.x_test)) == (4, 4)
    assert "not that many classes" in faults_of(home, classes=4)[0]


def test_unreadable_images_are_named_and_left_out_only_when_asked(tmp_path):
    home = two_classes(tmp_path)
    save(picture(66), home / "train/cat/c.png")
    content = (home / "train/cat/a.png").read_bytes()
    (home / "train/cat/a.png").write_bytes(content[: len(content) // 2])
    (home / "train/dog/b.png").write_bytes(b"")
    first, *others = faults_of(home)
    assert "2 of 7 images cannot be read" in first
    assert "--skip-unreadable" in first
    assert ["train/cat/a.png" in others[0], "train/dog/b.png" in others[1]] == [True, True]
    data = read(home, skip_unreadable=True)
    assert (shades(data.x_train), data.y_train.tolist()) == ([10, 66, 20], [0, 0, 1])
    (remark,) = data.remarks
    assert "2 of 7 images cannot be read and are left out: train/cat/a.png, train/dog/b" in remark
    (home / "train/dog/a.png").write_bytes(b"no image")
    assert "a class has fewer than 1 training images" in faults_of(home, skip_unreadable=True)[0]


def test_an_image_of_too_many_pixels_is_refused_by_its_header(tmp_path):
    home = two_classes(tmp_path)
    target = io.BytesIO()
    Image.new("1", (60_000, 2)).save(target, "PNG")
    content = target.getvalue()
    (home / "train/cat/a.png").write_bytes(
        content.replace((60_000).to_bytes(4, "big") + (2).to_bytes(4, "big"), b"\0\0\xea\x60" * 2)
    )
    assert "train/cat/a.png" in faults_of(home)[1]


def test_other_files_are_counted(tmp_path):
    home = two_classes(tmp_path)
    (home / "train/cat/notes.txt").write_text("hello")
    (home / "README").write_text("hello")
    assert read(home).remarks == ("1 files in class folders are no images and are ignored",)


def without(folder: str):
    return lambda home: shutil.rmtree(home / folder)


def loose(home: Path) -> None:
    shutil.copy(home / "train/cat/a.png", home / "train/a.png")


def link_out(home: Path) -> None:
    (home.parent / "outside.png").write_bytes((home / "train/cat/a.png").read_bytes())
    (home / "train/cat/z.png").symlink_to(home.parent / "outside.png")


@pytest.mark.parametrize(
    ("spoil", "rule"),
    [
        (lambda home: (home / "train/empty").mkdir(), "a class folder has no images.*empty"),
        (lambda home: save(picture(), home / "test/fox/a.png"), "not in the training part.*fox"),
        (without("train"), "there is no train folder"),
        (without("train/cat"), "fewer than two class folders"),
        (loose, "images are in no class folder"),
        (link_out, "a link leads out of the folder"),
        (lambda home: os.mkfifo(home / "train/cat/pipe.png"), "neither a file nor a folder"),
        (lambda home: save(picture(), home / "Training/a/a.png"), "two folders of one part"),
    ],
)
def test_folders_that_are_laid_out_wrongly(tmp_path, spoil, rule):
    home = two_classes(tmp_path / "home")
    spoil(home)
    with pytest.raises(DataFault, match=rule):
        read(home)


def test_a_link_inside_the_folder_is_followed(tmp_path):
    home = two_classes(tmp_path)
    (home / "train/cat/z.png").symlink_to("a.png")
    assert shades(read(home).x_train) == [0, 10, 0, 20, 30]


def test_names_of_classes_are_kept(tmp_path):
    classes = ["T-shirt & top", "été", "v1.0", "Ünïcode 猫"]
    names = {f"{part}/{c}/a.png": picture() for part in ("train", "test") for c in classes}
    assert read(folder_of(tmp_path, names)).class_names == tuple(sorted(classes))


# Tiny ImageNet


def tiny_imagenet(folder: Path) -> Path:
    return data_files.save_tiny_imagenet(
        data_files.random_arrays((64, 64, 3), classes=3, training=9, test=6), folder
    )


@pytest.mark.parametrize("packing", ["folder", "zip"])
def test_tiny_imagenet(tmp_path, packing):
    home = tiny_imagenet(tmp_path)
    data = read(home if packing == "folder" else data_files.save_zip(home))
    assert data.class_names == ("n00000000", "n00000001", "n00000002")
    assert data.x_train.shape == (9, 64, 64, 3)
    assert data.y_train.tolist() == [0] * 3 + [1] * 3 + [2] * 3
    first = Image.open(home / "train/n00000001/images/n00000001_0.JPEG")
    assert np.array_equal(data.x_train[3], np.asarray(first))
    held_out = Image.open(home / "val/images/val_0.JPEG")
    assert any(np.array_equal(image, np.asarray(held_out)) for image in data.x_test)
    assert len(data.x_test) == 6
    two = read(home, classes=2)
    assert (two.class_names, len(two.x_train)) == (data.class_names[:2], 6)


def edited(file: str, change):
    def spoil(home: Path) -> None:
        (home / file).write_text(change((home / file).read_text()))

    return spoil


@pytest.mark.parametrize(
    ("spoil", "rule"),
    [
        (edited("val/val_annotations.txt", lambda text: text + "x.JPEG\tn9\t0\n"), "unknown one"),
        (edited("val/val_annotations.txt", lambda text: text.split("\n", 1)[1]), "not in it"),
        (lambda home: (home / "val/images/val_0.JPEG").unlink(), "are missing"),
        (edited("wnids.txt", lambda text: text + "n99\n"), "no training images.*n99"),
        (edited("wnids.txt", lambda text: text.split("\n", 1)[1]), "a class is not in the list"),
    ],
)
def test_tiny_imagenet_whose_lists_do_not_fit(tmp_path, spoil, rule):
    home = tiny_imagenet(tmp_path)
    spoil(home)
    with pytest.raises(DataFault, match=rule):
        read(home)


def test_lists_with_the_line_ends_of_windows(tmp_path):
    home = tiny_imagenet(tmp_path)
    for file in (home / "wnids.txt", home / "val/val_annotations.txt"):
        file.write_bytes(file.read_bytes().replace(b"\n", b"\r\n"))
    assert len(read(home).x_test) == 6
