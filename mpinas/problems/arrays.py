"""Loader ``arrays``: one file with x_train, y_train, x_test, y_test and perhaps class_names.

It is a ``.npz`` as Keras writes them (its ``mnist.npz`` is one), of which nothing is ever
unpickled, an HDF5 file (see ``hdf5.py``) or a prepared one. Which it is, the first bytes tell.
"""

from __future__ import annotations

import pathlib
import zipfile
from collections import Counter
from collections.abc import Iterator

import numpy as np

from mpinas.config import ProblemConfig
from mpinas.errors import DataFault, fault
from mpinas.problems import hdf5
from mpinas.problems.archives import refuse_damaged_directory
from mpinas.problems.images import ARRAY_NAMES, Array, ImageData, checked
from mpinas.problems.plausible import class_names, size_faults
from mpinas.problems.prepared import is_prepared, open_prepared

_ZIP_STARTS = (b"PK\x03\x04", b"PK\x05\x06")
_NPY_START = b"\x93NUMPY"
_CLASS_NAMES = "class_names"
_ENCRYPTED = 1


def recognises(file: pathlib.Path) -> bool:
    """Whether it is an HDF5 file or a ``.npz``; the arrays in it may be damaged or missing.

    A zip archive without ``.npz`` at the end of its name is one if an array lies at its top.
    """
    try:
        if not file.is_file():
            return False
        if file.suffix == ".npz" or hdf5.is_hdf5(file):
            return True
        with zipfile.ZipFile(file) as archive:
            return any(name.endswith(".npy") and "/" not in name for name in archive.namelist())
    # Whatever zipfile raises of damaged bytes, it is not a .npz for sure.
    except Exception:
        return False


def load(problem: ProblemConfig) -> ImageData:
    """Reads ``problem.path``.

    Raises:
        DataFault: as :func:`read`.
    """
    return read(pathlib.Path(problem.path or "").expanduser())


def read(file: pathlib.Path) -> ImageData:
    """Reads a ``.npz`` or HDF5 file.

    Raises:
        DataFault: there is no such file, it cannot be read, it is of neither kind, or its arrays
            break a rule of :func:`mpinas.problems.images.checked`.
    """
    try:
        is_file = file.is_file()
        start = _first_bytes(file) if is_file else b""
        is_hdf5 = is_file and hdf5.is_hdf5(file)
    except OSError as error:
        received = f"error={error.strerror or error}"
        raise DataFault(fault(str(file), "cannot be opened", received)) from error
    if not is_file:
        cure = "Set problem.path to a .npz or HDF5 file with " + ", ".join(ARRAY_NAMES)
        raise DataFault(fault(str(file), "no such file", f"problem.path={file}", cure=cure))
    if is_prepared(file):
        return _read_prepared(file)
    if is_hdf5:
        return hdf5.read(file)
    if not start.startswith(_ZIP_STARTS):
        raise DataFault(_not_npz(file, _what_begins_with(start)))
    return _read_npz(file)


def _first_bytes(file: pathlib.Path) -> bytes:
    with file.open("rb") as stream:
        return stream.read(len(_NPY_START))


def _what_begins_with(start: bytes) -> str:
    if start == _NPY_START:
        return "a single array"
    return "something else than a zip archive" if start else "an empty file"


def _read_prepared(file: pathlib.Path) -> ImageData:
    """HDF5 files of our own have a checksum, so that no damage goes unnoticed."""
    problem = open_prepared(file, verify=True)
    arrays = {name: getattr(problem, name) for name in ARRAY_NAMES}
    return checked(arrays, source=str(file), class_names=problem.class_names)


def _read_npz(file: pathlib.Path) -> ImageData:
    # Damaged bytes make numpy, zipfile and the decompressors raise whatever they can.
    try:
        faults = list(_declared_faults(file))
        archive = None if faults else np.load(file, allow_pickle=False)
    except DataFault:
        raise
    except Exception as error:
        raise DataFault(_not_npz(file, _reason(error))) from error
    if archive is None:
        raise DataFault(*faults)
    with archive:
        faults = list(_missing(file, archive.files))
        arrays: dict[str, Array] = {}
        for name in {*ARRAY_NAMES, _CLASS_NAMES} & set(archive.files):
            try:
                arrays[name] = _array(archive, name)
            except Exception as error:
                rule = "the array cannot be read"
                faults.append(fault(f"{file}, array {name}", rule, f"error={_reason(error)}"))
    if faults:
        raise DataFault(*sorted(faults))
    names = arrays.pop(_CLASS_NAMES, np.empty(0))
    texts = class_names(f"{file}, array {_CLASS_NAMES}", names.reshape(-1).tolist())
    return checked(arrays, source=str(file), class_names=texts)


def _declared_faults(file: pathlib.Path) -> Iterator[str]:
    """Yields a line for each thing that forbids to unpack the archive.

    No more than what is declared is ever unpacked, so that a lie leads to a damaged array.
    """
    with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
    refuse_damaged_directory(file, members)
    counts = Counter(member.filename for member in members)
    for name in sorted(name for name, count in counts.items() if count > 1):
        where = f"{file}, array {ascii(name)[1:-1][:80].removesuffix('.npy')}"
        yield fault(where, "the array stands there twice")
    for member in members:
        if member.flag_bits & _ENCRYPTED:
            where = f"{file}, array {ascii(member.filename)[1:-1][:80].removesuffix('.npy')}"
            yield fault(where, "it is encrypted", cure="Write it without a password")
    unpacked_bytes = sum(member.file_size for member in members)
    yield from size_faults(str(file), unpacked_bytes, file.stat().st_size)


def _array(archive: np.lib.npyio.NpzFile, name: str) -> Array:
    array = archive[name]
    if not isinstance(array, np.ndarray):
        raise ValueError("it is not a .npy file")
    return array


def _missing(file: pathlib.Path, names: list[str]) -> Iterator[str]:
    for name in ARRAY_NAMES:
        if name not in names:
            received = f"arrays={sorted(names)[:10]!a}"
            allowed = "Needed: " + ", ".join(ARRAY_NAMES)
            yield fault(f"{file}, array {name}", "missing array", received[:300], allowed)


def _not_npz(file: pathlib.Path, found: str) -> str:
    cure = "Write it with numpy.savez_compressed"
    return fault(str(file), "not a .npz file", f"found={found}", cure=cure)


def _reason(error: Exception) -> str:
    """One line. Numpy's own advice where it finds Python objects is to unpickle them anyway."""
    if "allow_pickle" in str(error):
        return "it holds Python objects, which are never unpickled"
    lines = str(error).splitlines()
    return lines[0][:300] if lines else type(error).__name__
