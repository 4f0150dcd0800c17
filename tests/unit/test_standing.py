"""Which worker gets a trial, and when one gets no more."""

from __future__ import annotations

from dataclasses import replace

import pytest
from handmade import fake_spec

from mpinas.dispatch.standing import (
    FAILURES_ALLOWED,
    STARVED_AT_FIRST_ALLOWED,
    Standing,
    Verdict,
    memory_need,
)
from mpinas.records import Failure, TrialResult, TrialSpec, TrialStatus, Worker, trial_id
from mpinas.trial import outcome
from mpinas.trial.fake import run_trial

GOOD = run_trial(fake_spec(0), lambda progress: None)


def worker(rank: int, host: str = "n1") -> Worker:
    return Worker(host=host, rank=rank, device="cpu")


def workers(*ranks: int) -> list[Worker]:
    return [worker(rank) for rank in ranks]


def failed(index: int, failure: Failure = Failure.INFRASTRUCTURE) -> TrialResult:
    return outcome.failed(fake_spec(index), failure, "line one\nno disk\n")


def good(index: int) -> TrialResult:
    return replace(GOOD, trial_id=trial_id(0, index))


def killed(index: int) -> TrialResult:
    """By the kernel, for lack of memory."""
    return outcome.of_exit(fake_spec(index), -9, "", no_memory_left=True)


def large(index: int) -> TrialSpec:
    return fake_spec(index, convolutions=9)


class Farm:
    """A standing of workers that run trials here and now."""

    def __init__(self) -> None:
        self.standing = Standing()

    def run(
        self, on: Worker, spec: TrialSpec, result: TrialResult, *, alone: bool = False
    ) -> Verdict:
        assert self.standing.choose(spec, [on]) == on.rank
        return self.standing.take(on, result, alone=alone)


def reasons(rank: int, *results: TrialResult, alone: bool = False) -> list[str]:
    """What is said after each result on a worker of whom nothing is known."""
    standing = Standing()
    return [standing.take(worker(rank), result, alone=alone).reason for result in results]


def test_nobody_free_is_nobody_chosen() -> None:
    assert Standing().choose(fake_spec(0), []) is None


def test_the_first_free_worker_is_as_good_as_any() -> None:
    assert Standing().choose(fake_spec(0), iter(workers(2, 3, 4))) == 2


def test_a_trial_goes_where_it_has_not_failed() -> None:
    standing = Standing()
    standing.take(worker(1), failed(0), alone=False)
    standing.take(worker(2), failed(0), alone=False)
    assert standing.choose(fake_spec(0), workers(1, 2, 3)) == 3
    assert standing.choose(fake_spec(0), workers(2)) == 2, "rather there than nowhere"


def test_where_a_trial_has_failed_counts_more_than_how_its_worker_does() -> None:
    standing = Standing()
    for index in (1, 2):
        standing.take(worker(2), failed(index), alone=False)
    standing.take(worker(1), failed(0), alone=False)
    standing.take(worker(1), good(5), alone=False)
    assert standing.choose(fake_spec(0), workers(1, 2)) == 2


def test_a_new_trial_goes_where_nothing_has_failed_of_late() -> None:
    standing = Standing()
    standing.take(worker(1), failed(0), alone=False)
    assert standing.choose(fake_spec(1), workers(1, 2)) == 2
    standing.take(worker(1), good(2), alone=False)
    assert standing.choose(fake_spec(1), workers(1, 2)) == 1


def test_three_different_trials_in_a_row_condemn_a_worker() -> None:
    *before, last = reasons(7, *(failed(index) for index in range(FAILURES_ALLOWED)))
    assert before == [""] * (FAILURES_ALLOWED - 1)
    assert last == "3 trials in a row failed here, the last with: no disk"


def test_one_trial_condemns_nobody_but_does_not_hide_others() -> None:
    assert not any(reasons(7, *(failed(0) for _ in range(20))))
    assert [bool(said) for said in reasons(7, *map(failed, (0, 0, 1, 1, 2)))] == [False] * 4 + [
        True
    ]


def test_any_other_result_clears_a_worker() -> None:
    between = [good(9), *(failed(9, kind) for kind in Failure if kind != Failure.INFRASTRUCTURE)]
    for result in between:
        assert not any(reasons(7, failed(0), failed(1), result, failed(2), failed(3)))


def test_a_cancelled_trial_says_nothing() -> None:
    cancelled = outcome.interrupted(fake_spec(9))
    said = reasons(7, failed(0), cancelled, failed(1), cancelled, failed(2))
    assert [bool(text) for text in said] == [False] * 4 + [True]


def test_workers_are_judged_apart() -> None:
    standing = Standing()
    for index in (0, 10):
        for rank in range(1, 9):
            verdict = standing.take(worker(rank), failed(rank + index), alone=False)
            assert verdict.reason == ""


def test_a_trial_that_ended_is_forgotten() -> None:
    standing = Standing()
    standing.take(worker(1), failed(0), alone=False)
    standing.take(worker(1), good(1), alone=False)
    standing.take(worker(2), good(0), alone=False)
    assert standing.choose(fake_spec(0), workers(1, 2)) == 1


@pytest.mark.parametrize("indices", [(0, 0, 0), (0, 1, 0), (0, 1, 2)])
def test_where_no_other_worker_is_left_any_three_failures_condemn_it(
    indices: tuple[int, ...],
) -> None:
    """A trial that can be tried nowhere else is no reason to decide it."""
    standing = Standing()
    *before, last = (standing.take(worker(7), failed(index), alone=True) for index in indices)
    assert [one.result.failure for one in before] == [Failure.INFRASTRUCTURE] * 2
    assert last.reason == "3 trials in a row failed here, the last with: no disk"
    assert (last.result.status, last.result.failure) == (TrialStatus.INTERRUPTED, None)
    assert "no disk" in last.result.error


def test_a_result_between_clears_a_lone_worker_too() -> None:
    assert not any(reasons(7, failed(0), failed(0), good(1), failed(0), failed(0), alone=True))


def test_who_is_left_alone_answers_for_what_failed_before() -> None:
    standing = Standing()
    for _ in range(5):
        assert standing.take(worker(1), failed(0), alone=False).reason == ""
    assert standing.take(worker(1), failed(0), alone=True).reason


def test_a_set_aside_worker_that_is_not_the_last_leaves_its_trial_to_the_others() -> None:
    standing = Standing()
    *_, last = (standing.take(worker(1), failed(index), alone=False) for index in range(3))
    assert (last.reason != "", last.result.failure) == (True, Failure.INFRASTRUCTURE)


def test_a_larger_network_and_a_larger_batch_need_more() -> None:
    settings = {**fake_spec(0).settings, "batch_size": 1000}
    assert memory_need(fake_spec(0)) < memory_need(large(0))
    assert memory_need(fake_spec(0)) < memory_need(replace(fake_spec(0), settings=settings))


def test_what_is_larger_than_all_that_is_complete_is_too_large() -> None:
    """Recorded at once, and it tells neither for nor against the worker."""
    farm = Farm()
    farm.run(worker(1), fake_spec(0), good(0))
    for index in range(1, 9):
        verdict = farm.run(worker(1), large(index), killed(index))
        assert (verdict.result.failure, verdict.reason) == (Failure.OUT_OF_MEMORY, "")
    for index in (11, 12):
        farm.run(worker(1), fake_spec(index), failed(index))
    farm.run(worker(1), large(13), killed(13))
    assert farm.run(worker(1), fake_spec(14), failed(14)).reason


def test_what_is_no_larger_than_a_complete_one_is_tried_elsewhere() -> None:
    """Once; if it dies of memory there as well it is too large after all."""
    farm = Farm()
    farm.run(worker(1), large(0), good(0))
    verdict = farm.run(worker(1), fake_spec(1), killed(1))
    assert (verdict.result.failure, verdict.reason) == (Failure.INFRASTRUCTURE, "")
    assert verdict.result.error == outcome.NO_MEMORY_LEFT
    verdict = farm.run(worker(2), fake_spec(1), killed(1))
    assert (verdict.result.failure, verdict.reason) == (Failure.OUT_OF_MEMORY, "")


def test_a_trial_goes_to_a_host_that_had_memory_for_it() -> None:
    farm = Farm()
    farm.run(worker(1, "n1"), fake_spec(0), killed(0))
    free = [worker(1, "n1"), worker(2, "n1"), worker(3, "n2")]
    assert farm.standing.choose(fake_spec(0), free) == 3
    assert farm.standing.choose(fake_spec(1), free) == 2


@pytest.mark.parametrize("alone", [False, True])
def test_a_worker_on_which_everything_dies_of_memory_is_set_aside(alone: bool) -> None:
    farm = Farm()
    farm.run(worker(1), large(0), good(0))
    *before, last = (
        farm.run(worker(1), fake_spec(index), killed(index), alone=alone)
        for index in range(1, 1 + FAILURES_ALLOWED)
    )
    assert not any(verdict.reason for verdict in before)
    assert last.reason.endswith(f"in a row failed here, the last with: {outcome.NO_MEMORY_LEFT}")
    status = TrialStatus.INTERRUPTED if alone else TrialStatus.FAILED
    assert last.result.status is status


def test_the_largest_ones_that_are_tried_first_condemn_nobody_soon() -> None:
    """Nobody knows yet what fits; where nothing ever does, there is an end too."""
    farm = Farm()
    for index in range(STARVED_AT_FIRST_ALLOWED - 1):
        first = farm.run(worker(1), fake_spec(index), killed(index), alone=True)
        again = farm.run(worker(1), fake_spec(index), killed(index), alone=True)
        assert (first.result.failure, first.reason) == (Failure.INFRASTRUCTURE, "")
        assert (again.result.failure, again.reason) == (Failure.OUT_OF_MEMORY, "")
    assert farm.run(worker(1), fake_spec(99), killed(99), alone=True).reason


def test_a_limit_of_its_own_and_a_full_gpu_are_the_trials_own() -> None:
    farm = Farm()
    farm.run(worker(1), large(0), good(0))
    spec = fake_spec(1, memory_limit_mb=100.0)
    for result in (
        outcome.over_memory(spec, 101.0, 50.0),
        outcome.of_exception(spec, "ResourceExhaustedError", "OOM when allocating tensor"),
    ):
        assert farm.run(worker(1), spec, result).result == result
