"""What data files get: good ones their one form, bad ones a line that names file and array."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import zipfile

import h5py
import numpy as np
import pytest

from mpinas.config import ProblemConfig
from mpinas.errors import DataFault, UserMustChange
from mpinas.problems import (
    PROBLEMS,
    arrays,
    check_problem,
    check_problem_section,
    open_prepared,
    plausible,
    prepare,
)
from mpinas.problems import load as load_problem


def good_arrays() -> dict[str, np.ndarray]:
    """Four classes, 40 training and 8 test images of 6x5 pixels."""
    rng = np.random.default_rng(0)
    return {
        "x_train": rng.integers(0, 256, (40, 6, 5), dtype=np.uint8),
        "y_train": np.tile(np.arange(4), 10),
        "x_test": rng.integers(0, 256, (8, 6, 5), dtype=np.uint8),
        "y_test": np.tile(np.arange(4), 2),
    }


def save(folder, **changes):
    """A data file with some arrays changed; None leaves one out."""
    arrays = {**good_arrays(), **changes}
    file = folder / "data.npz"
    np.savez_compressed(
        file, **{name: array for name, array in arrays.items() if array is not None}
    )
    return file


def load(file):
    return PROBLEMS["arrays"].load(ProblemConfig(name="arrays", path=str(file)))


def faults_of(file) -> tuple[str, ...]:
    with pytest.raises(DataFault) as caught:
        load(file)
    return caught.value.faults


def with_value(name: str, value, dtype=None):
    array = good_arrays()[name].astype(dtype) if dtype else good_arrays()[name].copy()
    array.reshape(-1)[3] = value
    return {name: array}


BAD_FILES = [
    ({"x_test": None}, "x_test", "missing array"),
    ({"x_train": np.zeros((40, 30))}, "x_train", "wrong rank"),
    ({"x_train": np.zeros((40, 6, 5, 1, 1), np.uint8)}, "x_train", "wrong rank"),
    ({"x_train": np.zeros((40, 6, 5, 5), np.uint8)}, "x_train", "wrong number of channels"),
    ({"x_train": np.zeros((40, 6, 5, 0), np.uint8)}, "x_train", "wrong number of channels"),
    ({"x_train": np.zeros((0, 6, 5), np.uint8)}, "x_train", "the array is empty"),
    ({"x_test": np.zeros((8, 0, 5), np.uint8)}, "x_test", "the array is empty"),
    ({"x_train": np.zeros((40, 6, 5), np.complex64)}, "x_train", "wrong type of values"),
    ({"x_train": np.zeros((40, 6, 5), bool)}, "x_train", "wrong type of values"),
    ({"x_train": np.full((40, 6, 5), "a")}, "x_train", "wrong type of values"),
    ({"x_train": np.full((40, 6, 5), None)}, "x_train", "cannot be read"),
    ({"y_train": np.array([{}] * 40)}, "y_train", "cannot be read"),
    (with_value("x_train", np.nan, np.float32), "x_train", "not finite"),
    (with_value("x_test", np.inf, np.float64), "x_test", "not finite"),
    (with_value("x_train", -1, np.int16), "x_train", "out of range"),
    (with_value("x_train", 256, np.int64), "x_train", "out of range"),
    (with_value("x_train", 2**63, np.uint64), "x_train", "out of range"),
    ({"x_train": good_arrays()["x_train"].astype(np.float32)}, "x_train", "out of range"),
    (with_value("y_train", 0.5, np.float32), "y_train", "not whole"),
    (with_value("y_train", np.nan, np.float32), "y_train", "not whole"),
    (with_value("y_test", np.inf, np.float32), "y_test", "not whole"),
    (with_value("y_train", -1), "y_train", "negative"),
    (with_value("y_test", 4), "y_test", "outside the classes"),
    (with_value("y_train", 2**40), "y_train", "a class has no training image"),
    ({"y_train": np.repeat([0, 2], 20), "y_test": np.zeros(8, int)}, "y_train", "class=1"),
    ({"y_train": np.zeros(40, int), "y_test": np.zeros(8, int)}, "y_train", "only one class"),
    ({"y_train": np.eye(4)[good_arrays()["y_train"]]}, "y_train", "wrong shape"),
    ({"y_train": np.zeros((), int)}, "y_train", "wrong shape"),
    ({"y_test": np.zeros(0, int)}, "y_test", "the array is empty"),
    ({"y_train": np.full(40, "cat")}, "y_train", "wrong type of values"),
    ({"x_train": np.zeros((39, 6, 5), np.uint8)}, "x_train", "lengths differ"),
    ({"y_test": np.zeros(7, int)}, "y_test", "lengths differ"),
    ({"x_test": np.zeros((8, 5, 6), np.uint8)}, "x_test", "another shape"),
    ({"x_test": np.zeros((8, 6, 5, 3), np.uint8)}, "x_test", "another shape"),
]


@pytest.mark.parametrize(("changes", "array", "rule"), BAD_FILES)
def test_a_bad_file_is_named_with_its_array(tmp_path, changes, array, rule):
    file = save(tmp_path, **changes)
    (line,) = faults_of(file)
    assert line.startswith(f"{file}, array")
    assert array in line
    assert rule in line
    assert "\n" not in line


def test_all_faults_of_a_file_come_at_once(tmp_path):
    lines = faults_of(save(tmp_path, x_train=np.zeros(3), y_test=np.full(8, -1)))
    assert [array in line for array, line in zip(("x_train", "y_test"), lines, strict=True)]


def test_files_that_are_no_npz(tmp_path):
    text, single, torn = tmp_path / "a.npz", tmp_path / "b.npy", tmp_path / "c.npz"
    text.write_text("not a zip file")
    np.save(single, np.zeros(3))
    torn.write_bytes(save(tmp_path).read_bytes()[:400])
    empty = tmp_path / "d.npz"
    empty.touch()
    for file in (text, single, torn, empty):
        (line,) = faults_of(file)
        assert line.startswith(f"{file}: not a .npz file.")
    for absent in (tmp_path / "absent.npz", tmp_path):
        (line,) = faults_of(absent)
        assert line.startswith(f"{absent}: no such file.")


def test_a_damaged_array_is_named(tmp_path):
    file = save(tmp_path)
    content = bytearray(file.read_bytes())
    start = content.index(b"x_train.npy") + 120
    content[start : start + 40] = bytes(40)
    file.write_bytes(content)
    (line,) = faults_of(file)
    assert line.startswith(f"{file}, array x_train: the array cannot be read.")


METHODS = {
    "stored": zipfile.ZIP_STORED,
    "deflated": zipfile.ZIP_DEFLATED,
    "bzip2": zipfile.ZIP_BZIP2,
    "lzma": zipfile.ZIP_LZMA,
}


def save_packed(folder, method):
    """The data file as numpy does not write it, but other programs do."""
    file = folder / "packed.npz"
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, array in good_arrays().items():
            buffer = io.BytesIO()
            np.save(buffer, array)
            archive.writestr(f"{name}.npy", buffer.getvalue())
    return file


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_whatever_bit_is_flipped_the_file_is_named(tmp_path, method):
    """Numpy, zipfile and the decompressors raise ten kinds of errors for that."""
    file = save_packed(tmp_path, method)
    load(file)
    content = file.read_bytes()
    lines: list[str] = []
    for position in range(0, len(content), 3):
        damaged = bytearray(content)
        damaged[position] ^= 1 << position % 8
        file.write_bytes(damaged)
        try:
            load(file)
        except DataFault as error:
            lines += error.faults
    assert len(lines) > len(content) // 6, "most of a file is its data"
    assert [line for line in lines if not line.startswith(str(file))] == []
    assert [line for line in lines if len(line.splitlines()) > 1] == []


def test_an_encrypted_file_is_named(tmp_path):
    file = save(tmp_path)
    content = bytearray(file.read_bytes())
    for start in (b"PK\x03\x04", b"PK\x01\x02"):
        flags = content.index(start) + (6 if start.endswith(b"\x04") else 8)
        content[flags] |= 1
    file.write_bytes(content)
    (line,) = faults_of(file)
    assert "encrypted" in line


def test_a_bomb_is_not_unpacked(tmp_path, monkeypatch):
    black = np.zeros((40, 250, 250), np.uint8)
    file = save(tmp_path, x_train=black, x_test=black[:8])
    assert load(file).x_train.shape == (40, 250, 250, 1)
    monkeypatch.setattr(plausible, "UNSUSPICIOUS_BYTES", 1_000_000)
    (line,) = faults_of(file)
    assert line.startswith(f"{file}: it unpacks to far more than it holds.")
    monkeypatch.setattr(plausible, "MOST_OF_MEMORY", 1e-6)
    assert "its arrays are larger than can be read" in faults_of(file)[0]
    noise = np.random.default_rng(0).integers(0, 256, (40, 6, 5), dtype=np.uint8)
    load(save(tmp_path, x_train=noise))


def test_an_array_that_says_it_is_larger_than_it_is_is_named(tmp_path):
    file = tmp_path / "data.npz"
    with zipfile.ZipFile(file, "w") as archive:
        for name, array in good_arrays().items():
            buffer = io.BytesIO()
            np.save(buffer, array)
            content = buffer.getvalue()
            lie = content.replace(b"(40, 6, 5)", b"(40, 6000000, 5)")
            archive.writestr(f"{name}.npy", lie if name == "x_train" else content)
    (line,) = faults_of(file)
    assert line.startswith(f"{file}, array x_train: the array cannot be read.")


def test_names_of_classes_stand_in_the_file_too(tmp_path):
    assert load(save(tmp_path, class_names=np.array(["a", "b", "c", "ä"]))).class_names == (
        "a",
        "b",
        "c",
        "ä",
    )
    for names in (np.array(["a", "", "c", "d"]), np.arange(4)):
        (line,) = faults_of(save(tmp_path, class_names=names))
        assert "array class_names: the name of a class is no name" in line


def test_what_is_taken_for_a_file_of_arrays(tmp_path):
    file = save(tmp_path)
    other_name = file.rename(tmp_path / "data.zip")
    images = tmp_path / "images.zip"
    with zipfile.ZipFile(images, "w") as archive:
        archive.writestr("train/cat/1.png", "")
        archive.writestr("train/cat/x_train.npy", "")
    damaged = tmp_path / "damaged.npz"
    damaged.write_bytes(b"PK\x03\x04")
    taken = {path: arrays.recognises(path) for path in (other_name, images, damaged, tmp_path)}
    assert list(taken.values()) == [True, False, True, False]
    assert not arrays.recognises(tmp_path / "absent.npz")


def test_an_archive_of_other_files_is_named(tmp_path):
    file = tmp_path / "texts.npz"
    with zipfile.ZipFile(file, "w") as archive:
        for name in good_arrays():
            archive.writestr(name, "a text")
    lines = faults_of(file)
    assert len(lines) == 4
    assert all("it is not a .npy file" in line for line in lines)


def test_nobody_is_advised_to_unpickle(tmp_path):
    pickled, text = tmp_path / "a.npz", tmp_path / "b.npz"
    pickled.write_bytes(b"\x80\x04K\x01.")
    text.write_text("a,b\n1,2\n")
    for file in (pickled, text, save(tmp_path, y_train=np.array([{}] * 40))):
        (line,) = faults_of(file)
        assert "allow_pickle" not in line
        assert "unsafe" not in line
    assert "something else than a zip archive" in faults_of(pickled)[0]
    assert "never unpickled" in line


def test_a_path_that_cannot_even_be_looked_at_is_named(tmp_path):
    file = tmp_path / ("x" * 300)
    (line,) = faults_of(file)
    assert line.startswith(f"{file}: cannot be opened.")
    with pytest.raises(DataFault, match="not a prepared file"):
        open_prepared(file)


@pytest.mark.parametrize(
    ("shape", "classes", "found"),
    [
        ((28, 28), 9, "in the data=9"),
        ((32, 32), 10, r"shape=\(32, 32, 1\)"),
        ((28, 28, 3), 10, r"shape=\(28, 28, 3\)"),
        ((28, 28, 1), 10, ""),
        ((28, 28), 10, ""),
    ],
)
def test_mnist_has_a_form(tmp_path, shape, classes, found):
    images, labels = np.zeros((40, *shape), np.uint8), np.tile(np.arange(classes), 40)[:40]
    file = save(tmp_path, x_train=images, y_train=labels, x_test=images, y_test=labels)
    problem = ProblemConfig(name="mnist", path=str(file))
    if not found:
        assert load_problem(problem).x_train.shape == (40, 28, 28, 1)
        return
    with pytest.raises(DataFault, match=found) as caught:
        load_problem(problem)
    assert len(caught.value.faults) == 1


def test_nothing_is_unpickled(tmp_path):
    class Trap:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "executed"),)

    faults_of(save(tmp_path, x_train=np.array([Trap()] * 40, dtype=object)))
    assert not (tmp_path / "executed").exists()


def test_floats_are_scaled_and_a_channel_axis_is_added(tmp_path):
    whole = good_arrays()["x_train"]
    for dtype in (np.float32, np.float64):
        data = load(save(tmp_path, x_train=whole / np.asarray(255, dtype)))
        assert data.x_train.dtype == np.uint8
        assert np.array_equal(data.x_train[..., 0], whole)


def test_integers_and_labels_of_other_types_are_taken(tmp_path):
    given = good_arrays()
    data = load(
        save(
            tmp_path,
            x_train=np.asfortranarray(given["x_train"].astype(np.int64)),
            y_train=given["y_train"][:, np.newaxis].astype(np.uint8),
            y_test=given["y_test"].astype(np.float32),
        )
    )
    assert np.array_equal(data.x_train[..., 0], given["x_train"])
    assert data.x_train.flags.c_contiguous
    assert (data.y_train.dtype, data.y_train.shape) == (np.int32, (40,))
    assert np.array_equal(data.y_train, given["y_train"])
    assert data.class_names == ("0", "1", "2", "3")


def test_digits_are_whole_and_their_test_set_is_a_fifth():
    data = PROBLEMS["digits"].load(ProblemConfig(name="digits"))
    assert data.x_train.shape == (1438, 8, 8, 1)
    assert data.x_test.shape == (359, 8, 8, 1)
    assert (data.x_train.min(), data.x_train.max()) == (0, 255)
    shares = np.bincount(data.y_test) / np.bincount(np.concatenate([data.y_train, data.y_test]))
    assert shares.min() > 0.19
    assert shares.max() < 0.21


def prepared_digits(folder):
    file = folder / "digits.h5"
    prepare(ProblemConfig(name="digits"), file)
    return file


def test_a_prepared_file_holds_the_data_and_is_mapped(tmp_path):
    data = PROBLEMS["digits"].load(ProblemConfig(name="digits"))
    problem = open_prepared(prepared_digits(tmp_path), verify=True)
    for name in ("x_train", "y_train", "x_test", "y_test"):
        assert np.array_equal(getattr(problem, name), getattr(data, name)), name
    assert isinstance(problem.x_train, np.memmap)
    assert not problem.x_train.flags.writeable
    assert problem.image_shape == (8, 8, 1)
    assert problem.classes == 10
    assert len(problem.checksum) == 64
    assert os.listdir(tmp_path) == ["digits.h5"], "a temporary file is left"


def test_preparing_twice_gives_the_same_checksum_and_other_data_another(tmp_path):
    first = open_prepared(prepared_digits(tmp_path)).checksum
    assert open_prepared(prepared_digits(tmp_path)).checksum == first
    other = tmp_path / "other.h5"
    prepare(ProblemConfig(name="arrays", path=str(save(tmp_path))), other)
    before = open_prepared(other).checksum
    changed = save(tmp_path, **with_value("x_train", 1))
    prepare(ProblemConfig(name="arrays", path=str(changed)), other)
    assert open_prepared(other).checksum != before


def test_a_flipped_bit_is_found_where_it_is_looked_for(tmp_path):
    file = prepared_digits(tmp_path)
    with h5py.File(file, "r+") as target:
        target["x_train"][5, 4, 4, 0] ^= 1
    with pytest.raises(DataFault, match="does not match its checksum"):
        open_prepared(file, verify=True)


def rewrite(file, name, **options):
    with h5py.File(file, "r+") as target:
        values = target[name][:]
        del target[name]
        target.create_dataset(name, data=values, **options)


@pytest.mark.parametrize("options", [{"chunks": True}, {"compression": "gzip"}, {"dtype": "f4"}])
def test_images_that_cannot_be_mapped_are_refused_with_the_cure(tmp_path, options):
    file = prepared_digits(tmp_path)
    rewrite(file, "x_train", **options)
    with pytest.raises(DataFault, match=r"array x_train: .*cannot be mapped.*Prepare the problem"):
        open_prepared(file)


def test_files_that_are_not_prepared_are_refused_with_the_cure(tmp_path):
    text, other, old, partial = (tmp_path / name for name in "abcd")
    text.write_text("no HDF5")
    with h5py.File(other, "w") as target:
        target["x_train"] = np.zeros(3)
    old.write_bytes(prepared_digits(tmp_path).read_bytes())
    with h5py.File(old, "r+") as target:
        target.attrs["schema_version"] = 0
    partial.write_bytes(prepared_digits(tmp_path).read_bytes())
    with h5py.File(partial, "r+") as target:
        del target["y_train"]
    torn = tmp_path / "torn"
    torn.write_bytes(prepared_digits(tmp_path).read_bytes()[:20_000])
    for file in (text, other, old, partial, torn, tmp_path / "absent"):
        with pytest.raises(DataFault, match=r"prepared file.*Prepare the problem again") as caught:
            open_prepared(file)
        assert str(file) in str(caught.value)


def test_a_file_that_cannot_be_written_leaves_nothing(tmp_path):
    with pytest.raises(DataFault, match="cannot be written"):
        prepare(ProblemConfig(name="digits"), tmp_path / "absent" / "digits.h5")
    (tmp_path / "file").touch()
    with pytest.raises(DataFault, match="cannot be written"):
        prepare(ProblemConfig(name="digits"), tmp_path / "file" / "digits.h5")
    assert os.listdir(tmp_path) == ["file"]


PREPARE_WITH_LITTLE_ROOM = """
import pathlib, resource, sys
import sklearn.datasets
from mpinas.config import ProblemConfig
from mpinas.errors import DataFault
from mpinas.problems import prepare

resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), resource.RLIM_INFINITY))
try:
    prepare(ProblemConfig(name="digits"), pathlib.Path(sys.argv[2]))
except DataFault as error:
    sys.exit("\\n".join(error.faults))
"""


@pytest.mark.parametrize("room", [0, 100, 1_000, 6_000, 50_000, 110_000])
def test_where_there_is_no_room_a_line_is_said_and_nothing_is_left(tmp_path, room):
    """HDF5 cannot close a file that it cannot write, and used to end in a segmentation fault."""
    file = tmp_path / "digits.h5"
    command = [sys.executable, "-c", PREPARE_WITH_LITTLE_ROOM, str(room), str(file)]
    ended = subprocess.run(command, check=False, capture_output=True, text=True)
    assert ended.returncode == 1, ended
    (line,) = ended.stderr.splitlines()
    assert line.startswith(f"{file}: the prepared file cannot be written.")
    assert "File too large" in line
    assert os.listdir(tmp_path) == []


OPEN_VERIFIED = """
import pathlib, sys
from mpinas.errors import DataFault
from mpinas.problems import open_prepared

file = pathlib.Path(sys.argv[1])
content = file.read_bytes()
for position in range(0, len(content), 37):
    damaged = bytearray(content)
    damaged[position] ^= 0xFF
    file.write_bytes(damaged)
    try:
        open_prepared(file, verify=True)
    except DataFault as error:
        print(len(error.faults), len(str(error).splitlines()))
    else:
        print("taken at", position)
"""


def test_whatever_byte_is_wrong_hdf5_does_not_see_it(tmp_path):
    """HDF5 loops for ever or ends the process, so this has one of its own."""
    file = prepared_digits(tmp_path)
    positions = range(0, len(file.read_bytes()), 37)
    command = [sys.executable, "-c", OPEN_VERIFIED, str(file)]
    ended = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
    said = ended.stdout.splitlines()
    assert len(said) == len(positions)
    # Zeros that fill up the block in front of HDF5 are neither read nor covered.
    assert {line for line in said if line != "1 1"} <= {
        f"taken at {position}" for position in positions if 23 + 1 + 64 <= position < 512
    }


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"name": "mnits"}, "problem.name: unknown problem 'mnits'. .*'mnist'"),
        ({"name": "arrays"}, "problem.path: problem arrays needs data"),
        ({"name": "images"}, "problem.path: problem images needs data"),
    ],
)
def test_a_section_that_cannot_work(tmp_path, section, message):
    problem = ProblemConfig(**section)
    assert len(list(check_problem_section(problem))) == 1
    with pytest.raises(UserMustChange, match=message):
        prepare(problem, tmp_path / "prepared.h5")
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"name": "mnist"}, "problem.path: there are no data.*mpinas prepare mnist"),
        ({"name": "cifar10", "path": "no/cifar10.h5"}, "problem.path: .*mpinas prepare cifar10"),
        ({"name": "cifar10", "path": "no.h5"}, "no.h5: there is no such file or folder"),
        ({"name": "digits", "path": "x.npz"}, "problem.path: problem digits reads no files"),
    ],
)
def test_data_that_are_not_there(tmp_path, section, message):
    with pytest.raises(DataFault, match=message) as caught:
        prepare(ProblemConfig(**section), tmp_path / "prepared.h5")
    assert len(caught.value.faults) == 1
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize(
    ("section", "batch_size", "message"),
    [
        ({}, 1_223, "fewer training images than one batch.*batch_size=1223"),
        ({"train_images": 100}, 101, "fewer training images than one batch"),
        ({"train_images": 1_300}, 32, "more than there are"),
        ({"validation": 1_438.0}, 32, "no training images are left"),
        ({"validation": 5.0}, 32, "a class has no image in the validation part"),
        ({"train_images": 9, "validation": 20.0}, 1, "a class has no image in the training part"),
    ],
)
def test_splits_and_batches_that_the_data_cannot_give(tmp_path, section, batch_size, message):
    prepared = open_prepared(prepared_digits(tmp_path))
    check_problem(ProblemConfig(name="digits"), prepared, batch_size=1_222)
    with pytest.raises(DataFault, match=message):
        check_problem(ProblemConfig(name="digits", **section), prepared, batch_size)


def test_importing_problems_brings_no_scikit_learn():
    script = "import sys, mpinas.problems; sys.exit('sklearn' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_the_list_of_arrays_is_compared_and_names_come_once(tmp_path):
    names = np.array(["a", "b", "c", "d"])
    file = save(tmp_path, class_names=names)
    content = bytearray(file.read_bytes())
    content[content.rindex(b"class_names.npy") + 6] ^= 1
    damaged = tmp_path / "damaged.npz"
    damaged.write_bytes(content)
    assert "its list of files is damaged" in faults_of(damaged)[0]
    with zipfile.ZipFile(file, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("x_train.npy", b"another")
    assert "array x_train: the array stands there twice" in faults_of(file)[0]
