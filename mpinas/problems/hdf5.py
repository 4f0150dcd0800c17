"""Any HDF5 file with x_train, y_train, x_test, y_test, and perhaps class_names, at its top.

On damaged metadata the HDF5 library may loop for ever or end the process, so it sees the file in a
child process only.
"""

from __future__ import annotations

import pathlib
from collections.abc import Iterator
from typing import Any

import h5py

from mpinas.errors import DataFault, fault
from mpinas.problems.images import ARRAY_NAMES, ImageData, checked
from mpinas.problems.isolated import Limits, delivered, save_array
from mpinas.problems.plausible import class_names, size_faults

_START = b"\x89HDF\r\n\x1a\n"
_FIRST_USER_BLOCK = 512
_CURE = "The file is damaged; get or write it again"
_CLASS_NAMES = "class_names"

BASE_PROCESSOR_S = 10
BYTES_PER_PROCESSOR_S = 10_000_000
"""Of the packed file. Unpacking yields some 200 MB/s: enough for what is packed 20 times."""

BASE_WALL_S = 300
BYTES_PER_WALL_S = 1_000_000
"""A parallel file system on a bad day."""


def is_hdf5(file: pathlib.Path) -> bool:
    """Whether an HDF5 file begins at 0, 512, 1024, 2048, ...; it may be damaged nevertheless.

    Raises:
        OSError: it cannot be read.
    """
    size = file.stat().st_size
    offset = 0
    with file.open("rb") as stream:
        while offset + len(_START) <= size:
            stream.seek(offset)
            if stream.read(len(_START)) == _START:
                return True
            offset = max(2 * offset, _FIRST_USER_BLOCK)
    return False


def read(file: pathlib.Path) -> ImageData:
    """Reads the arrays, whatever their chunks and compression.

    Raises:
        DataFault: the file is damaged, arrays are missing, or they break a rule of
            :func:`mpinas.problems.images.checked`.
    """
    size = file.stat().st_size
    delivery = delivered(
        __name__,
        str(file),
        where=str(file),
        rule="the HDF5 file cannot be read",
        cure=_CURE,
        limits=Limits(
            processor_s=BASE_PROCESSOR_S + size // BYTES_PER_PROCESSOR_S,
            wall_s=BASE_WALL_S + size // BYTES_PER_WALL_S,
        ),
    )
    return checked(delivery.arrays, source=str(file), class_names=delivery.class_names)


def deliver(argument: str, folder: str) -> tuple[str, ...]:
    """In the child: saves the arrays of the file ``argument`` and returns the names of classes.

    Raises:
        DataFault: the file is damaged, or is not as it must be.
    """
    try:
        with h5py.File(argument, "r", locking=False) as source:
            if faults := list(_faults(argument, source)):
                raise DataFault(*faults)
            for name in ARRAY_NAMES:
                save_array(folder, name, source[name][()])
            return _names(argument, source)
    except DataFault:
        raise
    # Of damaged metadata h5py makes many kinds of errors, some of several lines.
    except Exception as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        rule = "the HDF5 file cannot be read"
        raise DataFault(fault(argument, rule, f"error={reason}", cure=_CURE)) from error


def _faults(file: str, source: h5py.File) -> Iterator[str]:
    """Yields a line for each array that is missing or cannot be taken."""
    declared = 0
    for name in ARRAY_NAMES:
        where = f"{file}, array {name}"
        is_here = name in source and not _leads_elsewhere(source, name)
        dataset = source[name] if is_here else None
        if not isinstance(dataset, h5py.Dataset):
            allowed = "Needed in the file itself: " + ", ".join(ARRAY_NAMES)
            shown = sorted(ascii(key)[1:-1] for key in source)[:10]
            yield fault(where, "missing array", f"arrays={', '.join(shown)}", allowed)
        elif dataset.file.filename != source.filename or dataset.external or dataset.is_virtual:
            yield fault(where, "its values are in other files", cure="Copy them into this one")
        elif dataset.dtype.kind not in "biuf" or dataset.shape is None:
            allowed = "Arrays hold numbers"
            yield fault(where, "wrong type of values", f"dtype={dataset.dtype}"[:200], allowed)
        else:
            declared += dataset.size * dataset.dtype.itemsize
    yield from size_faults(file, declared, pathlib.Path(file).stat().st_size)


def _leads_elsewhere(source: h5py.File, name: str) -> bool:
    return isinstance(source.get(name, getlink=True), h5py.ExternalLink)


def _names(file: str, source: h5py.File) -> tuple[str, ...]:
    where = f"{file}, array {_CLASS_NAMES}"
    if _CLASS_NAMES not in source or _leads_elsewhere(source, _CLASS_NAMES):
        return ()
    dataset: Any = source[_CLASS_NAMES]
    is_text = isinstance(dataset, h5py.Dataset) and h5py.check_string_dtype(dataset.dtype)
    if not is_text or dataset.ndim != 1:
        rule = "names of classes are no array of texts"
        raise DataFault(fault(where, rule, f"{_CLASS_NAMES}={ascii(str(dataset))[1:-1][:100]}"))
    if faults := list(size_faults(where, dataset.size * dataset.dtype.itemsize, 0)):
        raise DataFault(*faults)
    return class_names(where, dataset[()].tolist())
