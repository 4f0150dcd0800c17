"""Layout: the IDX files of MNIST, Fashion-MNIST and EMNIST, gzipped or not.

Comes in: a tree with ``train-images-idx3-ubyte``, ``train-labels-idx1-ubyte`` and the same for
``t10k`` or ``test``, in whatever folder. Comes out: ``ImageData``. A file is two zero bytes, a byte
for the type (8: uint8), one for the number of axes, their lengths as big-endian uint32, and values.
Source: LeCun, Cortes and Burges 1998, The MNIST database of handwritten digits.
"""

from __future__ import annotations

import gzip
import io
import math
import pathlib
import re
import struct
import zlib
from typing import BinaryIO

import numpy as np

from mpinas.config import ProblemConfig
from mpinas.errors import DataFault, fault
from mpinas.problems.images import ARRAY_NAMES, Array, ImageData, checked
from mpinas.problems.plausible import size_faults
from mpinas.problems.tree import Tree

_NAME = re.compile(
    r"(?:emnist-[a-z]+-)?(train|t10k|test)-(images|labels)[-.]idx[13]-ubyte(?:\.gz)?"
)
_AXES = {"images": 3, "labels": 1}
_UINT8 = 8
_GZIP_START = b"\x1f\x8b"
_PART_BYTES = 1 << 20


def recognises(tree: Tree) -> bool:
    """Whether a file has the name of one of the four."""
    return any(_array_name(path) for path in tree.paths)


def read(tree: Tree, problem: ProblemConfig) -> ImageData:
    """Reads the four files; nothing in ``problem`` changes them.

    A file may be there twice, gzipped and not for instance, if both hold the same.

    Raises:
        DataFault: a file is missing, there are two different ones, or one is faulty.
    """
    arrays: dict[str, Array] = {}
    origins: dict[str, str] = {}
    faults: list[str] = []
    for path, content in tree.contents([path for path in tree.paths if _array_name(path)]):
        name = _array_name(path)
        try:
            array = _array(content, _axes(path), f"{tree.source}, file {path}")
        except DataFault as error:
            faults += error.faults
            origins.setdefault(name, path)
            continue
        if name in arrays and not np.array_equal(arrays[name], array):
            received = f"files={origins[name]}, {path}"
            cure = "Set problem.path to the folder of one data set"
            faults.append(fault(tree.source, "more than one data set", received, cure=cure))
        arrays[name] = array
        origins[name] = path
    if missing := [name for name in ARRAY_NAMES if name not in origins]:
        received = f"missing={', '.join(missing)}, files={', '.join(sorted(origins.values()))}"
        allowed = "Needed: images-idx3-ubyte and labels-idx1-ubyte of train and of t10k"
        faults.append(fault(tree.source, "a file is missing", received, allowed))
    if faults:
        raise DataFault(*faults)
    return checked(arrays, source=tree.source)


def _match(path: str) -> re.Match[str] | None:
    return _NAME.fullmatch(pathlib.PurePosixPath(path).name.lower())


def _array_name(path: str) -> str:
    """``x_train``, ...; empty for another file."""
    match = _match(path)
    if match is None:
        return ""
    part = "train" if match[1] == "train" else "test"
    return f"{'x' if match[2] == 'images' else 'y'}_{part}"


def _axes(path: str) -> int:
    match = _match(path)
    return _AXES[match[2]] if match else 0


def _array(content: bytes, axes: int, where: str) -> Array:
    """The values of one file, uint8.

    Raises:
        DataFault: it is damaged or not what its name says.
    """
    if not content.startswith(_GZIP_START):
        return _unpacked(io.BytesIO(content), len(content), axes, where)
    try:
        with gzip.open(io.BytesIO(content)) as stream:
            return _unpacked(stream, len(content), axes, where)
    except (OSError, EOFError, zlib.error) as error:
        reason = str(error).splitlines() or [type(error).__name__]
        rule = "the gzip file is damaged"
        raise DataFault(fault(where, rule, f"error={reason[0]}", cure="Get it again")) from error


def _unpacked(stream: BinaryIO | gzip.GzipFile, packed_bytes: int, axes: int, where: str) -> Array:
    """Reads what the header promises and one byte more, as it comes: a lie takes no memory."""
    lengths = _lengths(stream.read(4 + 4 * axes), axes, where)
    wanted = math.prod(lengths)
    if faults := list(size_faults(where, wanted, packed_bytes)):
        raise DataFault(*faults)
    values = bytearray()
    while len(values) <= wanted and (part := stream.read(min(_PART_BYTES, wanted + 1))):
        values += part
    if len(values) != wanted or not wanted:
        found = f"{len(values)}" if len(values) <= wanted else f"more than {wanted}"
        received = f"lengths={lengths}, values in the file={found}"
        rule = "its size is not the one it declares"
        raise DataFault(fault(where, rule, received, cure="Get it again"))
    return np.frombuffer(values, np.uint8).reshape(lengths)


def _lengths(header: bytes, axes: int, where: str) -> tuple[int, ...]:
    if len(header) < 4 + 4 * axes or header[:4] != bytes([0, 0, _UINT8, axes]):
        allowed = f"It begins with 0, 0, {_UINT8} for uint8, {axes} axes and their lengths"
        received = f"first bytes={header[:4].hex(' ')}"
        raise DataFault(fault(where, "not an IDX file of this kind", received, allowed))
    return struct.unpack(f">{axes}I", header[4:])
