"""Which worker gets a trial, and when one gets no more."""

from __future__ import annotations

from dataclasses import replace

from handmade import fake_spec

from mpinas.dispatch.standing import FAILURES_ALLOWED, Standing
from mpinas.records import Failure, TrialResult, trial_id
from mpinas.trial import outcome
from mpinas.trial.fake import run_trial

GOOD = run_trial(fake_spec(0), lambda progress: None)


def failed(index: int, failure: Failure = Failure.INFRASTRUCTURE) -> TrialResult:
    return outcome.failed(fake_spec(index), failure, "line one\nno disk\n")


def good(index: int) -> TrialResult:
    return replace(GOOD, trial_id=trial_id(0, index))


def reasons(rank: int, *results: TrialResult) -> list[str]:
    """What is said after each result on a worker of whom nothing is known."""
    standing = Standing()
    return [standing.take(rank, result) for result in results]


def test_nobody_free_is_nobody_chosen() -> None:
    assert Standing().choose("g000-t000", []) is None


def test_the_first_free_worker_is_as_good_as_any() -> None:
    assert Standing().choose("g000-t000", iter([2, 3, 4])) == 2


def test_a_trial_goes_where_it_has_not_failed() -> None:
    standing = Standing()
    standing.take(1, failed(0))
    standing.take(2, failed(0))
    assert standing.choose("g000-t000", [1, 2, 3]) == 3
    assert standing.choose("g000-t000", [2]) == 2, "rather there than nowhere"


def test_where_a_trial_has_failed_counts_more_than_how_its_worker_does() -> None:
    standing = Standing()
    for index in (1, 2):
        standing.take(2, failed(index))
    standing.take(1, failed(0))
    standing.take(1, good(5))
    assert standing.choose("g000-t000", [1, 2]) == 2


def test_a_new_trial_goes_where_nothing_has_failed_of_late() -> None:
    standing = Standing()
    standing.take(1, failed(0))
    assert standing.choose("g000-t001", [1, 2]) == 2
    standing.take(1, good(2))
    assert standing.choose("g000-t001", [1, 2]) == 1


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
    assert not any(standing.take(rank, failed(rank)) for rank in range(1, 9))
    assert not any(standing.take(rank, failed(rank + 10)) for rank in range(1, 9))


def test_a_trial_that_ended_is_forgotten() -> None:
    standing = Standing()
    standing.take(1, failed(0))
    standing.take(1, good(1))
    standing.take(2, good(0))
    assert standing.choose("g000-t000", [1, 2]) == 1
