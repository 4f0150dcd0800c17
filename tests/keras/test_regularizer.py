"""The regularising term and its optimizer, against numbers worked out by hand."""

from __future__ import annotations

import math

import keras
import numpy as np
import pytest
import tensorflow as tf
from shrink_models import fit, images, labels, regularized, shrinking
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
    conv_block,
    dense,
    layer,
    network_of,
    random_network,
    relu,
)

from mpinas.assembly.keras_model import build_model
from mpinas.morphnet.optimizer import with_scale_rate
from mpinas.morphnet.regularizer import group_lasso_size, is_broken

SMALL = network_of(
    (4, 4, 1),
    *conv_block("a", "image", 3),
    conv("b", "a_relu", 4),
    relu("b_relu", "b"),
    layer("flat", "flatten", "b_relu"),
    dense("logits", "flat", 3),
)
SMALL_GAMMAS = {"a_norm": [0.5, -0.8, 0.01], "b": [1.0, -0.3, 0.05, 0.4]}


def absolute(network, threshold, gammas, **settings):
    one = shrinking(network, threshold=threshold, relative=False, **settings)
    one.set_scales(**gammas)
    return one


def test_the_original_test_network_has_the_loss_it_has_there():
    one = absolute(CONCATENATED, 0.45, CONCATENATED_GAMMAS)
    of_logits = 2 * 10 * (10 * 0.6 + 19 * 0.3 + 17 * 0.5 + 14 * 0.4)
    assert float(one.regularizer.loss()) - of_logits == pytest.approx(1410376.4, rel=1e-6)
    assert one.graph.cost(one.alive(), "flops") == 985404 + 2 * 27 * 10
    (gradient,) = one.gradients("norm1")
    assert list(gradient) == [95012] * 13
    assert (one.gradients("norm2")[0] < 0)[:11].all()


def test_the_original_separable_network_costs_what_it_costs_there():
    one = absolute(SEPARABLE, 0.45, SEPARABLE_GAMMAS)
    assert one.graph.cost(one.alive(), "flops") == 1119972 + 2 * 10 * 10


def test_the_term_of_channels_behind_a_flatten():
    one = absolute(FLATTENED, 0.1, FLATTENED_GAMMAS)
    assert float(one.regularizer.loss()) == pytest.approx(297.6)
    assert one.graph.cost(one.alive(), "flops") == 384
    assert list(one.gradients("norm")[0]) == [32 + 160] * 3


def test_tied_scales_share_the_gradient_of_their_channel():
    one = shrinking(RESIDUAL)
    stem, back = one.gradients("stem_norm", "back_norm")
    assert set(stem) == set(back) == {200704}
    assert one.regularizer.full_cost == 10_613_504
    ratio = float(one.regularizer.loss()) / one.regularizer.full_cost
    assert ratio == pytest.approx(1.967968, abs=1e-6)


def test_the_larger_of_two_scales_has_all_of_the_gradient():
    one = shrinking(RESIDUAL)
    one.set_scales(stem_norm=np.full(24, -1.5))
    stem, back = one.gradients("stem_norm", "back_norm")
    assert set(stem) == {-401408}
    assert set(back) == {0}


def test_group_lasso_is_a_root_mean_square_and_its_gradient_is_finite():
    assert list(group_lasso_size(np.ones((3, 3, 2, 2), "float32"))) == [1, 1]
    half = np.full((3, 3, 2, 1), -0.5, "float32")
    assert float(group_lasso_size(half)[0]) == pytest.approx(0.5)
    assert float(group_lasso_size(half, 0.5)[0]) == pytest.approx(0.5)
    mixed = np.array([[1.0], [0.0]], "float32")
    assert float(group_lasso_size(mixed, 0.25)[0]) == pytest.approx(
        0.75 * math.sqrt(0.5) + 0.25 * 0.5
    )
    kernel = tf.Variable(tf.zeros((3, 3, 2, 2)))
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(group_lasso_size(kernel, 0.5))
    assert np.isfinite(tape.gradient(loss, kernel).numpy()).all()


def test_the_largest_weight_of_a_channel_tells():
    one = shrinking(SMALL, source="max_weight")
    kernel = np.asarray(one.model.get_layer("b").kernel)
    sizes = one.regularizer.read().sizes[one.graph.outputs["b"]]
    np.testing.assert_allclose(sizes, np.abs(kernel).max(axis=(0, 1, 2)), rtol=1e-6)


@pytest.mark.parametrize("metric", ["flops", "parameters"])
@pytest.mark.parametrize("penalty", ["l1", "l2"])
def test_term_and_gradient_are_price_times_size(metric, penalty):
    one = absolute(SMALL, 0.1, SMALL_GAMMAS, metric=metric, penalty=penalty)
    reading = one.regularizer.read()
    free = one.sources.may_die
    prices = one.graph.prices(reading.alive, metric)
    sizes = np.where(free, reading.sizes, 0.0)
    expected = prices @ (sizes if penalty == "l1" else sizes**2)
    assert float(one.regularizer.loss()) == pytest.approx(expected, rel=1e-5)
    for name, values in SMALL_GAMMAS.items():
        price = prices[one.graph.outputs[name]]
        by_size = np.sign(values) if penalty == "l1" else 2 * np.array(values)
        np.testing.assert_allclose(one.gradients(name)[0], price * by_size, rtol=1e-5)


@pytest.mark.parametrize("seed", range(6))
def test_term_and_gradient_of_random_networks(seed):
    """Sizes that are not tied: each group's largest source has price times sign, others nothing."""
    rng = np.random.default_rng(seed)
    network = random_network(lambda low, high: int(rng.integers(low, high + 1)))
    one = absolute(network, 0.4, {})
    for source in one.sources.layers:
        one.set_scales(**{source.name: rng.uniform(-1, 1, len(source.ids))})
    reading = one.regularizer.read()
    prices = one.graph.prices(reading.alive)
    sizes = np.where(one.sources.may_die, reading.sizes, 0.0)
    assert float(one.regularizer.loss()) == pytest.approx(prices @ sizes, rel=1e-5)
    for source in one.sources.layers:
        values = np.asarray(one.scale(source.name), np.float64)
        is_largest = np.abs(values) == sizes[source.ids]
        ids, counts = np.unique(source.ids, return_counts=True)
        once = np.isin(source.ids, ids[counts == 1])
        expected = np.where(is_largest, prices[source.ids] * np.sign(values), 0.0)
        (gradient,) = one.gradients(source.name)
        np.testing.assert_allclose(gradient[once], expected[once], rtol=1e-5)


def test_the_term_is_linear_in_each_layers_scales_and_zero_at_zero():
    one = absolute(SMALL, 0.0, SMALL_GAMMAS)
    whole = float(one.regularizer.loss())
    one.set_scales(a_norm=2 * np.array(SMALL_GAMMAS["a_norm"]))
    first_doubled = float(one.regularizer.loss())
    one.set_scales(**SMALL_GAMMAS)
    one.set_scales(b=2 * np.array(SMALL_GAMMAS["b"]))
    second_doubled = float(one.regularizer.loss())
    assert first_doubled + second_doubled - 2 * whole == pytest.approx(whole, rel=1e-5)
    one.set_scales(a_norm=np.zeros(3), b=np.zeros(4))
    assert float(one.regularizer.loss()) == 0


def test_thresholds_are_absolute_or_shares_of_the_layers_largest():
    one = absolute(SMALL, 0.3, SMALL_GAMMAS)
    alive = one.alive()
    assert list(alive[one.graph.outputs["a"]]) == [True, True, False]
    assert list(alive[one.graph.outputs["b"]]) == [True, False, False, True]
    assert alive[one.graph.outputs["logits"]].all()
    share = shrinking(SMALL, threshold=0.7, relative=True)
    share.set_scales(**SMALL_GAMMAS)
    assert list(share.alive()[share.graph.outputs["a"]]) == [False, True, False]
    assert list(share.alive()[share.graph.outputs["b"]]) == [True, False, False, False]
    np.testing.assert_allclose(
        share.regularizer.read().shares[share.graph.outputs["a"]],
        [0.5 / 0.56, 0.8 / 0.56, 0.01 / 0.56],
        rtol=1e-5,
    )


def test_the_counts_inside_the_term_follow_the_threshold():
    one = absolute(SMALL, 0.3, SMALL_GAMMAS)
    price = 2 * 16 * 2 + 2 * 16 * 3
    assert list(one.gradients("b")[0]) == [price, -price, price, price]
    one.set_scales(a_norm=[1.0, 1.0, 1.0])
    assert one.gradients("b")[0][0] == 2 * 16 * 3 + 2 * 16 * 3


def test_a_threshold_of_zero_cuts_zeros_only():
    one = absolute(SMALL, 0.0, {"a_norm": [1e-30, 0.0, 50.0], "b": [0.0, -1e-3, 1.0, 1.0]})
    with np.errstate(all="raise"):
        alive = one.alive()
    assert list(alive[one.graph.outputs["a"]]) == [True, False, True]
    assert list(alive[one.graph.outputs["b"]]) == [False, True, True, True]


def test_everything_is_alive_before_the_first_step_where_scales_tell():
    for network in (SMALL, RESIDUAL):
        one = shrinking(network)
        assert one.alive().all()
        assert one.plan().removes_nothing


def losses(model, x, y):
    """In training and in evaluation, with weights as they are."""
    predicted = model([x], training=False)
    return tuple(
        float(model.compute_loss(x, y, predicted, training=training)) for training in (True, False)
    )


def test_the_term_is_in_the_training_loss_and_not_in_the_evaluation():
    one = absolute(SMALL, 0.1, SMALL_GAMMAS)
    x, y = images((4, 4, 1)), labels(3)
    model = regularized(one, strength=2.0)
    model.compile(
        keras.optimizers.SGD(0.0),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile=False,
    )
    training, evaluation = losses(model, x, y)
    term = 2.0 * float(one.regularizer.loss()) / one.regularizer.full_cost
    assert training - evaluation == pytest.approx(term, rel=1e-4)
    plain = keras.Model(one.model.inputs, one.model.outputs)
    plain.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    assert losses(plain, x, y) == (evaluation, evaluation)
    assert model.evaluate(x, y, verbose=0) == pytest.approx(evaluation, rel=1e-5)
    assert model.fit(x, y, verbose=0).history["loss"][0] > evaluation + 0.5 * term


def test_strength_scales_the_term():
    one = absolute(SMALL, 0.1, SMALL_GAMMAS)
    x, y = images((4, 4, 1)), labels(3)
    found = []
    for strength in (0.0, 1.0, 3.0):
        model = regularized(one, strength)
        model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        training, evaluation = losses(model, x, y)
        found.append(training - evaluation)
    assert found[0] == 0
    assert found[2] == pytest.approx(3 * found[1], rel=1e-4)


def test_strength_zero_at_the_training_rate_is_plain_training_to_the_last_bit():
    network = network_of(
        (6, 6, 1),
        *conv_block("a", "image", 4),
        layer("drop", "dropout", "a_relu", rate=0.3),
        conv("b", "drop", 3),
        batch_norm("norm", "b"),
        layer("flat", "flatten", "norm"),
        dense("logits", "flat", 3),
    )
    x, y = images((6, 6, 1), 40), labels(3, 40)
    plain = build_model(network, seed=3)
    fit(plain, keras.optimizers.Adam(1e-2), x, y, epochs=2)
    one = shrinking(network, seed=3)
    optimizer = with_scale_rate(keras.optimizers.Adam(1e-2), one.regularizer.scales, 1e-2)
    fit(regularized(one, strength=0.0), optimizer, x, y, epochs=2)
    for before, after in zip(plain.weights, one.model.weights, strict=True):
        assert np.array_equal(before, after), before.path


def moved(base, *, rate=0.05, strength=10.0, steps=6, policy="float32"):
    """Fits a few steps; returns what was, the model, and what moved by which of its variables."""
    keras.config.set_dtype_policy(policy)
    try:
        one = shrinking(SMALL)
    finally:
        keras.config.set_dtype_policy("float32")
    before = {weight.path: np.asarray(weight, np.float64) for weight in one.model.weights}
    x, y = images((4, 4, 1), 8 * steps), labels(3, 8 * steps)
    optimizer = with_scale_rate(base, one.regularizer.scales, rate)
    fit(regularized(one, strength), optimizer, x, y)
    return one, {
        weight.path: np.abs(np.asarray(weight, np.float64) - before[weight.path]).max()
        for weight in one.model.trainable_weights
    }


def is_scale(path):
    return path.endswith(("gamma", "gate"))


@pytest.mark.parametrize("name", ["Adam", "AdamW", "Nadam", "RMSprop", "SGD"])
def test_scales_move_by_their_rate_and_others_by_the_training_rate(name):
    _, distances = moved(getattr(keras.optimizers, name)(1e-3))
    for path, distance in distances.items():
        if is_scale(path):
            assert 0.6 * 6 * 0.05 < distance <= 1.05 * 6 * 0.05, path
        elif name != "SGD":
            assert distance < 6 * 1e-3 * 4, path


def test_scales_move_by_their_rate_in_mixed_precision_too():
    one, distances = moved(keras.optimizers.Adam(1e-3), policy="mixed_float16")
    scales = [distance for path, distance in distances.items() if is_scale(path)]
    assert len(scales) == 2
    assert min(scales) > 0.6 * 6 * 0.05
    assert {str(scale.dtype) for scale in one.regularizer.scales} == {"float32"}


def test_the_strength_hardly_matters_to_adam_once_it_wins():
    bound = 1.05 * 6 * 0.05
    for strength in (10.0, 1000.0):
        _, distances = moved(keras.optimizers.Adam(1e-3), strength=strength)
        scales = [distance for path, distance in distances.items() if is_scale(path)]
        assert max(scales) <= bound
        assert max(scales) > 0.9 * bound / 1.05


def test_other_weights_move_as_without_the_wrapping():
    x, y = images((4, 4, 1), 40), labels(3, 40)
    kernels = []
    for rate in (None, 0.2):
        one = shrinking(SMALL, seed=5)
        optimizer = keras.optimizers.SGD(0.1, momentum=0.9)
        if rate:
            optimizer = with_scale_rate(optimizer, one.regularizer.scales, rate)
        fit(one.model, optimizer, x[:8], y[:8])
        kernels.append(np.asarray(one.model.get_layer("a").kernel))
    assert np.array_equal(*kernels)


def test_scales_that_the_optimizer_does_not_meet_are_no_silent_miss():
    """Nothing would be cut: they would move with all others, at the training rate."""
    one, other = shrinking(SMALL), shrinking(SMALL)
    optimizer = with_scale_rate(keras.optimizers.Adam(1e-3), other.regularizer.scales, 0.1)
    with pytest.raises(RuntimeError, match="cannot have a learning rate of their own"):
        fit(regularized(one, 1.0), optimizer, images((4, 4, 1), 8), labels(3, 8))


def test_the_optimizer_that_is_handed_in_is_left_as_it_is():
    one = shrinking(SMALL)
    given = keras.optimizers.AdamW(3e-3, weight_decay=0.1)
    made = with_scale_rate(given, one.regularizer.scales, 0.2)
    assert made is not given
    assert not given.built
    assert made.get_config()["weight_decay"] == 0.1
    assert float(made.learning_rate) == pytest.approx(3e-3)


def test_a_loss_no_better_than_guessing_is_broken():
    guess = math.log(10)
    assert not is_broken(guess, 10)
    assert not is_broken(guess + 0.09, 10)
    assert is_broken(guess + 0.11, 10)
    assert is_broken(math.nan, 10)
    assert is_broken(math.inf, 10)
