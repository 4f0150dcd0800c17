"""What each layer keeps, which layers go, and the spec that is left."""

from __future__ import annotations

import numpy as np
import pytest
from shrink_networks import (
    RESIDUAL,
    batch_norm,
    conv,
    conv_block,
    dense,
    layer,
    network_of,
    relu,
)

from mpinas.assembly.description import LayerDescription, describe_network, gone_with
from mpinas.assembly.narrow import narrow
from mpinas.assembly.shapes import network_shapes
from mpinas.morphnet.channels import ChannelGraph, graph_of
from mpinas.morphnet.plan import make_plan

CHAIN = network_of(
    (4, 4, 1),
    *conv_block("a", "image", 6),
    *conv_block("b", "a_relu", 5),
    layer("flat", "flatten", "b_relu"),
    dense("logits", "flat", 3),
)
BRANCHES = network_of(
    (4, 4, 1),
    *conv_block("stem", "image", 4),
    *conv_block("inner", "stem_relu", 5),
    conv("back", "inner_relu", 4),
    layer("sum", "add", "stem_relu", "back"),
    *conv_block("left", "sum", 3),
    *conv_block("right", "sum", 2),
    layer("concat", "concatenate", "left_relu", "right_relu"),
    layer("flat", "flatten", "concat"),
    dense("logits", "flat", 3),
)


def without(graph, *names, **channels):
    """All alive but these layers and, by name, these channels of a layer."""
    alive = graph.all_alive()
    for name in names:
        alive[graph.outputs[name]] = False
    for name, dead in channels.items():
        alive[graph.outputs[name][list(dead)]] = False
    return alive


def kinds(network):
    return [one.name for one in network.layers]


def test_indices_of_what_is_kept():
    graph = graph_of(CHAIN)
    plan = make_plan(graph, without(graph, a=(0, 2, 5), b=(4,)))
    assert plan.widths == {"a": 3, "b": 4, "logits": 3}
    assert list(plan.keep_outputs["a"]) == [1, 3, 4]
    assert list(plan.keep_inputs["b"]) == [1, 3, 4]
    assert list(plan.keep_inputs["logits"])[:5] == [0, 1, 2, 3, 5]
    assert len(plan.keep_inputs["logits"]) == 4 * 16
    assert list(plan.keep_outputs["image"]) == [0]
    assert not plan.removes_nothing


def test_a_dead_layer_of_a_chain_keeps_its_largest_channel():
    graph = graph_of(CHAIN)
    sizes = np.zeros(graph.groups)
    sizes[graph.outputs["a"]] = [0.01, 0.02, 0.05, 0.03, 0.05, 0.0]
    plan = make_plan(graph, without(graph, "a"), sizes=sizes)
    assert list(plan.keep_outputs["a"]) == [2]
    assert list(make_plan(graph, without(graph, "a")).keep_outputs["a"]) == [0]
    assert not plan.gone


def test_min_filters_are_the_largest_and_no_more_than_there_are():
    graph = graph_of(CHAIN)
    sizes = np.zeros(graph.groups)
    sizes[graph.outputs["a"]] = [0.01, 0.02, 0.05, 0.03, 0.05, 0.0]
    plan = make_plan(graph, without(graph, "a", b=(0, 1)), sizes=sizes, min_filters=3)
    assert list(plan.keep_outputs["a"]) == [2, 3, 4]
    assert plan.widths["b"] == 3
    assert make_plan(graph, without(graph, "a"), min_filters=99).widths["a"] == 6


def test_rounding_brings_back_the_largest_of_the_dead():
    graph = graph_of(CHAIN)
    sizes = np.zeros(graph.groups)
    sizes[graph.outputs["a"]] = [0.5, 0.02, 0.09, 0.5, 0.5, 0.03]
    plan = make_plan(graph, without(graph, a=(1, 2, 5), b=(0,)), sizes=sizes, round_to=4)
    assert list(plan.keep_outputs["a"]) == [0, 2, 3, 4]
    assert plan.widths["b"] == 4
    assert make_plan(graph, without(graph, b=()), round_to=4).widths["b"] == 5


def test_rounding_of_one_layer_holds_for_all_that_share_its_channels():
    graph = graph_of(BRANCHES)
    plan = make_plan(graph, without(graph, stem=(0, 3)), round_to=3)
    assert plan.widths["stem"] == plan.widths["back"] == 3
    assert list(plan.keep_outputs["stem"]) == list(plan.keep_outputs["back"])


def test_frozen_channels_stay_whatever_is_said():
    graph = graph_of(CHAIN)
    plan = make_plan(graph, np.zeros(graph.groups, bool))
    assert plan.widths == {"a": 1, "b": 1, "logits": 3}
    assert len(plan.keep_outputs["image"]) == 1


def test_a_residual_branch_dies_through_its_inner_convolution():
    graph = graph_of(BRANCHES)
    plan = make_plan(graph, without(graph, "inner"))
    gone = {"inner", "inner_norm", "inner_relu", "back", "sum"}
    assert plan.gone == gone
    assert plan.widths["inner"] == plan.widths["back"] == 0
    assert plan.widths["stem"] == 4
    narrower = narrow(BRANCHES, plan.widths)
    assert not gone & set(kinds(narrower))
    assert {one.name: one.inputs for one in narrower.layers}["left"] == ("stem_relu",)


def test_a_dead_trunk_keeps_a_channel_and_loses_its_branch():
    graph = graph_of(BRANCHES)
    plan = make_plan(graph, without(graph, "stem"))
    assert plan.widths["stem"] == 1
    assert plan.widths["back"] == plan.widths["inner"] == 0


def test_a_dead_part_of_a_concatenation_goes_and_the_last_part_stays():
    graph = graph_of(BRANCHES)
    one = make_plan(graph, without(graph, "right"))
    assert one.widths["right"] == 0
    assert "concat" in one.gone
    assert len(one.keep_inputs["logits"]) == 3 * 16
    both = make_plan(graph, without(graph, "left", "right"))
    assert (both.widths["left"], both.widths["right"]) == (0, 1)


def test_without_removal_of_layers_each_keeps_some():
    graph = graph_of(BRANCHES)
    plan = make_plan(graph, without(graph, "inner", "right"), min_filters=2, remove_layers=False)
    assert not plan.gone
    assert plan.widths["inner"] == plan.widths["right"] == 2


def test_a_removal_never_takes_logits_along():
    network = network_of(
        (4, 4, 1),
        layer("flat", "flatten", "image"),
        dense("first", "flat", 3),
        dense("hidden", "flat", 4),
        dense("second", "hidden", 2),
        layer("logits", "concatenate", "first", "second"),
    )
    graph = graph_of(network)
    plan = make_plan(graph, without(graph, "hidden"))
    assert plan.widths == {"first": 3, "hidden": 1, "second": 2}


def test_a_removal_never_takes_a_layer_along_that_is_not_known():
    odd = LayerDescription(
        name="odd", kind="odd", channels=None, inputs=("right",), shape=(4, 4, 2)
    )
    described = describe_network(
        network_of(
            (4, 4, 1),
            conv("left", "image", 3),
            conv("inner", "image", 3),
            conv("right", "inner", 2),
            layer("odd", "identity", "right"),
            layer("concat", "concatenate", "left", "odd"),
            layer("flat", "flatten", "concat"),
            dense("logits", "flat", 3),
        )
    )
    graph = ChannelGraph([odd if one.name == "odd" else one for one in described])
    plan = make_plan(graph, without(graph, "inner", "left"))
    assert plan.widths == {"left": 0, "inner": 1, "right": 2, "logits": 3}
    assert "odd" not in plan.gone


def test_a_merge_of_one_input_from_the_start_is_a_layer_like_others():
    network = network_of(
        (4, 4, 1),
        conv("a", "image", 3),
        layer("alone", "concatenate", "a"),
        layer("flat", "flatten", "alone"),
        dense("logits", "flat", 3),
    )
    graph = graph_of(network)
    plan = make_plan(graph, graph.all_alive())
    assert not plan.gone
    assert narrow(network, plan.widths) == network


def test_a_layer_that_goes_is_something_removed_though_its_twin_keeps_all_channels():
    network = network_of(
        (4, 4, 1),
        conv("a", "image", 1),
        conv("b", "image", 1),
        layer("sum", "add", "a", "b"),
        layer("flat", "flatten", "sum"),
        dense("logits", "flat", 3),
    )
    graph = graph_of(network)
    plan = make_plan(graph, without(graph, "a"))
    assert plan.gone == {"a", "sum"}
    assert plan.alive.all()
    assert not plan.removes_nothing
    assert list(plan.dead) == list(~without(graph, "a"))


def test_a_part_of_a_concatenation_stays_while_a_sum_behind_it_needs_its_channel():
    network = network_of(
        (4, 4, 2),
        conv("part", "image", 1),
        layer("concat", "concatenate", "image", "part"),
        conv("back", "concat", 3),
        layer("sum", "add", "concat", "back"),
        layer("flat", "flatten", "sum"),
        dense("logits", "flat", 3),
    )
    graph = graph_of(network)
    alive = without(graph, "part")
    assert make_plan(graph, alive).widths == {"part": 0, "back": 2, "logits": 3}
    plan = make_plan(graph, alive, min_filters=3)
    assert plan.widths == {"part": 1, "back": 3, "logits": 3}
    assert network_shapes(narrow(network, plan.widths))["sum"] == (4, 4, 3)


def test_the_plan_changes_no_mask():
    graph = graph_of(BRANCHES)
    alive = without(graph, "inner", "stem")
    before = alive.copy()
    make_plan(graph, alive, min_filters=2, round_to=2)
    assert np.array_equal(alive, before)


def test_narrow_changes_widths_only():
    narrower = narrow(RESIDUAL, {"inner": 5, "hidden": 7})
    shapes = network_shapes(narrower)
    assert shapes["inner_relu"] == (14, 14, 5)
    assert shapes["hidden"] == (7,)
    assert kinds(narrower) == kinds(RESIDUAL)
    assert shapes["stem"] == (28, 28, 24)


@pytest.mark.parametrize("widths", [{"nobody": 3}, {"a_norm": 3}, {"image": 1}, {"flat": 2}])
def test_narrow_refuses_what_makes_no_channels(widths):
    with pytest.raises(ValueError, match="no layers that make channels"):
        narrow(CHAIN, widths)


def test_narrow_refuses_to_leave_nothing():
    with pytest.raises(ValueError, match="nothing would be left"):
        narrow(CHAIN, {"a": 0})


def test_gone_with_takes_what_reads_it_and_what_only_it_reads():
    layers = (*BRANCHES.layers[:-1], relu("tail", "flat"))
    assert gone_with(layers, ()) == set()
    assert gone_with(layers, {"back"}) == {"inner", "inner_norm", "inner_relu", "back"}
    assert "tail" in gone_with(layers, {"stem"})


def test_a_concatenation_may_have_a_layer_twice():
    network = network_of(
        (4, 4, 1),
        conv("a", "image", 3),
        batch_norm("norm", "a"),
        layer("twice", "concatenate", "norm", "norm"),
        conv("b", "twice", 2),
        layer("flat", "flatten", "b"),
        dense("logits", "flat", 3),
    )
    graph = graph_of(network)
    plan = make_plan(graph, without(graph, a=(1,)))
    assert list(plan.keep_inputs["b"]) == [0, 2, 3, 5]
    dead = make_plan(graph, without(graph, "a"))
    assert list(dead.keep_inputs["b"]) == [0, 3]


@pytest.mark.parametrize("larger", ["left", "right"])
def test_of_two_dead_parts_of_a_concatenation_the_larger_stays(larger: str) -> None:
    network = network_of(
        (6, 6, 2),
        conv("left", "image", 3),
        conv("right", "image", 3),
        layer("concat", "concatenate", "left", "right"),
        layer("pool", "global_average_pool", "concat"),
        dense("logits", "pool", 4),
    )
    graph = graph_of(network)
    alive, sizes = graph.all_alive(), np.full(graph.groups, 0.001)
    for name in ("left", "right"):
        alive[graph.outputs[name]] = False
    sizes[graph.outputs[larger]] = 0.09
    plan = make_plan(graph, alive, sizes=sizes)
    assert {name for name in ("left", "right") if plan.widths[name]} == {larger}
