"""What every executor must do, as checks on a living one, which has to stay usable.

``conformance/test_executors.py`` runs them on the executors of one process, ``mpi/test_farm.py``
inside one MPI job.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from handmade import ATTEMPTS, fake_spec, farm, farm_again

from mpinas.dispatch.base import Executor
from mpinas.records import (
    Event,
    Failure,
    Finished,
    Progress,
    Started,
    TrialResult,
    TrialSpec,
    TrialStatus,
    WorkerLost,
)
from mpinas.trial.fake import closed_form_fitness

CLASS_OF_FAILURE: Mapping[str, Failure] = {
    "raise": Failure.ERROR,
    "exit": Failure.CRASH,
    "os_exit": Failure.CRASH,
    "segfault": Failure.CRASH,
    "kill": Failure.CRASH,
    "memory": Failure.OUT_OF_MEMORY,
    "hang": Failure.TIMEOUT,
    "nan": Failure.NOT_A_NUMBER,
    "unserialisable": Failure.ERROR,
}
WORD_IN_ERROR: Mapping[str, str] = {
    "raise": "a failure on purpose",
    "exit": "SystemExit: 3",
    "os_exit": "exit code 3",
    "segfault": "SIGSEGV",
    "kill": "SIGKILL",
    "memory": "memory limit of 300 MB",
    "hang": "time limit of 1 s",
    "nan": "nan",
    "unserialisable": "serialize",
}
BROKEN_DEVICE, GOOD_DEVICE = "4", "5"
FAILURES_THAT_CONDEMN = 3
SURVIVED_BY_PYTHON = ("raise", "exit", "nan", "unserialisable")


def failing(index: int, kind: str) -> TrialSpec:
    """A trial that fails in this way; only the limits end a hang or a growth."""
    limit_s = 1.0 if kind == "hang" else 60.0
    return fake_spec(index, failures={kind: 1.0}, time_limit_s=limit_s, memory_limit_mb=300.0)


def results_of(events: Sequence[Event]) -> dict[str, TrialResult]:
    """By trial id; each once."""
    found = [event.result for event in events if isinstance(event, Finished)]
    by_id = {result.trial_id: result for result in found}
    assert len(by_id) == len(found), "a trial ended twice"
    return by_id


def check_failure(executor: Executor, kind: str) -> None:
    """The failure has its class and its words, and the worker runs the next trial."""
    spec = failing(0, kind)
    result = results_of(list(farm(executor, [spec])))["g000-t000"]
    assert result.status is TrialStatus.FAILED
    assert result.failure is CLASS_OF_FAILURE[kind], result
    assert WORD_IN_ERROR[kind] in result.error, result.error
    assert result.network_hash == spec.network.hash
    assert result.worker is not None
    for index in range(executor.workers()):
        check_good_trial(executor, index)


def check_good_trial(executor: Executor, index: int = 0) -> None:
    spec = fake_spec(index)
    before = time.time()
    result = results_of(list(farm(executor, [spec])))[spec.trial_id]
    assert result.status is TrialStatus.COMPLETE, result.error
    assert result.fitness == closed_form_fitness(spec.network)
    assert result.network_hash == spec.network.hash
    assert result.worker is not None
    assert result.worker.rank >= 1
    assert result.times.wall_time_s >= result.times.start_s >= 0
    assert result.times.wall_time_s > 0
    assert before <= result.times.ended_at <= time.time()


def check_every_trial_ends_once(executor: Executor) -> None:
    specs = [fake_spec(index, convolutions=1 + index % 5) for index in range(12)]
    results = results_of(list(farm(executor, specs)))
    assert sorted(results) == [spec.trial_id for spec in specs]
    for spec in specs:
        assert results[spec.trial_id].fitness == closed_form_fitness(spec.network)
    assert executor.free() == executor.workers()


def check_order_of_events(executor: Executor) -> None:
    """Started, then the epochs in order, then the end: for each of several trials at once."""
    specs = [fake_spec(index, epochs=4, seconds=0.02) for index in range(4)]
    events = list(farm(executor, specs))
    for spec in specs:
        own = [event for event in events if _trial_id(event) == spec.trial_id]
        assert isinstance(own[0], Started)
        assert isinstance(own[-1], Finished)
        progress = own[1:-1]
        assert all(isinstance(event, Progress) for event in progress)
        assert [event.epoch for event in progress if isinstance(event, Progress)] == [1, 2, 3, 4]
        assert own[0].worker == own[-1].result.worker


def check_free_workers(executor: Executor) -> None:
    workers = executor.workers()
    for index in range(workers):
        assert executor.free() == workers - index
        executor.submit(fake_spec(index))
    assert executor.free() == 0
    try:
        executor.submit(fake_spec(workers))
    except RuntimeError:
        pass
    else:
        raise AssertionError("a trial was taken although no worker is free")
    ended = 0
    while ended < workers:
        ended += sum(isinstance(event, Finished) for event in executor.events(1.0))
    assert executor.free() == workers


def check_large_trial(executor: Executor) -> None:
    """More than a pipe, a socket or an eager message holds."""
    spec = replace(fake_spec(0), candidate={"ballast": "x" * 2_000_000})
    result = results_of(list(farm(executor, [spec])))[spec.trial_id]
    assert result.status is TrialStatus.COMPLETE


def check_idle_events(executor: Executor) -> None:
    assert list(executor.events(0.0)) == []


def check_cancel_of_strangers(executor: Executor) -> None:
    executor.cancel("g009-t009")
    check_good_trial(executor)
    executor.cancel("g000-t000")
    check_good_trial(executor)


def check_cancel_of_running(executor: Executor) -> None:
    """An endless trial that ignores SIGTERM ends as interrupted; its neighbour does not notice."""
    executor.submit(fake_spec(0, failures={"hang": 1.0}))
    neighbour = executor.free() > 0
    if neighbour:
        executor.submit(fake_spec(1, seconds=0.3))
    events: list[Event] = []
    while len(results_of(events)) < 1 + neighbour:
        for event in executor.events(1.0):
            events.append(event)
            if isinstance(event, Started) and event.trial_id == "g000-t000":
                executor.cancel("g000-t000")
                executor.cancel("g000-t000")
    results = results_of(events)
    assert results["g000-t000"].status is TrialStatus.INTERRUPTED
    if neighbour:
        assert results["g000-t001"].status is TrialStatus.COMPLETE
    check_good_trial(executor)


def check_cancel_at_once(executor: Executor) -> None:
    """Cancelled before the child can have started."""
    executor.submit(fake_spec(0, failures={"hang": 1.0}))
    executor.cancel("g000-t000")
    events: list[Event] = []
    while not results_of(events):
        events += executor.events(1.0)
    assert results_of(events)["g000-t000"].status is TrialStatus.INTERRUPTED
    check_good_trial(executor)


def check_many_failures_at_once(executor: Executor) -> None:
    kinds = [*CLASS_OF_FAILURE, *CLASS_OF_FAILURE]
    specs = [failing(index, kind) for index, kind in enumerate(kinds)]
    good = [fake_spec(100 + index) for index in range(len(kinds))]
    mixed = [spec for pair in zip(specs, good, strict=True) for spec in pair]
    results = results_of(list(farm(executor, mixed)))
    for spec, kind in zip(specs, kinds, strict=True):
        assert results[spec.trial_id].failure is CLASS_OF_FAILURE[kind]
    for spec in good:
        assert results[spec.trial_id].status is TrialStatus.COMPLETE


def choosy(index: int, *devices: str, seconds: float = 0.0) -> TrialSpec:
    """A trial that the infrastructure fails on these devices, or on ``all``; else a good one."""
    candidate = {"odd": "broken_device", "broken_on": devices}
    return replace(fake_spec(index, seconds=seconds), candidate=candidate)


def check_a_failed_trial_goes_elsewhere(executor: Executor) -> None:
    """And one trial alone, however often it fails, condemns no worker."""
    workers = executor.workers()
    failures = [
        results_of(list(farm(executor, [choosy(0, "all")])))["g000-t000"]
        for _ in range(4 * workers)
    ]
    assert all(result.failure is Failure.INFRASTRUCTURE for result in failures)
    ranks = [result.worker.rank for result in failures if result.worker is not None]
    assert len(set(ranks[:workers])) == workers, ranks
    assert list(executor.events(0.0)) == []
    assert executor.free() == executor.workers() == workers


def check_a_broken_worker_costs_no_trial(executor: Executor) -> None:
    """It fails at once and is free at once, while its neighbours are busy; soon it is set aside.

    All are ready before that, so that none is busy with its own start.
    """
    workers = executor.workers()
    list(farm(executor, [choosy(100 + index, seconds=0.2) for index in range(workers)]))
    specs = [choosy(index, BROKEN_DEVICE, seconds=0.1) for index in range(16)]
    events = list(farm_again(executor, specs))
    results = [event.result for event in events if isinstance(event, Finished)]
    complete = [one.trial_id for one in results if one.status is TrialStatus.COMPLETE]
    assert sorted(complete) == [spec.trial_id for spec in specs]
    assert len(results) - len(complete) == FAILURES_THAT_CONDEMN
    (lost,) = (event for event in events if isinstance(event, WorkerLost))
    assert (lost.trial_id, lost.worker.device) == (None, f"gpu:{BROKEN_DEVICE}")
    assert lost.reason.endswith(f"nothing works on device {BROKEN_DEVICE}")
    assert "\n" not in lost.reason
    assert not _of_worker(events[events.index(lost) + 1 :], lost.worker.rank)
    assert executor.free() == executor.workers() == workers - 1


def check_the_last_worker_decides_no_trial(executor: Executor) -> None:
    """One trial is left, and one worker, which it fails on: it waits for another one."""
    workers = executor.workers()
    broken = [choosy(100 + index, BROKEN_DEVICE) for index in range(16)]
    if workers > 1:
        list(farm_again(executor, broken))
    results: list[TrialResult] = []
    lost: list[WorkerLost] = []
    while executor.workers():
        for event in farm(executor, [choosy(0, "all")]):
            results += [event.result] if isinstance(event, Finished) else []
            lost += [event] if isinstance(event, WorkerLost) else []
        lost += [event for event in executor.events(0.0) if isinstance(event, WorkerLost)]
    *before, last = results
    assert [one.failure for one in before] == [Failure.INFRASTRUCTURE] * 2
    assert (last.status, last.failure) == (TrialStatus.INTERRUPTED, None)
    assert "nothing works" in last.error
    assert [event.trial_id for event in lost] == [None]


def check_no_worker_is_left_where_all_are_broken(executor: Executor) -> None:
    workers = executor.workers()
    events = list(farm_again(executor, [choosy(index, "all") for index in range(8 * workers)]))
    lost = [event for event in events if isinstance(event, WorkerLost)]
    assert len({event.worker.rank for event in lost}) == len(lost) == workers
    assert {event.trial_id for event in lost} == {None}
    assert len(events) < 8 * workers * ATTEMPTS
    assert executor.free() == executor.workers() == 0
    try:
        executor.submit(fake_spec(0))
    except RuntimeError:
        return
    raise AssertionError("a trial was taken although no worker is left")


def _of_worker(events: Sequence[Event], rank: int) -> list[Event]:
    workers = [
        (event, event.worker if isinstance(event, Started) else event.result.worker)
        for event in events
        if isinstance(event, Started | Finished)
    ]
    return [event for event, worker in workers if worker is not None and worker.rank == rank]


def _trial_id(event: Event) -> str | None:
    return event.result.trial_id if isinstance(event, Finished) else event.trial_id


Check = Callable[[Executor], None]

FOR_ALL: tuple[Check, ...] = (
    check_good_trial,
    check_every_trial_ends_once,
    check_order_of_events,
    check_free_workers,
    check_large_trial,
    check_idle_events,
    check_cancel_of_strangers,
    check_cancel_at_once,
)
FOR_PROCESSES: tuple[Check, ...] = (check_cancel_of_running, check_many_failures_at_once)
"""Where a trial has a process of its own."""

WITH_THE_ODD_RUNNER: tuple[Check, ...] = (
    check_a_failed_trial_goes_elsewhere,
    check_no_worker_is_left_where_all_are_broken,
)
WITH_TWO_DEVICES: tuple[Check, ...] = (
    *WITH_THE_ODD_RUNNER,
    check_a_broken_worker_costs_no_trial,
    check_the_last_worker_decides_no_trial,
)
"""Each on an executor of its own, whose two workers have the two devices: some lose workers."""
