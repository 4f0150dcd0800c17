"""Loader ``arrays``: a ``.npz`` file with x_train, y_train, x_test, y_test, as Keras writes them.

Keras's ``mnist.npz`` is such a file. Nothing in the file is ever unpickled.
"""

from __future__ import annotations

import pathlib
import zipfile
import zlib
from collections.abc import Iterator

import numpy as np

from mpinas.config import ProblemConfig
from mpinas.errors import DataFault, fault
from mpinas.problems.images import ARRAY_NAMES, Array, ImageData, checked

_UNREADABLE = (
    OSError,
    ValueError,
    EOFError,
    MemoryError,
    NotImplementedError,
    zipfile.BadZipFile,
    zlib.error,
)


def load(problem: ProblemConfig) -> ImageData:
    """Reads ``problem.path``.

    Raises:
        DataFault: there is no such file, it is no ``.npz``, or its arrays break a rule of
            :func:`mpinas.problems.images.checked`.
    """
    file = pathlib.Path(problem.path or "").expanduser()
    if not file.is_file():
        cure = "Set problem.path to a .npz file with " + ", ".join(ARRAY_NAMES)
        raise DataFault(fault(str(file), "no such file", f"problem.path={problem.path}", cure=cure))
    return checked(_read(file), source=str(file))


def _read(file: pathlib.Path) -> dict[str, Array]:
    try:
        archive = np.load(file, allow_pickle=False)
    except _UNREADABLE as error:
        raise DataFault(_not_npz(file, _reason(error))) from error
    if not isinstance(archive, np.lib.npyio.NpzFile):
        raise DataFault(_not_npz(file, "a single array"))
    with archive:
        faults = list(_missing(file, archive.files))
        arrays: dict[str, Array] = {}
        for name in set(ARRAY_NAMES) & set(archive.files):
            try:
                arrays[name] = archive[name]
            except _UNREADABLE as error:
                rule = "the array cannot be read"
                faults.append(fault(f"{file}, array {name}", rule, f"error={_reason(error)}"))
    if faults:
        raise DataFault(*sorted(faults))
    return arrays


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


def _reason(error: BaseException) -> str:
    lines = str(error).splitlines()
    return lines[0] if lines else type(error).__name__
