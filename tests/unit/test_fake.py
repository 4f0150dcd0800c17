"""The fake runner: a known optimum, slopes everywhere, everything drawn from the seed."""

from __future__ import annotations

import itertools
import math
import statistics
from dataclasses import replace

import numpy as np
import pytest
from handmade import CONV2D, fake_spec, network

from mpinas.config_fake import FAILURE_KINDS
from mpinas.records import Failure, LayerSpec, NetworkSpec, Progress, TrialStatus
from mpinas.trial.fake import (
    TRAITS,
    closed_form_fitness,
    draw_failure,
    draw_seconds,
    network_traits,
    run_trial,
)


def with_traits(
    convolutions: int = 6, filters: int = 32, kernel: int = 3, merges: int = 2, pools: int = 2
) -> NetworkSpec:
    """Layers in any order: the closed form counts, it does not build."""
    window = {"pool_size": (2, 2), "strides": (2, 2), "padding": "valid"}
    parameters = {**CONV2D, "filters": filters, "kernel_size": (kernel, kernel)}
    layers = [
        LayerSpec(name=f"c{index}", kind="conv2d", parameters=parameters)
        for index in range(convolutions)
    ]
    layers += [LayerSpec(name=f"a{index}", kind="add") for index in range(merges)]
    layers += [
        LayerSpec(name=f"p{index}", kind="max_pool", parameters=window) for index in range(pools)
    ]
    return NetworkSpec(input_shape=(8, 8, 1), layers=tuple(layers))


def test_the_optimum_is_where_it_is_said_to_be() -> None:
    assert closed_form_fitness(with_traits()) == 1.0


@pytest.mark.parametrize(
    "change",
    [
        {"convolutions": 5},
        {"convolutions": 7},
        {"filters": 31},
        {"filters": 33},
        {"kernel": 5},
        {"merges": 1},
        {"merges": 3},
        {"pools": 1},
        {"pools": 3},
    ],
)
def test_every_step_away_from_the_optimum_is_worse(change: dict[str, int]) -> None:
    assert 0.0 < closed_form_fitness(with_traits(**change)) < 1.0


@pytest.mark.parametrize(
    ("trait", "worst_to_best"),
    [
        ("convolutions", [24, 18, 12, 9, 7, 6]),
        ("convolutions", [1, 2, 3, 4, 5, 6]),
        ("filters", [1024, 256, 68, 48, 33, 32]),
        ("filters", [1, 4, 16, 24, 31, 32]),
        ("merges", [12, 8, 5, 3, 2]),
        ("pools", [12, 8, 5, 3, 2]),
    ],
)
def test_there_is_no_plateau(trait: str, worst_to_best: list[int]) -> None:
    """Each step towards the optimum shows, also far away and with everything else bad."""
    for others in ({}, {"kernel": 5}):
        values = [closed_form_fitness(with_traits(**{trait: v}, **others)) for v in worst_to_best]
        assert all(after - before > 1e-4 for before, after in itertools.pairwise(values))


def test_traits_are_those_of_the_formula() -> None:
    traits = network_traits(with_traits(convolutions=3, filters=16, kernel=1, merges=0, pools=1))
    assert traits == {
        "convolutions": 3,
        "mean_log2_filters": 4.0,
        "share_of_3x3": 0.0,
        "merges": 0,
        "pools": 1,
    }
    assert traits.keys() == TRAITS.keys()


def test_a_network_without_convolutions_has_a_fitness() -> None:
    assert 0.0 < closed_form_fitness(with_traits(convolutions=0)) < 0.5


def test_a_good_trial() -> None:
    spec, seen = fake_spec(0, epochs=4, convolutions=3), []
    result = run_trial(spec, seen.append)
    assert result.status is TrialStatus.COMPLETE
    assert result.fitness == closed_form_fitness(spec.network) == result.curves.training_accuracy[3]
    assert [progress.epoch for progress in seen] == [1, 2, 3, 4]
    assert all(isinstance(progress, Progress) and progress.epochs == 4 for progress in seen)
    assert result.costs is not None
    assert result.costs.flops > 0
    assert result.widths == {
        "convolution_0": 32,
        "convolution_1": 32,
        "convolution_2": 32,
        "logits": 10,
    }


def test_fitness_does_not_depend_on_seed_or_epochs() -> None:
    one, other = fake_spec(1), replace(fake_spec(2, epochs=7), seed=77)
    assert run_trial(one, print).fitness == run_trial(other, print).fitness


def test_an_impossible_network_is_infeasible() -> None:
    broken = replace(network().layers[-1], inputs=("input",))
    layers = (*network().layers[:-1], broken)
    spec = replace(fake_spec(0), network=NetworkSpec(input_shape=(8, 8, 1), layers=layers))
    result = run_trial(spec, print)
    assert (result.status, result.fitness) == (TrialStatus.INFEASIBLE, None)
    assert "dense needs a vector" in result.error


def test_not_a_number_is_a_failed_trial() -> None:
    seen: list[Progress] = []
    result = run_trial(fake_spec(0, failures={"nan": 1.0}), seen.append)
    assert (result.status, result.failure) == (TrialStatus.FAILED, Failure.NOT_A_NUMBER)
    assert math.isnan(seen[0].accuracy)


def test_failures_have_their_odds() -> None:
    odds = {kind: 0.05 + 0.01 * index for index, kind in enumerate(FAILURE_KINDS)}
    drawn = [draw_failure(odds, uniform) for uniform in np.linspace(0, 1, 20001)[:-1]]
    for kind in FAILURE_KINDS:
        assert drawn.count(kind) / len(drawn) == pytest.approx(odds[kind], abs=1e-3)
    assert drawn.count(None) / len(drawn) == pytest.approx(1 - sum(odds.values()), abs=1e-3)


def test_failures_are_drawn_from_the_seed_of_the_trial() -> None:
    def statuses() -> list[TrialStatus]:
        specs = [fake_spec(index, failures={"nan": 0.3}) for index in range(60)]
        return [run_trial(spec, lambda progress: None).status for spec in specs]

    first = statuses()
    assert first == statuses()
    assert 5 < first.count(TrialStatus.FAILED) < 35


def test_seconds_have_the_mean_that_is_asked_for() -> None:
    normal = np.random.default_rng(0).standard_normal(200_000)
    drawn = [draw_seconds({"mean": 3.0, "sigma": 0.8}, value) for value in normal]
    assert statistics.fmean(drawn) == pytest.approx(3.0, rel=0.01)
    assert draw_seconds({"mean": 3.0, "sigma": 0.0}, 1.7) == 3.0
    assert draw_seconds({"mean": 0.0, "sigma": 1.0}, 1.7) == 0.0
