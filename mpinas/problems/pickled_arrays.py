"""How numpy, and Python 3 for bytes, write values into pickles; made here without any of theirs.

Comes in: names, arguments and states that stand in a pickle. Comes out: numeric arrays, numbers
and bytes. Knows the few calls below and refuses all others; knows no pickle operation.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

_NUMERIC = re.compile("b1|[iu][1248]|f[248]")
_BYTE_ORDERS = ("|", "<", ">", "=")
_MOST_AXES = 32
_LONGEST_AXIS = 2**40
_LONGEST_NAME = 80


class NotPlain(ValueError):
    """A pickle is damaged, or holds something else than arrays, bytes and strings."""


@dataclass(frozen=True, slots=True)
class Name:
    """One of ``_NAMES``, as the pickle refers to it."""

    known: str


@dataclass(slots=True)
class PickledType:
    """A numeric type of values; its byte order comes after it."""

    code: str
    byte_order: str = "|"

    def dtype(self) -> np.dtype[Any]:
        """The same for numpy."""
        return np.dtype(self.byte_order + self.code)


_NAMES: Mapping[tuple[str, str], Name] = {
    (module, name): Name(name)
    for name, modules in {
        "_reconstruct": ("numpy.core.multiarray", "numpy._core.multiarray"),
        "scalar": ("numpy.core.multiarray", "numpy._core.multiarray"),
        "_frombuffer": ("numpy.core.numeric", "numpy._core.numeric"),
        "ndarray": ("numpy",),
        "dtype": ("numpy",),
        "encode": ("_codecs",),
        "bytes": ("builtins", "__builtin__"),
        "bytearray": ("builtins", "__builtin__"),
    }.items()
    for module in modules
}


def known_name(module: Any, name: Any) -> Name:
    """What a pickle refers to.

    Raises:
        NotPlain: it is none of the few names that arrays and bytes need.
    """
    found = (
        _NAMES.get((module, name)) if isinstance(module, str) and isinstance(name, str) else None
    )
    if found is None:
        raise NotPlain(f"it refers to {ascii(f'{module}.{name}')[1:-1][:_LONGEST_NAME]}")
    return found


class Maker:
    """Makes the values of one pickle.

    Args:
        most_bytes: how much memory may be taken, all values together: in an honest pickle they
            are made of bytes that stand in it, once.
    """

    def __init__(self, most_bytes: int) -> None:
        self._bytes_left = most_bytes
        self._unbuilt: dict[int, Array] = {}

    def call(self, function: Any, arguments: Any) -> Any:
        """The value of a known function.

        Raises:
            Exception: of any kind, where the arguments are not as numpy and Python write them.
        """
        make = _CALLS.get(function.known) if isinstance(function, Name) else None
        if make is None or not isinstance(arguments, tuple):
            raise NotPlain("a call of something that is not a function")
        return make(self, *arguments)

    def build(self, value: Any, state: Any) -> None:
        """Gives an array or a type its state.

        Raises:
            Exception: of any kind, where it is not as numpy writes it.
        """
        if isinstance(value, PickledType):
            _set_byte_order(value, state)
        elif self._unbuilt.pop(id(value), None) is not None:
            self._fill(value, state)
        else:
            raise NotPlain(f"a state for a value of type {type(value).__name__}")

    def _spend(self, size: int) -> None:
        self._bytes_left -= size
        if self._bytes_left < 0:
            raise NotPlain("its values are larger than the file")

    def _reconstruct(self, kind: Any, shape: Any, code: Any) -> Array:
        if kind != Name("ndarray"):
            raise NotPlain("an array of an unknown kind")
        array = np.empty(0, np.uint8)
        self._unbuilt[id(array)] = array
        return array

    def _fill(self, array: Array, state: Any) -> None:
        _version, shape, kind, is_fortran, content = state
        dtype = _dtype(kind)
        if not isinstance(content, bytes):
            raise NotPlain("an array holds Python objects")
        _check_shape(shape, dtype, len(content))
        self._spend(len(content))
        # Takes the bytes as they are, without a copy, if they are many.
        state = (1, shape, dtype, bool(is_fortran), content)
        array.__setstate__(state)

    def _from_buffer(self, buffer: Any, kind: Any, shape: Any, order: Any) -> Array:
        dtype = _dtype(kind)
        if not isinstance(buffer, (bytes, bytearray)) or order not in ("C", "F"):
            raise NotPlain("an array whose values are not in the file")
        _check_shape(shape, dtype, len(buffer))
        array: Array = np.frombuffer(buffer, dtype).reshape(shape, order=order)
        return array

    def _scalar(self, kind: Any, content: bytes) -> Any:
        return np.frombuffer(content, _dtype(kind)).reshape(()).item()

    def _encode(self, text: str, encoding: Any) -> bytes:
        if _text(encoding) not in ("latin1", "latin-1") or not isinstance(text, str):
            raise NotPlain("a string of an unknown encoding")
        self._spend(len(text))
        return text.encode("latin-1")

    def _bytes(self, content: Any = b"", encoding: Any = None) -> bytes:
        if encoding is not None:
            return self._encode(content, encoding)
        if not isinstance(content, bytes):
            raise NotPlain("bytes of something else")
        return content


_CALLS: Mapping[str, Callable[..., Any]] = {
    "_reconstruct": Maker._reconstruct,
    "_frombuffer": Maker._from_buffer,
    "scalar": Maker._scalar,
    "encode": Maker._encode,
    "bytes": Maker._bytes,
    "bytearray": Maker._bytes,
    "dtype": lambda maker, code, *flags: _numeric_type(code),
}


def _text(value: Any) -> Any:
    """Strings of Python 2 are bytes here."""
    return value.decode("latin-1") if isinstance(value, bytes) else value


def _numeric_type(code: Any) -> PickledType:
    text = _text(code)
    if not isinstance(text, str) or not _NUMERIC.fullmatch(text):
        raise NotPlain(f"an array of type {ascii(text)[:_LONGEST_NAME]}; only numbers are read")
    return PickledType(text)


def _set_byte_order(kind: PickledType, state: Any) -> None:
    _version, byte_order, *parts = state
    if _text(byte_order) not in _BYTE_ORDERS or parts[:3] != [None, None, None]:
        raise NotPlain("an array of a type with parts; only numbers are read")
    kind.byte_order = _text(byte_order)


def _dtype(kind: Any) -> np.dtype[Any]:
    if not isinstance(kind, PickledType):
        raise NotPlain("an array without a type")
    return kind.dtype()


def _check_shape(shape: Any, dtype: np.dtype[Any], size: int) -> None:
    """Nothing is allocated for a shape that does not fit the bytes that are there."""
    if not isinstance(shape, tuple) or len(shape) > _MOST_AXES:
        raise NotPlain("an array without a shape")
    if any(type(length) is not int or not 0 <= length <= _LONGEST_AXIS for length in shape):
        raise NotPlain("an array without a shape")
    if math.prod(shape) * dtype.itemsize != size:
        raise NotPlain(f"an array of shape {shape} with {size:,} bytes of {dtype}")
