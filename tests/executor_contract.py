"""What every executor must do, as checks on a living one, which has to stay usable.

``conformance/test_executors.py`` runs them on the executors of one process, ``mpi/test_farm.py``
inside one MPI job.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from handmade import fake_spec, farm

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
    result = results_of(list(farm(executor, [spec])))[spec.trial_id]
    assert result.status is TrialStatus.COMPLETE, result.error
    assert result.fitness == closed_form_fitness(spec.network)
    assert result.network_hash == spec.network.hash
    assert result.worker is not None
    assert result.worker.rank >= 1
    assert result.times.wall_time_s >= result.times.start_s >= 0
    assert result.times.wall_time_s > 0


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
