"""What pickles give: exactly what Python's unpickler would, or a fault; nothing of them runs."""

from __future__ import annotations

import collections
import datetime
import os
import pickle
import struct
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpinas.errors import DataFault
from mpinas.problems import unpickling
from mpinas.problems.unpickling import unpickled

PROTOCOLS = range(6)


def fault_of(content: bytes) -> str:
    with pytest.raises(DataFault) as caught:
        unpickled(content, "some file")
    (line,) = caught.value.faults
    assert line.startswith("some file: not a pickle of arrays, bytes and strings only.")
    assert line.isprintable()
    assert len(line) < 400
    return line


LEAVES = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary()
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(st.text() | st.binary() | st.integers(), inner)
        | st.lists(inner, max_size=5).map(tuple)
    ),
)


@given(value=VALUES, protocol=st.sampled_from(PROTOCOLS))
def test_plain_values_come_back(value, protocol):
    got = unpickled(pickle.dumps(value, protocol=protocol), "f")
    assert repr(got) == repr(value)


ARRAYS = {
    "images": np.arange(3_000, dtype=np.uint8).reshape(10, 300),
    "few": np.arange(6, dtype=np.int64),
    "columns first": np.asfortranarray(np.arange(12.0).reshape(3, 4)),
    "big-endian": np.arange(3_000, dtype=">i4").reshape(30, 100),
    "few big-endian": np.arange(3, dtype=">f8"),
    "every second": np.arange(20, dtype=np.uint16)[::2],
    "empty": np.zeros((0, 3_072), np.uint8),
    "no axis": np.array(7.5, np.float32),
    "truth": np.array([True, False]),
}


@pytest.mark.parametrize("name", ARRAYS)
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_arrays_come_back(name, protocol):
    array = ARRAYS[name]
    got = unpickled(pickle.dumps({"a": array, "again": [array]}, protocol=protocol), "f")
    assert np.array_equal(got["a"], array)
    assert got["a"].shape == array.shape
    assert got["a"].dtype.newbyteorder("=") == array.dtype.newbyteorder("=")
    assert got["again"][0] is got["a"]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_single_numbers_of_numpy_come_back(protocol):
    value = [np.int64(7), np.uint8(255), np.float32(0.5), np.bool_(True)]
    assert unpickled(pickle.dumps(value, protocol=protocol), "f") == [7, 255, 0.5, True]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_byte_arrays_come_back(protocol):
    assert unpickled(pickle.dumps([bytearray(b"a\xff"), bytearray()], protocol=protocol), "f") == [
        b"a\xff",
        b"",
    ]


def numpy_of_python_2(module: bytes = b"numpy.core.multiarray") -> bytes:
    """``{'data': array([[1, 255], [0, 128]], uint8)}`` as Python 2.7 wrote it, protocol 2."""
    return (
        b"\x80\x02}q\x01U\x04dataq\x02c" + module + b"\n_reconstruct\nq\x03cnumpy\nndarray\nq\x04"
        b"K\x00\x85U\x01b\x87Rq\x05(K\x01K\x02K\x02\x86cnumpy\ndtype\nq\x06U\x02u1K\x00K\x01\x87R"
        b"q\x07(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89U\x04\x01\xff\x00\x80tbs."
    )


@pytest.mark.parametrize("module", [b"numpy.core.multiarray", b"numpy._core.multiarray"])
def test_strings_of_python_2_are_bytes(module):
    got = unpickled(numpy_of_python_2(module), "f")
    assert list(got) == [b"data"]
    assert np.array_equal(got[b"data"], [[1, 255], [0, 128]])
    assert pickle.loads(numpy_of_python_2(), encoding="bytes")[b"data"].tolist() == (
        got[b"data"].tolist()
    )
    assert unpickled(b"(lp0\nS'a\\xff\\n'\np1\naT\x02\x00\x00\x00\xfe\x00a.", "f") == [
        b"a\xff\n",
        b"\xfe\x00",
    ]


class Trap:
    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_nothing_is_called(tmp_path, protocol):
    content = pickle.dumps({"data": Trap(tmp_path / "executed")}, protocol=protocol)
    assert f"it refers to {os.mkdir.__module__}.mkdir" in fault_of(content)
    assert not (tmp_path / "executed").exists()
    pickle.loads(content)
    assert (tmp_path / "executed").exists(), "the trap is a trap"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"cos\nsystem\n(S'true'\ntR.", "it refers to os.system"),
        (b"(S'true'\nios\nsystem\n.", "operation INST"),
        (b"c__builtin__\neval\n.", "it refers to __builtin__.eval"),
        (b"cnumpy\nload\n.", "it refers to numpy.load"),
        (b"c\x1b[31m\nx\n.", r"it refers to \x1b[31m.x"),
        (b"\x8c\x03\xe2\x80\xa8\x8c\x01x\x93.", r"it refers to \u2028.x"),
        (b"cnumpy\n" + b"x" * 10_000 + b"\n.", "it refers to numpy.xxx"),
        (b"cnumpy\nndarray\n(K\x05tR.", "a call of something"),
        (b"cnumpy\nndarray\n.", "something else than one value"),
        (b"cnumpy\ndtype\n(S'O'\nK\x00K\x01tR.", "type 'O'"),
        (b"cnumpy\ndtype\n(S'V9'\nK\x00K\x01tR.", "type 'V9'"),
        (b"\x80\x02P1\n.", "operation PERSID"),
        (b"\x80\x05\x97.", "operation NEXT_BUFFER"),
        (b"\x82\x01.", "operation EXT1"),
        (b"", "it ends too early"),
        (b"K\x01", "it ends too early"),
        (b"K\x01K\x02.", "something else than one value"),
        (b"(.", "a value is missing"),
        (b"(K\x01t}s.", "a value is missing"),
        (b"a.", "a value is missing"),
        (b"u.", "a mark is missing"),
        (b"h\x07.", "refers to a value that it does not hold"),
        (b"K\x01K\x02a.", "appended to what is no list"),
        (b"}(K\x01u.", "keys and values"),
        (b"](K\x01K\x02u.", "keys and values"),
        (b"}]K\x01s.", "a key of type list"),
        (b"]K\x01b.", "a state for a value of type list"),
        (b"\xff", "unknown operation"),
        (b"not a pickle at all", "unknown operation|appended|missing|refers"),
    ],
)
def test_what_is_refused(content, reason):
    assert any(part in fault_of(content) for part in reason.split("|"))


@pytest.mark.parametrize(
    "value",
    [
        np.array([None, {}], dtype=object),
        np.array(["a", "b"]),
        np.zeros(2, dtype="M8[s]"),
        np.zeros(2, dtype=[("a", "i4")]),
        np.zeros(2, dtype=complex),
        {1, 2},
        1j,
        datetime.date(2009, 4, 8),
        collections.OrderedDict(a=1),
        {(1, 2): 3},
    ],
    ids=str,
)
@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_other_values_are_refused(value, protocol):
    fault_of(pickle.dumps([value], protocol=protocol))


@pytest.mark.filterwarnings("ignore:invalid escape sequence")
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_cut_and_every_flipped_bit_is_a_value_or_a_fault(protocol):
    value = {b"data": ARRAYS["images"][:2, :40], "labels": [1, 2, 300], "n": (b"\x80", None, 0.5)}
    content = pickle.dumps(value, protocol=protocol)
    for length in range(len(content)):
        fault_of(content[:length])
    faults: list[str] = []
    for position in range(len(content)):
        for bit in range(8):
            damaged = bytearray(content)
            damaged[position] ^= 1 << bit
            try:
                unpickled(bytes(damaged), "f")
            except DataFault as error:
                faults += error.faults
    assert len(faults) > len(content), "most of it is not pixels"
    assert all(line.isprintable() for line in faults)


def most_memory(content: bytes) -> int:
    """Bytes that were taken at once while a fault was found."""
    tracemalloc.start()
    try:
        fault_of(content)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def array_of_shape(*lengths: int, content: bytes) -> bytes:
    """An array that says it is of that shape."""
    honest = pickle.dumps(np.zeros((2, 3), np.uint8), protocol=2)
    text = b"X\x06\x00\x00\x00" + bytes(6)
    assert text in honest
    shape = b"".join(b"\x8a\x09" + struct.pack("<QB", length, 0) for length in lengths)
    changed = honest.replace(b"K\x02K\x03\x86", b"(" + shape + b"t")
    return changed.replace(text, b"X" + struct.pack("<I", len(content)) + content)


@pytest.mark.parametrize(
    "content",
    [
        array_of_shape(2**60, content=bytes(6)),
        array_of_shape(2**32, 2**32, content=b""),
        array_of_shape(2**62, 0, 2**62, content=b""),
        array_of_shape(7, content=bytes(6)),
        array_of_shape(*[2] * 60, content=bytes(6)),
        b"]r\xff\xff\xff\x7fK\x01" + b"K\x02.",
        b"\x8d" + struct.pack("<Q", 2**40) + b"a.",
        b"\x8b" + struct.pack("<i", 2**31 - 1) + b"a.",
    ],
    ids=range(8),
)
def test_lies_about_sizes_take_no_memory(content):
    assert most_memory(content) < 2_000_000


def test_values_that_are_made_again_and_again_are_refused():
    text = b"c_codecs\nencode\nq\x00X\x10\x27\x00\x00" + b"a" * 10_000 + b"U\x06latin1\x86q\x01"
    again = b"0".join([b""]) + b"h\x00h\x01R"
    content = b"(" + text + again * 5_000 + b"t."
    assert "larger than the file" in fault_of(content)
    assert most_memory(content) < 2_000_000


def test_deep_values_do_no_harm():
    deep = b")" + b"\x85" * 300_000
    assert isinstance(unpickled(deep + b".", "f"), tuple)
    assert isinstance(unpickled(b"]" * 300_000 + b"a" * 299_999 + b".", "f"), list)
    assert "a key of type tuple" in fault_of(b"}" + deep + b"Ns.")


def test_a_list_that_holds_itself_is_read():
    value = unpickled(b"]q\x00h\x00a.", "f")
    assert value[0] is value


def test_endless_operations_are_ended(monkeypatch):
    monkeypatch.setattr(unpickling, "MOST_STEPS", 1_000)
    assert "more than 1,000 operations" in fault_of(b"(" * 1_001)
