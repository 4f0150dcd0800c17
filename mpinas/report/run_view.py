"""A run as its directory tells it, while it lives or after it ended."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mpinas.comparison import is_compared
from mpinas.config import RunConfig
from mpinas.config_file import Knowledge
from mpinas.ownership import is_alive
from mpinas.records import TrialResult, to_plain, trial_number
from mpinas.results import best_of, results_of, within
from mpinas.run_directory import (
    LostWorker,
    RunDirectory,
    RunningTrial,
    Status,
    existing_run,
    load_status,
)
from mpinas.stored_config import stored_config


@dataclass(frozen=True, slots=True, kw_only=True)
class RunView:
    """What is known of a run.

    Attributes:
        status: ``running``, ``stopped`` or ``done``; a search of a comparison is done when it is,
            though its job goes on with others.
        generation: the one being worked on, counted from 0, by the checkpoints that are there;
            equal to ``generations`` when done.
        results: of all trials so far, by trial number.
        workers: that can run a trial, or could when the last job ended.
        utilisation: share of the workers' time in which a trial of this run ran.
        is_shared: whether it is a search of a comparison: others have trials on the same workers.
        lost: workers that the last job has lost or set aside.
        best: the trial with the highest fitness, or None.
    """

    name: str
    status: str
    generation: int
    generations: int
    individuals: int
    workers: int
    wall_time_s: float
    utilisation: float | None
    results: tuple[TrialResult, ...]
    best: TrialResult | None
    running: tuple[RunningTrial, ...]
    lost: tuple[LostWorker, ...] = ()
    is_shared: bool = False


def load_run(
    path: Path,
    knowledge: Knowledge,
    read: Callable[[RunDirectory], Iterable[TrialResult]] = results_of,
) -> RunView:
    """Reads a run directory.

    Args:
        read: gives the results of a run, in any order.

    Raises:
        RunDirectoryFault: it is not one.
    """
    directory = existing_run(path)
    config = stored_config(directory, knowledge)
    found = within(read(directory), config.tuner.generations)
    results = tuple(sorted(found, key=lambda result: trial_number(result.trial_id)))
    return _view(config, directory, load_status(directory) or Status(), results)


def _view(
    config: RunConfig,
    directory: RunDirectory,
    status: Status,
    results: tuple[TrialResult, ...],
) -> RunView:
    told, generations = directory.told(), config.tuner.generations
    is_done, is_shared = told >= generations, is_compared(directory.path)
    # The job of a comparison keeps each of its searches until the last one is done.
    alive = is_alive(directory) and not (is_done and is_shared)
    duty_s = status.worker_time_s
    over = {result.trial_id for result in results}
    return RunView(
        name=config.name,
        status="running" if alive else "done" if is_done else "stopped",
        generation=told,
        generations=generations,
        individuals=config.tuner.individuals,
        workers=status.workers,
        wall_time_s=status.wall_time_s,
        utilisation=min(1.0, status.busy_time_s / duty_s) if duty_s > 0 else None,
        results=results,
        best=best_of(results),
        running=tuple(one for one in status.running if alive and one.trial_id not in over),
        lost=status.lost,
        is_shared=is_shared,
    )


def to_json_view(view: RunView) -> Mapping[str, Any]:
    """The stable machine-readable form of ``show --json``."""
    return {
        "run": view.name,
        "status": view.status,
        "generation": view.generation,
        "generations": view.generations,
        "best": None if view.best is None else trial_row(view.best),
        "utilisation": view.utilisation,
        "wall_time_s": view.wall_time_s,
        "workers": view.workers,
        "lost_workers": [to_plain(one) for one in view.lost],
        "trials": [trial_row(result) for result in view.results],
    }


def trial_row(result: TrialResult) -> Mapping[str, Any]:
    """One trial of ``show --json``."""
    plain = to_plain(result)
    costs, shrunk = plain["costs"] or {}, plain["shrunk_costs"] or {}
    worker, times = plain["worker"] or {}, plain["times"]
    return {
        "trial_id": result.trial_id,
        "status": plain["status"],
        "failure": plain["failure"],
        "fitness": result.fitness,
        "flops": costs.get("flops"),
        "shrunk_flops": shrunk.get("flops"),
        "parameters": costs.get("parameters"),
        "shrunk_parameters": shrunk.get("parameters"),
        "network_hash": result.network_hash,
        "shrink_s": times["shrink_s"],
        "rebuild_s": times["rebuild_s"],
        "train_s": times["train_s"],
        "wall_time_s": times["wall_time_s"],
        "host": worker.get("host"),
        "rank": worker.get("rank"),
        "device": worker.get("device"),
        "shrink": _shrink_row(plain),
    }


def _shrink_row(plain: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """What the shrink did, of a result as plain JSON; None where the trial had none."""
    shrink = plain["shrink"]
    if shrink is None:
        return None
    return {
        "outcome": shrink["outcome"],
        "steps": shrink["steps"],
        "accuracy_before_cut": shrink["accuracy_before_cut"],
        "accuracy_after_cut": shrink["accuracy_after_cut"],
        "cut_error": shrink["cut_error"],
        "flops_at_start": shrink["alive_flops_at_start"],
        "warnings": shrink["warnings"],
        "widths_before": plain["widths"],
        "widths": shrink["widths"],
    }
