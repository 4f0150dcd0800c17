"""Groups of channels and their costs, against numbers worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from shrink_networks import (
    CONCATENATED,
    CONCATENATED_GAMMAS,
    FLATTENED,
    FLATTENED_GAMMAS,
    RESIDUAL,
    SEPARABLE,
    SEPARABLE_GAMMAS,
    batch_norm,
    conv,
    dense,
    depthwise,
    layer,
    max_pool,
    network_of,
    relu,
)

from mpinas.assembly.description import LayerDescription, Price, describe_network
from mpinas.assembly.shapes import network_costs
from mpinas.errors import Infeasible
from mpinas.morphnet.channels import ChannelGraph, graph_of
from mpinas.space.layers import Channels


def sizes_of(graph, gammas):
    """The largest magnitude of each group; 0 where nothing tells."""
    sizes = np.zeros(graph.groups)
    for name, values in gammas.items():
        np.maximum.at(sizes, graph.outputs[name], np.abs(values))
    return sizes


def same_groups(graph, *names):
    return all(np.array_equal(graph.outputs[names[0]], graph.outputs[name]) for name in names)


def test_one_by_one_convolution():
    network = network_of(
        (3, 3, 3), conv("conv", "image", 2), layer("flat", "flatten", "conv"), dense("d", "flat", 1)
    )
    graph = graph_of(network)
    head = 2 * 9 * 2
    assert graph.cost(graph.all_alive(), "flops") == 108 + head
    assert list(graph.prices(graph.all_alive())[graph.outputs["conv"]]) == [54 + 18] * 2


def test_the_original_test_network_costs_what_it_costs_there():
    graph = graph_of(CONCATENATED)
    sizes = sizes_of(graph, CONCATENATED_GAMMAS)
    alive = (sizes > 0.45) | graph.frozen
    logits = 2 * (10 + 17) * 10
    assert graph.cost(alive, "flops") == 985404 + logits
    prices = graph.prices(alive)
    of_logits = 2 * 10 * (sizes[graph.outputs["pools"]].sum())
    assert prices @ sizes - of_logits == pytest.approx(1410376.4, abs=1e-6)
    assert set(prices[graph.outputs["norm1"]]) == {95012}


def test_the_original_test_network_costs_layer_by_layer():
    graph = graph_of(CONCATENATED)
    alive = (sizes_of(graph, CONCATENATED_GAMMAS) > 0.45) | graph.frozen
    everything = {one.name for one in graph.descriptions}
    costs = {
        name: graph.cost(alive, "flops", gone=everything - {name})
        for name in ("conv1", "conv2", "conv3", "conv4", "norm1", "concat")
    }
    assert costs == {
        "conv1": 474810,
        "conv2": 21318,
        "conv3": 291600,
        "conv4": 197676,
        "norm1": 0,
        "concat": 0,
    }


def test_the_original_separable_network_costs_what_it_costs_there():
    graph = graph_of(SEPARABLE)
    alive = (sizes_of(graph, SEPARABLE_GAMMAS) > 0.45) | graph.frozen
    assert alive[graph.outputs["depthwise2"]].sum() == 15
    assert graph.cost(alive, "flops") == 1119972 + 2 * 10 * 10


def test_channels_behind_a_flatten_are_charged_in_the_dense_layer():
    graph = graph_of(FLATTENED)
    sizes = sizes_of(graph, FLATTENED_GAMMAS)
    alive = (sizes > 0.1) | graph.frozen
    assert graph.cost(alive, "flops") == 64 + 320
    assert graph.prices(alive) @ sizes == pytest.approx(49.6 + 248)


def test_the_residual_network():
    graph = graph_of(RESIDUAL)
    everything = graph.all_alive()
    prices = graph.prices(everything)
    assert graph.cost(everything, "flops") == 10_613_504
    assert network_costs(RESIDUAL).parameters == 190_690
    sizes = np.where(graph.frozen, 0, 1)
    assert prices @ sizes / 10_613_504 == pytest.approx(1.967968, abs=5e-7)
    assert set(prices[graph.outputs["inner"]]) == {169344}
    assert set(prices[graph.outputs["sum"]]) == {401408}
    assert same_groups(graph, "stem", "back", "sum", "pool1")


def test_a_sum_ties_channels_and_a_concatenation_does_not():
    graph = graph_of(
        network_of(
            (4, 4, 1),
            conv("a", "image", 3),
            conv("b", "image", 3),
            conv("c", "image", 2),
            layer("sum", "add", "a", "b"),
            layer("both", "concatenate", "sum", "c", "sum"),
            layer("pool", "global_average_pool", "both"),
            dense("d", "pool", 2),
        )
    )
    assert same_groups(graph, "a", "b", "sum")
    tied, single = graph.outputs["a"], graph.outputs["c"]
    assert not set(tied) & set(single)
    assert list(graph.outputs["both"]) == [*tied, *single, *tied]
    assert graph.groups == 1 + 3 + 2 + 2


def test_concatenations_that_do_not_line_up_are_tied_channel_by_channel():
    graph = graph_of(
        network_of(
            (4, 4, 1),
            *(conv(name, "image", width) for name, width in zip("abcd", (3, 7, 6, 4), strict=True)),
            layer("ab", "concatenate", "a", "b"),
            layer("cd", "concatenate", "c", "d"),
            layer("sum", "add", "ab", "cd"),
            layer("pool", "global_average_pool", "sum"),
            dense("d2", "pool", 2),
        )
    )
    assert list(graph.outputs["a"]) == list(graph.outputs["c"][:3])
    assert list(graph.outputs["b"]) == [*graph.outputs["c"][3:], *graph.outputs["d"]]


def test_what_passes_channels_on_makes_no_new_ones():
    network = network_of(
        (4, 4, 1),
        conv("conv", "image", 3),
        batch_norm("norm", "conv"),
        relu("relu", "norm"),
        layer("drop", "dropout", "relu", rate=0.5),
        layer("same", "identity", "drop"),
        max_pool("max", "same"),
        depthwise("deep", "max", 3),
        layer("pool", "global_average_pool", "deep"),
        layer("map", "to_map", "pool"),
        layer("flat", "flatten", "map"),
        dense("d", "flat", 2),
    )
    graph = graph_of(network)
    names = ("conv", "norm", "relu", "drop", "same", "max", "deep", "pool", "map", "flat")
    assert same_groups(graph, *names)
    assert [one.name for one in graph.makers] == ["conv", "d"]


def test_flat_index_is_position_times_channels_plus_channel():
    graph = graph_of(
        network_of(
            (2, 1, 1),
            conv("conv", "image", 3),
            layer("flat", "flatten", "conv"),
            dense("d", "flat", 2),
        )
    )
    assert list(graph.outputs["flat"]) == [*graph.outputs["conv"], *graph.outputs["conv"]]


def test_depthwise_outputs_of_one_input_stand_side_by_side():
    graph = graph_of(
        network_of(
            (2, 2, 1),
            conv("conv", "image", 2),
            depthwise("deep", "conv", 1, multiplier=2),
            layer("flat", "flatten", "deep"),
            dense("d", "flat", 2),
        )
    )
    one, other = graph.outputs["conv"]
    assert list(graph.outputs["deep"]) == [one, one, other, other]


def test_image_and_logits_are_frozen_and_what_a_sum_ties_to_them():
    graph = graph_of(
        network_of(
            (2, 2, 3),
            conv("conv", "image", 3),
            layer("sum", "add", "image", "conv"),
            conv("free", "sum", 3),
            layer("flat", "flatten", "free"),
            dense("d", "flat", 2),
        )
    )
    frozen = {name for name, ids in graph.outputs.items() if graph.frozen[ids].all()}
    assert frozen == {"image", "conv", "sum", "d"}
    assert not graph.frozen[graph.outputs["free"]].any()


def with_unknown(channels):
    """image -> conv -> strange -> conv2 -> logits."""
    described = describe_network(
        network_of(
            (2, 2, 3),
            conv("conv", "image", 4),
            layer("strange", "identity", "conv"),
            conv("conv2", "strange", 3),
            layer("flat", "flatten", "conv2"),
            dense("d", "flat", 2),
        )
    )
    strange = LayerDescription(
        name="strange",
        kind="odd",
        channels=channels,
        inputs=("conv",),
        shape=(2, 2, 4),
        prices={"parameters": Price(each=5)},
    )
    return ChannelGraph([strange if one.name == "strange" else one for one in described])


def test_a_layer_that_is_not_known_keeps_all_channels_on_both_of_its_sides():
    known, unknown = with_unknown(Channels.KEPT), with_unknown(None)
    assert not known.frozen[known.outputs["conv"]].any()
    assert unknown.unknown == ("strange",)
    assert unknown.frozen[unknown.outputs["conv"]].all()
    assert unknown.frozen[unknown.outputs["strange"]].all()
    assert not unknown.frozen[unknown.outputs["conv2"]].any()
    nothing = np.zeros(unknown.groups, bool) | unknown.frozen
    assert unknown.cost(nothing, "parameters", gone={"conv", "conv2", "flat", "d"}) == 4 * 5


def test_parameters_and_activations_have_prices_too():
    network = network_of(
        (4, 4, 2),
        conv("conv", "image", 3, 3, use_bias=True),
        batch_norm("norm", "conv"),
        layer("flat", "flatten", "norm"),
        dense("d", "flat", 5),
    )
    graph = graph_of(network)
    alive = graph.all_alive()
    alive[graph.outputs["conv"][0]] = False
    assert graph.cost(alive, "parameters") == (9 * 2 + 1 + 4) * 2 + 32 * 5 + 5
    assert graph.cost(alive, "activations") == 32 + 3 * 32 + 5
    per_channel = 9 * 2 + 1 + 4 + 16 * 5
    assert set(graph.prices(alive, "parameters")[graph.outputs["conv"]]) == {per_channel}


def test_what_is_gone_costs_nothing():
    graph = graph_of(RESIDUAL)
    everything = graph.all_alive()
    without = graph.cost(everything, "flops", gone={"hidden"})
    assert graph.cost(everything, "flops") - without == 2 * 7 * 7 * 48 * 64


def test_a_network_that_has_no_shapes_has_no_groups():
    with pytest.raises(Infeasible, match="add needs equal shapes"):
        graph_of(
            network_of(
                (4, 4, 1),
                conv("a", "image", 3),
                conv("b", "image", 2),
                layer("sum", "add", "a", "b"),
            )
        )
