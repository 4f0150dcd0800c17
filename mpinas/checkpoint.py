"""One HDF5 file a generation: written once, never rewritten, opened safely by anyone.

A file holds the tuner's state *after* the results of its generation were told, the results, and
only what is new since the file before it: history rows (the innovation table) and lineage. All
content is JSON text in byte arrays; there is no pickle. ``start.h5`` holds the starting
populations; the chain ``start.h5, g000.h5, g001.h5, ...`` is read up to its first missing or
damaged file.

The SHA-256 of the file stands in its HDF5 user block and is checked before the HDF5 library sees
the file: on a damaged one the library may not only fail but loop for ever (seen with one flipped
byte of metadata).
"""

from __future__ import annotations

import errno
import hashlib
import io
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from mpinas.evolution.innovation import HistoryRow
from mpinas.files import USER_BLOCK_BYTES, fsync_directory, naming, user_block
from mpinas.records import canonical_json, parse_json

logger = logging.getLogger(__name__)

SCHEMA_VERSION = 1
START = -1
"""Generation number of ``start.h5``."""
OF_ONE_RUN = ("start", "seed", "data")
"""What all files of a run say alike about it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """What one file holds.

    Attributes:
        generation: the one that is told; ``START`` for the starting populations.
        state: of the tuner, without its history.
        history_start: how many history rows stand in the files before.
        history: the rows after these.
        results: of this generation, as plain JSON, sorted by trial number.
        about: versions, configuration and whatever a reader wants to know.
    """

    generation: int
    state: Mapping[str, Any]
    history_start: int
    history: Sequence[HistoryRow]
    results: Sequence[Any]
    about: Mapping[str, Any]

    @property
    def lineage(self) -> Sequence[Any]:
        """Of the genomes made for this generation, as plain JSON; every state has it."""
        lineage: Sequence[Any] = self.state["lineage"]
        return lineage


class DamagedCheckpoint(ValueError):
    """The file is not a checkpoint, or not the one that was written."""


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Writes the file, reads it back, and only then gives it its name. Does nothing if an equal
    file is there already.

    Raises:
        OSError: it could not be written; the old state of the directory stands. The file is named
            in it.
    """
    parts = _parts(checkpoint)
    if path.exists() and _holds(path, parts):
        return
    content = _sealed(checkpoint.generation, parts)
    temporary = path.with_name(f".{path.name}.new")
    with naming(path):
        try:
            with temporary.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            if temporary.read_bytes() != content:
                raise OSError(errno.EIO, "what was read back is not what was written")
            os.replace(temporary, path)
        except OSError:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise
        fsync_directory(path.parent)


def load_checkpoint(path: Path) -> Checkpoint:
    """Reads one file.

    Raises:
        DamagedCheckpoint: it is not one, of another schema, or its content changed.
    """
    content = {name: parse_json(text) for name, text in _read_parts(path).items()}
    history = tuple(tuple(row) for row in content.pop("history"))
    return Checkpoint(history=history, **content)


def load_chain(start: Path, generation_file: Callable[[int], Path]) -> Checkpoint | None:
    """The newest checkpoint that can be trusted, with the *whole* history up to it.

    Args:
        start: path of ``start.h5``.
        generation_file: generation -> path of its file.

    Returns:
        None if not even the starting populations can be read.
    """
    newest = _load_or_warn(start, "no starting populations can be read")
    if newest is not None and newest.generation != START:
        logger.warning("%s: holds generation %d instead", start, newest.generation)
        newest = None
    if newest is None:
        return None
    history = list(newest.history)
    while True:
        path = generation_file(newest.generation + 1)
        following = _load_or_warn(path, "going on from the one before it")
        if following is not None and not _continues(newest, len(history), following):
            logger.warning("%s: does not continue the one before it, from which we go on", path)
            following = None
        if following is None:
            return replace(newest, history=tuple(history), history_start=0)
        history += following.history
        newest = following


def _continues(newest: Checkpoint, history: int, following: Checkpoint) -> bool:
    """Whether the file is that of the next generation of this run: it may have been copied there.

    Args:
        history: how many rows there are so far.
    """
    place = (newest.generation + 1, history)
    same_run = all(newest.about.get(key) == following.about.get(key) for key in OF_ONE_RUN)
    return place == (following.generation, following.history_start) and same_run


def _load_or_warn(path: Path, otherwise: str) -> Checkpoint | None:
    if not path.exists():
        return None
    try:
        return load_checkpoint(path)
    except DamagedCheckpoint as error:
        logger.warning("%s: %s", error, otherwise)
        return None


def _parts(checkpoint: Checkpoint) -> dict[str, bytes]:
    return {
        "about": canonical_json(checkpoint.about),
        "generation": canonical_json(checkpoint.generation),
        "history": canonical_json([list(row) for row in checkpoint.history]),
        "history_start": canonical_json(checkpoint.history_start),
        "results": canonical_json(list(checkpoint.results)),
        "state": canonical_json(checkpoint.state),
    }


def _read_parts(path: Path) -> dict[str, bytes]:
    """JSON text by name, as it was written. Raises as :func:`load_checkpoint`."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DamagedCheckpoint(f"{path}: cannot be read ({error.strerror})") from error
    if content[:USER_BLOCK_BYTES] != _user_block(content[USER_BLOCK_BYTES:]):
        raise DamagedCheckpoint(f"{path}: not a checkpoint, or its content changed")
    with h5py.File(io.BytesIO(content), "r") as file:
        version = int(file.attrs["schema_version"])
        if version != SCHEMA_VERSION:
            raise DamagedCheckpoint(
                f"{path}: schema_version {version}; this version of mpinas reads {SCHEMA_VERSION}"
            )
        return {name: file[name][()].tobytes() for name in file}


def _holds(path: Path, parts: Mapping[str, bytes]) -> bool:
    try:
        return _read_parts(path) == parts
    except DamagedCheckpoint:
        return False


def _user_block(content: bytes) -> bytes:
    return user_block("mpinas checkpoint", hashlib.sha256(content).hexdigest())


def _sealed(generation: int, parts: Mapping[str, bytes]) -> bytes:
    """The file, made in memory: on a full disk the HDF5 library crashes."""
    memory = io.BytesIO()
    with h5py.File(memory, "w", userblock_size=USER_BLOCK_BYTES) as file:
        file.attrs["schema_version"] = SCHEMA_VERSION
        file.attrs["generation"] = generation
        for name, text in parts.items():
            file.create_dataset(name, data=np.frombuffer(text, dtype=np.uint8))
    content = memory.getvalue()[USER_BLOCK_BYTES:]
    return _user_block(content) + content
