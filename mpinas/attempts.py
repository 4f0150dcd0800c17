"""Trials that are to be run: those that wait, those that are out, and how often each was tried.

Comes in: ``TrialSpec``, and what an executor tells of them. Comes out: what may start now, and one
result of each trial that counts. A trial that was broken off waits again; one whose worker failed
it is tried elsewhere, ``INFRASTRUCTURE_RETRIES`` times. It must know nothing of what becomes of a
result, and writes nothing.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import islice

from mpinas.records import (
    Event,
    Failure,
    Finished,
    TrialResult,
    TrialSpec,
    TrialStatus,
    WorkerLost,
    last_line,
    trial_number,
)

logger = logging.getLogger(__name__)

INFRASTRUCTURE_RETRIES = 2


class Attempts:
    """Trials on their way to a result."""

    def __init__(self) -> None:
        self._waiting: list[TrialSpec] = []
        self._running: dict[str, TrialSpec] = {}
        self._failed: Counter[str] = Counter()

    @property
    def running(self) -> Sequence[str]:
        """Ids of the trials that are out."""
        return tuple(self._running)

    @property
    def over(self) -> bool:
        """Whether none waits and none is out."""
        return not self._waiting and not self._running

    def add(self, specs: Iterable[TrialSpec]) -> None:
        """Has more trials wait, those that are predicted to take longest in front."""
        self._waiting += specs
        self._waiting.sort(key=lambda spec: (-spec.predicted_cost, trial_number(spec.trial_id)))

    def start(
        self, wanted: int, fits: Callable[[TrialSpec], bool], *, free: int
    ) -> list[TrialSpec]:
        """Up to ``wanted`` trials, which are out from now on.

        Args:
            fits: whether a trial may still be started; one that may not stays waiting.
            free: how many workers have no trial.
        """
        chosen = list(islice(filter(fits, self._startable(free)), wanted))
        for spec in chosen:
            self._waiting.remove(spec)
            self._running[spec.trial_id] = spec
        return chosen

    def _startable(self, free: int) -> list[TrialSpec]:
        """What may go out now. A trial that failed by infrastructure goes out only where the
        executor has a choice of workers, so that it is tried elsewhere."""
        if free > 1 or not self._running:
            return list(self._waiting)
        return [spec for spec in self._waiting if spec.trial_id not in self._failed]

    def take(self, event: Event) -> TrialResult | None:
        """The result that a trial has come to by this event; None as long as it has none, and for
        events of trials that are not out."""
        if isinstance(event, WorkerLost) and event.trial_id in self._running:
            return self._take_lost(self._running.pop(event.trial_id), event)
        if isinstance(event, Finished) and event.result.trial_id in self._running:
            return self._take_result(self._running.pop(event.result.trial_id), event.result)
        return None

    def _take_lost(self, spec: TrialSpec, event: WorkerLost) -> TrialResult | None:
        logger.warning("%s: worker %d lost: %s", spec.trial_id, event.worker.rank, event.reason)
        lost = TrialResult(
            trial_id=spec.trial_id,
            network_hash=spec.network.hash,
            status=TrialStatus.FAILED,
            failure=Failure.INFRASTRUCTURE,
            worker=event.worker,
            error=event.reason,
        )
        return self._take_result(spec, lost)

    def _take_result(self, spec: TrialSpec, result: TrialResult) -> TrialResult | None:
        name = spec.trial_id
        if result.status is TrialStatus.INTERRUPTED:
            self._waiting.insert(0, spec)
            return None
        if result.failure is Failure.INFRASTRUCTURE:
            self._failed[name] += 1
            if self._failed[name] <= INFRASTRUCTURE_RETRIES:
                logger.warning("%s: %s: tried again", name, last_line(result.error))
                self._waiting.append(spec)
                return None
        del self._failed[name]  # a Counter minds no key that is not there
        return result
