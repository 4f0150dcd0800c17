"""What a final training has reached survives, and what is damaged or of another counts as none."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mpinas.trial.final_backup import Backup, best_epoch, is_over, load_backup, save_backup


def row(accuracy: float, loss: float = 1.0) -> dict[str, float]:
    return {"val_accuracy": accuracy, "val_loss": loss, "loss": 0.1 + 0.2, "time_s": 3.0}


BACKUP = Backup(
    identity="abc",
    rows=[row(0.5), row(0.7)],
    network=[np.arange(6, dtype=np.float32).reshape(2, 3), np.float32(0.1)],
    optimizer=[np.int64(7), *(np.full(2, i, np.float32) for i in range(12))],
    best=[np.zeros(3, np.float32)],
)


def test_every_bit_comes_back_in_order(tmp_path: Path) -> None:
    save_backup(tmp_path / "b.npz", BACKUP)
    found = load_backup(tmp_path / "b.npz", "abc")
    assert found is not None
    assert list(found.rows) == list(BACKUP.rows)
    for name in ("network", "optimizer", "best"):
        before, after = getattr(BACKUP, name), getattr(found, name)
        assert len(before) == len(after)
        for one, other in zip(before, after, strict=True):
            np.testing.assert_array_equal(one, other)
            assert (np.asarray(one).dtype, np.shape(one)) == (other.dtype, other.shape)
    assert [file.name for file in tmp_path.iterdir()] == ["b.npz"]


def test_one_of_another_training_counts_as_none(tmp_path: Path) -> None:
    save_backup(tmp_path / "b.npz", BACKUP)
    assert load_backup(tmp_path / "b.npz", "abd") is None
    assert load_backup(tmp_path / "other.npz", "abc") is None


def test_a_damaged_one_counts_as_none(tmp_path: Path) -> None:
    """numpy and zipfile end in a dozen ways on one, or see nothing of it."""
    file = tmp_path / "b.npz"
    save_backup(file, BACKUP)
    whole = file.read_bytes()
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << place % 8
        file.write_bytes(damaged)
        assert load_backup(file, "abc") is None, place
        file.write_bytes(whole[:place])
        assert load_backup(file, "abc") is None, place
    file.write_bytes(whole)
    assert load_backup(file, "abc") is not None


def test_a_failed_writing_leaves_the_old_one(tmp_path: Path) -> None:
    file = tmp_path / "b.npz"
    save_backup(file, BACKUP)
    (tmp_path / "b.npz.new").mkdir()
    with pytest.raises(OSError, match=r"b\.npz"):
        save_backup(file, replace(BACKUP, identity="new"))
    assert load_backup(file, "abc") is not None


def test_the_best_epoch_is_the_most_accurate_then_the_surest_then_the_first() -> None:
    assert best_epoch([row(0.5), row(0.7), row(0.6)]) == 1
    assert best_epoch([row(0.7, 0.9), row(0.7, 0.8), row(0.6, 0.1)]) == 1
    assert best_epoch([row(0.7), row(0.7)]) == 0


def test_a_training_is_over_after_all_epochs_or_so_many_since_the_best() -> None:
    rows = [row(0.7), row(0.6), row(0.6)]
    assert not is_over([], epochs=1, patience=1)
    assert is_over(rows, epochs=3, patience=9)
    assert is_over(rows, epochs=9, patience=2)
    assert not is_over(rows, epochs=9, patience=3)
