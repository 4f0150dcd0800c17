"""How long a run is expected to last, told from what was seen of it. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean

from mpinas.report.run_view import RunView


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeLeft:
    """An estimate, and what it is made of: ``seconds = trials * trial_s / at_once``.

    Attributes:
        trials: left to run, those that are running by the epochs they have left.
        trial_s: what a trial takes of a worker.
        at_once: how many run at the same time, on average.
    """

    trials: float
    trial_s: float
    at_once: float

    @property
    def seconds(self) -> float:
        """Until the run is done."""
        return self.trials * self.trial_s / self.at_once


def time_left(view: RunView) -> TimeLeft | None:
    """What is left of a run, or None where nothing was seen yet that it could be told from.

    A trial takes what the latest ones took on average, as many as a generation has: networks grow
    while a search goes on. Infeasible ones are among them, and take nothing. Workers work side by
    side as far as they did so far; before the first generation is told, all of them.
    """
    latest = view.results[-view.individuals :]
    if not latest or view.workers == 0:
        return None
    most = min(view.workers, view.individuals)
    seen = view.workers * view.utilisation if view.generation and view.utilisation else most
    over = sum(one.epoch / one.epochs for one in view.running if one.epochs)
    return TimeLeft(
        trials=max(0.0, view.generations * view.individuals - len(view.results) - over),
        trial_s=fmean(max(0.0, one.times.on_worker_s) for one in latest),
        at_once=min(float(most), seen),
    )
