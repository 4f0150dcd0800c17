"""Which workers deserve a trial: what their results say of them. Pure; shared by the executors.

A worker whose disk, device or forkserver is broken fails at once, is free again at once, and would
be given one trial after the other while its healthy neighbours are busy with theirs.
"""

from __future__ import annotations

from collections.abc import Iterable

from mpinas.records import Failure, TrialResult, TrialStatus, last_line

FAILURES_ALLOWED = 3


class Standing:
    """What is remembered of workers (by rank) and of the trials that failed on them.

    A failure of the infrastructure counts, and any other result clears the worker and forgets the
    trial; a cancelled trial says nothing.
    """

    def __init__(self) -> None:
        self._failed_on: dict[str, set[int]] = {}
        self._in_a_row: dict[int, set[str]] = {}

    def choose(self, trial_id: str, free: Iterable[int]) -> int | None:
        """The worker for a trial; None where none is free.

        One on which this trial has not failed yet; of these one that has failed no trial of late;
        of these the first.
        """
        failed_on = self._failed_on.get(trial_id, set())
        return min(
            free,
            key=lambda rank: (rank in failed_on, len(self._in_a_row.get(rank, ()))),
            default=None,
        )

    def take(self, rank: int, result: TrialResult) -> str:
        """Notes how a trial ended.

        Returns:
            Why the worker is to be set aside: different trials have failed on it one after the
            other. Empty as long as it is to be kept.
        """
        if result.status is TrialStatus.INTERRUPTED:
            return ""
        if result.failure is not Failure.INFRASTRUCTURE:
            self._in_a_row.pop(rank, None)
            self._failed_on.pop(result.trial_id, None)
            return ""
        self._failed_on.setdefault(result.trial_id, set()).add(rank)
        row = self._in_a_row.setdefault(rank, set())
        row.add(result.trial_id)
        if len(row) < FAILURES_ALLOWED:
            return ""
        return f"{len(row)} trials in a row failed here, the last with: {last_line(result.error)}"
