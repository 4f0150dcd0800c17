"""What a comparison came to, as its directory tells it, while it lives or after it ended.

The measures are those of the paper, section 6.1: an arm's accuracy is the mean over the last
generations of its searches, merged; its time is the mean time of a whole search; ``speed-up =
time of the first arm / time of this one`` and ``accuracy degradation = accuracy of the first arm -
accuracy of this one``. A search's time is that of its trials on their workers, from a child's first
line on, and its own processor time; whoever shared the workers meanwhile is not in it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import inf, nan
from pathlib import Path
from statistics import fmean

from mpinas.comparison import ComparedRun, Comparison, ComparisonDirectory, existing_comparison
from mpinas.config import RunConfig
from mpinas.experiment import start_digest, unequal_starts
from mpinas.ownership import is_alive
from mpinas.records import TrialResult, TrialStatus, trial_number
from mpinas.report.estimates import Estimate, estimate
from mpinas.report.kept import Kept, stamp_of
from mpinas.report.training_flops import training_flops
from mpinas.results import best_of, ending, within
from mpinas.run_directory import RunDirectory, Status, load_status


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One search of a comparison.

    Attributes:
        generations: told so far.
        state: ``waiting``, ``running``, ``stopped`` or ``done``.
        results: of all its trials so far, in the generations that it is to have.
        last: the individuals of the last generation.
        accuracies: of those that are complete, in 0..1.
        trials_s: worker seconds of its trials, generation by generation.
        search_s: its own processor seconds, likewise.
        search_told: generations of which those are known.
        flops: FLOPs of training for one training image: of forward passes, every epoch counted,
            the shrink's with the whole network.
    """

    run: ComparedRun
    generations: int
    state: str
    results: tuple[TrialResult, ...]
    last: tuple[TrialResult, ...]
    accuracies: tuple[float, ...]
    trials_s: tuple[float, ...]
    search_s: tuple[float, ...]
    search_told: tuple[int, ...]
    cpu_s: float
    flops: float

    @property
    def time_s(self) -> float:
        return sum(self.trials_s) + sum(self.search_s)

    def generation_s(self, generation: int) -> float:
        return self.trials_s[generation] + self.search_s[generation]


@dataclass(frozen=True, slots=True, kw_only=True)
class Against:
    """An arm beside the first one. Ratios are the first arm's figure over this one's.

    Attributes:
        degradation: of the mean accuracy, in 0..1; None where an arm has no complete trial.
        generations: speed-up of each generation by itself.
    """

    speed_up: Estimate
    processor_speed_up: Estimate
    flops_ratio: Estimate
    degradation: Estimate | None
    generations: tuple[Estimate, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """Over the experiments in which all arms are done.

    Attributes:
        accuracy: mean of the merged last generations, in 0..1.
        best: the trial of the highest fitness in any of them.
        ends: how its trials ended, by class.
        untold_flops: failed trials of which nobody knows what training they had.
        against: None for the first arm.
    """

    name: str
    config: RunConfig
    runs: tuple[Measured, ...]
    accuracy: Estimate | None
    time_s: Estimate
    cpu_s: Estimate
    flops: Estimate
    best: TrialResult | None
    ends: Mapping[str, int]
    untold_flops: int
    against: Against | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparisonView:
    """A comparison.

    Attributes:
        runs: all of its searches.
        experiments: those in which every arm is done; figures are of these only.
        arms: empty as long as there is no such experiment.
        remarks: what a reader has to know, a sentence each.
    """

    comparison: Comparison
    runs: tuple[Measured, ...]
    experiments: tuple[int, ...]
    arms: tuple[Arm, ...]
    remarks: tuple[str, ...]


def load_comparison(path: Path) -> ComparisonView:
    """Reads the directory of a comparison.

    Raises:
        RunDirectoryFault: it is none, or cannot be read.
    """
    return ComparisonReader(path).read()


class ComparisonReader:
    """Reads the directory of a comparison again and again: each time what has changed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._kept = Kept()

    def read(self) -> ComparisonView:
        """The comparison as it is now. Raises as :func:`load_comparison`."""
        file = ComparisonDirectory(self._path).config
        comparison = self._kept.of("what", stamp_of(file), lambda: existing_comparison(self._path))
        runs = tuple(self._measured(run) for run in comparison.runs)
        done = tuple(
            experiment
            for experiment in range(comparison.experiments)
            if all(one.state == "done" for one in runs if one.run.experiment == experiment)
        )
        finished = tuple(one for one in runs if one.run.experiment in done)
        arms = self._kept.of("arms", finished, lambda: _arms(comparison, finished))
        return ComparisonView(
            comparison=comparison,
            runs=runs,
            experiments=done,
            arms=arms,
            remarks=(*unequal_starts(comparison, self._start_digest), *_lost_times(finished)),
        )

    def _measured(self, run: ComparedRun) -> Measured:
        directory = RunDirectory(run.path)
        told = directory.told()
        state = _state(directory, done=told >= run.config.tuner.generations)
        spent = (load_status(directory) or Status()).search_s
        sign = (
            run,
            told,
            state,
            tuple(sorted(spent.items())),
            tuple((file, stamp_of(file)) for file in directory.journals()),
        )
        return self._kept.of(
            run.name,
            sign,
            lambda: _measure(run, told, state, tuple(self._kept.results_of(directory)), spent),
        )

    def _start_digest(self, run: ComparedRun) -> str | None:
        stamp = stamp_of(RunDirectory(run.path).start)
        return self._kept.of((run.name, "start"), stamp, lambda: start_digest(run))


def _lost_times(runs: Sequence[Measured]) -> Iterator[str]:
    lost = [one.run.name for one in runs if len(one.search_told) < len(one.search_s)]
    if lost:
        yield (
            f"The status.json of {', '.join(lost)} does not tell the search's own processor time "
            "of all generations: it is missing in the times."
        )


def is_running(view: ComparisonView) -> bool:
    """Whether a job works on it."""
    return any(one.state == "running" for one in view.runs)


def _measure(
    run: ComparedRun,
    told: int,
    state: str,
    results: tuple[TrialResult, ...],
    spent: Mapping[int, float],
) -> Measured:
    generations = run.config.tuner.generations
    by_generation: list[list[TrialResult]] = [[] for _ in range(generations)]
    for one in within(results, generations):
        by_generation[trial_number(one.trial_id)[0]].append(one)
    results = tuple(one for some in by_generation for one in some)
    last = by_generation[-1]
    search_s = tuple(spent.get(generation, 0.0) for generation in range(generations))
    return Measured(
        run=run,
        generations=told,
        state=state,
        results=results,
        last=tuple(last),
        accuracies=tuple(one.fitness for one in last if one.fitness is not None),
        trials_s=tuple(sum(one.times.on_worker_s for one in some) for some in by_generation),
        search_s=search_s,
        search_told=tuple(one for one in range(generations) if one in spent),
        cpu_s=sum(one.times.cpu_s for one in results) + sum(search_s),
        flops=sum(training_flops(run.config, one).whole for one in results),
    )


def _state(directory: RunDirectory, *, done: bool) -> str:
    if done:
        return "done"
    if not directory.exists():
        return "waiting"
    return "running" if is_alive(directory) else "stopped"


def _arms(comparison: Comparison, finished: Sequence[Measured]) -> tuple[Arm, ...]:
    """Of all searches of finished experiments."""
    if not finished:
        return ()
    by_arm = {arm: [one for one in finished if one.run.arm == arm] for arm in comparison.arms}
    first, *_ = by_arm.values()
    return tuple(
        Arm(
            name=name,
            config=of_arm[0].run.config,
            runs=tuple(of_arm),
            accuracy=_accuracy(of_arm),
            time_s=estimate(of_arm, _mean_time_s),
            cpu_s=estimate(of_arm, _mean_cpu_s),
            flops=estimate(of_arm, _mean_flops),
            best=best_of(result for one in of_arm for result in one.results),
            ends=Counter(ending(result) for one in of_arm for result in one.results),
            untold_flops=sum(_untold_flops(one) for one in of_arm),
            against=None if of_arm is first else _against(first, of_arm),
        )
        for name, of_arm in by_arm.items()
    )


def _untold_flops(run: Measured) -> int:
    """Trials that began, failed, and do not tell their network's costs or their epochs."""
    failed = (one for one in run.results if one.status is TrialStatus.FAILED)
    return sum(not training_flops(run.run.config, one).whole for one in failed)


def _accuracy(runs: Sequence[Measured]) -> Estimate | None:
    """Of merged populations; where a search has no complete trial, nothing can be said."""
    return estimate(runs, _mean_accuracy) if all(one.accuracies for one in runs) else None


def _mean_accuracy(runs: Sequence[Measured]) -> float:
    return fmean(accuracy for one in runs for accuracy in one.accuracies)


def _mean_time_s(runs: Sequence[Measured]) -> float:
    return fmean(one.time_s for one in runs)


def _mean_cpu_s(runs: Sequence[Measured]) -> float:
    return fmean(one.cpu_s for one in runs)


def _mean_flops(runs: Sequence[Measured]) -> float:
    return fmean(one.flops for one in runs)


def _against(first: Sequence[Measured], other: Sequence[Measured]) -> Against:
    pairs = list(zip(first, other, strict=True))

    def ratio(figure: Callable[[Sequence[Measured]], float]) -> Estimate:
        return estimate(pairs, lambda some: _quotient(*(figure(arm) for arm in _unzipped(some))))

    def degradation(some: Sequence[tuple[Measured, Measured]]) -> float:
        one, another = _unzipped(some)
        return _mean_accuracy(one) - _mean_accuracy(another)

    def of_generation(generation: int) -> Estimate:
        return ratio(lambda runs: fmean(one.generation_s(generation) for one in runs))

    known = all(one.accuracies for one in (*first, *other))
    shortest = min(len(one.trials_s) for one in (*first, *other))
    return Against(
        speed_up=ratio(_mean_time_s),
        processor_speed_up=ratio(_mean_cpu_s),
        flops_ratio=ratio(_mean_flops),
        degradation=estimate(pairs, degradation) if known else None,
        generations=tuple(map(of_generation, range(shortest))),
    )


def _unzipped(
    pairs: Sequence[tuple[Measured, Measured]],
) -> tuple[list[Measured], list[Measured]]:
    return [one for one, _ in pairs], [another for _, another in pairs]


def _quotient(numerator: float, denominator: float) -> float:
    if denominator:
        return numerator / denominator
    return inf if numerator else nan
