"""Meeting a FLOP target: the threshold, and the width multiplier."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from shrink_networks import (
    RESIDUAL,
    batch_norm,
    conv,
    dense,
    depthwise,
    layer,
    network_of,
    random_network,
)

from mpinas.assembly.description import describe_network
from mpinas.errors import UserMustChange
from mpinas.morphnet.channels import ChannelGraph, graph_of
from mpinas.morphnet.plan import make_plan
from mpinas.morphnet.target import check_reach, meet_target, target_flops, widened

JOINED = network_of(
    (8, 8, 3),
    conv("left", "image", 3),
    conv("right", "image", 5),
    layer("both", "concatenate", "left", "right"),
    conv("beside", "image", 8),
    layer("sum", "add", "both", "beside"),
    batch_norm("norm", "sum"),
    depthwise("deep", "norm", 3, multiplier=2),
    layer("flat", "flatten", "deep"),
    dense("hidden", "flat", 6),
    dense("logits", "hidden", 4),
)


def random_graph(seed: int) -> ChannelGraph:
    rng = np.random.default_rng(seed)
    return graph_of(random_network(lambda low, high: int(rng.integers(low, high + 1))))


def random_shares(graph: ChannelGraph, seed: int) -> np.ndarray:
    """Some equal; those that never die infinite."""
    shares = np.random.default_rng(seed).random(graph.groups).round(2) * 3
    return np.where(graph.frozen, np.inf, shares)


def full(graph: ChannelGraph) -> int:
    return graph.cost(graph.all_alive(), "flops")


@pytest.mark.parametrize("seed", range(12))
def test_it_is_the_largest_network_within_the_target(seed):
    graph = random_graph(seed)
    shares = random_shares(graph, seed)
    floor = make_plan(graph, graph.frozen, sizes=shares, remove_layers=False).alive
    order = np.argsort(shares, kind="stable")[: int((~graph.frozen).sum())]
    by_count = []
    for count in range(len(order) + 1):
        alive = np.ones(graph.groups, bool)
        alive[order[:count]] = False
        by_count.append(graph.cost(alive | floor, "flops"))
    assert by_count == sorted(by_count, reverse=True)
    for target in {by_count[-1], (by_count[0] + by_count[-1]) // 2}:
        cut = meet_target(graph, shares, target)
        assert cut.flops == max(one for one in by_count if one <= target)
        assert cut.flops == graph.cost(cut.plan.alive, "flops")


def test_of_equal_shares_no_more_go_than_have_to():
    """One threshold took them all: of eight channels one was left where four were asked for."""
    graph = graph_of(RESIDUAL)
    shares = np.where(graph.frozen, np.inf, 0.5)
    cut = meet_target(graph, shares, full(graph) // 2)
    assert 0.8 * (full(graph) // 2) < cut.flops <= full(graph) // 2
    assert cut.threshold == 0.5


def test_layers_that_are_not_known_are_named_where_they_stand_in_the_way():
    descriptions = describe_network(RESIDUAL)
    first, second, *others = descriptions
    graph = ChannelGraph((first, replace(second, channels=None), *others))
    with pytest.raises(UserMustChange, match=rf"all in those that are not known \({second.name}"):
        check_reach(graph, ~graph.frozen, 1, 1)


def test_the_floor_keeps_the_most_alive_channels_of_each_layer():
    graph = graph_of(RESIDUAL)
    shares = random_shares(graph, 3)
    with pytest.raises(UserMustChange, match=r"Smallest that can be reached: [0-9]+ FLOPs"):
        meet_target(graph, shares, 1, min_filters=2)
    smallest = make_plan(graph, graph.frozen, sizes=shares, min_filters=2, remove_layers=False)
    cut = meet_target(graph, shares, graph.cost(smallest.alive, "flops"), min_filters=2)
    assert all(width >= 2 for width in cut.plan.widths.values())
    for maker in graph.makers:
        ids = graph.outputs[maker.name]
        assert cut.plan.alive[ids[np.argmax(shares[ids])]]


@pytest.mark.parametrize("seed", range(6))
def test_rounding_stays_within_the_target(seed):
    graph = random_graph(seed)
    shares = random_shares(graph, seed)
    target = full(graph) - 1
    try:
        cut = meet_target(graph, shares, target, round_to=2)
    except UserMustChange:
        return
    assert cut.flops == graph.cost(cut.plan.alive, "flops") <= target


def test_what_never_dies_lives_where_everything_else_is_dead():
    graph = graph_of(JOINED)
    shares = random_shares(graph, 1)
    shares[graph.outputs["hidden"]] = np.inf
    cut = meet_target(graph, shares, full(graph) // 2)
    assert cut.plan.widths["hidden"] == 6
    assert cut.plan.widths["logits"] == 4


def test_layers_that_are_joined_still_agree_when_widened():
    graph = graph_of(JOINED)
    plan = make_plan(graph, graph.all_alive(), remove_layers=False)
    wider, multiplier = widened(graph, plan, 4 * full(graph))
    widths = wider.widths
    assert multiplier > 1
    assert widths["left"] + widths["right"] == widths["beside"] > 8
    assert widths["left"] == int(3 * multiplier)
    assert widths["logits"] == 4
    assert len(wider.keep_outputs["deep"]) == 2 * widths["beside"]


@pytest.mark.parametrize("times", [1.0, 1.5, 3.0])
def test_it_is_widened_up_to_the_target_and_not_beyond(times):
    def wide(factor: float) -> ChannelGraph:
        width = int(8 * factor)
        return graph_of(
            network_of(
                (8, 8, 3),
                conv("one", "image", width, 3),
                conv("two", "one", width, 3),
                layer("flat", "flatten", "two"),
                dense("logits", "flat", 4),
            )
        )

    graph = wide(1)
    plan = make_plan(graph, graph.all_alive(), remove_layers=False)
    target = full(wide(times))
    assert widened(graph, plan, target)[0].widths["one"] == int(8 * times)
    assert widened(graph, plan, target + 1)[0].widths["two"] == int(8 * times)
    if times > 1:
        assert widened(graph, plan, target - 1)[0].widths["one"] == int(8 * times) - 1


@pytest.mark.parametrize("wanted", [0.0, -0.5, 1000, 1e30, float("nan"), 1e-9])
def test_a_target_that_is_none_is_refused(wanted):
    with pytest.raises(UserMustChange, match="below the model's 1000 FLOPs"):
        target_flops(wanted, 1000)


def test_a_target_is_a_share_or_a_count():
    assert [target_flops(one, 1000) for one in (0.5, 1, 999)] == [500, 1, 999]
