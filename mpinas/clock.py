"""The clock of a job: when it must be over, and which trials still fit in.

How long a trial takes is told from those seen so far, of this job and the jobs before it: a part of
it does not depend on the network (starting, tracing), so neighbours in predicted cost are asked,
and only beyond the largest one is the time scaled up. Time is an argument, so that tests need no
waiting.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from mpinas.records import TrialResult, TrialSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """How long a trial took; ``cost`` as in ``TrialSpec.predicted_cost``."""

    cost: float
    wall_time_s: float


def seen(cost: float, result: TrialResult) -> Seen:
    """What a complete trial teaches. Loading the runner, once in a worker, is not counted."""
    return Seen(cost=cost, wall_time_s=result.times.wall_time_s - result.times.start_s)


@dataclass(slots=True, kw_only=True)
class Clock:
    """Time left.

    Attributes:
        deadline_s: reading of ``now_s`` at which the job is killed; None for no limit.
        reserve_s: needed at the end for an orderly stop.
        now_s: a clock that never goes back, in seconds.
        history: trials that are over, in any order.
    """

    deadline_s: float | None
    reserve_s: float
    now_s: Callable[[], float]
    history: list[Seen] = field(default_factory=list)

    def over(self) -> bool:
        """Whether running trials have to be stopped now."""
        return self.deadline_s is not None and self.now_s() >= self.deadline_s - self.reserve_s

    def fits(self, spec: TrialSpec) -> bool:
        """Whether the trial is expected to end in time."""
        if self.deadline_s is None:
            return True
        end_s = self.now_s() + self.expected_s(spec.predicted_cost)
        return end_s < self.deadline_s - self.reserve_s

    def learn(self, spec: TrialSpec, result: TrialResult) -> None:
        """Takes in how long a finished trial took."""
        if result.fitness is not None:
            self.history.append(seen(spec.predicted_cost, result))

    def expected_s(self, cost: float) -> float:
        """Expected seconds of a trial of that cost: what the slowest one took that cost no more,
        and at least what the quickest one took that cost no less; 0 before the first trial."""
        cheaper = [one for one in self.history if one.cost <= cost]
        dearer_s = [one.wall_time_s for one in self.history if one.cost >= cost]
        expected_s = max((one.wall_time_s for one in cheaper), default=0.0)
        if dearer_s:
            return max(expected_s, min(dearer_s))
        largest = max((one.cost for one in cheaper), default=0.0)
        return expected_s * cost / largest if largest > 0 else expected_s
