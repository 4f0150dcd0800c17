"""Where the time and the FLOPs of compared searches go: why a speed-up is what it is.

Comes in: searches as ``comparison_view`` measured them. Comes out: sums and shares. A trial's time
is that of the comparison: from its child's first line on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

from mpinas.report.comparison_view import Measured
from mpinas.report.training_flops import TrainingFlops, training_flops


@dataclass(frozen=True, slots=True, kw_only=True)
class Phases:
    """Seconds, or shares of somebody's seconds.

    Attributes:
        cut: the narrower network is built and gets its weights.
        rest: of a trial's time: its data, its evaluations, what no phase is named for.
        search: processor time of the search itself, between trials.
    """

    build: float
    shrink: float
    cut: float
    training: float
    rest: float
    search: float

    @classmethod
    def names(cls) -> tuple[str, ...]:
        return tuple(field.name for field in fields(cls))

    @property
    def values(self) -> tuple[float, ...]:
        return tuple(getattr(self, name) for name in self.names())

    @property
    def whole(self) -> float:
        return sum(self.values)

    def over(self, divisor: float) -> Phases:
        """Each of them divided by a positive number."""
        return Phases(**{name: getattr(self, name) / divisor for name in self.names()})


def summed_phases(runs: Sequence[Measured]) -> Phases:
    """Seconds of all trials of some searches, and of the searches themselves."""
    times = [result.times for run in runs for result in run.results]
    named = {
        "build": sum(one.build_s for one in times),
        "shrink": sum(one.shrink_s for one in times),
        "cut": sum(one.rebuild_s for one in times),
        "training": sum(one.train_s for one in times),
    }
    whole = sum(one.on_worker_s for one in times)
    search = sum(sum(run.search_s) for run in runs)
    return Phases(**named, rest=max(0.0, whole - sum(named.values())), search=search)


def phases_of_a_trial(runs: Sequence[Measured]) -> Phases | None:
    """Means over all trials, with their share of the search's time; None without a trial."""
    trials = sum(len(run.results) for run in runs)
    return summed_phases(runs).over(trials) if trials else None


def summed_flops(runs: Sequence[Measured]) -> TrainingFlops:
    """What all trials of some searches spent."""
    spent = [training_flops(run.run.config, result) for run in runs for result in run.results]
    return TrainingFlops(
        shrink=sum(one.shrink for one in spent), training=sum(one.training for one in spent)
    )


def seconds_per_gflop(runs: Sequence[Measured]) -> float | None:
    """Training seconds of an epoch for each GFLOP of a trained network's forward pass.

    None where no trial trained.
    """
    flops = summed_flops(runs).training
    known = [result for run in runs for result in run.results if result.costs is not None]
    return sum(one.times.train_s for one in known) / flops * 1e9 if flops else None
