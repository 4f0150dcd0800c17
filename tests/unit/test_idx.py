"""IDX files: the arrays that were written, or the file that is wrong."""

from __future__ import annotations

import gzip
import shutil
import struct
import tracemalloc

import data_files
import numpy as np
import pytest

from mpinas.config import ProblemConfig
from mpinas.errors import DataFault
from mpinas.problems import idx, plausible
from mpinas.problems.tree import open_tree

ARRAYS = data_files.random_arrays((9, 7, 1))
PROBLEM = ProblemConfig(name="images")
PACKED = pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])


def read(path):
    with open_tree(path) as tree:
        assert idx.recognises(tree)
        return idx.read(tree, PROBLEM)


def faults_of(path) -> tuple[str, ...]:
    with pytest.raises(DataFault) as caught:
        read(path)
    assert all(line.isprintable() for line in caught.value.faults)
    return caught.value.faults


def assert_equal(data) -> None:
    for name, array in ARRAYS.items():
        assert np.array_equal(getattr(data, name), array), name


@PACKED
def test_images_come_back_in_their_order(tmp_path, packed):
    home = data_files.save_idx(ARRAYS, tmp_path, packed=packed)
    assert_equal(read(home))
    assert_equal(read(data_files.save_tar(home)))
    assert_equal(read(data_files.save_zip(home)))


@pytest.mark.parametrize(
    ("old", "new"),
    [("-idx", ".idx"), ("t10k", "test"), ("t10k", "T10K"), ("", "emnist-balanced-")],
)
def test_mirrors_name_them_otherwise(tmp_path, old, new):
    home = data_files.save_idx(ARRAYS, tmp_path, packed=True)
    for file in list(home.iterdir()):
        file.rename(file.with_name(file.name.replace(old, new, 1)))
    assert_equal(read(home))


def test_a_gzip_file_is_told_from_its_bytes(tmp_path):
    """Browsers unpack a download and keep the name."""
    home = data_files.save_idx(ARRAYS, tmp_path)
    for file in list(home.iterdir()):
        file.rename(f"{file}.gz")
    assert_equal(read(home))


def test_copies_are_taken_and_differences_are_not(tmp_path):
    data_files.save_idx(ARRAYS, tmp_path)
    data_files.save_idx(ARRAYS, tmp_path, packed=True)
    assert_equal(read(tmp_path))
    shutil.rmtree(tmp_path / "idx-gz")
    data_files.save_idx(data_files.random_arrays((9, 7, 1), seed=1), tmp_path, packed=True)
    lines = faults_of(tmp_path)
    assert all("more than one data set" in line for line in lines)


def test_missing_files_are_named(tmp_path):
    home = data_files.save_idx(ARRAYS, tmp_path)
    (home / "train-labels-idx1-ubyte").unlink()
    (line,) = faults_of(home)
    assert "missing=y_train" in line


def packed_as(content: bytes, packed: bool) -> bytes:
    return gzip.compress(content) if packed else content


def header(*lengths: int, kind: int = 8, axes: int | None = None) -> bytes:
    axes = len(lengths) if axes is None else axes
    return struct.pack(f">HBB{len(lengths)}I", 0, kind, axes, *lengths)


BAD = [
    (b"", "not an IDX file"),
    (b"\0\0", "not an IDX file"),
    (header(24, 9, 7)[:12], "not an IDX file"),
    (b"\0\1" + header(24, 9, 7)[2:] + bytes(1512), "not an IDX file"),
    (header(24, 9, 7, kind=13) + bytes(4 * 1512), "not an IDX file"),
    (header(24) + bytes(24), "not an IDX file"),
    (header(24, 9, 7, 3) + bytes(3 * 1512), "not an IDX file"),
    (header(24, 9, 7) + bytes(1511), "its size is not"),
    (header(24, 9, 7) + bytes(1513), "its size is not"),
    (header(0, 9, 7), "its size is not"),
    (header(2**32 - 1, 0, 2**32 - 1), "its size is not"),
    (header(2**16, 9, 7) + bytes(1512), "its size is not"),
    (
        header(2**32 - 1, 2**32 - 1, 2**32 - 1) + bytes(1512),
        "its arrays are larger than can be read",
    ),
]


@PACKED
@pytest.mark.parametrize(("content", "rule"), BAD)
def test_a_bad_file_is_named(tmp_path, content, rule, packed):
    home = data_files.save_idx(ARRAYS, tmp_path, packed=packed)
    (file,) = home.glob("train-images*")
    file.write_bytes(packed_as(content, packed))
    tracemalloc.start()
    (line,) = faults_of(home)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert line.startswith(f"{home}, file {file.name}: {rule}")
    assert most < 5_000_000


@pytest.mark.parametrize("damage", ["cut", "sum", "middle", "grown", "not gzip at all"])
def test_a_damaged_gzip_file_is_named(tmp_path, damage):
    home = data_files.save_idx(ARRAYS, tmp_path, packed=True)
    (file,) = home.glob("train-images*")
    content = bytearray(file.read_bytes())
    if damage == "cut":
        del content[-12:]
    elif damage == "sum":
        content[-8] ^= 1
    elif damage == "middle":
        content[200:260] = bytes(60)
    elif damage == "grown":
        content += b"abc"
    else:
        content[2:] = b"text"
    file.write_bytes(content)
    (line,) = faults_of(home)
    assert line.startswith(f"{home}, file {file.name}: ")


def test_a_bomb_is_not_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr(plausible, "UNSUSPICIOUS_BYTES", 1_000_000)
    home = data_files.save_idx(ARRAYS, tmp_path, packed=True)
    (file,) = home.glob("train-images*")
    content = header(20_000, 10, 10) + bytes(2_000_000)
    file.write_bytes(gzip.compress(content))
    (line,) = faults_of(home)
    assert "it unpacks to far more than it holds" in line


def test_names_with_more_in_them_are_other_files(tmp_path):
    for name in ("train-images-idx3-ubyte.txt", "my-train-images-idx3-ubyte", "train-images"):
        (tmp_path / name).touch()
    with open_tree(tmp_path) as tree:
        assert not idx.recognises(tree)
