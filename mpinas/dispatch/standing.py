"""Which workers deserve a trial: what their results say of them. Pure; shared by the executors.

A worker whose disk, device, memory or forkserver is broken fails at once, is free again at once,
and would be given one trial after the other while its healthy neighbours are busy with theirs.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from mpinas.assembly.shapes import network_costs
from mpinas.records import Failure, TrialResult, TrialSpec, TrialStatus, Worker, last_line
from mpinas.trial import outcome

FAILURES_ALLOWED = 3
STARVED_AT_FIRST_ALLOWED = 10
"""Trials in a row that may die of the host's memory before any trial is complete: the largest go
out first, and a space may hold several that are too large."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What follows from the end of a trial.

    Attributes:
        result: as it is to be told.
        reason: why the worker is to be set aside; empty as long as it is to be kept.
    """

    result: TrialResult
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Blame:
    """A failure that a worker has to answer for; ``starved``: of the host's memory."""

    trial_id: str
    starved: bool


class Standing:
    """What is remembered of workers (by rank) and of the trials that failed on them.

    A failure of the infrastructure counts, and any other result clears the worker and forgets the
    trial; a cancelled trial says nothing. A trial that died of the host's memory may be too large
    or have met a worker without memory. It is too large, which says nothing of the worker, where
    it needs more than every trial that is complete, or has died of it before; else it is the
    worker's failure.
    """

    def __init__(self) -> None:
        self._specs: dict[str, TrialSpec] = {}
        self._failed_on: dict[str, set[int]] = {}
        self._starved_on: dict[str, set[str]] = {}
        self._in_a_row: dict[int, list[_Blame]] = {}
        self._largest_complete = 0

    def choose(self, spec: TrialSpec, free: Iterable[Worker]) -> int | None:
        """The rank of the worker for a trial; None where none is free.

        One on which this trial has not failed yet, on a host that had memory for it; of these the
        one on which the fewest failed of late; of these the first.
        """
        failed_on = self._failed_on.get(spec.trial_id, set())
        starved_on = self._starved_on.get(spec.trial_id, set())
        chosen = min(
            free,
            key=lambda worker: (
                worker.rank in failed_on,
                worker.host in starved_on,
                _trials(self._in_a_row.get(worker.rank, ())),
            ),
            default=None,
        )
        if chosen is None:
            return None
        self._specs[spec.trial_id] = spec
        return chosen.rank

    def take(self, worker: Worker, result: TrialResult, *, alone: bool) -> Verdict:
        """Notes how a trial ended.

        Args:
            alone: no other worker is left. Then it is not different trials that condemn the
                worker but failures, since none can be tried elsewhere; and the trial whose failure
                is the last one is told as interrupted: it is to be run when there are workers.
        """
        spec = self._specs.pop(result.trial_id, None)
        if result.status is TrialStatus.INTERRUPTED:
            return Verdict(result=result)
        starved = spec is not None and outcome.is_starved(result)
        if spec is not None and starved:
            if self._is_too_large(spec):
                self._forget(result.trial_id)
                return Verdict(result=result)
            self._starved_on.setdefault(result.trial_id, set()).add(worker.host)
            result = replace(result, failure=Failure.INFRASTRUCTURE)
        if result.failure is Failure.INFRASTRUCTURE:
            blame = _Blame(trial_id=result.trial_id, starved=starved)
            return self._blame(worker.rank, blame, result, alone=alone)
        self._in_a_row.pop(worker.rank, None)
        self._forget(result.trial_id)
        if spec is not None and result.status is TrialStatus.COMPLETE:
            self._largest_complete = max(self._largest_complete, memory_need(spec))
        return Verdict(result=result)

    def _is_too_large(self, spec: TrialSpec) -> bool:
        """Whether a trial that died of the host's memory is itself to blame."""
        larger_than_all = 0 < self._largest_complete < memory_need(spec)
        return larger_than_all or spec.trial_id in self._starved_on

    def _forget(self, trial_id: str) -> None:
        self._failed_on.pop(trial_id, None)
        self._starved_on.pop(trial_id, None)

    def _blame(self, rank: int, blame: _Blame, result: TrialResult, *, alone: bool) -> Verdict:
        self._failed_on.setdefault(result.trial_id, set()).add(rank)
        row = self._in_a_row.setdefault(rank, [])
        row.append(blame)
        count = len(row) if alone else _trials(row)
        at_first = self._largest_complete == 0 and all(one.starved for one in row)
        if count < (STARVED_AT_FIRST_ALLOWED if at_first else FAILURES_ALLOWED):
            return Verdict(result=result)
        reason = f"{count} trials in a row failed here, the last with: {last_line(result.error)}"
        if alone:
            result = replace(result, status=TrialStatus.INTERRUPTED, failure=None)
        return Verdict(result=result, reason=reason)


def _trials(row: Iterable[_Blame]) -> int:
    """How many different ones."""
    return len({one.trial_id for one in row})


def memory_need(spec: TrialSpec) -> int:
    """Numbers that a training holds at once, roughly; for comparing trials of one run.

    Outputs of layers and their gradients for each image of a batch; each weight, its gradient and
    two moments of the optimizer.
    """
    costs = network_costs(spec.network)
    return 2 * int(spec.settings["batch_size"]) * costs.activations + 4 * costs.parameters
