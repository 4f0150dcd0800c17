"""Who gets credit for what: means, failures, and trials that say nothing."""

from __future__ import annotations

import pytest
from genetics import complete, failed, infeasible

from mpinas.records import Failure, TrialResult, TrialStatus, trial_id
from mpinas.tuners.scoring import add_results, mean_by_genome, trial_scores


def test_failures_and_infeasible_ones_get_the_worst_complete_fitness() -> None:
    results = [complete(0, 0, 0.9), failed(0, 1), infeasible(0, 2), complete(0, 3, 0.4)]
    scores = trial_scores(add_results((), results, 0, 4))
    assert scores == {0: 0.9, 1: 0.4, 2: 0.4, 3: 0.4}


@pytest.mark.parametrize("failure", list(Failure))
def test_only_infrastructure_is_no_evidence(failure: Failure) -> None:
    results = [complete(0, 0, 0.9), failed(0, 1, failure)]
    scores = trial_scores(add_results((), results, 0, 2))
    assert (1 in scores) == (failure is not Failure.INFRASTRUCTURE)


def test_where_none_is_complete_failures_count_as_zero() -> None:
    assert trial_scores(add_results((), [failed(0, 0), infeasible(0, 1)], 0, 2)) == {0: 0, 1: 0}


def test_negative_fitness_is_a_number_like_any_other() -> None:
    """TFNE 11: offspring sizes went wrong."""
    scores = trial_scores(add_results((), [complete(0, 0, -3.0), failed(0, 1)], 0, 2))
    assert scores == {0: -3.0, 1: -3.0}


def test_fitness_of_a_genome_is_the_mean_over_the_trials_that_used_it() -> None:
    uses = [("b0", "m0", "m1"), ("b0", "m1"), ("b1", "m2")]
    fitness = mean_by_genome({0: 0.2, 1: 0.6}, uses)
    assert fitness == {"b0": pytest.approx(0.4), "m0": 0.2, "m1": pytest.approx(0.4)}


def test_a_genome_that_was_never_used_has_no_fitness_rather_than_zero() -> None:
    assert "m2" not in mean_by_genome({0: 0.2}, [("m0",), ("m2",)])


def test_portions_in_any_order_equal_all_at_once() -> None:
    results = [complete(3, index, index / 10) for index in range(5)]
    whole = add_results((), results, 3, 5)
    part = add_results((), [results[4], results[1]], 3, 5)
    assert add_results(part, [results[3], results[0], results[2]], 3, 5) == whole


@pytest.mark.parametrize("result", [complete(1, 0, 0.5), complete(0, 4, 0.5), complete(0, 1, 0.5)])
def test_strangers_and_repeats_are_refused(result: TrialResult) -> None:
    told = add_results((), [complete(0, 1, 0.5)], 0, 4)
    with pytest.raises(ValueError, match="tell: "):
        add_results(told, [result], 0, 4)


def test_an_interrupted_trial_is_never_told() -> None:
    interrupted = TrialResult(
        trial_id=trial_id(0, 0), network_hash="", status=TrialStatus.INTERRUPTED
    )
    with pytest.raises(ValueError, match="interrupted"):
        add_results((), [interrupted], 0, 1)
