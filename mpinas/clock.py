"""The clock of a job: when it must be over, and which trials still fit in.

How long a trial takes is told from those seen so far: the slowest rate of wall time per predicted
cost. Time is an argument, so that tests need no waiting.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from mpinas.records import TrialResult, TrialSpec


@dataclass(slots=True, kw_only=True)
class Clock:
    """Time left.

    Attributes:
        deadline_s: reading of ``now_s`` at which the job is killed; None for no limit.
        reserve_s: needed at the end for an orderly stop.
        now_s: a clock that never goes back, in seconds.
        slowest_s_per_cost: over the trials seen so far; 0 before the first one.
    """

    deadline_s: float | None
    reserve_s: float
    now_s: Callable[[], float]
    slowest_s_per_cost: float = 0.0

    def over(self) -> bool:
        """Whether running trials have to be stopped now."""
        return self.deadline_s is not None and self.now_s() >= self.deadline_s - self.reserve_s

    def fits(self, spec: TrialSpec) -> bool:
        """Whether the trial is expected to end in time."""
        if self.deadline_s is None:
            return True
        expected_s = self.slowest_s_per_cost * spec.predicted_cost
        return self.now_s() + expected_s < self.deadline_s - self.reserve_s

    def learn(self, spec: TrialSpec, result: TrialResult) -> None:
        """Takes in how long a finished trial took."""
        if result.fitness is not None and spec.predicted_cost > 0:
            rate = result.times.wall_time_s / spec.predicted_cost
            self.slowest_s_per_cost = max(self.slowest_s_per_cost, rate)
