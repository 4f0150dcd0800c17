"""One HDF5 file a generation: written once, never rewritten, opened safely by anyone.

A file holds the tuner's state *after* the results of its generation were told, the results, and
only what is new since the file before it: history rows (the innovation table) and lineage. All
content is JSON text in byte arrays with a SHA-256 over it; there is no pickle. ``start.h5`` holds
the starting populations; the chain ``start.h5, g000.h5, g001.h5, ...`` is read up to its first
missing or damaged file.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from mpinas.journal import fsync_directory
from mpinas.records import canonical_json

logger = logging.getLogger(__name__)

SCHEMA_VERSION = 1
START = -1
"""Generation number of ``start.h5``."""

HistoryRow = tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """What one file holds.

    Attributes:
        generation: the one that is told; ``START`` for the starting populations.
        state: of the tuner, without its history.
        history_start: how many history rows stand in the files before.
        history: the rows after these.
        lineage: of the genomes made for this generation, as plain JSON.
        results: of this generation, as plain JSON, sorted by trial number.
        about: versions, configuration and whatever a reader wants to know.
    """

    generation: int
    state: Mapping[str, Any]
    history_start: int
    history: Sequence[HistoryRow]
    lineage: Sequence[Any]
    results: Sequence[Any]
    about: Mapping[str, Any]


class DamagedCheckpoint(ValueError):
    """The file is not a checkpoint, or not the one that was written."""


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Writes the file, reads it back, and only then gives it its name. Does nothing if an equal
    file is there already.

    Raises:
        OSError: it could not be written; the old state of the directory stands.
    """
    parts = _parts(checkpoint)
    digest = _digest(parts)
    if _digest_of(path) == digest:
        return
    temporary = path.with_name(f".{path.name}.new")
    with h5py.File(temporary, "w", locking=False) as file:
        file.attrs["schema_version"] = SCHEMA_VERSION
        file.attrs["generation"] = checkpoint.generation
        file.attrs["digest"] = digest
        for name, text in parts.items():
            file.create_dataset(name, data=np.frombuffer(text, dtype=np.uint8))
    _fsync_file(temporary)
    load_checkpoint(temporary)
    os.replace(temporary, path)
    fsync_directory(path.parent)


def load_checkpoint(path: Path) -> Checkpoint:
    """Reads one file.

    Raises:
        DamagedCheckpoint: it is not one, of another schema, or its content changed.
    """
    try:
        with h5py.File(path, "r", locking=False) as file:
            version = int(file.attrs["schema_version"])
            digest = str(file.attrs["digest"])
            parts = {name: bytes(file[name][()].tobytes()) for name in sorted(file)}
    except (OSError, KeyError, ValueError, TypeError, RuntimeError, AttributeError) as error:
        raise DamagedCheckpoint(f"{path}: not a readable checkpoint ({error})") from error
    if version != SCHEMA_VERSION:
        raise DamagedCheckpoint(
            f"{path}: schema_version {version}; this version of mpinas reads {SCHEMA_VERSION}"
        )
    if _digest(parts) != digest:
        raise DamagedCheckpoint(f"{path}: its content does not match its digest")
    content = {name: json.loads(text) for name, text in parts.items()}
    history = tuple(tuple(row) for row in content.pop("history"))
    return Checkpoint(history=history, **content)


def load_chain(start: Path, generation_file: Any) -> Checkpoint | None:
    """The newest checkpoint that can be trusted, with the *whole* history up to it.

    Args:
        start: path of ``start.h5``.
        generation_file: generation -> path of its file.

    Returns:
        None if not even the starting populations can be read.
    """
    newest = _load_or_warn(start)
    if newest is None:
        return None
    history = list(newest.history)
    while True:
        following = _load_or_warn(generation_file(newest.generation + 1))
        if following is None or following.history_start != len(history):
            return replace(newest, history=tuple(history), history_start=0)
        history += following.history
        newest = following


def _load_or_warn(path: Path) -> Checkpoint | None:
    if not path.exists():
        return None
    try:
        return load_checkpoint(path)
    except DamagedCheckpoint as error:
        logger.warning("%s: going on from the one before it", error)
        return None


def _parts(checkpoint: Checkpoint) -> dict[str, bytes]:
    return {
        "about": canonical_json(checkpoint.about),
        "generation": canonical_json(checkpoint.generation),
        "history": canonical_json([list(row) for row in checkpoint.history]),
        "history_start": canonical_json(checkpoint.history_start),
        "lineage": canonical_json(list(checkpoint.lineage)),
        "results": canonical_json(list(checkpoint.results)),
        "state": canonical_json(checkpoint.state),
    }


def _digest(parts: Mapping[str, bytes]) -> str:
    digest = hashlib.sha256()
    for name in sorted(parts):
        digest.update(f"{name} {len(parts[name])}\n".encode())
        digest.update(parts[name])
    return digest.hexdigest()


def _digest_of(path: Path) -> str | None:
    try:
        load_checkpoint(path)
        with h5py.File(path, "r", locking=False) as file:
            return str(file.attrs["digest"])
    except (DamagedCheckpoint, OSError):
        return None


def _fsync_file(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
