"""HDF5 files of any make: the arrays in them, or a line; whatever the library does in its child."""

from __future__ import annotations

import os
import tempfile

import data_files
import h5py
import numpy as np
import pytest

from mpinas.config import ProblemConfig
from mpinas.errors import DataFault
from mpinas.problems import arrays, hdf5, plausible
from mpinas.problems.images import ARRAY_NAMES
from mpinas.problems.isolated import Limits, delivered
from mpinas.problems.prepared import write_prepared

ARRAYS = data_files.random_arrays((9, 7, 1))


def load(file):
    return arrays.load(ProblemConfig(name="arrays", path=str(file)))


def fault_of(file) -> str:
    with pytest.raises(DataFault) as caught:
        load(file)
    (line,) = caught.value.faults
    assert line.startswith(str(file))
    assert line.isprintable()
    return line


def assert_equal(data) -> None:
    for name, array in ARRAYS.items():
        assert np.array_equal(getattr(data, name), array), name


def save(folder, user_block=0, without=(), **options):
    file = folder / "any name"
    with h5py.File(file, "w", userblock_size=user_block) as target:
        for name, array in ARRAYS.items():
            if name not in without:
                target.create_dataset(name, data=array, **options)
    return file


@pytest.mark.parametrize("user_block", [0, 512, 4096])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"chunks": True},
        {"compression": "gzip", "shuffle": True},
        {"compression": "lzf", "fletcher32": True},
        {"dtype": ">i4"},
    ],
    ids=str,
)
def test_arrays_come_back_however_they_are_stored(tmp_path, user_block, options):
    file = save(tmp_path, user_block, **options)
    assert arrays.recognises(file)
    assert_equal(load(file))


def test_a_prepared_file_is_a_data_file_too(tmp_path):
    data = load(save(tmp_path))
    write_prepared(data, tmp_path / "prepared.h5")
    again = load(tmp_path / "prepared.h5")
    assert_equal(again)
    assert again.class_names == data.class_names


def test_one_wrong_bit_of_a_prepared_file_is_noticed(tmp_path):
    file = tmp_path / "prepared.h5"
    write_prepared(load(save(tmp_path)), file)
    content = bytearray(file.read_bytes())
    content[content.index(ARRAYS["x_train"].tobytes()) + 5] ^= 1
    file.write_bytes(content)
    assert "does not match its checksum" in fault_of(file)


@pytest.mark.parametrize("dtype", ["S9", h5py.string_dtype()], ids=str)
def test_names_of_classes(tmp_path, dtype):
    file = save(tmp_path)
    with h5py.File(file, "a") as target:
        names = [name.encode() for name in ("apple", "bee", "cät", "dog")]
        target.create_dataset("class_names", data=names, dtype=dtype)
    assert load(file).class_names == ("apple", "bee", "cät", "dog")


@pytest.mark.parametrize(
    ("value", "rule"),
    [
        ([1, 2, 3, 4], "no array of texts"),
        (b"abcd", "no array of texts"),
        ([b"a", b"\xff", b"c", b"d"], "name of a class is no name"),
        ([b"a", b"b\n", b"c", b"d"], "name of a class is no name"),
        ([b"a", b"b", b"c"], "labels outside the classes"),
    ],
)
def test_bad_names_of_classes(tmp_path, value, rule):
    file = save(tmp_path)
    with h5py.File(file, "a") as target:
        target["class_names"] = value
    with pytest.raises(DataFault, match=rule):
        load(file)


def test_missing_arrays_are_named(tmp_path):
    file = save(tmp_path, without=("y_train", "x_test"))
    with pytest.raises(DataFault) as caught:
        load(file)
    assert [line.split(":")[0] for line in caught.value.faults] == [
        f"{file}, array y_train",
        f"{file}, array x_test",
    ]


def with_x_train(folder, put):
    """A good file in which another x_train is put."""
    file = save(folder, without=("x_train",))
    with h5py.File(file, "a") as target:
        put(target)
    return file


@pytest.mark.parametrize(
    ("put", "rule"),
    [
        (lambda file: file.create_group("x_train"), "missing array"),
        (lambda file: file.create_dataset("x_train", data=["a"] * 24), "wrong type of values"),
        (lambda file: file.create_dataset("x_train", data=h5py.Empty("u1")), "wrong type"),
        (lambda file: file.create_dataset("x_train", data=3), "wrong rank"),
        (lambda file: file.create_dataset("x_train", (24, 9, 7), complex), "wrong type of values"),
        (
            lambda file: file.create_dataset("x_train", (2**30, 2**10, 2**10), "u1", chunks=True),
            "larger than can be read",
        ),
    ],
)
def test_arrays_that_cannot_be_taken(tmp_path, put, rule):
    assert rule in fault_of(with_x_train(tmp_path, put))


def test_arrays_in_other_files_are_not_followed(tmp_path):
    """A data file that is sent around must not read files of who opens it."""
    (tmp_path / "a").mkdir()
    other = save(tmp_path / "a")
    raw = tmp_path / "raw"
    raw.write_bytes(bytes(24 * 63))

    def linked(file):
        file["x_train"] = h5py.ExternalLink(str(other), "x_train")

    def linked_twice(file):
        file["other"] = h5py.ExternalLink(str(other), "/")
        file["x_train"] = h5py.SoftLink("/other/x_train")

    def external(file):
        file.create_dataset("x_train", (24, 9, 7), "u1", external=[(str(raw), 0, 24 * 63)])

    def virtual(file):
        layout = h5py.VirtualLayout((24, 9, 7, 1), "u1")
        layout[:] = h5py.VirtualSource(str(other), "x_train", (24, 9, 7, 1))
        file.create_virtual_dataset("x_train", layout)

    for put in (linked, linked_twice, external, virtual):
        line = fault_of(with_x_train(tmp_path, put))
        assert "missing array" in line or "its values are in other files" in line


def test_a_file_of_nothing_that_declares_much_is_not_unpacked(tmp_path):
    def put(file):
        file.create_dataset("x_train", (30_000, 100, 100), "u1", chunks=(1, 100, 100))

    file = with_x_train(tmp_path, put)
    assert plausible.UNSUSPICIOUS_BYTES < 30_000 * 100 * 100
    assert "unpacks to far more than it holds" in fault_of(file)


def test_damage_is_a_fault_or_goes_unnoticed(tmp_path):
    file = save(tmp_path)
    content = file.read_bytes()
    used = [position for position in range(len(content)) if content[position]]
    rng = np.random.default_rng(0)
    faults: list[str] = []
    for _ in range(25):
        damaged = bytearray(content)
        for position in rng.choice(used, 3):
            damaged[position] = rng.integers(256)
        file.write_bytes(damaged)
        try:
            load(file)
        except DataFault as error:
            faults += error.faults
    assert faults
    assert all(line.isprintable() for line in faults)


def test_a_cut_file_is_named_and_nothing_is_left(tmp_path, monkeypatch):
    room = tmp_path / "room"
    room.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(room))
    file = save(tmp_path)
    load(file)
    file.write_bytes(file.read_bytes()[:3000])
    assert "the HDF5 file cannot be read" in fault_of(file)
    assert os.listdir(room) == []


CHILDREN = """
import ctypes, os, signal, time

def deliver(argument, folder):
    print("said to nobody")
    if argument == "loop":
        while True:
            pass
    if argument == "sleep":
        time.sleep(60)
    if argument == "segfault":
        ctypes.string_at(0)
    if argument == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if argument == "exit":
        os._exit(0)
    if argument == "memory":
        return [bytearray(1 << 44)]
    if argument == "half":
        open(os.path.join(folder, "ended.json"), "w").write('{"faults": [')
        os._exit(0)
"""


@pytest.mark.parametrize(
    ("argument", "limits", "ending"),
    [
        ("loop", Limits(processor_s=1, wall_s=60), "it took more than 1 s of the processor"),
        ("sleep", Limits(processor_s=10, wall_s=2), "it took longer than 2 s"),
        ("segfault", Limits(processor_s=10, wall_s=60), "signal=SIGSEGV"),
        ("segfault", None, "signal=SIGSEGV"),
        ("kill", None, "signal=SIGKILL, perhaps for lack of memory"),
        ("exit", None, "exit code=0"),
        ("half", None, "exit code=0"),
        ("memory", Limits(processor_s=10, wall_s=60), "exit code=1"),
    ],
)
def test_however_a_child_ends_a_line_is_said(tmp_path, monkeypatch, argument, limits, ending):
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "some_children.py").write_text(CHILDREN)
    with pytest.raises(DataFault) as caught:
        delivered(
            "some_children", argument, where="here", rule="it broke", cure="Mend it", limits=limits
        )
    assert caught.value.faults == (f"here: it broke. Received: {ending}. Mend it.",)


def test_no_room_for_arrays_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "absent"))
    with pytest.raises(DataFault, match="set TMPDIR"):
        load(save(tmp_path))


def test_where_hdf5_begins(tmp_path):
    file = tmp_path / "file"
    for offset, found in ((0, True), (512, True), (8192, True), (1, False), (513, False)):
        file.write_bytes(bytes(offset) + b"\x89HDF\r\n\x1a\n" + bytes(20))
        assert hdf5.is_hdf5(file) is found, offset
    file.write_bytes(b"")
    assert not hdf5.is_hdf5(file)
    assert set(ARRAY_NAMES) == set(ARRAYS)
