"""``compare --dry-run``: checks everything, tries a candidate of each arm, keeps nothing."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mpinas.comparison import Comparison
from mpinas.comparison_opening import check_comparison, data_to_try
from mpinas.dispatch.base import Executor
from mpinas.dry_run import DryRun, dry_search
from mpinas.records import BYTES_PER_MB
from mpinas.run_data import shared_file, with_data


@dataclass(frozen=True, slots=True, kw_only=True)
class DryComparison:
    """What a comparison would be.

    Attributes:
        arms: what a search of each would be.
        data_mb: of the prepared data that the directory would hold.
    """

    comparison: Comparison
    arms: Mapping[str, DryRun]
    data_mb: float

    @property
    def trials(self) -> int:
        """Of all its searches."""
        return self.comparison.experiments * sum(one.trials for one in self.arms.values())

    @property
    def workers_s(self) -> float:
        """Worker seconds of all its trials."""
        return self.comparison.experiments * sum(one.workers_s for one in self.arms.values())

    @property
    def disk_mb(self) -> float:
        """Of its directory at the end, saved weights not counted."""
        searches_mb = sum(one.disk_mb for one in self.arms.values())
        return self.data_mb + self.comparison.experiments * searches_mb


def dry_comparison(
    comparison: Comparison, executor: Executor, *, fresh: bool = False
) -> DryComparison:
    """Checks what the comparison would check, and trains a candidate of each arm for two epochs.

    Args:
        executor: with the workers it would have; it stays the caller's to close.

    Raises:
        UserMustChange: as the comparison itself would, or no candidate of an arm is within the
            limits.
        MpinasError: a candidate could not be trained; the message says why.
    """
    check_comparison(comparison, fresh=fresh)
    with tempfile.TemporaryDirectory() as folder:
        data = data_to_try(comparison, Path(folder), fresh=fresh)
        first = comparison.runs[: len(comparison.arms)]
        return DryComparison(
            comparison=comparison,
            arms={run.arm: dry_search(with_data(run.config, data), executor) for run in first},
            data_mb=0.0 if shared_file(comparison.config) else data.stat().st_size / BYTES_PER_MB,
        )
