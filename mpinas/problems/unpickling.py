"""Reads pickles that hold arrays, bytes, strings, numbers and containers of them; nothing else.

Comes in: the bytes of a pickle of protocol 0 to 5. Comes out: the plain value. Python's own
unpickler calls whatever a pickle names, and of one flipped bit may take tens of gigabytes. Here
``pickletools`` takes the pickle apart and a small stack machine puts the value together. Names of
functions in it are compared with a list; nothing is ever looked up or called by name.
"""

from __future__ import annotations

import codecs
import io
import pickletools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from mpinas.errors import DataFault, fault
from mpinas.problems.pickled_arrays import Maker, Name, NotPlain, PickledType, known_name

MOST_STEPS = 5_000_000
"""CIFAR-100 has 0.3 million. Each step costs at most about 100 bytes and 2 microseconds."""

_KEYS = (str, bytes, int, float, type(None))
"""Not tuples: the hash of one that is nested a million times deep ends the process."""


def unpickled(content: bytes, where: str) -> Any:
    """The value of a pickle.

    Strings of Python 2, which are bytes there, are bytes here. The arrays may share the memory of
    ``content``'s copies and be read-only.

    Args:
        where: names the file in messages.

    Raises:
        DataFault: it is damaged, or holds something else than dicts, lists, tuples, numbers,
            strings, bytes and numeric arrays.
    """
    try:
        return _Machine(len(content)).run(content)
    # Of damaged bytes pickletools and numpy raise whatever they can.
    except Exception as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        rule = "not a pickle of arrays, bytes and strings only"
        raise DataFault(fault(where, rule, f"error={reason}")) from error


def _quoted_bytes(stream: io.BytesIO) -> bytes:
    """The argument of STRING; pickletools takes it for ASCII text."""
    line = stream.readline().rstrip(b"\n")
    if len(line) < 2 or line[:1] not in (b"'", b'"') or line[:1] != line[-1:]:
        raise NotPlain("a string has no quotes around it")
    return codecs.escape_decode(line[1:-1])[0]


_READERS: Mapping[str, Callable[[Any], Any]] = {
    "STRING": _quoted_bytes,
    "BINSTRING": pickletools.read_bytes4,
    "SHORT_BINSTRING": pickletools.read_bytes1,
}
_OPCODES = {opcode.code.encode("latin-1"): opcode for opcode in pickletools.opcodes}


def _operations(content: bytes) -> Iterator[tuple[str, Any]]:
    """Name and argument of each operation, without STOP.

    Raises:
        Exception: of any kind, where the pickle is damaged.
    """
    stream = io.BytesIO(content)
    for _ in range(MOST_STEPS):
        code = stream.read(1)
        opcode = _OPCODES.get(code)
        if opcode is None:
            raise NotPlain(f"unknown operation {code!r}" if code else "it ends too early")
        if opcode.name == "STOP":
            return
        reader = _READERS.get(opcode.name, opcode.arg.reader if opcode.arg else None)
        yield opcode.name, None if reader is None else reader(stream)
    raise NotPlain(f"more than {MOST_STEPS:,} operations")


class _Machine:
    """The stack, the marks on it and the memo of one pickle."""

    def __init__(self, size: int) -> None:
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}
        self._maker = Maker(2 * size)

    def run(self, content: bytes) -> Any:
        for name, argument in _operations(content):
            step = _STEPS.get(name)
            if step is None:
                raise NotPlain(f"operation {name} is not for arrays, bytes and strings")
            step(self, argument)
        value = self._pop()
        if self._stack or isinstance(value, (Name, PickledType)):
            raise NotPlain("it ends with something else than one value")
        return value

    def _top(self) -> Any:
        if len(self._stack) <= (self._marks[-1] if self._marks else 0):
            raise NotPlain("a value is missing")
        return self._stack[-1]

    def _pop(self) -> Any:
        self._top()
        return self._stack.pop()

    def _pop_to_mark(self) -> list[Any]:
        if not self._marks:
            raise NotPlain("a mark is missing")
        start = self._marks.pop()
        values = self._stack[start:]
        del self._stack[start:]
        return values

    def _pop_values(self, count: int) -> tuple[Any, ...]:
        return tuple([self._pop() for _ in range(count)][::-1])

    def push(self, value: Any) -> None:
        self._stack.append(value)

    def nothing(self, argument: Any) -> None:
        """PROTO and FRAME say nothing about values."""

    def mark(self, argument: Any) -> None:
        self._marks.append(len(self._stack))

    def put(self, index: int) -> None:
        self._memo[index] = self._top()

    def memoize(self, argument: Any) -> None:
        self._memo[len(self._memo)] = self._top()

    def get(self, index: int) -> None:
        if index not in self._memo:
            raise NotPlain("it refers to a value that it does not hold")
        self.push(self._memo[index])

    def tuple_of(self, count: int) -> None:
        self.push(self._pop_values(count))

    def tuple_from_mark(self, argument: Any) -> None:
        self.push(tuple(self._pop_to_mark()))

    def list_from_mark(self, argument: Any) -> None:
        self.push(self._pop_to_mark())

    def dict_from_mark(self, argument: Any) -> None:
        values = self._pop_to_mark()
        self.push({})
        self._set(values)

    def append(self, argument: Any) -> None:
        self._extend([self._pop()])

    def appends(self, argument: Any) -> None:
        self._extend(self._pop_to_mark())

    def _extend(self, values: list[Any]) -> None:
        target = self._top()
        if not isinstance(target, list):
            raise NotPlain("something is appended to what is no list")
        target.extend(values)

    def set_item(self, argument: Any) -> None:
        self._set(self._pop_values(2))

    def set_items(self, argument: Any) -> None:
        self._set(self._pop_to_mark())

    def _set(self, values: Sequence[Any]) -> None:
        """Keys and values in turn."""
        target = self._top()
        if not isinstance(target, dict) or len(values) % 2:
            raise NotPlain("keys and values are not those of a dict")
        for key, value in zip(values[::2], values[1::2], strict=True):
            if not isinstance(key, _KEYS):
                raise NotPlain(f"a key of type {type(key).__name__}")
            target[key] = value

    def global_name(self, argument: str) -> None:
        self.push(known_name(*argument.split(" ", 1)))

    def stack_global(self, argument: Any) -> None:
        self.push(known_name(*self._pop_values(2)))

    def reduce(self, argument: Any) -> None:
        function, arguments = self._pop_values(2)
        self.push(self._maker.call(function, arguments))

    def build(self, argument: Any) -> None:
        value, state = self._pop_values(2)
        self._maker.build(value, state)
        self.push(value)


def _push_new(make: Callable[[], Any]) -> Callable[[_Machine, Any], None]:
    return lambda machine, argument: machine.push(make())


def _push_tuple(count: int) -> Callable[[_Machine, Any], None]:
    return lambda machine, argument: machine.tuple_of(count)


_WITH_THEIR_VALUE = (
    "INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT STRING BINSTRING SHORT_BINSTRING "
    "UNICODE BINUNICODE SHORT_BINUNICODE BINUNICODE8 BINBYTES SHORT_BINBYTES BINBYTES8 BYTEARRAY8"
)
_STEPS: Mapping[str, Callable[[_Machine, Any], None]] = {
    **dict.fromkeys(_WITH_THEIR_VALUE.split(), _Machine.push),
    "PROTO": _Machine.nothing,
    "FRAME": _Machine.nothing,
    "NONE": _push_new(lambda: None),
    "NEWTRUE": _push_new(lambda: True),
    "NEWFALSE": _push_new(lambda: False),
    "EMPTY_LIST": _push_new(list),
    "EMPTY_DICT": _push_new(dict),
    "EMPTY_TUPLE": _push_tuple(0),
    "TUPLE1": _push_tuple(1),
    "TUPLE2": _push_tuple(2),
    "TUPLE3": _push_tuple(3),
    "MARK": _Machine.mark,
    "TUPLE": _Machine.tuple_from_mark,
    "LIST": _Machine.list_from_mark,
    "DICT": _Machine.dict_from_mark,
    "APPEND": _Machine.append,
    "APPENDS": _Machine.appends,
    "SETITEM": _Machine.set_item,
    "SETITEMS": _Machine.set_items,
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT"), _Machine.put),
    "MEMOIZE": _Machine.memoize,
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), _Machine.get),
    "GLOBAL": _Machine.global_name,
    "STACK_GLOBAL": _Machine.stack_global,
    "REDUCE": _Machine.reduce,
    "BUILD": _Machine.build,
}
"""Operation -> what it does. All others are refused."""
