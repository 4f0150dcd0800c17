"""The prepared file: one HDF5 file that every worker maps into memory instead of reading.

Images lie in it contiguous and uncompressed, so that the operating system shares their pages
between all trials of a machine and loads only what is touched. The file is written once, under
a temporary name, and never changed; docs/data.md says what stands in it. In front of what is HDF5
stands a SHA-256 of it: with one wrong bit of its metadata the HDF5 library may loop for ever or
end the process.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import pathlib
import socket
from dataclasses import dataclass

import h5py
import numpy as np

from mpinas.errors import DataFault, fault
from mpinas.files import USER_BLOCK_BYTES, fsync_directory, user_block
from mpinas.problems.error_keeping_file import ErrorKeepingFile
from mpinas.problems.images import ARRAY_NAMES, ImageData, Images, Labels
from mpinas.problems.splits import Indices, part_sizes, split
from mpinas.signals import held

FORMAT = "mpinas prepared problem"
_TITLE = f"{FORMAT}\n".encode()
SCHEMA_VERSION = 4
_STORED_TYPES = {"x_train": "|u1", "y_train": "<i4", "x_test": "|u1", "y_test": "<i4"}
_PART_BYTES = 1 << 20
_CURE = "Prepare the problem again into this file"
SHOWN_VALIDATION = 0.15
SHOWN_SEED = 0
"""Whose split is written down for other programs; a run splits by its own section and seed."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PreparedProblem:
    """An open prepared file.

    Attributes:
        x_train, x_test: uint8 (N, height, width, channels), mapped, read-only.
        y_train, y_test: int32 (N,), in memory. Only export may look at the test set.
        class_names: in the order of their labels.
        source: where the data came from, for people.
        remarks: what was decided when they were read, for people.
        checksum: SHA-256 of the data, 64 hexadecimal digits; equal for equal data.
    """

    x_train: Images
    y_train: Labels
    x_test: Images
    y_test: Labels
    class_names: tuple[str, ...]
    source: str
    remarks: tuple[str, ...]
    checksum: str

    @property
    def classes(self) -> int:
        """How many classes there are."""
        return len(self.class_names)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """``(height, width, channels)`` of one image."""
        height, width, channels = self.x_train.shape[1:]
        return height, width, channels


def is_prepared(file: pathlib.Path) -> bool:
    """Whether a file says of itself that it is a prepared one; it may be damaged nevertheless."""
    try:
        if not file.is_file():
            return False
        with file.open("rb") as stream:
            return stream.read(len(_TITLE)) == _TITLE
    except OSError:
        return False


def refuse_other_file(file: pathlib.Path) -> None:
    """Raises DataFault where the name is taken by something that is not a prepared file."""
    if file.exists() and not is_prepared(file):
        rule = "something else than a prepared file has this name"
        raise DataFault(fault(str(file), rule, cure="Choose another name, or remove it"))


def cannot_be_written(file: pathlib.Path, error: OSError) -> DataFault:
    """What to raise where there is no place for a prepared file."""
    rule, received = "the prepared file cannot be written", f"error={error.strerror or error}"
    cure = "Make the folder, or give it room and write permission"
    return DataFault(fault(str(file), rule, received, cure=cure))


def write_prepared(data: ImageData, file: pathlib.Path) -> None:
    """Writes the file whole or not at all; a prepared file of that name is replaced.

    A symbolic link stays one, and what it leads to is written.

    Raises:
        DataFault: something else has that name, the folder is missing or cannot be written to,
            or the disk is full.
    """
    refuse_other_file(file)
    file = pathlib.Path(os.path.realpath(file))
    # The process id alone is not unique on a file system that machines share.
    temporary = file.with_name(f".{file.name}.{socket.gethostname()}-{os.getpid()}")
    try:
        _write(data, temporary)
        os.replace(temporary, file)
        fsync_directory(file.parent)
    except OSError as error:
        raise cannot_be_written(file, error) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def _write(data: ImageData, file: pathlib.Path) -> None:
    with file.open("w+b", buffering=0) as raw:
        target = ErrorKeepingFile(raw)
        try:
            with held():  # HDF5 calls the file's methods and bears no exception of theirs
                _write_hdf5(data, target)
        finally:
            target.raise_error()
        block = user_block(FORMAT, _file_digest(raw))
        raw.seek(0)
        raw.write(block)
        os.fsync(raw.fileno())


def _write_hdf5(data: ImageData, file: ErrorKeepingFile) -> None:
    with h5py.File(file, "w", userblock_size=USER_BLOCK_BYTES) as target:
        target.attrs["format"] = FORMAT
        target.attrs["schema_version"] = SCHEMA_VERSION
        target.attrs["source"] = data.source
        target.attrs["checksum"] = data_checksum(data)
        target.attrs["remarks"] = "\n".join(data.remarks)
        target.create_dataset("class_names", data=list(data.class_names), dtype=h5py.string_dtype())
        for name in ARRAY_NAMES:
            target.create_dataset(name, data=getattr(data, name), dtype=_STORED_TYPES[name])
        indices = target.create_group("split_indices")
        indices.attrs.update(validation=SHOWN_VALIDATION, seed=SHOWN_SEED)
        for part, chosen in zip(("training", "validation"), _shown_split(data), strict=True):
            indices.create_dataset(part, data=chosen, dtype="<i8")


def _shown_split(data: ImageData) -> tuple[Indices, Indices]:
    """The split that is written down; empty where there are too few images for it."""
    nothing = np.zeros(0, np.intp)
    try:
        training, validation = part_sizes(len(data.y_train), validation=SHOWN_VALIDATION)
        return split(
            data.y_train,
            training_images=training,
            validation_images=validation,
            seed=SHOWN_SEED,
        )
    except DataFault:
        return nothing, nothing


def _file_digest(raw: io.FileIO) -> str:
    """SHA-256 of all behind the user block."""
    raw.seek(USER_BLOCK_BYTES)
    digest = hashlib.sha256()
    while part := raw.read(_PART_BYTES):
        digest.update(part)
    return digest.hexdigest()


def data_checksum(data: ImageData) -> str:
    """SHA-256 over class names, shapes and values; 64 hexadecimal digits."""
    digest = hashlib.sha256(repr(data.class_names).encode())
    for name in ARRAY_NAMES:
        array = np.ascontiguousarray(getattr(data, name), dtype=_STORED_TYPES[name])
        digest.update(f"{name}{array.shape}".encode())
        digest.update(array.data)
    return digest.hexdigest()


def open_prepared(file: pathlib.Path, *, verify: bool = False) -> PreparedProblem:
    """Maps a prepared file.

    Args:
        verify: reads all of it first and compares the SHA-256: once in a job, not in trials.

    Raises:
        DataFault: there is no such file, it is not a prepared file of this version, its arrays
            cannot be mapped, or the checksum is wrong.
    """
    try:
        if not file.is_file():
            raise DataFault(fault(str(file), "no such prepared file", cure=_CURE))
        if verify:
            _verify(file)
        # The file never changes, and parallel file systems often refuse locks.
        with h5py.File(file, "r", locking=False) as source:
            problem = _open(file, source)
    except DataFault:
        raise
    # Of damaged metadata h5py makes many kinds of errors, some of several lines.
    except Exception as error:
        reason = str(error).splitlines() or [type(error).__name__]
        raise _not_prepared(file, f"error={reason[0]}") from error
    return problem


def _verify(file: pathlib.Path) -> None:
    with file.open("rb", buffering=0) as raw:
        block = raw.read(USER_BLOCK_BYTES)
        digest = _file_digest(raw)
    if not block.startswith(_TITLE):
        raise _not_prepared(file, f"first bytes={block[:20]!r}")
    if block != user_block(FORMAT, digest):
        rule = "the prepared file does not match its checksum"
        raise DataFault(fault(str(file), rule, f"SHA-256={digest}", cure=_CURE))


def _open(file: pathlib.Path, source: h5py.File) -> PreparedProblem:
    found = (source.attrs.get("format"), source.attrs.get("schema_version"))
    if found != (FORMAT, SCHEMA_VERSION):
        raise _not_prepared(file, f"format={found[0]}, schema_version={found[1]}")
    for name in (*ARRAY_NAMES, "class_names"):
        if not isinstance(source.get(name), h5py.Dataset):
            raise _not_prepared(file, f"arrays={sorted(source)}")
    return PreparedProblem(
        x_train=_mapped(file, source["x_train"]),
        y_train=np.asarray(source["y_train"][:], dtype=np.int32),
        x_test=_mapped(file, source["x_test"]),
        y_test=np.asarray(source["y_test"][:], dtype=np.int32),
        class_names=tuple(source["class_names"].asstr()[:]),
        source=str(source.attrs["source"]),
        remarks=tuple(str(source.attrs["remarks"]).splitlines()),
        checksum=str(source.attrs["checksum"]),
    )


def _mapped(file: pathlib.Path, dataset: h5py.Dataset) -> Images:
    offset = dataset.id.get_offset()
    if offset is None or dataset.dtype != np.uint8 or dataset.ndim != 4:
        raise DataFault(
            fault(
                f"{file}, array {dataset.name.lstrip('/')}",
                "the images cannot be mapped",
                f"dtype={dataset.dtype}, shape={dataset.shape}, chunks={dataset.chunks}, "
                f"compression={dataset.compression}",
                "Images are contiguous, uncompressed uint8 (N, height, width, channels)",
                _CURE,
            )
        )
    return np.memmap(file, dtype=np.uint8, mode="r", offset=offset, shape=dataset.shape)


def _not_prepared(file: pathlib.Path, received: str) -> DataFault:
    allowed = f"Needed: an HDF5 file with format={FORMAT!r}, schema_version={SCHEMA_VERSION}"
    return DataFault(fault(str(file), "not a prepared file", received, allowed, _CURE))
