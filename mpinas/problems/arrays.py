"""Loader ``arrays``: a ``.npz`` file with x_train, y_train, x_test, y_test, as Keras writes them.

Keras's ``mnist.npz`` is such a file. Nothing in the file is ever unpickled.
"""

from __future__ import annotations

import pathlib
from collections.abc import Iterator

import numpy as np

from mpinas.config import ProblemConfig
from mpinas.errors import DataFault, fault
from mpinas.problems.images import ARRAY_NAMES, Array, ImageData, checked

_ZIP_STARTS = (b"PK\x03\x04", b"PK\x05\x06")
_NPY_START = b"\x93NUMPY"


def load(problem: ProblemConfig) -> ImageData:
    """Reads ``problem.path``.

    Raises:
        DataFault: there is no such file, it cannot be read, it is no ``.npz``, or its arrays break
            a rule of :func:`mpinas.problems.images.checked`.
    """
    file = pathlib.Path(problem.path or "").expanduser()
    try:
        is_file = file.is_file()
        start = _first_bytes(file) if is_file else b""
    except OSError as error:
        received = f"error={error.strerror or error}"
        raise DataFault(fault(str(file), "cannot be opened", received)) from error
    if not is_file:
        cure = "Set problem.path to a .npz file with " + ", ".join(ARRAY_NAMES)
        raise DataFault(fault(str(file), "no such file", f"problem.path={problem.path}", cure=cure))
    if not start.startswith(_ZIP_STARTS):
        raise DataFault(_not_npz(file, _what_begins_with(start)))
    return checked(_read(file), source=str(file))


def _first_bytes(file: pathlib.Path) -> bytes:
    with file.open("rb") as stream:
        return stream.read(len(_NPY_START))


def _what_begins_with(start: bytes) -> str:
    if start == _NPY_START:
        return "a single array"
    return "something else than a zip archive" if start else "an empty file"


def _read(file: pathlib.Path) -> dict[str, Array]:
    # Damaged bytes make numpy, zipfile and the decompressors raise whatever they can.
    try:
        archive = np.load(file, allow_pickle=False)
    except Exception as error:
        raise DataFault(_not_npz(file, _reason(error))) from error
    with archive:
        faults = list(_missing(file, archive.files))
        arrays: dict[str, Array] = {}
        for name in set(ARRAY_NAMES) & set(archive.files):
            try:
                arrays[name] = _array(archive, name)
            except Exception as error:
                rule = "the array cannot be read"
                faults.append(fault(f"{file}, array {name}", rule, f"error={_reason(error)}"))
    if faults:
        raise DataFault(*sorted(faults))
    return arrays


def _array(archive: np.lib.npyio.NpzFile, name: str) -> Array:
    array = archive[name]
    if not isinstance(array, np.ndarray):
        raise ValueError("it is not a .npy file")
    return array


def _missing(file: pathlib.Path, names: list[str]) -> Iterator[str]:
    for name in ARRAY_NAMES:
        if name not in names:
            allowed = "Needed: " + ", ".join(ARRAY_NAMES)
            yield fault(
                f"{file}, array {name}", "missing array", f"arrays={sorted(names)}", allowed
            )


def _not_npz(file: pathlib.Path, found: str) -> str:
    cure = "Write it with numpy.savez_compressed"
    return fault(str(file), "not a .npz file", f"found={found}", cure=cure)


def _reason(error: Exception) -> str:
    """One line. Numpy's own advice where it finds Python objects is to unpickle them anyway."""
    if "allow_pickle" in str(error):
        return "it holds Python objects, which are never unpickled"
    lines = str(error).splitlines()
    return lines[0] if lines else type(error).__name__
