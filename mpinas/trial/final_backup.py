"""What a final training has reached after an epoch, so that a killed one goes on from there.

One file, replaced whole after each epoch: weights, the optimizer's state, the best weights so far,
and the epochs' figures. It is an ``.npz`` behind a line with its SHA-256: numpy reads many a broken
one to its end without noticing. No pickle. What is damaged, or of another training, counts as none.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mpinas.files import fsync_directory, naming
from mpinas.records import canonical_json, parse_json

Array = npt.NDArray[Any]
Rows = Sequence[Mapping[str, float]]

_ABOUT = "about"
_GROUPS = ("network", "optimizer", "best")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Backup:
    """A training after some epochs.

    Attributes:
        identity: of the training, ``FinalSettings.identity``.
        rows: figures of each epoch: loss, accuracy, val_loss, val_accuracy, time_s.
        network, optimizer: values of their variables, in order.
        best: the network's in its best epoch.
    """

    identity: str
    rows: Rows
    network: Sequence[Array]
    optimizer: Sequence[Array]
    best: Sequence[Array]


def best_epoch(rows: Rows) -> int:
    """Which epoch has the highest validation accuracy; of equal ones that with the lower loss.

    Returns:
        Counted from 0.
    """
    return max(
        range(len(rows)),
        key=lambda epoch: (rows[epoch]["val_accuracy"], -rows[epoch]["val_loss"], -epoch),
    )


def is_over(rows: Rows, *, epochs: int, patience: int) -> bool:
    """Whether all epochs are over, or so many since the best one."""
    if not rows:
        return False
    return len(rows) >= epochs or len(rows) - 1 - best_epoch(rows) >= patience


def save_backup(file: Path, backup: Backup) -> None:
    """Replaces the file whole.

    Raises:
        OSError: it cannot be written; the old one stands.
    """
    about = canonical_json(
        {"identity": backup.identity, "rows": [dict(row) for row in backup.rows]}
    )
    arrays = {_ABOUT: np.frombuffer(about, np.uint8)}
    for group in _GROUPS:
        arrays |= {f"{group}_{i:04d}": array for i, array in enumerate(getattr(backup, group))}
    content = io.BytesIO()
    np.savez(content, **arrays)  # type: ignore[arg-type]
    temporary = file.with_name(f"{file.name}.new")
    with naming(file):
        try:
            with temporary.open("wb") as target:
                target.write(_digest_line(content.getbuffer()))
                target.write(content.getbuffer())
                target.flush()
                os.fsync(target.fileno())
            os.replace(temporary, file)
            fsync_directory(file.parent)
        finally:
            temporary.unlink(missing_ok=True)


def load_backup(file: Path, identity: str) -> Backup | None:
    """What a training of that identity has reached; None where nothing tells."""
    try:
        first, content = file.read_bytes().split(b"\n", 1)
        if _digest_line(content) != first + b"\n":
            return None
        with np.load(io.BytesIO(content), allow_pickle=False) as source:
            about = parse_json(source[_ABOUT].tobytes())
            groups = {
                group: [source[name] for name in sorted(source.files) if name.startswith(group)]
                for group in _GROUPS
            }
    except (OSError, ValueError, KeyError):
        return None
    if about["identity"] != identity:
        return None
    return Backup(identity=identity, rows=about["rows"], **groups)


def _digest_line(content: bytes | memoryview) -> bytes:
    return f"{hashlib.sha256(content).hexdigest()}\n".encode()
