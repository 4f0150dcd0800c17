"""What others fell into when they shrank networks: one test each, named after what went wrong."""

from __future__ import annotations

from dataclasses import replace

import keras
import numpy as np
import pytest
from shrink_models import (
    Shrinking,
    fit,
    images,
    labels,
    largest_difference,
    regularized,
    shrinking,
    shuffle_weights,
)
from shrink_networks import (
    RESIDUAL,
    batch_norm,
    conv,
    conv_block,
    dense,
    depthwise,
    layer,
    max_pool,
    network_of,
    relu,
)

from mpinas.assembly.description import describe_network
from mpinas.assembly.narrow import narrow
from mpinas.assembly.shapes import network_costs
from mpinas.config_shrink import ShrinkConfig, drift_warnings
from mpinas.morphnet.channels import ChannelGraph, graph_of
from mpinas.morphnet.optimizer import with_scale_rate
from mpinas.morphnet.plan import make_plan
from mpinas.morphnet.sources import NothingToShrink, find_sources

SHAPE = (6, 6, 2)
TAIL = (layer("flat", "flatten", "end"), dense("logits", "flat", 3))
CHAIN = network_of(
    SHAPE,
    *conv_block("a", "image", 6),
    *conv_block("b", "a_relu", 5),
    layer("end", "identity", "b_relu"),
    *TAIL,
)
BARE = network_of(
    SHAPE,
    conv("a", "image", 6),
    relu("a_relu", "a"),
    conv("b", "a_relu", 5),
    relu("end", "b"),
    *TAIL,
)


def dead_by_hand(network, **dead: list[int]) -> Shrinking:
    """Scales of these channels of these sources are 0; all offsets as after a long training."""
    one = shrinking(network)
    shuffle_weights(one.model, 0)
    for name, channels in dead.items():
        values = np.asarray(one.scale(name)).copy()
        values[channels] = 0.0
        one.set_scales(**{name: values})
    return one


def trained(one: Shrinking, *, strength=10.0, rate=0.1, steps=12, base=None) -> Shrinking:
    """A few regularised steps on noise."""
    optimizer = with_scale_rate(base or keras.optimizers.Adam(1e-3), one.regularizer.scales, rate)
    shape = one.network.input_shape
    fit(regularized(one, strength), optimizer, images(shape, 8 * steps), labels(3, 8 * steps))
    return one


def test_a_regularised_training_that_changes_nothing():
    """Trap 1: the term was never in the loss, or too weak to matter."""
    without = trained(shrinking(BARE), strength=0.0, rate=1e-3)
    assert without.plan().removes_nothing
    one = trained(shrinking(BARE), rate=0.05, steps=60)
    assert not one.plan().removes_nothing
    assert one.graph.cost(one.plan().alive, "flops") < one.regularizer.full_cost


def test_a_first_layer_that_died_stops_no_network():
    """Trap 2: nothing of the first convolution was left, and the network could not run."""
    one = dead_by_hand(CHAIN, a_norm=[0, 1, 2, 3, 4, 5])
    small, _ = one.cut()
    assert small.get_layer("a").filters == 1
    assert np.isfinite(np.asarray(small(images(SHAPE)))).all()


def test_a_threshold_above_the_initial_weights_is_seen_before_the_first_step():
    """Trap 2: at some thresholds channels are dead by the initialiser, at any strength."""
    weights = shrinking(CHAIN, source="group_lasso", threshold=0.3)
    assert not weights.alive().all()
    assert weights.graph.cost(weights.alive(), "flops") < weights.regularizer.full_cost
    for mode in ("auto", "gamma"):
        assert shrinking(CHAIN, source=mode).alive().all()
    assert shrinking(BARE, source="gate").alive().all()


def test_a_network_without_a_batch_norm_is_no_silent_zero():
    """Trap 3: no source was found, the term was the constant 0, and training went on happily."""
    with pytest.raises(NothingToShrink, match="batch norm"):
        shrinking(BARE, source="gamma")
    assert float(shrinking(BARE).regularizer.loss()) > 0


def test_a_flatten_does_not_hide_the_channels_before_it():
    """Traps 4 and 14: the dense layer was charged and built at its full input width."""
    one = dead_by_hand(CHAIN, b_norm=[1, 3])
    small, exact = one.cut()
    assert small.get_layer("logits").kernel.shape == (36 * 3, 3)
    assert exact
    assert largest_difference(one.model, small, images(SHAPE)) < 1e-5
    price = one.graph.prices(one.alive())[one.graph.outputs["b"]]
    assert set(price) == {2 * 36 * 9 * 6 + 2 * 36 * 3}


def test_dropout_bias_and_pooling_pass_channels_on():
    """Trap 4: a dropout's own ops, or a bias and a pooling under Keras, ended the search."""
    network = network_of(
        SHAPE,
        conv("a", "image", 6, use_bias=True),
        batch_norm("norm", "a"),
        layer("drop", "dropout", "norm", rate=0.5),
        max_pool("end", "drop"),
        *TAIL,
    )
    one = dead_by_hand(network, norm=[0, 4])
    small, _ = one.cut()
    assert small.get_layer("a").filters == 4
    assert largest_difference(one.model, small, images(SHAPE)) < 1e-5


def test_an_offset_behind_a_scale_of_zero_is_not_lost():
    """Trap 6: outputs changed after the cut because beta was not 0."""
    network = network_of(
        SHAPE,
        *conv_block("a", "image", 6, 1),
        conv("b", "a_relu", 5, 3, padding="valid", use_bias=True),
        relu("end", "b"),
        *TAIL,
    )
    one = dead_by_hand(network, a_norm=[0, 1, 2])
    one.model.get_layer("a_norm").beta.assign(np.full(6, 0.8))
    small, exact = one.cut()
    x = images(SHAPE)
    assert exact
    assert largest_difference(one.model, small, x) < 1e-5
    small.get_layer("b").set_weights(
        [small.get_layer("b").kernel, one.model.get_layer("b").folded()[1]]
    )
    assert largest_difference(one.model, small, x) > 0.05


def test_dense_layers_are_shrunk_and_exported_too():
    """Trap 7: only convolutions were."""
    network = network_of(
        SHAPE,
        layer("flat", "flatten", "image"),
        dense("h", "flat", 8),
        relu("r", "h"),
        dense("logits", "r", 3),
    )
    one = dead_by_hand(network, h=[2, 5, 7])
    small, _ = one.cut()
    assert small.get_layer("h").units == one.plan().widths["h"] == 5
    assert largest_difference(one.model, small, images(SHAPE)) < 1e-5


def test_a_batch_norm_behind_a_depthwise_layer_tells_of_the_convolution_before_it():
    """Trap 8: the two were not in one group."""
    network = network_of(
        SHAPE,
        conv("a", "image", 6),
        batch_norm("first", "a"),
        depthwise("deep", "first", 3),
        batch_norm("second", "deep"),
        relu("end", "second"),
        *TAIL,
    )
    one = dead_by_hand(network, first=[0, 1, 2], second=[1, 2, 3])
    assert list(one.plan().keep_outputs["a"]) == [0, 3, 4, 5]
    small, _ = one.cut()
    assert small.get_layer("deep").kernel.shape == (3, 3, 4, 1)
    price = one.graph.prices(one.graph.all_alive())[one.graph.outputs["a"][0]]
    assert price == 2 * 36 * 2 + 2 * (2 * 36 * 9) + 2 * 36 * 3


def test_no_channel_is_penalised_twice_in_a_residual_network():
    """Trap 9: gamma and lasso together, or both ends of a sum, counted a channel twice."""
    sources = find_sources(graph_of(RESIDUAL), "auto")
    assert {one.source for one in sources.layers} == {"gamma"}
    one = shrinking(RESIDUAL)
    tied = sum(gradient for gradient in one.gradients("stem_norm", "back_norm"))
    assert set(tied) == {401408}


def test_weights_are_carried_over_into_the_right_places():
    """Trap 10: counts were exported, weights were not."""
    one = dead_by_hand(CHAIN, a_norm=[0, 2])
    small, _ = one.cut()
    kept = [1, 3, 4, 5]
    full = {layer.name: layer.get_weights() for layer in one.model.layers}
    assert np.array_equal(small.get_layer("a").kernel, full["a"][0][..., kept])
    for before, after in zip(full["a_norm"], small.get_layer("a_norm").get_weights(), strict=True):
        assert np.array_equal(before[kept], after)


def test_layers_of_one_group_are_rounded_to_the_same_width():
    """Trap 12: each layer was rounded by itself, and sums did not fit any more."""
    one = dead_by_hand(RESIDUAL, stem_norm=list(range(11)), back_norm=list(range(11)))
    plan = one.plan(round_to=8)
    assert plan.widths["stem"] == plan.widths["back"] == 16
    small, _ = one.cut(plan)
    assert small.get_layer("sum").output.shape[-1] == 16


def test_concatenations_of_anything_keep_their_places():
    """Trap 13: one input twice, inputs merged into one group, places that do not line up."""
    network = network_of(
        SHAPE,
        *conv_block("a", "image", 3),
        *conv_block("b", "image", 7),
        *conv_block("c", "image", 6),
        *conv_block("d", "image", 4),
        layer("ab", "concatenate", "a_relu", "b_relu"),
        layer("cd", "concatenate", "c_relu", "d_relu"),
        layer("sum", "add", "ab", "cd"),
        layer("twice", "concatenate", "sum", "sum", "a_relu"),
        batch_norm("norm", "twice"),
        conv("end", "norm", 4, use_bias=True),
        *TAIL,
    )
    one = shrinking(network)
    shuffle_weights(one.model, 0)
    alive = np.ones(one.graph.groups, bool)
    alive[one.graph.outputs["sum"][[0, 4, 5, 9]]] = False
    for source in one.sources.layers:
        scale = one.scale(source.name)
        scale.assign(np.asarray(scale) * alive[source.ids])
    plan = one.plan()
    assert {name: plan.widths[name] for name in "abcd"} == {"a": 2, "b": 4, "c": 3, "d": 3}
    small, exact = one.cut(plan)
    assert exact
    assert largest_difference(one.model, small, images(SHAPE)) < 1e-5


def test_the_classifier_keeps_its_classes():
    """Trap 14: the last layer was cut because nobody had excluded it."""
    one = shrinking(CHAIN)
    plan = make_plan(one.graph, np.zeros(one.graph.groups, bool))
    small, _ = one.cut(plan)
    assert small.output.shape == (None, 3)
    assert "logits" not in {source.name for source in one.sources.layers}


def test_a_group_is_cut_once_however_many_layers_share_it():
    """Trap 15: grouped layers were cut twice, to negative widths."""
    one = dead_by_hand(RESIDUAL, stem_norm=list(range(20)), back_norm=list(range(20)))
    plan = one.plan()
    assert plan.widths["stem"] == plan.widths["back"] == 4
    assert one.graph.cost(plan.alive, "flops") == network_costs(narrow(RESIDUAL, plan.widths)).flops


def test_small_scales_need_not_be_zero_to_be_cut():
    """Trap 16: L1 under an optimizer ends near 0, not at 0, in mixed precision too."""
    keras.config.set_dtype_policy("mixed_float16")
    try:
        one = shrinking(CHAIN)
    finally:
        keras.config.set_dtype_policy("float32")
    values = np.array([1.0, 1e-4, -1e-4, 0.9, 1e-4, 1.1])
    one.set_scales(a_norm=values)
    assert np.asarray(one.scale("a_norm")).dtype == np.float32
    assert list(one.plan().keep_outputs["a"]) == [0, 3, 5]
    small, _ = one.cut()
    assert largest_difference(one.model, small, images(SHAPE)) < 0.02


def test_a_layer_below_the_threshold_keeps_its_largest_channel():
    """Trap 17: a chain with one dead layer computes a constant."""
    one = shrinking(BARE)
    one.set_scales(a=[0.01, 0.02, -0.06, 0.05, 0.0, 0.03])
    plan = one.plan()
    assert list(plan.keep_outputs["a"]) == [2]
    assert list(one.plan(min_filters=2).keep_outputs["a"]) == [2, 3]


def test_the_threshold_of_gammas_is_each_layers_own():
    """Trap 18: one global threshold emptied the layers whose scales are small all over."""
    one = shrinking(CHAIN)
    one.set_scales(a_norm=np.full(6, 5.0), b_norm=np.r_[np.full(4, 0.05), 0.001])
    plan = one.plan()
    assert plan.widths["a"] == 6
    assert list(plan.keep_outputs["b"]) == [0, 1, 2, 3]


def test_a_negative_scale_is_as_alive_as_a_positive_one():
    """Trap 19: scales were compared without their magnitude."""
    one = shrinking(CHAIN)
    one.set_scales(a_norm=[-1.0, 0.01, -0.01, 1.0, -0.5, 0.5])
    assert list(one.plan().keep_outputs["a"]) == [0, 3, 4, 5]
    assert (one.gradients("a_norm")[0][[0, 2, 4]] < 0).all()


def test_weight_decay_leaves_scales_alone():
    """Trap 20: L2 was mixed with the L1 on gamma."""
    scales = {}
    for decay in (0.0, 0.5):
        one = shrinking(BARE)
        base = keras.optimizers.AdamW(0.1, weight_decay=decay)
        trained(one, strength=0.0, rate=0.05, steps=1, base=base)
        scales[decay] = np.asarray(one.scale("a"))
    assert np.array_equal(scales[0.0], scales[0.5])


def test_a_cut_makes_arrays_smaller_and_masks_nothing():
    """Trap 21: masks saved no time."""
    one = dead_by_hand(CHAIN, a_norm=[0, 1, 2], b_norm=[4])
    small, _ = one.cut()
    assert small.get_layer("a").kernel.shape == (3, 3, 2, 3)
    assert small.get_layer("b").kernel.shape == (3, 3, 3, 4)
    assert [kind.__class__.__name__ for kind in small.layers] == [
        kind.__class__.__name__ for kind in one.plain.layers
    ]


def test_branches_and_merges_and_their_batch_norms_are_rebuilt():
    """Trap 22: branching models and the deletion of batch norms were beyond the tools."""
    one = dead_by_hand(RESIDUAL, inner_norm=list(range(48)), branch_norm=list(range(16)))
    small, _ = one.cut()
    names = {layer.name for layer in small.layers}
    assert not names & {"inner", "inner_norm", "back", "back_norm", "sum", "branch", "concat"}
    assert small(images((28, 28, 1), 2)).shape == (2, 10)


def test_flops_are_two_for_a_multiply_and_add_and_only_of_convolutions_and_dense_layers():
    """Trap 23: definitions differ by the bias, the batch norm and the factor 2."""
    for use_bias in (True, False):
        network = network_of(
            SHAPE,
            conv("a", "image", 6, 3, use_bias=use_bias),
            batch_norm("n", "a"),
            relu("end", "n"),
            layer("flat", "flatten", "end"),
            dense("logits", "flat", 3, use_bias=use_bias),
        )
        expected = 2 * (9 * 2 * 6 * 36) + 2 * (36 * 6 * 3)
        assert shrinking(network).regularizer.full_cost == expected


def test_scales_come_no_further_than_their_rate_in_a_step_whatever_the_strength():
    """Trap 24: Adam evens the strength out, and all scales come down together."""
    for strength in (10.0, 1000.0):
        one = trained(shrinking(CHAIN), strength=strength, rate=0.02)
        values = np.concatenate([np.asarray(scale) for scale in one.regularizer.scales])
        assert np.abs(values - 1).max() <= 1.05 * 0.02 * 12
        assert values.max() < 1 - 0.8 * 0.02 * 12
        assert one.plan().removes_nothing
    settings = ShrinkConfig(enabled=True, scale_learning_rate=0.02)
    told = {"batch_norm": True, "learning_rate": 1e-3, "optimizer": "adam"}
    assert drift_warnings(settings, steps_per_epoch=12, **told)
    assert not drift_warnings(settings, steps_per_epoch=120, **told)


def test_scales_that_shrink_together_at_no_loss_kill_no_layer():
    """Trap 25: what follows a batch norm can make up for its size, so sizes of layers differ."""
    values = np.array([1.0, 0.9, 0.05, 0.8, 0.01, 0.7])
    for factor in (1.0, 0.1, 0.001):
        one = shrinking(CHAIN)
        one.set_scales(a_norm=factor * values)
        assert list(one.plan().keep_outputs["a"]) == [0, 1, 3, 5]
    absolute = shrinking(CHAIN, threshold=0.1, relative=False)
    absolute.set_scales(a_norm=0.1 * values)
    assert absolute.plan().widths["a"] == 1


def test_a_batch_norm_without_a_scale_is_no_source():
    """Trap 26: no gamma is there to read."""
    descriptions = [
        replace(one, parameters={**one.parameters, "scale": False}) if one.name == "a_norm" else one
        for one in describe_network(CHAIN)
    ]
    graph = ChannelGraph(descriptions)
    told = {one.name: one.source for one in find_sources(graph, "auto").layers}
    assert told == {"a": "gate", "b_norm": "gamma"}
    assert {one.name for one in find_sources(graph, "gamma").layers} == {"b_norm"}
