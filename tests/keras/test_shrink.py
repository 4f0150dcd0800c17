"""The cut of real models: the function stays, the costs are those that were reckoned."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from shrink_models import (
    Shrinking,
    fit,
    images,
    labels,
    largest_difference,
    shrinking,
    shuffle_weights,
    silence,
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
    random_network,
    relu,
)

from mpinas.assembly.keras_model import build_model
from mpinas.assembly.narrow import narrow
from mpinas.assembly.shapes import network_costs
from mpinas.morphnet.channels import graph_of
from mpinas.morphnet.gates import weights_of, with_gates
from mpinas.morphnet.plan import make_plan
from mpinas.morphnet.shrink import difference, estimate_statistics, rebuild_model, set_weights


def everything(*, batch_norm_on: bool, padding: str = "valid"):
    """A residual block, a concatenation, a depthwise layer, a flatten and a hidden layer."""

    def block(name, reads, filters, size=1):
        layers = [
            conv(name, reads, filters, size, padding=padding, use_bias=not batch_norm_on),
            relu(f"{name}_relu", f"{name}_norm" if batch_norm_on else name),
        ]
        if batch_norm_on:
            layers.insert(1, batch_norm(f"{name}_norm", name))
        return layers

    return network_of(
        (8, 8, 2),
        *block("stem", "image", 6, 3),
        *block("inner", "stem_relu", 5),
        *block("back", "inner_relu", 6),
        layer("sum", "add", "stem_relu", "back_relu"),
        max_pool("pool", "sum"),
        *block("left", "pool", 4),
        *block("right", "pool", 3),
        layer("concat", "concatenate", "left_relu", "right_relu", "pool"),
        depthwise("deep", "concat", 3, multiplier=2, padding=padding, use_bias=True),
        *block("last", "deep", 5),
        layer("flat", "flatten", "last_relu"),
        dense("hidden", "flat", 7),
        relu("hidden_relu", "hidden"),
        dense("logits", "hidden_relu", 3),
    )


def prepared(network, seed, *, offsets=True, **settings) -> Shrinking:
    """With random weights and a random part of the scales at 0."""
    one = shrinking(network, **settings)
    shuffle_weights(one.model, seed, offsets=offsets)
    silence(one, seed)
    return one


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("batch_norm_on", [True, False])
def test_a_cut_of_dead_channels_changes_no_output(batch_norm_on, seed):
    one = prepared(everything(batch_norm_on=batch_norm_on), seed)
    small, exact = one.cut()
    assert exact
    assert small.count_params() < 0.8 * one.plain.count_params()
    assert largest_difference(one.model, small, images((8, 8, 2))) < 1e-5


@pytest.mark.parametrize("seed", [*range(6), 7, 8, 76, 309])
def test_a_cut_of_random_networks_changes_no_output_where_it_says_so(seed):
    rng = np.random.default_rng(seed)
    network = random_network(lambda low, high: int(rng.integers(low, high + 1)), exact=True)
    one = prepared(network, seed)
    small, exact = one.cut()
    assert not exact or largest_difference(one.model, small, images((6, 6, 2))) < 1e-5


@pytest.mark.parametrize("seed", range(6))
def test_channels_of_zeros_are_cut_exactly_in_inference_and_in_training(seed):
    """Scale 0, offset 0; any padding; batch norms by their statistics and by the batch's."""
    rng = np.random.default_rng(seed)
    network = random_network(lambda low, high: int(rng.integers(low, high + 1)))
    one = prepared(network, seed, offsets=False)
    small, exact = one.cut(one.plan(remove_layers=False))
    assert exact
    for model in (one.model, small):
        for dropout in model.layers:
            if isinstance(dropout, keras.layers.Dropout):
                dropout.rate = 0.0
    for training in (False, True):
        x = images((6, 6, 2))
        assert largest_difference(one.model, small, x, training=training) < 1e-5


@pytest.mark.parametrize("seed", range(4))
def test_flops_and_parameters_of_the_rebuilt_model_are_those_of_the_alive_channels(seed):
    rng = np.random.default_rng(seed)
    network = random_network(lambda low, high: int(rng.integers(low, high + 1)))
    one = prepared(network, seed)
    plan = one.plan()
    small, _ = one.cut(plan)
    reckoned = one.graph.costs(plan.alive, plan.gone)
    assert small.count_params() == reckoned["parameters"]
    assert flops_of(small) == reckoned["flops"]


def flops_of(model):
    """2 x multiply-adds, by the kernels that were built and the shapes that come out."""
    total = 0
    for one in model.layers:
        if hasattr(one, "kernel"):
            positions = int(np.prod(one.output.shape[1:-1]))
            total += 2 * one.kernel.shape.num_elements() * positions
    return total


def test_all_alive_is_the_model_as_it_is_to_the_last_bit():
    one = shrinking(everything(batch_norm_on=True))
    shuffle_weights(one.model, 0)
    plan = one.plan()
    assert plan.removes_nothing
    small, exact = one.cut(plan)
    assert exact
    merged = weights_of(one.model)
    assert set(merged) == {layer.name for layer in small.layers if layer.weights}
    for name, arrays in merged.items():
        for before, after in zip(arrays, small.get_layer(name).get_weights(), strict=True):
            assert np.array_equal(before, after), name


def test_a_second_shrink_with_nothing_newly_dead_changes_nothing():
    one = prepared(everything(batch_norm_on=True), 1)
    plan = one.plan()
    small, _ = one.cut(plan)
    again = shrinking(narrow(one.network, plan.widths))
    for target in again.model.layers:
        if hasattr(target, "inner"):
            target.inner.set_weights(small.get_layer(target.name).get_weights())
        elif target.weights:
            target.set_weights(small.get_layer(target.name).get_weights())
    assert again.plan().removes_nothing
    smaller, _ = again.cut()
    for before, after in zip(small.get_weights(), smaller.get_weights(), strict=True):
        assert np.array_equal(before, after)


def test_same_padding_is_folded_nearly_and_statistics_bring_it_closer():
    network = network_of(
        (16, 16, 2),
        *conv_block("a", "image", 8),
        *conv_block("b", "a_relu", 6),
        layer("flat", "global_average_pool", "b_relu"),
        dense("logits", "flat", 3),
    )
    one = shrinking(network)
    x = images((16, 16, 2), 32)
    alive = np.arange(8) >= 3
    one.model.get_layer("a_norm").beta.assign(np.where(alive, 0.0, 0.7))
    one.set_scales(a_norm=alive.astype(float))
    estimate_statistics(one.model, one.model, [x])
    small, exact = one.cut()
    assert not exact
    naive, _ = one.cut()
    naive.get_layer("b_norm").moving_mean.assign(one.model.get_layer("b_norm").moving_mean)
    folded = difference(one.model, small, [x])
    assert folded < 0.5 * difference(one.model, naive, [x])
    estimate_statistics(small, small, [x])
    assert 0 < difference(one.model, small, [x]) < 0.5 * folded


def test_statistics_are_those_of_all_batches_and_momenta_stay():
    model = build_model(
        network_of(
            (4, 4, 2),
            batch_norm("norm", "image"),
            layer("flat", "flatten", "norm"),
            dense("d", "flat", 2),
        ),
        seed=0,
    )
    norm = model.get_layer("norm")
    norm.moving_mean.assign([9.0, 9.0])
    batches = [3 * images((4, 4, 2), seed=seed) + seed for seed in range(4)]
    estimate_statistics(model, model, batches)
    np.testing.assert_allclose(norm.moving_mean, np.mean(batches, axis=(0, 1, 2, 3)), rtol=1e-4)
    variances = np.mean([np.var(batch, axis=(0, 1, 2)) for batch in batches], axis=0)
    np.testing.assert_allclose(norm.moving_variance, variances, rtol=1e-3)
    assert norm.momentum == 0.9


def test_gates_leave_outputs_as_they_are_to_the_last_bit():
    plain = build_model(everything(batch_norm_on=False), seed=4)
    shuffle_weights(plain, 4)
    x = images((8, 8, 2))
    before = np.asarray(plain(x))
    gated = with_gates(plain, ["stem", "inner", "last", "hidden"])
    assert np.array_equal(before, np.asarray(gated(x)))
    assert np.array_equal(before, np.asarray(plain(x)))
    folded = weights_of(gated)
    for one in plain.layers:
        for mine, theirs in zip(folded.get(one.name, ()), one.get_weights(), strict=True):
            assert np.array_equal(mine, theirs), one.name


def test_folded_gates_compute_what_the_gates_did():
    plain = build_model(everything(batch_norm_on=False), seed=4)
    shuffle_weights(plain, 4)
    gated = with_gates(plain, ["stem", "back", "hidden"])
    for name in ("stem", "back", "hidden"):
        gate = gated.get_layer(name).gate
        gate.assign(np.random.default_rng(0).normal(size=gate.shape))
    x = images((8, 8, 2))
    assert largest_difference(gated, plain, x) > 0.01
    set_weights(plain, weights_of(gated))
    assert largest_difference(gated, plain, x) < 1e-5


def test_a_gate_stands_before_the_activation_of_its_own_layer():
    inputs = keras.Input((5, 5, 2))
    hidden = keras.layers.Conv2D(4, 3, activation="relu", name="conv")(inputs)
    outputs = keras.layers.Dense(3, name="d")(keras.layers.Flatten(name="flat")(hidden))
    plain = keras.Model(inputs, outputs)
    shuffle_weights(plain, 0)
    x = images((5, 5, 2))
    gated = with_gates(plain, ["conv"])
    assert np.array_equal(np.asarray(plain(x)), np.asarray(gated(x)))
    assert plain.get_layer("conv").activation is keras.activations.relu
    gated.get_layer("conv").gate.assign([-1.0, 0.0, 0.5, 2.0])
    set_weights(plain, weights_of(gated))
    assert largest_difference(gated, plain, x) < 1e-5


def test_gates_are_kept_in_float32_in_mixed_precision():
    keras.config.set_dtype_policy("mixed_float16")
    try:
        one = shrinking(everything(batch_norm_on=False))
    finally:
        keras.config.set_dtype_policy("float32")
    assert {str(scale.dtype) for scale in one.regularizer.scales} == {"float32"}
    assert one.model.get_layer("stem").compute_dtype == "float16"
    x = images((8, 8, 2))
    assert np.array_equal(np.asarray(one.plain(x)), np.asarray(one.model(x)))


def test_a_model_that_no_spec_expresses_is_cloned_with_other_widths():
    network = everything(batch_norm_on=True)
    model = build_model(network, seed=0)
    graph = graph_of(network)
    alive = graph.all_alive()
    alive[graph.outputs["stem"][:2]] = False
    alive[graph.outputs["left"]] = False
    plan = make_plan(graph, alive, remove_layers=False)
    clone = rebuild_model(model, graph, plan)
    assert [one.name for one in clone.layers] == [one.name for one in model.layers]
    assert clone.get_layer("stem").filters == clone.get_layer("back").filters == 4
    assert clone.get_layer("left").filters == 1
    assert clone.output.shape == model.output.shape
    assert clone.count_params() == network_costs(narrow(network, plan.widths)).parameters


def test_a_shrunk_model_is_made_of_plain_layers_and_trains_on():
    one = prepared(everything(batch_norm_on=False), 2)
    small, _ = one.cut()
    assert all(type(layer).__module__.startswith("keras.") for layer in small.layers)
    history = fit(
        small, keras.optimizers.Adam(1e-2), images((8, 8, 2), 32), labels(3, 32), epochs=4
    )
    assert history.history["loss"][-1] < history.history["loss"][0]


def test_difference_is_relative_to_the_outputs_before():
    batches = [np.ones((2, 3)), np.full((2, 3), 3.0)]
    assert difference(lambda x: 2 * x, lambda x: 2 * x, batches) == 0
    assert difference(lambda x: 2 * x, lambda x: 3 * x, batches) == pytest.approx(0.5)


def test_the_residual_network_loses_what_was_dead():
    one = shrinking(RESIDUAL)
    one.set_scales(inner_norm=np.r_[np.ones(10), np.zeros(38)])
    plan = one.plan()
    assert plan.widths["inner"] == 10
    small, _ = one.cut(plan)
    assert one.regularizer.full_cost - flops_of(small) == 38 * 169344
