"""Whole Keras models: costs as built, nothing guessed, and what is refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from described import (
    MAP,
    SEQUENCE,
    VECTOR,
    check_costs,
    conv,
    describe_layer,
    describe_model,
    keras,
    layers,
    model_of,
    named,
    total,
    unsupported,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from keras_networks import chain, conv2d, dense
from random_specs import random_spec

from mpinas.assembly.description import describe_network
from mpinas.errors import UserMustChange
from mpinas.records import NetworkSpec
from mpinas.space.layers import LAYERS

pytestmark = pytest.mark.keras


def own_convolution() -> Any:
    class OwnConvolution(layers.Conv2D):
        """Does who knows what."""

    return OwnConvolution(3, 3)


def own_activation(values: Any) -> Any:
    return keras.ops.flip(values, -1)


def nested() -> Any:
    return keras.Sequential([keras.Input(MAP), conv(4), layers.BatchNormalization()], name="inner")


def adapted() -> Any:
    layer = layers.Dense(6)
    layer.build((None, *MAP))
    layer.enable_lora(2)
    return layer


NOT_KNOWN: Mapping[str, tuple[Callable[[], Any], tuple[int, ...]]] = {
    "nested model": (nested, MAP),
    "subclass": (own_convolution, MAP),
    "own activation": (lambda: layers.Activation(own_activation), MAP),
    "activation of a convolution": (lambda: conv(activation=own_activation), MAP),
    "softmax": (lambda: layers.Softmax(), MAP),
    "glu": (lambda: layers.Activation("glu"), MAP),
    "layer normalisation": (lambda: layers.LayerNormalization(), MAP),
    "group normalisation": (lambda: layers.GroupNormalization(2), MAP),
    "unit normalisation": (lambda: layers.UnitNormalization(), MAP),
    "normalisation of images": (
        lambda: layers.Normalization(mean=[1.0] * 4, variance=[1.0] * 4),
        MAP,
    ),
    "batch norm of rows": (lambda: layers.BatchNormalization(axis=1), MAP),
    "reshape": (lambda: layers.Reshape((6, 12, 2)), MAP),
    "permutation": (lambda: layers.Permute((3, 1, 2)), MAP),
    "grouped convolution": (lambda: conv(4, groups=2), MAP),
    "separable convolution": (lambda: layers.SeparableConv2D(3, 3), MAP),
    "transposed convolution": (lambda: layers.Conv2DTranspose(3, 2, strides=2), MAP),
    "channels first": (lambda: layers.MaxPooling2D(1, data_format="channels_first"), MAP),
    "channels first, flat": (lambda: layers.Flatten(data_format="channels_first"), MAP),
    "rescaling of each channel": (lambda: layers.Rescaling([1.0, 2.0, 3.0, 4.0]), MAP),
    "dropout of each channel": (lambda: layers.Dropout(0.5, (None, 1, 1, 4)), MAP),
    "slopes over channels": (lambda: layers.PReLU(shared_axes=[3]), MAP),
    "recurrence": (lambda: layers.LSTM(3), SEQUENCE),
    "low-rank adapter": (adapted, MAP),
    "wrapper": (lambda: layers.TimeDistributed(layers.Dense(3)), SEQUENCE),
}


@pytest.mark.parametrize(("make", "shape"), NOT_KNOWN.values(), ids=NOT_KNOWN)
def test_what_is_not_known_is_said_so_and_named(make, shape):
    layer = make()
    model = model_of(layer, shape)
    described = describe_model(model)
    assert unsupported(described) == (layer.name,)
    told = named(model)[layer.name]
    assert told.channels is None
    assert told.kind not in LAYERS
    count = layer.count_params()
    assert told.prices["parameters"].pair == 0
    assert told.prices["parameters"].once == count


def test_unknown_layers_have_the_flops_that_can_be_counted():
    grouped = describe_layer(conv(4, groups=2), MAP)
    assert grouped.prices["flops"].once == 2 * 36 * 9 * 2 * 4
    transposed = describe_layer(layers.Conv2DTranspose(3, 2, strides=2), MAP)
    assert transposed.prices["flops"].once == 2 * 36 * 4 * 4 * 3
    inner = describe_layer(nested(), MAP)
    assert inner.prices["flops"].once == 2 * 36 * 9 * 4 * 4
    separable = describe_layer(layers.SeparableConv2D(4, 3, padding="same"), MAP)
    assert separable.prices["flops"].once == 2 * 36 * (9 * 4 + 4 * 4)


def test_attention_is_not_known():
    image = keras.Input(SEQUENCE)
    attention = layers.MultiHeadAttention(2, 4, name="attention")
    model = keras.Model(image, layers.Dense(3)(attention(image, image)))
    assert unsupported(describe_model(model)) == ("attention",)


def test_bare_operations_are_not_known():
    image = keras.Input(MAP)
    first, second = keras.ops.split(conv(4)(image) * 2.0, 2, axis=-1)
    model = keras.Model(image, layers.Dense(2)(layers.Concatenate()([second, first, second])))
    described = describe_model(model)
    assert len(unsupported(described)) == 3
    by_name = {one.name: one for one in described}
    assert [by_name[name].width for name in described[-2].inputs] == [2, 2, 2]
    assert described[-2].inputs[0] == described[-2].inputs[2] != described[-2].inputs[1]
    assert total(described, "parameters") == model.count_params()


def test_a_layer_with_two_outputs_counts_once():
    image = keras.Input(SEQUENCE)
    _, state, cell = layers.LSTM(3, return_state=True, name="lstm")(image)
    model = keras.Model(image, layers.Dense(2)(layers.Concatenate()([cell, state, cell])))
    described = describe_model(model)
    assert unsupported(described) == ("lstm (output 2)", "lstm (output 3)")
    assert described[-2].inputs == ("lstm (output 3)", "lstm (output 2)", "lstm (output 3)")
    assert total(described, "parameters") == model.count_params()


def test_shared_weights_are_not_known_and_count_once():
    image = keras.Input(MAP)
    twice = conv(4, name="twice")
    model = keras.Model(image, layers.Dense(2)(twice(twice(image))))
    described = describe_model(model)
    assert unsupported(described) == ("twice", "twice (call 2)")
    assert total(described, "parameters") == model.count_params()
    assert total(described, "flops") == 2 * (2 * 36 * 9 * 16) + 2 * 36 * 8


def test_weights_that_a_nested_model_uses_too_are_not_known():
    inner = nested()
    image = keras.Input(MAP)
    model = keras.Model(image, layers.Dense(2)(inner.layers[0](inner(image))))
    described = describe_model(model)
    assert set(unsupported(described)) == {"inner", inner.layers[0].name}
    assert total(described, "parameters") == model.count_params()


def test_a_layer_without_weights_may_be_called_again():
    image = keras.Input(MAP)
    relu = layers.ReLU(name="relu")
    model = keras.Model(image, layers.Dense(2)(relu(conv(4)(relu(conv(4)(image))))))
    described = describe_model(model)
    assert [one.name for one in described if one.kind == "activation"] == ["relu", "relu (call 2)"]
    assert unsupported(described) == ()


@pytest.mark.parametrize("name", ["MobileNetV2", "ResNet50"])
def test_published_networks_are_known_in_full(name):
    make = getattr(keras.applications, name)
    model = make(weights=None, input_shape=(32, 32, 3), classes=10)
    described = describe_model(model)
    assert unsupported(described) == ()
    assert described[-1].shape == (10,)
    check_costs(model)


@pytest.mark.parametrize("seed", range(6))
def test_a_spec_and_the_model_built_from_it_are_described_alike(seed):
    check_agreement(random_spec(seed))


def test_all_kinds_of_a_spec_are_described_alike():
    window = {"strides": (2, 1), "padding": "valid", "use_bias": True, "kernel_size": (3, 2)}
    check_agreement(
        chain(
            (9, 8, 3),
            conv2d(5),
            ("batch_norm", {}),
            ("activation", {"function": "relu"}),
            ("depthwise_conv2d", {"depth_multiplier": 2, **window}),
            ("max_pool", {"pool_size": (2, 2), "strides": (1, 1), "padding": "same"}),
            ("dropout", {"rate": 0.5}),
            ("global_average_pool", {}),
            ("to_map", {}),
            ("flatten", {}),
            dense(6),
        )
    )


def check_agreement(network: NetworkSpec) -> None:
    from mpinas.assembly.keras_model import build_model

    model = build_model(network, seed=0)
    built, told = named(model), {one.name: one for one in describe_network(network)}
    fields = ("kind", "channels", "inputs", "shape", "prices", "exact_constants")
    assert {name: [getattr(one, field) for field in fields] for name, one in built.items()} == {
        name: [getattr(one, field) for field in fields] for name, one in told.items()
    }
    values = np.array([-1.5, 0.0, 2.0])
    for name, one in told.items():
        assert (one.function is None) == (built[name].function is None)
        assert one.function is None or np.array_equal(
            one.function(values), built[name].function(values)
        )
    assert describe_model(model)[-1].name == network.layers[-1].name
    check_costs(model)


GROWTH: Sequence[Callable[[int], Any]] = (
    lambda number: conv(number + 1),
    lambda number: layers.Conv2D(number + 1, 1, use_bias=False, activation="relu"),
    lambda number: layers.DepthwiseConv2D(3, padding="same", depth_multiplier=number % 2 + 1),
    lambda number: layers.BatchNormalization(scale=bool(number % 2)),
    lambda number: layers.Dense(number + 1),
    lambda number: layers.ReLU(),
    lambda number: layers.Add(),
    lambda number: layers.Multiply(),
    lambda number: layers.Concatenate(),
)


def grown(choices: Sequence[tuple[int, int, int]]) -> Any:
    """A random graph of maps of one size; each choice is a layer, what it reads, a number."""
    image = keras.Input((6, 6, 2))
    maps = [image]
    for kind, place, number in choices:
        source = maps[place % len(maps)]
        equal = [one for one in maps if one.shape == source.shape]
        layer = GROWTH[kind](number)
        merges = isinstance(layer, (layers.Add, layers.Multiply, layers.Concatenate))
        maps.append(layer([source, equal[number % len(equal)]] if merges else source))
    flat = layers.Flatten() if len(choices) % 2 else layers.GlobalMaxPooling2D()
    return keras.Model(image, layers.Dense(3)(flat(maps[-1])))


NUMBERS = st.integers(0, 8)


@given(st.lists(st.tuples(NUMBERS, NUMBERS, NUMBERS), min_size=1, max_size=10))
@settings(max_examples=30, deadline=None)
def test_a_random_graph_costs_what_was_built(choices):
    model = grown(choices)
    described = describe_model(model)
    assert unsupported(described) == ()
    assert described[-1].shape == (3,)
    check_costs(model)
    done: set[str] = set()
    for layer in described:
        assert done.issuperset(layer.inputs), "not in topological order"
        assert layer.name not in done
        done.add(layer.name)


def subclassed() -> Any:
    class Subclassed(keras.Model):
        """No graph."""

        def call(self, inputs):
            return inputs

    return Subclassed()


def overridden() -> Any:
    class Overridden(keras.Sequential):
        """A graph that is not what it computes."""

        def call(self, inputs, training=None, mask=None):
            return -super().call(inputs)

    return Overridden([keras.Input(VECTOR), layers.Dense(2)])


def outputs_of(count: int) -> Any:
    image = keras.Input(VECTOR)
    return keras.Model(image, [layers.Dense(2)(image) for _ in range(count)])


def inputs_of(*shapes: tuple[Any, ...]) -> Any:
    images = [keras.Input(shape) for shape in shapes]
    parts = [layers.GlobalMaxPooling2D()(image) for image in images]
    return keras.Model(images, layers.Concatenate()(parts) if len(parts) > 1 else parts[0])


def in_wrapper() -> Any:
    inner = keras.Sequential([keras.Input((4,)), layers.Lambda(own_activation, name="inside")])
    return keras.Sequential([keras.Input(SEQUENCE), layers.TimeDistributed(inner)])


REFUSED: Mapping[str, tuple[Callable[[], Any], str]] = {
    "subclassed": (subclassed, "Subclassed"),
    "overridden": (overridden, "Overridden"),
    "not built": (lambda: keras.Sequential([layers.Dense(2)]), "Input"),
    "lambda": (
        lambda: keras.Sequential([keras.Input(VECTOR), layers.Lambda(own_activation, name="mine")]),
        "mine",
    ),
    "lambda inside": (in_wrapper, "inside"),
    "two outputs": (lambda: outputs_of(2), "2 outputs"),
    "two inputs": (lambda: inputs_of(MAP, MAP), "2 inputs"),
    "any size": (lambda: inputs_of((None, None, 3)), "fixed size"),
}


@pytest.mark.parametrize(("make", "word"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_shrunk_is_refused_with_a_cure(make, word):
    with pytest.raises(UserMustChange, match=word) as refused:
        describe_model(make())
    for line in refused.value.faults:
        assert "Received:" in line
        assert "allowed" in line
        assert "\n" not in line


def test_all_faults_come_at_once():
    images = [keras.Input(VECTOR) for _ in range(2)]
    parts = [layers.Lambda(own_activation)(image) for image in images]
    with pytest.raises(UserMustChange) as refused:
        describe_model(keras.Model(images, parts))
    assert len(refused.value.faults) == 3
