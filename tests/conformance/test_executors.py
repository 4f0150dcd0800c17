"""Every executor of one process keeps the contract; the one over MPI does in ``tests/mpi``."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import odd_runner
import psutil
import pytest
from executor_contract import (
    BROKEN_DEVICE,
    CLASS_OF_FAILURE,
    FOR_ALL,
    FOR_PROCESSES,
    GOOD_DEVICE,
    SURVIVED_BY_PYTHON,
    WITH_THE_ODD_RUNNER,
    WITH_TWO_DEVICES,
    Check,
    check_failure,
    check_good_trial,
    check_the_last_worker_decides_no_trial,
)
from handmade import ODD_PROGRAM, fake_spec, farm, farm_again

from mpinas.dispatch import EXECUTORS
from mpinas.dispatch.base import Executor
from mpinas.dispatch.inline import InlineExecutor
from mpinas.dispatch.local import LocalExecutor
from mpinas.dispatch.settings import WorkerSettings
from mpinas.errors import LaunchFault
from mpinas.records import Event, Failure, Finished, Progress, Started, TrialStatus, WorkerLost
from mpinas.trial.fake import run_trial


def local(workers: int) -> LocalExecutor:
    return LocalExecutor(WorkerSettings(runner="fake", gpus=0), workers, os.environ)


@pytest.fixture(params=["inline", "local"])
def executor(request: pytest.FixtureRequest) -> Iterator[Executor]:
    made: Executor = InlineExecutor(run_trial, 3) if request.param == "inline" else local(2)
    yield made
    made.close()
    made.close()


@pytest.fixture
def farm_of_two() -> Iterator[LocalExecutor]:
    made = local(2)
    yield made
    made.close()


def test_the_registry_is_covered() -> None:
    assert set(EXECUTORS) == {"inline", "local", "mpi"}


@pytest.mark.parametrize("check", FOR_ALL)
def test_contract(executor: Executor, check: Check) -> None:
    check(executor)


@pytest.mark.parametrize("kind", SURVIVED_BY_PYTHON)
def test_failure_that_python_survives(executor: Executor, kind: str) -> None:
    check_failure(executor, kind)


@pytest.mark.parametrize("kind", sorted(CLASS_OF_FAILURE.keys() - set(SURVIVED_BY_PYTHON)))
def test_failure_that_ends_or_blocks_a_process(farm_of_two: Executor, kind: str) -> None:
    check_failure(farm_of_two, kind)


@pytest.mark.parametrize("check", FOR_PROCESSES)
def test_contract_of_processes(farm_of_two: Executor, check: Check) -> None:
    check(farm_of_two)


@pytest.mark.parametrize("check", WITH_THE_ODD_RUNNER)
def test_contract_of_broken_workers_inline(check: Check) -> None:
    check(InlineExecutor(odd_runner.run_trial, 3))


def test_a_lone_worker_decides_no_trial_that_nobody_else_could_try() -> None:
    check_the_last_worker_decides_no_trial(InlineExecutor(odd_runner.run_trial, 1))


@pytest.mark.parametrize("check", WITH_TWO_DEVICES)
def test_contract_of_broken_workers_local(check: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mpinas.trial.handle.PROGRAM", ODD_PROGRAM)
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": f"{BROKEN_DEVICE},{GOOD_DEVICE}"}
    executor = LocalExecutor(WorkerSettings(runner="odd"), 2, environment)
    check(executor)
    executor.close()


def test_close_ends_every_process() -> None:
    executor = local(2)
    for index in range(2):
        executor.submit(fake_spec(index, failures={"hang": 1.0}))
    while len(executor.process_ids()) < 3:
        list(executor.events(0.1))
    processes = [psutil.Process(pid) for pid in executor.process_ids()]
    executor.close()
    _, alive = psutil.wait_procs(processes, timeout=10)
    assert alive == []
    assert psutil.Process().children(recursive=True) == []


def test_close_before_anything_ran_leaves_nothing() -> None:
    local(2).close()
    assert psutil.Process().children(recursive=True) == []


def test_trials_run_at_the_same_time(farm_of_two: LocalExecutor) -> None:
    """Both have started before either has ended."""
    specs = [fake_spec(index, seconds=1.0) for index in range(2)]
    kinds = [
        type(event) for event in farm(farm_of_two, specs) if type(event) in (Started, Finished)
    ]
    assert kinds == [Started, Started, Finished, Finished]


def test_more_gpus_than_exist_are_refused_before_a_process_starts() -> None:
    with pytest.raises(LaunchFault, match="more GPUs asked for than exist"):
        LocalExecutor(
            WorkerSettings(runner="fake", gpus=3), 1, {**os.environ, "CUDA_VISIBLE_DEVICES": "0"}
        )
    assert psutil.Process().children(recursive=True) == []


def test_a_worker_that_cannot_start_children_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """The trials it had end as infrastructure failures, then it is set aside, and says why."""
    monkeypatch.setattr("mpinas.trial.handle.PROGRAM", "raise SystemExit(1)")
    executor = local(2)
    events = list(farm_again(executor, [fake_spec(index) for index in range(20)]))
    lost = [event for event in events if isinstance(event, WorkerLost)]
    assert [event.trial_id for event in lost] == [None] * 2
    assert all("the forkserver died" in event.reason for event in lost)
    *ends, last = (event.result for event in events if isinstance(event, Finished))
    assert {end.failure for end in ends} == {Failure.INFRASTRUCTURE}
    assert len(ends) < 6, "three of each worker"
    assert last.status is TrialStatus.INTERRUPTED, "nobody was left who could try it again"
    assert (executor.workers(), executor.free()) == (0, 0)
    executor.close()


def test_good_trial_after_a_long_pause_in_polling(farm_of_two: LocalExecutor) -> None:
    """What a child wrote while nobody looked is not lost, even more than a pipe holds."""
    spec = fake_spec(0, epochs=2000)
    farm_of_two.submit(spec)
    list(farm_of_two.events(5.0))
    time.sleep(0.5)
    events: list[Event] = []
    while not any(isinstance(event, Finished) for event in events):
        events += farm_of_two.events(1.0)
    assert sum(isinstance(event, Progress) for event in events) > 1500
    check_good_trial(farm_of_two)
