"""What the clock expects of a trial, from those it has seen."""

from dataclasses import replace

import pytest
from handmade import fake_spec
from hypothesis import given
from hypothesis import strategies as st

from mpinas.clock import Clock, Seen, seen
from mpinas.records import Times, TrialResult, TrialStatus


def clock(history, now_s=0.0, deadline_s=100.0):
    made = Clock(deadline_s=deadline_s, reserve_s=10.0, now_s=lambda: now_s)
    made.learn_from(Seen(cost, wall_s) for cost, wall_s in history)
    return made


def spec(cost):
    return replace(fake_spec(0), predicted_cost=cost)


@pytest.mark.parametrize(
    ("history", "cost", "expected_s"),
    [
        ([], 5.0, 0.0),
        ([(1.0, 3.0)], 1.0, 3.0),
        ([(1.0, 3.0)], 2.0, 6.0),
        ([(1.0, 3.0)], 0.1, 3.0),
        ([(1.0, 3.0), (100.0, 4.0)], 50.0, 4.0),
        ([(1.0, 3.0), (100.0, 4.0)], 200.0, 8.0),
        ([(1.0, 9.0), (100.0, 4.0)], 50.0, 9.0),
        ([(0.0, 3.0)], 10.0, 3.0),
    ],
)
def test_expected_seconds(history, cost, expected_s):
    assert clock(history).expected_s(cost) == pytest.approx(expected_s)


def test_a_tiny_network_does_not_make_a_large_one_look_endless():
    """Its time was all start-up; per FLOP it was ten thousand times as slow."""
    assert clock([(1.0, 2.0), (9_000.0, 4.0)], now_s=50.0).fits(spec(10_000.0))


def test_what_fits():
    assert clock([(1.0, 39.0)], now_s=50.0).fits(spec(1.0))
    assert not clock([(1.0, 41.0)], now_s=50.0).fits(spec(1.0))
    assert clock([(1.0, 1e9)], deadline_s=None).fits(spec(1.0))
    assert not clock([], now_s=91.0).fits(spec(1.0))


def test_when_it_is_over():
    assert not clock([], now_s=89.0).over()
    assert clock([], now_s=90.0).over()
    assert not clock([], now_s=1e9, deadline_s=None).over()


def test_time_left_is_that_without_the_reserve():
    assert clock([], now_s=70.0).left_s() == 20.0
    assert clock([], now_s=95.0).left_s() == -5.0
    assert clock([], deadline_s=None).left_s() is None


def test_it_learns_from_complete_trials_without_the_loading_of_the_runner():
    result = TrialResult(
        trial_id="g000-t000",
        network_hash="h",
        status=TrialStatus.COMPLETE,
        fitness=0.5,
        times=Times(start_s=7.0, wall_time_s=10.0),
    )
    one = clock([])
    one.learn(spec(2.0), result)
    one.learn(spec(2.0), replace(result, fitness=None, status=TrialStatus.INFEASIBLE))
    assert seen(2.0, result) == Seen(2.0, 3.0)
    assert (one.expected_s(2.0), one.expected_s(4.0)) == (3.0, 6.0)


def by_definition(history, cost):
    cheaper = [wall_s for other, wall_s in history if other <= cost]
    dearer = [wall_s for other, wall_s in history if other >= cost]
    slowest = max(cheaper, default=0.0)
    if dearer:
        return max(slowest, min(dearer))
    largest = max((other for other, _ in history), default=0.0)
    return slowest * cost / largest if largest else slowest


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 9)), max_size=12), st.integers(0, 7))
def test_the_bisection_gives_what_the_definition_says(history, cost):
    assert clock(history).expected_s(cost) == pytest.approx(by_definition(history, cost))


def test_a_trial_that_would_not_end_in_a_whole_job_is_told_with_the_cure(caplog):
    one = clock([(1.0, 600.0)])
    assert not one.fits(spec(1.0))
    assert not one.fits(spec(2.0))
    (line,) = caplog.messages
    assert line.startswith("walltime: g000-t000 would not end in a whole job")
    assert "expected=600 s, time for trials in a job=90 s" in line
    assert "Ask for 13 minutes or more" in line


def test_a_trial_that_only_comes_too_late_is_no_matter(caplog):
    now_s = [0.0]
    one = Clock(deadline_s=100.0, reserve_s=10.0, now_s=lambda: now_s[0])
    one.learn_from([Seen(1.0, 60.0)])
    now_s[0] = 50.0
    other = one.another()
    other.learn_from([Seen(1.0, 60.0)])
    assert not one.fits(spec(1.0))
    assert not other.fits(spec(1.0))
    assert caplog.messages == []


def test_a_first_trial_that_is_broken_off_is_told(caplog):
    broken_off = TrialResult(trial_id="g000-t000", network_hash="h", status=TrialStatus.INTERRUPTED)
    one = clock([])
    one.learn(spec(2.0), broken_off)
    one.learn(spec(2.0), broken_off)
    (line,) = caplog.messages
    assert "no trial of the run has ended yet" in line
    assert "time for trials in a job=90 s" in line
    clock([(1.0, 3.0)]).learn(spec(2.0), broken_off)
    clock([], deadline_s=None).learn(spec(2.0), broken_off)
    assert len(caplog.messages) == 1


def test_trials_that_go_on_where_they_were_may_be_started_and_broken_off_at_any_time(caplog):
    made = clock([(1.0, 300.0)]).another(trials_go_on=True)
    begun = TrialResult(trial_id="g000-t000", network_hash="h", status=TrialStatus.INTERRUPTED)
    made.learn(spec(1.0), begun)
    long = Times(wall_time_s=1000.0)
    made.learn(spec(1.0), replace(begun, status=TrialStatus.COMPLETE, fitness=1.0, times=long))
    assert made.fits(spec(1.0))
    assert not made.over()
    assert caplog.text == ""
