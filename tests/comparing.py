"""Comparisons for tests of what is told of them: fake trials with times, some with a shrink."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from reporting import NOON
from searching import FAKE_SEARCH, config_file, drive, fake_result, search_in, with_key

from mpinas.comparison import ComparedRun, Comparison, comparison_of
from mpinas.config_file import dump_config, load_config
from mpinas.opening import KNOWLEDGE, fill_directory
from mpinas.problems import prepare
from mpinas.records import (
    Curves,
    Shrink,
    ShrinkOutcome,
    Times,
    TrialResult,
    TrialSpec,
    Worker,
    trial_number,
)
from mpinas.run_directory import create_run_directory

Evaluate = Callable[[TrialSpec], TrialResult]
ARMS: Mapping[str, Mapping[str, Any]] = {
    "plain": {"trial.shrink.enabled": False},
    "shrink": {"trial.shrink.enabled": True},
    "shrink-fast": {"trial.shrink.enabled": True, "trial.shrink.epochs": 0.5},
    "fewer-epochs": {"trial.shrink.enabled": False, "trial.epochs": 3},
}
EPOCHS = 5


def new_comparison(
    folder: Path,
    *overrides: str,
    experiments: int = 2,
    arms: Mapping[str, Mapping[str, Any]] = ARMS,
    out: str = "here",
) -> Comparison:
    """A comparison of which nothing has begun."""
    text = with_key(FAKE_SEARCH, "comparison", experiments=experiments, arms=dict(arms))
    text = with_key(text, "tuner", generations=2, individuals=6)
    text = with_key(text, "trial", epochs=EPOCHS)
    config = load_config(config_file(folder, text), overrides, KNOWLEDGE)
    comparison = comparison_of(config, folder / out, "test")
    comparison.directory.path.mkdir()
    comparison.directory.config.write_text(dump_config(config))
    return comparison


def whole_comparison(folder: Path, *overrides: str, **choice: Any) -> Comparison:
    """A comparison to its end."""
    comparison = new_comparison(folder, *overrides, **choice)
    for run in comparison.runs:
        drive_run(comparison, run)
    return comparison


def drive_run(
    comparison: Comparison,
    run: ComparedRun,
    *,
    evaluate: Evaluate | None = None,
    stop_after: int | None = None,
) -> None:
    """One search of a comparison, to its end or until so many trials have ended."""
    data = comparison.directory.problem
    if not data.exists():
        prepare(comparison.config.problem, data)
    problem = run.config.problem.model_copy(update={"path": str(data)})
    config = run.config.model_copy(update={"problem": problem})
    directory = create_run_directory(run.path, lambda new: fill_directory(config, new))
    drive(search_in(directory), evaluate=evaluate or in_arm(run), stop_after=stop_after)


def in_arm(run: ComparedRun) -> Evaluate:
    """Trials as a worker would have ended them: a shrink keeps a half, more or less."""
    ends = itertools.count(1)
    factors = itertools.cycle((0.8, 1.0, 1.5, 0.7 + run.experiment / 10))

    def evaluate(spec: TrialSpec) -> TrialResult:
        settings = run.config.trial_of(trial_number(spec.trial_id)[0])
        shrinks, factor = settings.shrink.enabled, next(factors)
        result = with_curves(fake_result(spec), settings.epochs - (1 if shrinks else 0))
        shrink_s = 12.0 * settings.shrink.epochs * factor if shrinks else 0.0
        train_s = 10.0 * len(result.curves.training_loss) * factor * (0.6 if shrinks else 1.0)
        phases = {"build_s": 1.5, "shrink_s": shrink_s, "train_s": train_s, "evaluate_s": 2.0}
        whole_s = 1.0 + sum(phases.values()) + (2.0 if shrinks else 0.0)
        times = Times(
            start_s=1.0,
            rebuild_s=2.0 if shrinks else 0.0,
            wall_time_s=whole_s,
            cpu_s=1.3 * whole_s,
            ended_at=NOON + 100.0 * next(ends),
            **phases,
        )
        worker = Worker(host="node0", rank=1, device="cpu")
        result = replace(result, times=times, worker=worker)
        return shrunk(result, 0.35 * factor) if shrinks else result

    return evaluate


def with_curves(result: TrialResult, epochs: int) -> TrialResult:
    """With curves of so many epochs that end where the trial did; a failed one keeps its own."""
    if result.fitness is None:
        return result
    accuracies = tuple(result.fitness * (1 - 0.6 ** (epoch + 1)) for epoch in range(epochs - 1))
    accuracies += (result.fitness,)
    losses = tuple(2.3 * (1 - accuracy) for accuracy in accuracies)
    curves = Curves(
        training_loss=losses,
        training_accuracy=accuracies,
        validation_loss=losses,
        validation_accuracy=accuracies,
    )
    return replace(result, curves=curves)


def shrunk(result: TrialResult, kept: float) -> TrialResult:
    """As if a shrink had left that share of the FLOPs; a failed trial had none."""
    if result.fitness is None or result.costs is None:
        return result
    costs = replace(result.costs, flops=round(result.costs.flops * kept))
    shrink = Shrink(outcome=ShrinkOutcome.SHRUNK, steps=10, alive_flops_at_start=result.costs.flops)
    return replace(result, shrunk_costs=costs, shrink=shrink)
