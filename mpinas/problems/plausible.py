"""What is believed of data before it is read: sizes that files declare, names of classes.

Comes in: numbers and texts from files. Comes out: lines that say what is wrong. Knows no format.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any

from mpinas.errors import DataFault, fault

MOST_OF_MEMORY = 0.5
"""Share of the machine's memory that arrays may take: checking them takes as much again."""

UNSUSPICIOUS_BYTES = 256 << 20
"""Up to here any ratio of packing is believed: a small file of black images is no bomb."""

MOST_PACKING = 100
"""Times that more is smaller when packed. MNIST, mostly black, is 5 times smaller."""

LONGEST_CLASS_NAME = 500


def memory_bytes() -> int:
    """How much memory arrays may take on this machine."""
    return int(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") * MOST_OF_MEMORY)


def size_faults(where: str, unpacked_bytes: int, packed_bytes: int) -> Iterator[str]:
    """Yields a line where a file declares to be larger than an honest one is.

    Args:
        packed_bytes: how large the file is.
    """
    received = f"packed bytes={packed_bytes}, unpacked bytes={unpacked_bytes}"
    if unpacked_bytes > memory_bytes():
        allowed = f"At most half of this machine's memory, {memory_bytes()} bytes"
        yield fault(where, "its arrays are larger than can be read", received, allowed)
    elif unpacked_bytes > max(UNSUSPICIOUS_BYTES, MOST_PACKING * packed_bytes):
        allowed = f"Arrays above {UNSUSPICIOUS_BYTES} bytes may be packed {MOST_PACKING} times"
        cure = "If the data are really like this, store them uncompressed"
        yield fault(where, "it unpacks to far more than it holds", received, allowed, cure)


def class_names(where: str, values: Sequence[Any]) -> tuple[str, ...]:
    """Names of classes as strings.

    Args:
        where: names the file in messages.
        values: strings, or UTF-8 as bytes.

    Raises:
        DataFault: one is no text, is empty, or has characters that cannot be shown.
    """
    names = tuple(_name(value) for value in values)
    if None in names:
        index = names.index(None)
        received = f"class={index}, name={ascii(values[index])[:80]}"
        allowed = f"Names are texts of 1 to {LONGEST_CLASS_NAME} characters that can be shown"
        raise DataFault(fault(where, "the name of a class is no name", received, allowed))
    return tuple(name for name in names if name is not None)


def _name(value: Any) -> str | None:
    if isinstance(value, bytes):
        try:
            value = value.decode()
        except UnicodeDecodeError:
            return None
    good = isinstance(value, str) and value.isprintable() and 0 < len(value) <= LONGEST_CLASS_NAME
    return str(value) if good else None
