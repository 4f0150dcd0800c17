"""What a channel gave that is cut off goes into the next bias or mean, and into no other."""

from __future__ import annotations

import numpy as np
import pytest
from shrink_networks import (
    batch_norm,
    conv,
    dense,
    depthwise,
    layer,
    max_pool,
    network_of,
    relu,
)

from mpinas.assembly.shapes import network_shapes
from mpinas.morphnet.channels import graph_of
from mpinas.morphnet.folding import carry
from mpinas.morphnet.plan import make_plan


def random_weights(network):
    """Of every layer, in Keras's order and shapes; always the same."""
    rng = np.random.default_rng(0)
    shapes = network_shapes(network)
    weights = {}
    for one in network.layers:
        reads = shapes[one.inputs[0]][-1] if one.inputs else 0
        width = shapes[one.name][-1]
        kernels = {
            "conv2d": lambda one=one, reads=reads, width=width: (
                *one.parameters["kernel_size"],
                reads,
                width,
            ),
            "depthwise_conv2d": lambda one=one, reads=reads, width=width: (
                *one.parameters["kernel_size"],
                reads,
                width // reads,
            ),
            "dense": lambda reads=reads, width=width: (reads, width),
        }
        if one.kind in kernels:
            arrays = [rng.normal(size=kernels[one.kind]())]
            if one.parameters["use_bias"]:
                arrays.append(rng.normal(size=width))
            weights[one.name] = tuple(arrays)
        elif one.kind == "batch_norm":
            weights[one.name] = tuple(rng.uniform(0.5, 1.5, (4, width)))
    return weights


def cut(network, weights, dead, gammas=()):
    """Carries; ``dead`` has the channels that are cut off by layer name, None for all."""
    graph = graph_of(network)
    alive = graph.all_alive()
    for name, channels in dead.items():
        ids = graph.outputs[name]
        alive[ids if channels is None else ids[list(channels)]] = False
    plan = make_plan(graph, alive)
    return carry(graph, plan, weights, gammas), plan


def normalised(*behind, function=True):
    """image -> a -> norm (-> relu) -> what is behind, which reads ``last``."""
    last = relu("last", "norm") if function else layer("last", "identity", "norm")
    return network_of((6, 6, 1), conv("a", "image", 3), batch_norm("norm", "a"), last, *behind)


def dead_norm(weights, beta):
    """The last channel of ``norm`` has a scale of 0 and this offset."""
    gamma, offsets, mean, variance = (array.copy() for array in weights["norm"])
    gamma[2], offsets[2] = 0.0, beta
    return {**weights, "norm": (gamma, offsets, mean, variance)}


BIASED = normalised(
    conv("b", "last", 4, 3, padding="valid", use_bias=True),
    layer("flat", "flatten", "b"),
    dense("logits", "flat", 2),
)


def test_with_all_alive_nothing_changes_not_even_a_bit():
    weights = random_weights(BIASED)
    carried, _ = cut(BIASED, weights, {})
    assert carried.exact
    assert set(carried.weights) == set(weights)
    for name, arrays in weights.items():
        for before, after in zip(arrays, carried.weights[name], strict=True):
            assert np.array_equal(before, after), name


def test_an_offset_goes_into_the_next_bias():
    weights = dead_norm(random_weights(BIASED), beta=0.5)
    carried, _ = cut(BIASED, weights, {"a": [2]}, gammas={"norm"})
    kernel, bias = weights["b"]
    expected = bias + 0.5 * kernel[:, :, 2].sum(axis=(0, 1))
    np.testing.assert_allclose(carried.weights["b"][1], expected)
    assert np.array_equal(carried.weights["b"][0], kernel[:, :, :2])
    assert carried.exact
    assert np.array_equal(weights["b"][1], bias)


def test_all_four_vectors_of_a_batch_norm_are_cut():
    weights = dead_norm(random_weights(BIASED), beta=0.5)
    carried, _ = cut(BIASED, weights, {"a": [2]}, gammas={"norm"})
    for before, after in zip(weights["norm"], carried.weights["norm"], strict=True):
        assert np.array_equal(after, before[:2])


def test_an_offset_that_the_function_stops_goes_nowhere():
    weights = dead_norm(random_weights(BIASED), beta=-0.5)
    carried, _ = cut(BIASED, weights, {"a": [2]}, gammas={"norm"})
    assert np.array_equal(carried.weights["b"][1], weights["b"][1])


def test_without_a_bias_it_goes_into_the_mean_of_the_next_batch_norm():
    network = normalised(
        conv("b", "last", 4, 3, padding="valid"),
        batch_norm("norm2", "b"),
        layer("flat", "flatten", "norm2"),
        dense("logits", "flat", 2),
    )
    weights = dead_norm(random_weights(network), beta=0.5)
    carried, _ = cut(network, weights, {"a": [2]}, gammas={"norm"})
    gamma, beta, mean, variance = weights["norm2"]
    shift = 0.5 * weights["b"][0][:, :, 2].sum(axis=(0, 1))
    after = carried.weights["norm2"]
    np.testing.assert_allclose(after[2], mean - shift)
    assert all(map(np.array_equal, (after[0], after[1], after[3]), (gamma, beta, variance)))
    assert carried.exact


def test_without_either_it_is_lost_and_that_is_said():
    network = normalised(
        conv("b", "last", 4),
        relu("b_relu", "b"),
        layer("flat", "flatten", "b_relu"),
        dense("logits", "flat", 2),
    )
    weights = dead_norm(random_weights(network), beta=0.5)
    assert not cut(network, weights, {"a": [2]}, gammas={"norm"})[0].exact
    weights = dead_norm(weights, beta=0.0)
    assert cut(network, weights, {"a": [2]}, gammas={"norm"})[0].exact


@pytest.mark.parametrize(("beta", "exact"), [(0.5, False), (0.0, True)])
def test_a_kernel_that_looks_beyond_the_border_is_folded_on_average(beta, exact):
    """With the sum of the whole kernel every output that sees the border would be wrong, and in a
    map of 1x1 or 2x2, as behind a few poolings, that is all of them."""
    network = normalised(
        conv("b", "last", 4, 3, use_bias=True),
        layer("flat", "flatten", "b"),
        dense("logits", "flat", 2),
    )
    weights = dead_norm(random_weights(network), beta)
    carried, _ = cut(network, weights, {"a": [2]}, gammas={"norm"})
    assert carried.exact is exact
    moved = carried.weights["b"][1] - weights["b"][1]
    given = np.full((8, 8), 0.0)
    given[1:-1, 1:-1] = beta
    patches = np.lib.stride_tricks.sliding_window_view(given, (3, 3))
    everywhere = np.einsum("xyij,ijc->xyc", patches, weights["b"][0][:, :, 2])
    np.testing.assert_allclose(moved, everywhere.mean(axis=(0, 1)), atol=1e-12)


def test_behind_a_flatten_all_rows_of_the_channel_are_folded():
    network = normalised(
        max_pool("pool", "last"), layer("flat", "flatten", "pool"), dense("logits", "flat", 2)
    )
    weights = dead_norm(random_weights(network), beta=0.5)
    carried, _ = cut(network, weights, {"a": [2]}, gammas={"norm"})
    kernel, bias = weights["logits"]
    by_position = kernel.reshape(9, 3, 2)
    np.testing.assert_allclose(
        carried.weights["logits"][1], bias + 0.5 * by_position[:, 2].sum(axis=0)
    )
    assert np.array_equal(carried.weights["logits"][0], by_position[:, :2].reshape(18, 2))


def test_a_depthwise_layer_passes_it_on_through_its_own_kernel():
    network = normalised(
        depthwise("deep", "last", 3, multiplier=2, padding="valid", use_bias=True),
        layer("flat", "global_average_pool", "deep"),
        dense("logits", "flat", 2),
    )
    weights = dead_norm(random_weights(network), beta=0.5)
    carried, plan = cut(network, weights, {"a": [2]}, gammas={"norm"})
    kernel, bias = weights["deep"]
    given = 0.5 * kernel[:, :, 2].sum(axis=(0, 1)) + bias[4:]
    expected = weights["logits"][1] + given @ weights["logits"][0][4:]
    np.testing.assert_allclose(carried.weights["logits"][1], expected)
    assert list(plan.keep_outputs["deep"]) == [0, 1, 2, 3]
    assert carried.weights["deep"][0].shape == (3, 3, 2, 2)
    assert np.array_equal(carried.weights["deep"][1], bias[:4])


def test_a_kernel_of_zeros_gives_its_bias():
    network = network_of(
        (6, 6, 1),
        conv("a", "image", 3, use_bias=True),
        relu("last", "a"),
        layer("flat", "global_average_pool", "last"),
        dense("logits", "flat", 2),
    )
    weights = random_weights(network)
    weights["a"] = (weights["a"][0], np.array([1.0, -2.0, 3.0]))
    carried, _ = cut(network, weights, {"a": [1, 2]})
    expected = weights["logits"][1] + 3.0 * weights["logits"][0][2]
    np.testing.assert_allclose(carried.weights["logits"][1], expected)


@pytest.mark.parametrize(
    ("gammas", "zeros", "gives_beta"),
    [((), True, False), ((), False, True), ({"norm"}, True, True), ({"norm"}, False, True)],
)
def test_what_the_batch_norm_of_a_dead_channel_gives(gammas, zeros, gives_beta):
    """Its offset, on average, whatever the weights; what it makes of the bias, if they are 0."""
    network = network_of(
        (6, 6, 1),
        conv("a", "image", 3, use_bias=True),
        batch_norm("norm", "a"),
        layer("flat", "global_average_pool", "norm"),
        dense("logits", "flat", 2),
    )
    weights = random_weights(network)
    if zeros:
        weights["a"][0][..., 2] = 0.0
    gamma, beta, mean, variance = weights["norm"]
    given = (weights["a"][1] - mean) * gamma / np.sqrt(variance + 1e-3) + beta
    constant = beta[2] if gives_beta else given[2]
    carried, _ = cut(network, weights, {"a": [2]}, gammas=gammas)
    expected = weights["logits"][1] + constant * weights["logits"][0][2]
    np.testing.assert_allclose(carried.weights["logits"][1], expected)


def residual(use_bias):
    return network_of(
        (6, 6, 1),
        conv("stem", "image", 3, use_bias=True),
        conv("inner", "stem", 4),
        batch_norm("norm", "inner"),
        relu("inner_relu", "norm"),
        conv("back", "inner_relu", 3, use_bias=True),
        layer("sum", "add", "stem", "back"),
        conv("tail", "sum", 2, use_bias=use_bias),
        layer("flat", "flatten", "tail"),
        dense("logits", "flat", 2),
    )


def test_a_dead_branch_leaves_its_constant():
    network = residual(use_bias=True)
    weights = random_weights(network)
    _, beta, mean, variance = weights["norm"]
    weights["norm"] = (np.zeros(4), beta, mean, variance)
    carried, plan = cut(network, weights, {"inner": None}, gammas={"norm"})
    assert plan.gone == {"inner", "norm", "inner_relu", "back", "sum"}
    assert set(carried.weights) == {"stem", "tail", "logits"}
    constant = np.maximum(beta, 0) @ weights["back"][0][0, 0] + weights["back"][1]
    expected = weights["tail"][1] + constant @ weights["tail"][0][0, 0]
    np.testing.assert_allclose(carried.weights["tail"][1], expected)
    assert carried.exact


def test_what_is_alive_in_a_dead_branch_gives_what_its_batch_norm_makes_of_a_constant():
    network = network_of(
        (6, 6, 1),
        conv("stem", "image", 3),
        batch_norm("stem_norm", "stem"),
        conv("inner", "stem_norm", 4),
        batch_norm("norm", "inner"),
        relu("inner_relu", "norm"),
        conv("back", "inner_relu", 2, use_bias=True),
        batch_norm("back_norm", "back"),
        layer("both", "concatenate", "stem_norm", "back_norm"),
        layer("flat", "global_average_pool", "both"),
        dense("logits", "flat", 2),
    )
    weights = random_weights(network)
    weights["norm"] = (np.zeros(4), *weights["norm"][1:])
    gammas = {"stem_norm", "norm", "back_norm"}
    carried, plan = cut(network, weights, {"inner": None}, gammas)
    assert plan.widths["back"] == 0
    relued = np.maximum(weights["norm"][1], 0)
    constant = relued @ weights["back"][0][0, 0] + weights["back"][1]
    gamma, beta, mean, variance = weights["back_norm"]
    constant = (constant - mean) * gamma / np.sqrt(variance + 1e-3) + beta
    expected = weights["logits"][1] + constant @ weights["logits"][0][3:]
    np.testing.assert_allclose(carried.weights["logits"][1], expected)
    assert carried.exact


def test_the_weights_handed_in_are_not_changed():
    network = residual(use_bias=False)
    weights = random_weights(network)
    before = {name: tuple(array.copy() for array in arrays) for name, arrays in weights.items()}
    cut(network, weights, {"inner": [0, 1], "stem": [2]}, gammas={"norm"})
    for name, arrays in before.items():
        assert all(map(np.array_equal, arrays, weights[name])), name


def test_arrays_keep_their_type():
    weights = {
        name: tuple(array.astype(np.float32) for array in arrays)
        for name, arrays in dead_norm(random_weights(BIASED), beta=0.5).items()
    }
    carried, _ = cut(BIASED, weights, {"a": [2]}, gammas={"norm"})
    assert {array.dtype.name for arrays in carried.weights.values() for array in arrays} == {
        "float32"
    }
