"""The cut of models that no spec expresses: layers of Keras that only users' models have."""

from __future__ import annotations

import keras
import numpy as np
from keras import layers

from mpinas.assembly.from_keras import describe_model
from mpinas.morphnet.channels import ChannelGraph
from mpinas.morphnet.folding import carry
from mpinas.morphnet.gates import weights_of
from mpinas.morphnet.plan import make_plan
from mpinas.morphnet.shrink import difference, rebuild_model, set_weights


def without_channels(model: keras.Model, name: str, beta: float) -> tuple[float, bool]:
    """Cuts the first two channels of a batch norm whose scales are 0.

    Returns:
        How much the outputs changed, and whether the cut is called exact.
    """
    norm = model.get_layer(name)
    dead = np.arange(norm.gamma.shape[0]) < 2
    norm.gamma.assign(np.where(dead, 0.0, 1.0))
    norm.beta.assign(np.full(len(dead), beta))
    graph = ChannelGraph(describe_model(model))
    alive = graph.all_alive()
    alive[graph.outputs[name][dead]] = False
    plan = make_plan(graph, alive, remove_layers=False)
    carried = carry(graph, plan, weights_of(model), [name])
    small = rebuild_model(model, graph, plan)
    set_weights(small, carried.weights)
    batch = np.random.default_rng(0).normal(size=(4, 6, 6, 3)).astype(np.float32)
    assert small.count_params() < model.count_params()
    return difference(model, small, [batch]), carried.exact


def padded(beta: float) -> tuple[float, bool]:
    image = keras.Input((6, 6, 3))
    x = layers.Conv2D(5, 1, use_bias=False)(image)
    x = layers.ReLU()(layers.BatchNormalization(name="norm")(x))
    x = layers.Conv2D(4, 3)(layers.ZeroPadding2D()(x))
    return without_channels(keras.Model(image, layers.Flatten()(x)), "norm", beta)


def test_a_constant_that_meets_padding_is_not_called_exact():
    error, exact = padded(beta=0.5)
    assert error > 0.01
    assert not exact


def test_zeros_that_meet_padding_are_cut_exactly():
    error, exact = padded(beta=0.0)
    assert error < 1e-5
    assert exact


def test_a_reshape_of_fixed_size_follows_the_channels_before_it():
    """Squeeze and excitation has one: a vector becomes a map of 1 x 1."""
    image = keras.Input((6, 6, 3))
    x = layers.Conv2D(5, 1, use_bias=False)(image)
    x = layers.ReLU()(layers.BatchNormalization(name="norm")(x))
    scale = layers.Reshape((1, 1, 5))(layers.GlobalAveragePooling2D()(x))
    x = layers.Multiply()([x, layers.Activation("sigmoid")(scale)])
    model = keras.Model(image, layers.Dense(4)(layers.Flatten()(x)))
    error, exact = without_channels(model, "norm", beta=0.0)
    assert error < 1e-5
    assert exact
