"""The pump with several searches: whose trial is next, and whose an event is."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from searching import FAKE_SEARCH, config_file, found, with_key

from mpinas.clock import Clock
from mpinas.comparison import Comparison, comparison_of
from mpinas.opening import RunOptions, fill_directory, read_config
from mpinas.records import (
    Event,
    Finished,
    TrialResult,
    TrialSpec,
    TrialStatus,
    Worker,
    WorkerLost,
)
from mpinas.run_directory import RunDirectory, create_run_directory
from mpinas.session import Job, Place, drive, open_lane
from mpinas.signals import StopRequest
from mpinas.trial.fake import run_trial


class Farm:
    """Workers in this process. The trial that was submitted first ends first."""

    def __init__(self, workers: int, *, lost: int = 0) -> None:
        self._workers = workers
        self._lost = lost
        self._out: list[TrialSpec] = []
        self.submitted: list[str] = []
        self.cancelled: list[str] = []
        self.closed = False

    def workers(self) -> int:
        return self._workers

    def free(self) -> int:
        return self._workers - len(self._out)

    def submit(self, spec: TrialSpec) -> None:
        assert self.free() > 0
        self._out.append(spec)
        self.submitted.append(spec.trial_id)

    def events(self, timeout_s: float) -> Iterator[Event]:
        spec = self._out.pop(0)
        if spec.trial_id in self.cancelled:
            yield Finished(
                result=TrialResult(
                    trial_id=spec.trial_id,
                    network_hash=spec.network.hash,
                    status=TrialStatus.INTERRUPTED,
                )
            )
        elif self._lost:
            self._lost -= 1
            worker = Worker(host="node0", rank=1, device="cpu")
            yield WorkerLost(worker=worker, trial_id=spec.trial_id, reason="killed")
        else:
            yield Finished(result=run_trial(spec, lambda progress: None))

    def cancel(self, trial_id: str) -> None:
        self.cancelled.append(trial_id)

    def close(self, grace_s: float | None = None) -> None:
        self.closed = True


@pytest.fixture
def comparison(tmp_path: Path) -> Comparison:
    """Two experiments of two arms, two generations of three each; nothing fails."""
    arms = {"plain": {}, "longer": {"trial.epochs": 4}}
    text = with_key(FAKE_SEARCH, "comparison", experiments=2, arms=arms)
    text = with_key(text, "tuner", generations=2, individuals=3)
    text = with_key(with_key(text, "space", max_parameters=None), "trial", fake={})
    file = config_file(tmp_path, text)
    return comparison_of(read_config(RunOptions(config=file)), tmp_path / "here", str(file))


def drive_all(comparison: Comparison, farm: Farm, stopping: StopRequest | None = None) -> bool:
    """All searches of a comparison to their end, on this farm."""
    clock = Clock(deadline_s=None, reserve_s=0.0, now_s=time.monotonic)
    job = Job(executor=farm, stopping=stopping or StopRequest(), clock=clock)
    with ExitStack() as opened:
        lanes = [
            opened.enter_context(
                open_lane(run.config, Place(path=run.path, name=run.name, turn=run.experiment), job)
            )
            for run in comparison.runs
        ]
        return drive([lane for lane in lanes if lane is not None], job, grace_s=1.0)


def test_arms_go_in_step_and_later_experiments_fill_the_gaps(comparison: Comparison) -> None:
    farm = Farm(5)
    assert drive_all(comparison, farm)
    searches = [name.partition(":")[0] for name in farm.submitted]
    assert searches[:5] == ["e0/plain", "e0/longer", "e0/plain", "e0/longer", "e0/plain"]
    second = next(at for at, name in enumerate(farm.submitted) if ":g001" in name)
    gaps = [search for search in searches[:second] if search.startswith("e1/")]
    assert len(gaps) == 3, "no worker waits for the last trials of a generation"
    assert len(farm.submitted) == len({*farm.submitted}) == 4 * 2 * 3


def test_each_search_is_what_it_would_be_alone(comparison: Comparison, tmp_path: Path) -> None:
    assert drive_all(comparison, Farm(5, lost=4))
    for number, run in enumerate(comparison.runs):
        alone = replace(run, path=tmp_path / f"alone{number}")
        create_run_directory(alone.path, lambda new, run=run: fill_directory(run.config, new))
        assert drive_all(replace(comparison, runs=(alone,)), Farm(1))
        assert found(RunDirectory(alone.path)) == found(RunDirectory(run.path))


def test_the_loss_of_a_worker_is_of_the_search_whose_trial_it_had(comparison: Comparison) -> None:
    farm = Farm(5, lost=1)
    assert drive_all(comparison, farm)
    assert farm.submitted.count(farm.submitted[0]) == 2
    logs = {run.name: RunDirectory(run.path).log.read_text() for run in comparison.runs}
    assert "killed: tried again" in logs["e0/plain"]
    assert not any("tried again" in logs[name] for name in logs if name != "e0/plain")


def test_to_stop_stops_all_of_them_and_the_next_job_goes_on(comparison: Comparison) -> None:
    stopping = StopRequest()
    farm = Farm(5)
    submit = farm.submit

    def submit_and_stop(spec: TrialSpec) -> None:
        submit(spec)
        if len(farm.submitted) == 9:
            stopping.note(15)

    farm.submit = submit_and_stop  # type: ignore[method-assign]
    assert not drive_all(comparison, farm, stopping)
    assert farm.closed
    assert set(farm.cancelled) <= set(farm.submitted)
    assert len(farm.cancelled) > 1
    again = Farm(2)
    assert drive_all(comparison, again)
    assert set(again.submitted) | set(farm.submitted) == {
        f"{run.name}:g{generation:03d}-t{index:03d}"
        for run in comparison.runs
        for generation in range(2)
        for index in range(3)
    }
    assert not (set(again.submitted) & (set(farm.submitted) - set(farm.cancelled)))
