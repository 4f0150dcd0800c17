"""Which trials may go out, and which of their ends count."""

from __future__ import annotations

from dataclasses import replace

from handmade import fake_spec

from mpinas.attempts import INFRASTRUCTURE_RETRIES, Attempts
from mpinas.records import (
    Failure,
    Finished,
    TrialResult,
    TrialSpec,
    TrialStatus,
    Worker,
    WorkerLost,
)

SPECS = [replace(fake_spec(index), predicted_cost=float(index)) for index in range(3)]
WORKER = Worker(host="h", rank=1, device="cpu")


def anything(spec: TrialSpec) -> bool:
    return True


def end(spec: TrialSpec, failure: Failure | None = None) -> Finished:
    status = TrialStatus.INTERRUPTED if failure is None else TrialStatus.FAILED
    result = TrialResult(trial_id=spec.trial_id, network_hash="x", status=status, failure=failure)
    return Finished(result=result)


def started(attempts: Attempts, free: int = 2) -> list[str]:
    return [spec.trial_id for spec in attempts.start(1, anything, free=free)]


def all_waiting() -> Attempts:
    attempts = Attempts()
    attempts.add(SPECS)
    return attempts


def test_the_longest_go_out_first_as_far_as_they_fit() -> None:
    attempts = all_waiting()
    chosen = attempts.start(5, lambda spec: spec.predicted_cost < 2, free=5)
    assert [spec.predicted_cost for spec in chosen] == [1.0, 0.0]
    assert not attempts.over
    for spec in chosen:
        assert attempts.take(end(spec, Failure.CRASH)) is not None
    assert attempts.running == ()
    assert started(attempts) == [SPECS[2].trial_id]


def test_what_was_broken_off_waits_in_front_and_costs_no_attempt() -> None:
    attempts = all_waiting()
    (first,) = attempts.start(1, anything, free=1)
    for _ in range(9):
        assert attempts.take(end(first)) is None
        assert started(attempts) == [first.trial_id]


def test_a_fault_of_the_worker_is_tried_again_where_there_is_a_choice_and_then_counts() -> None:
    attempts = all_waiting()
    (first,) = attempts.start(1, anything, free=2)
    (second,) = attempts.start(1, anything, free=1)
    lost = WorkerLost(worker=WORKER, trial_id=first.trial_id, reason="its process died")
    assert attempts.take(lost) is None
    assert started(attempts, free=1) == [SPECS[0].trial_id]  # not the one that failed: it may be
    assert attempts.start(1, anything, free=1) == []  # that its worker is the free one
    assert started(attempts, free=2) == [first.trial_id]
    for _ in range(INFRASTRUCTURE_RETRIES - 1):
        assert attempts.take(end(first, Failure.INFRASTRUCTURE)) is None
        assert started(attempts) == [first.trial_id]
    result = attempts.take(lost)
    assert result is not None
    assert (result.failure, result.error) == (Failure.INFRASTRUCTURE, "its process died")
    assert attempts.take(end(second, Failure.CRASH)) is not None


def test_events_of_others_are_nothing() -> None:
    attempts = all_waiting()
    assert attempts.take(end(SPECS[0])) is None
    assert attempts.take(WorkerLost(worker=WORKER, trial_id=None, reason="gone")) is None
    assert not attempts.over
