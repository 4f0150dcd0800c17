"""CIFAR batches: the images that were written, in their order, or the file that is wrong."""

from __future__ import annotations

import pickle
import shutil

import data_files
import numpy as np
import pytest

from mpinas.config import ProblemConfig
from mpinas.errors import DataFault
from mpinas.problems import cifar_batches
from mpinas.problems.tree import open_tree

ARRAYS = data_files.random_arrays()
PROBLEM = ProblemConfig(name="images")
SAVERS = {
    "cifar10 python": data_files.save_cifar10_python,
    "cifar100 python": data_files.save_cifar100_python,
    "cifar10 binary": data_files.save_cifar10_binary,
    "cifar100 binary": data_files.save_cifar100_binary,
}


def read(path):
    with open_tree(path) as tree:
        assert cifar_batches.recognises(tree)
        return cifar_batches.read(tree, PROBLEM)


def faults_of(path) -> tuple[str, ...]:
    with pytest.raises(DataFault) as caught:
        read(path)
    assert all(line.isprintable() for line in caught.value.faults)
    return caught.value.faults


def assert_equal(data, arrays) -> None:
    for name, array in arrays.items():
        assert np.array_equal(getattr(data, name), array), name


@pytest.mark.parametrize("layout", SAVERS)
def test_images_come_back_in_their_order(tmp_path, layout):
    data = read(SAVERS[layout](ARRAYS, tmp_path))
    assert_equal(data, ARRAYS)
    assert data.x_train.shape == (24, 32, 32, 3)


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("layout", ["cifar10 python", "cifar100 python"])
def test_of_every_protocol(tmp_path, layout, protocol):
    assert_equal(read(SAVERS[layout](ARRAYS, tmp_path, protocol=protocol)), ARRAYS)


@pytest.mark.parametrize("layout", SAVERS)
def test_archives_wrap_them_in_a_folder(tmp_path, layout):
    home = SAVERS[layout](ARRAYS, tmp_path)
    assert_equal(read(data_files.save_tar(home)), ARRAYS)
    assert_equal(read(data_files.save_zip(home)), ARRAYS)


def test_batches_are_joined_by_number_and_not_by_name(tmp_path):
    """Ten comes after nine, though its name sorts before."""
    parts = np.split(ARRAYS["x_train"], 12)
    labels = np.split(ARRAYS["y_train"], 12)
    for number, (images, of_images) in enumerate(zip(parts, labels, strict=True), start=1):
        batch = {"data": data_files.planes(images), "labels": of_images.tolist()}
        (tmp_path / f"data_batch_{number}").write_bytes(pickle.dumps(batch))
    test = {"data": data_files.planes(ARRAYS["x_test"]), "labels": ARRAYS["y_test"]}
    (tmp_path / "test_batch").write_bytes(pickle.dumps(test))
    data = read(tmp_path)
    assert_equal(data, ARRAYS)
    (remark,) = data.remarks
    assert "12 training batches instead of 5" in remark


def test_a_known_pixel_lands_where_it_belongs(tmp_path):
    """Row 1, column 2 of the green plane: byte 1024 + 32 + 2 after the label."""
    row = bytearray(1 + 3072)
    row[1 + 1024 + 32 + 2] = 200
    (tmp_path / "data_batch_1.bin").write_bytes(bytes([1]) + row[1:] + bytes(3073))
    (tmp_path / "test_batch.bin").write_bytes(row)
    image = read(tmp_path).x_train[0]
    assert image[1, 2, 1] == 200
    assert image.sum() == 200


def test_names_of_classes(tmp_path):
    ten = read(data_files.save_cifar10_python(ARRAYS, tmp_path))
    assert ten.class_names == ("class 0", "class 1", "class 2", "class 3")
    hundred = data_files.save_cifar100_python(ARRAYS, tmp_path)
    assert read(hundred).class_names == ("0", "1", "2", "3")
    names = {b"coarse_label_names": [b"x"], b"fine_label_names": ["apple", "bee", "cät", "dog"]}
    (hundred / "meta").write_bytes(pickle.dumps(names))
    assert read(hundred).class_names == ("apple", "bee", "cät", "dog")


@pytest.mark.parametrize(
    ("layout", "file"),
    [("cifar10 binary", "batches.meta.txt"), ("cifar100 binary", "fine_label_names.txt")],
)
def test_names_of_classes_in_text_files(tmp_path, layout, file):
    home = SAVERS[layout](ARRAYS, tmp_path)
    (home / file).write_text("apple\nbee\r\ncat\ndog\n\n")
    assert read(home).class_names == ("apple", "bee", "cat", "dog")
    (home / file).write_bytes(b"apple\n\xff\ncat\ndog\n")
    (line,) = faults_of(home)
    assert f"file {file}: the name of a class is no name" in line or file in line


@pytest.mark.parametrize("layout", SAVERS)
@pytest.mark.parametrize("part", [0, 1])
def test_a_missing_file_is_said(tmp_path, layout, part):
    home = SAVERS[layout](ARRAYS, tmp_path)
    starts = ("data_batch", "train") if part == 0 else ("test",)
    for file in list(home.iterdir()):
        if file.name.startswith(starts):
            file.unlink()
    with open_tree(home) as tree:
        if not cifar_batches.recognises(tree):
            assert layout == "cifar100 python", "a lone file called train may be anything"
            return
    (line,) = faults_of(home)
    assert "a file is missing" in line


def test_two_data_sets_are_not_mixed(tmp_path):
    first = data_files.save_cifar10_python(ARRAYS, tmp_path)
    shutil.copytree(first, tmp_path / "copy")
    assert "more than one data set" in faults_of(tmp_path)[0]
    shutil.rmtree(tmp_path / "copy")
    read(tmp_path)
    data_files.save_cifar100_binary(ARRAYS, tmp_path)
    (line,) = faults_of(tmp_path)
    assert "more than one data set" in line
    assert "cifar-100-binary" in line


def batch(**changes):
    """A good batch with something changed; None leaves it out."""
    values = {"data": data_files.planes(ARRAYS["x_test"]), "labels": ARRAYS["y_test"].tolist()}
    return {key: value for key, value in {**values, **changes}.items() if value is not None}


BAD_BATCHES = [
    ([1, 2], "it is no batch"),
    (batch(data=None), "data is missing"),
    (batch(labels=None, fine_labels=[1]), "labels is missing"),
    (batch(data=b"x" * 3072), "data are no images"),
    (batch(data=np.zeros((8, 3072))), "data are no images"),
    (batch(data=np.zeros((8, 3, 1024), np.uint8)), "data are no images"),
    (batch(data=np.zeros((8, 3071), np.uint8)), "wrong size"),
    (batch(data=np.zeros((0, 3072), np.uint8), labels=[]), "wrong size"),
    (batch(labels=[0] * 7), "lengths differ"),
    (batch(labels="01230123"), "labels are no whole numbers"),
    (batch(labels=[0.5] * 8), "labels are no whole numbers"),
    (batch(labels=[True] * 8), "labels are no whole numbers"),
    (batch(labels=[-1] * 8), "labels outside the classes"),
    (batch(labels=[10] * 8), "labels outside the classes"),
    (batch(labels=[10**400] * 8), "labels outside the classes"),
    (batch(labels=[5] * 8), "labels outside the classes"),
    (batch(labels={1, 2}), "not a pickle of arrays"),
]


@pytest.mark.parametrize(("value", "rule"), BAD_BATCHES)
def test_a_bad_batch_is_named(tmp_path, value, rule):
    home = data_files.save_cifar10_python(ARRAYS, tmp_path)
    (home / "data_batch_2").write_bytes(pickle.dumps(value))
    (line,) = faults_of(home)
    assert line.startswith(f"{home}, file data_batch_2: {rule}")


@pytest.mark.parametrize(
    "names", [{"label_names": "abcd"}, {}, {"label_names": [b"a\0", b"b", b"c", b"d"]}]
)
def test_bad_names_are_named(tmp_path, names):
    home = data_files.save_cifar10_python(ARRAYS, tmp_path)
    (home / "batches.meta").write_bytes(pickle.dumps(names))
    (line,) = faults_of(home)
    assert line.startswith(f"{home}, file batches.meta: ")


def test_all_bad_files_are_named_at_once(tmp_path):
    home = data_files.save_cifar10_python(ARRAYS, tmp_path)
    for name in ("data_batch_1", "test_batch"):
        (home / name).write_bytes((home / name).read_bytes()[:-1000])
    assert len(faults_of(home)) == 2


@pytest.mark.parametrize("layout", ["cifar10 binary", "cifar100 binary"])
@pytest.mark.parametrize("size", [0, 1, -1, 3073 * 3074 + 1])
def test_a_binary_file_of_a_wrong_size_is_named(tmp_path, layout, size):
    home = SAVERS[layout](ARRAYS, tmp_path)
    (file,) = home.glob("test*")
    content = file.read_bytes()
    file.write_bytes(content[:size] if size < len(content) else content + b"x")
    (line,) = faults_of(home)
    assert line.startswith(f"{home}, file {file.name}: wrong size.")


def test_other_trees_are_not_taken_for_batches(tmp_path):
    (tmp_path / "train" / "cat").mkdir(parents=True)
    (tmp_path / "train" / "cat" / "test").touch()
    (tmp_path / "test").mkdir()
    with open_tree(tmp_path) as tree:
        assert not cifar_batches.recognises(tree)
