"""The clock of a job: when it must be over, and which trials still fit in.

How long a trial takes is told from those seen so far, of this job and the jobs before it: a part of
it does not depend on the network (starting, tracing), so neighbours in predicted cost are asked,
and only beyond the largest one is the time scaled up. Time is an argument, so that tests need no
waiting.
"""

from __future__ import annotations

import logging
import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import accumulate

from mpinas.errors import fault
from mpinas.records import TrialResult, TrialSpec, TrialStatus

logger = logging.getLogger(__name__)

SPARE = 1.25
"""More than a trial is expected to take: what the walltime to be asked for leaves room for."""


@dataclass(frozen=True, slots=True, order=True)
class Seen:
    """How long a trial took; ``cost`` as in ``TrialSpec.predicted_cost``."""

    cost: float
    wall_time_s: float


def seen(cost: float, result: TrialResult) -> Seen:
    """What a complete trial teaches. Loading the runner, once in a worker, is not counted."""
    return Seen(cost, result.times.on_worker_s)


class Clock:
    """Time left.

    Args:
        deadline_s: reading of ``now_s`` at which the job is killed; None for no limit.
        reserve_s: needed at the end for an orderly stop.
        now_s: a clock that never goes back, in seconds.
        trials_go_on: where they were broken off, so that any of them may be started at any time.
    """

    def __init__(
        self,
        *,
        deadline_s: float | None,
        reserve_s: float,
        now_s: Callable[[], float],
        trials_go_on: bool = False,
    ) -> None:
        self.deadline_s = deadline_s
        self._trials_go_on = trials_go_on
        self._reserve_s = reserve_s
        self._now_s = now_s
        self._whole_job_s = self.left_s()
        self._told = False
        self._history: list[Seen] = []
        self._slowest_s: list[float] = []
        self._quickest_s: list[float] = []

    def another(self, *, trials_go_on: bool = False) -> Clock:
        """One for other trials of the same job, which has seen none yet."""
        made = Clock(
            deadline_s=self.deadline_s,
            reserve_s=self._reserve_s,
            now_s=self._now_s,
            trials_go_on=trials_go_on,
        )
        made._whole_job_s = self._whole_job_s
        return made

    def left_s(self) -> float | None:
        """Seconds until running trials have to be stopped; None for no limit."""
        if self.deadline_s is None:
            return None
        return self.deadline_s - self._reserve_s - self._now_s()

    def over(self) -> bool:
        """Whether running trials have to be stopped now."""
        left_s = self.left_s()
        return left_s is not None and left_s <= 0

    def fits(self, spec: TrialSpec) -> bool:
        """Whether the trial is expected to end in time.

        Logs, once, that one would not end in a whole job like this: the search cannot go on then.
        """
        left_s = self.left_s()
        if left_s is None or self._trials_go_on:
            return True
        expected_s = self.expected_s(spec.predicted_cost)
        if expected_s < left_s:
            return True
        if not self._told and self._whole_job_s is not None and expected_s >= self._whole_job_s:
            self._told = True
            logger.warning("%s", self._too_long(spec.trial_id, expected_s, self._whole_job_s))
        return False

    def _too_long(self, trial_id: str, expected_s: float, whole_job_s: float) -> str:
        needed_min = math.ceil((expected_s * SPARE + self._reserve_s) / 60)
        return fault(
            "walltime",
            f"{trial_id} would not end in a whole job, and without it the search does not go on",
            f"expected={expected_s:.0f} s, time for trials in a job={whole_job_s:.0f} s",
            cure=f"Ask for {needed_min} minutes or more (run.walltime, or --walltime of the job "
            "script), or begin another search whose trials are shorter",
        )

    def learn(self, spec: TrialSpec, result: TrialResult) -> None:
        """Takes in how long a finished trial took.

        Logs, once, that one was broken off before any had ended, which the next job would do again.
        """
        if self.deadline_s is None or self._trials_go_on:
            return
        if result.fitness is not None:
            self.learn_from([seen(spec.predicted_cost, result)])
        elif result.status is TrialStatus.INTERRUPTED and not self._history and not self._told:
            self._told = True
            logger.warning("%s", self._none_ended(spec.trial_id))

    def _none_ended(self, trial_id: str) -> str:
        return fault(
            "walltime",
            f"{trial_id} is broken off, and no trial of the run has ended yet",
            f"time for trials in a job={self._whole_job_s or 0.0:.0f} s",
            cure="If jobs of this length never end one, ask for more (run.walltime, or --walltime "
            "of the job script), or begin another search whose trials are shorter",
        )

    def learn_from(self, trials: Iterable[Seen]) -> None:
        """Takes in trials that are over, in any order.

        Kept by cost, with the slowest up to each place and the quickest from it on, so that an
        answer costs a bisection: every waiting trial asks each time a worker is free.
        """
        self._history = sorted([*self._history, *trials])
        times_s = [one.wall_time_s for one in self._history]
        self._slowest_s = list(accumulate(times_s, max))
        self._quickest_s = list(accumulate(reversed(times_s), min))[::-1]

    def expected_s(self, cost: float) -> float:
        """Expected seconds of a trial of that cost: what the slowest one took that cost no more,
        and at least what the quickest one took that cost no less; 0 before the first trial."""
        dearer = bisect_right(self._history, Seen(cost, math.inf))
        as_dear = bisect_left(self._history, Seen(cost, -math.inf))
        expected_s = self._slowest_s[dearer - 1] if dearer else 0.0
        if as_dear < len(self._history):
            return max(expected_s, self._quickest_s[as_dear])
        largest = self._history[-1].cost if self._history else 0.0
        return expected_s * cost / largest if largest > 0 else expected_s
