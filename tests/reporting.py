"""Run directories for tests of reports: fake trials, but with workers, times and a log."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from searching import drive, fake_result, new_run, search_in

from mpinas.records import Failure, Times, TrialResult, TrialSpec, TrialStatus, Worker
from mpinas.run_directory import RunDirectory

NOON = 1_800_000_000.0
JOB_BEGAN = "{}Z INFO going on from x.h5\n"
NASTY = 'Traceback (most recent call last):\n  File "x.py"\nValueError: <script>alert(1)</script>'
"""What a trial's error may hold."""


def whole_run(folder: Path, generations: int, individuals: int, *overrides: str) -> RunDirectory:
    """A run to its end."""
    sizes = (f"tuner.generations={generations}", f"tuner.individuals={individuals}")
    directory = new_run(folder, "run", *sizes, *overrides)
    drive(search_in(directory), evaluate=timed(8))
    return directory


def part_of_run(folder: Path, trials: int, *overrides: str) -> RunDirectory:
    """A run of which so many trials have ended."""
    directory = new_run(folder, "run", *overrides)
    drive(search_in(directory), stop_after=trials, evaluate=timed(2))
    return directory


def timed(
    workers: int, evaluate: Callable[[TrialSpec], TrialResult] = fake_result
) -> Callable[[TrialSpec], TrialResult]:
    """Trials as workers in turn would have ended them: each takes ten seconds, one to start."""
    clock = itertools.count()

    def run(spec: TrialSpec) -> TrialResult:
        turn, place = divmod(next(clock), workers)
        ended_at = NOON + 10.5 * (turn + 1) + 0.1 * place
        times = Times(start_s=1.0, train_s=8.0, wall_time_s=10.0, ended_at=ended_at)
        worker = Worker(host=f"node{place // 4}", rank=place + 1, device="cpu")
        return replace(evaluate(spec), times=times, worker=worker)

    return run


def failing(kinds: Iterator[Failure]) -> Callable[[TrialSpec], TrialResult]:
    """Trials that all fail, in these ways."""

    def run(spec: TrialSpec) -> TrialResult:
        return TrialResult(
            trial_id=spec.trial_id,
            network_hash=spec.network.hash,
            status=TrialStatus.FAILED,
            failure=next(kinds),
            error=NASTY,
        )

    return run
