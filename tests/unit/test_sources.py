"""Which layers tell how alive a channel is, and which channels may die at all."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from shrink_networks import (
    RESIDUAL,
    batch_norm,
    conv,
    conv_block,
    dense,
    depthwise,
    layer,
    network_of,
    relu,
)

from mpinas.assembly.description import LayerDescription, describe_network
from mpinas.morphnet.channels import ChannelGraph, graph_of
from mpinas.morphnet.sources import NothingToShrink, find_sources

TAIL = (layer("flat", "flatten", "last"), dense("logits", "flat", 3))
BARE = network_of(
    (4, 4, 1),
    conv("a", "image", 3),
    relu("a_relu", "a"),
    conv("b", "a_relu", 2),
    relu("last", "b"),
    *TAIL,
)
MIXED = network_of(
    (4, 4, 1),
    *conv_block("a", "image", 3),
    conv("b", "a_relu", 2),
    relu("last", "b"),
    *TAIL,
)


def told(graph, mode="auto"):
    return {one.name: one.source for one in find_sources(graph, mode).layers}


def free(graph, mode="auto"):
    """Makers whose channels may die."""
    may_die = find_sources(graph, mode).may_die
    return {one.name for one in graph.makers if may_die[graph.outputs[one.name]].all()}


def test_auto_has_gammas_where_there_is_a_batch_norm_and_gates_elsewhere():
    assert told(graph_of(BARE)) == {"a": "gate", "b": "gate"}
    assert told(graph_of(MIXED)) == {"a_norm": "gamma", "b": "gate"}
    assert set(told(graph_of(RESIDUAL)).values()) == {"gamma"}
    assert free(graph_of(MIXED)) == {"a", "b"}


def test_the_logits_tell_nothing():
    for mode in ("auto", "gate", "group_lasso", "max_weight"):
        assert "logits" not in told(graph_of(BARE), mode)


@pytest.mark.parametrize("mode", ["group_lasso", "max_weight"])
def test_weights_tell_of_all_that_make_channels(mode):
    assert told(graph_of(MIXED), mode) == {"a": mode, "b": mode}
    assert free(graph_of(MIXED), mode) == {"a", "b"}


def test_one_mode_leaves_what_it_does_not_hear():
    assert told(graph_of(MIXED), "gamma") == {"a_norm": "gamma"}
    assert free(graph_of(MIXED), "gamma") == {"a"}
    assert told(graph_of(MIXED), "gate") == {"b": "gate"}
    assert free(graph_of(MIXED), "gate") == {"b"}


def test_a_sum_with_a_channel_nobody_hears_keeps_it():
    network = network_of(
        (4, 4, 1),
        *conv_block("a", "image", 3),
        conv("b", "image", 3),
        layer("last", "add", "a_relu", "b"),
        *TAIL,
    )
    graph = graph_of(network)
    with pytest.raises(NothingToShrink):
        find_sources(graph, "gamma")
    assert told(graph) == {"a_norm": "gamma", "b": "gate"}


def test_a_layer_that_one_reader_sees_without_a_batch_norm_is_gated():
    network = network_of(
        (4, 4, 1),
        conv("a", "image", 3),
        batch_norm("norm", "a"),
        layer("last", "concatenate", "norm", "a"),
        *TAIL,
    )
    assert told(graph_of(network)) == {"a": "gate", "norm": "gamma"}


def test_a_batch_norm_behind_a_merge_or_a_depthwise_layer_is_heard():
    network = network_of(
        (4, 4, 1),
        conv("a", "image", 3),
        conv("b", "image", 3),
        layer("both", "concatenate", "a", "b"),
        depthwise("deep", "both", 3),
        batch_norm("norm", "deep"),
        relu("last", "norm"),
        *TAIL,
    )
    assert told(graph_of(network)) == {"norm": "gamma"}
    assert free(graph_of(network)) == {"a", "b"}


def test_a_batch_norm_of_the_image_tells_of_nothing_that_may_die():
    network = network_of(
        (4, 4, 1), batch_norm("norm", "image"), conv("a", "norm", 3), relu("last", "a"), *TAIL
    )
    assert told(graph_of(network)) == {"a": "gate"}


def without_scale(network, name):
    """The batch norm of that name has no gamma, as in models of others."""
    return ChannelGraph(
        [
            replace(one, parameters={**one.parameters, "scale": False}) if one.name == name else one
            for one in describe_network(network)
        ]
    )


def test_a_batch_norm_without_a_scale_tells_nothing():
    graph = without_scale(MIXED, "a_norm")
    assert told(graph) == {"a": "gate", "b": "gate"}
    with pytest.raises(NothingToShrink):
        find_sources(graph, "gamma")


def test_a_network_without_batch_norm_is_refused_for_gamma():
    with pytest.raises(NothingToShrink, match=r"source gamma.*batch norm.*auto"):
        find_sources(graph_of(BARE), "gamma")


def test_a_network_with_batch_norm_everywhere_is_refused_for_gates():
    with pytest.raises(NothingToShrink, match=r"source gate.*without a batch norm.*auto"):
        find_sources(graph_of(RESIDUAL), "gate")


@pytest.mark.parametrize("mode", ["auto", "gamma", "gate", "group_lasso", "max_weight"])
def test_logits_from_the_image_at_once_leave_nothing_to_shrink(mode):
    network = network_of((4, 4, 1), layer("flat", "flatten", "image"), dense("logits", "flat", 3))
    with pytest.raises(NothingToShrink, match=f"source {mode}"):
        find_sources(graph_of(network), mode)


def test_layers_that_are_not_known_are_named_where_they_leave_nothing():
    strange = LayerDescription(
        name="strange", kind="odd", channels=None, inputs=("a",), shape=(4, 4, 3)
    )
    network = network_of((4, 4, 1), conv("a", "image", 3), layer("last", "identity", "a"), *TAIL)
    described = [
        replace(strange, name="last") if one.name == "last" else one
        for one in describe_network(network)
    ]
    with pytest.raises(NothingToShrink, match=r"not known.*: last"):
        find_sources(ChannelGraph(described), "auto")


def test_ids_of_a_source_are_those_of_its_channels():
    graph = graph_of(MIXED)
    sources = find_sources(graph, "auto")
    for one in sources.layers:
        assert np.array_equal(one.ids, graph.outputs[one.name])
    assert not (sources.may_die & graph.frozen).any()
