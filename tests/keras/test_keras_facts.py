"""What is known of each class of Keras layers, against what Keras computes.

A class with an entry but without a case here fails. Which channels depend on which is found out by
changing them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from described import (
    MAP,
    SEQUENCE,
    VECTOR,
    VOLUME,
    Shape,
    check_costs,
    conv,
    describe_layer,
    describe_model,
    keras,
    layers,
    model_of,
    named,
    unsupported,
)

from mpinas.assembly.keras_facts import KERNELS, READERS
from mpinas.space.layers import LAYERS, Channels

pytestmark = pytest.mark.keras


KEPT: Mapping[str, Sequence[tuple[Callable[[], Any], Shape]]] = {
    "BatchNormalization": [
        (lambda: layers.BatchNormalization(), MAP),
        (lambda: layers.BatchNormalization(axis=3, scale=False), MAP),
        (lambda: layers.BatchNormalization(center=False), VECTOR),
    ],
    "Activation": [
        (lambda: layers.Activation("gelu"), MAP),
        (lambda: layers.Activation("tanh"), VECTOR),
    ],
    "ReLU": [(lambda: layers.ReLU(max_value=0.5, negative_slope=0.1, threshold=0.2), MAP)],
    "LeakyReLU": [(lambda: layers.LeakyReLU(negative_slope=0.2), MAP)],
    "ELU": [(lambda: layers.ELU(alpha=0.7), MAP)],
    "PReLU": [
        (lambda: layers.PReLU("normal", shared_axes=[1, 2]), MAP),
        (lambda: layers.PReLU(), MAP),
    ],
    "MaxPooling1D": [(lambda: layers.MaxPooling1D(3, 2, "same"), SEQUENCE)],
    "MaxPooling2D": [(lambda: layers.MaxPooling2D(3, 1, "same"), MAP)],
    "MaxPooling3D": [(lambda: layers.MaxPooling3D(2), VOLUME)],
    "AveragePooling1D": [(lambda: layers.AveragePooling1D(3, 2, "same"), SEQUENCE)],
    "AveragePooling2D": [(lambda: layers.AveragePooling2D(3, 1, "same"), MAP)],
    "AveragePooling3D": [(lambda: layers.AveragePooling3D(2), VOLUME)],
    "AdaptiveMaxPooling1D": [(lambda: layers.AdaptiveMaxPooling1D(3), SEQUENCE)],
    "AdaptiveMaxPooling2D": [(lambda: layers.AdaptiveMaxPooling2D(4), MAP)],
    "AdaptiveMaxPooling3D": [(lambda: layers.AdaptiveMaxPooling3D(2), VOLUME)],
    "AdaptiveAveragePooling1D": [(lambda: layers.AdaptiveAveragePooling1D(3), SEQUENCE)],
    "AdaptiveAveragePooling2D": [(lambda: layers.AdaptiveAveragePooling2D(4), MAP)],
    "AdaptiveAveragePooling3D": [(lambda: layers.AdaptiveAveragePooling3D(2), VOLUME)],
    "GlobalMaxPooling1D": [(lambda: layers.GlobalMaxPooling1D(), SEQUENCE)],
    "GlobalMaxPooling2D": [(lambda: layers.GlobalMaxPooling2D(keepdims=True), MAP)],
    "GlobalMaxPooling3D": [(lambda: layers.GlobalMaxPooling3D(), VOLUME)],
    "GlobalAveragePooling1D": [(lambda: layers.GlobalAveragePooling1D(keepdims=True), SEQUENCE)],
    "GlobalAveragePooling2D": [(lambda: layers.GlobalAveragePooling2D(), MAP)],
    "GlobalAveragePooling3D": [(lambda: layers.GlobalAveragePooling3D(), VOLUME)],
    "Dropout": [
        (lambda: layers.Dropout(0.5), MAP),
        (lambda: layers.Dropout(0.5, (None, 1, 1, 1)), MAP),
    ],
    "SpatialDropout1D": [(lambda: layers.SpatialDropout1D(0.5), SEQUENCE)],
    "SpatialDropout2D": [(lambda: layers.SpatialDropout2D(0.5), MAP)],
    "SpatialDropout3D": [(lambda: layers.SpatialDropout3D(0.5), VOLUME)],
    "AlphaDropout": [(lambda: layers.AlphaDropout(0.5), MAP)],
    "GaussianDropout": [(lambda: layers.GaussianDropout(0.5), MAP)],
    "GaussianNoise": [(lambda: layers.GaussianNoise(0.5), MAP)],
    "Identity": [(lambda: layers.Identity(), MAP)],
    "ActivityRegularization": [(lambda: layers.ActivityRegularization(l2=0.1), MAP)],
    "ZeroPadding1D": [(lambda: layers.ZeroPadding1D(1), SEQUENCE)],
    "ZeroPadding2D": [(lambda: layers.ZeroPadding2D(((0, 1), (1, 2))), MAP)],
    "ZeroPadding3D": [(lambda: layers.ZeroPadding3D(1), VOLUME)],
    "Cropping1D": [(lambda: layers.Cropping1D(1), SEQUENCE)],
    "Cropping2D": [(lambda: layers.Cropping2D(((0, 1), (1, 2))), MAP)],
    "Cropping3D": [(lambda: layers.Cropping3D(1), VOLUME)],
    "UpSampling1D": [(lambda: layers.UpSampling1D(2), SEQUENCE)],
    "UpSampling2D": [(lambda: layers.UpSampling2D(2, interpolation="bilinear"), MAP)],
    "UpSampling3D": [(lambda: layers.UpSampling3D(2), VOLUME)],
    "RepeatVector": [(lambda: layers.RepeatVector(3), VECTOR)],
    "Reshape": [
        (lambda: layers.Reshape((1, 1, 5)), VECTOR),
        (lambda: layers.Reshape((36, -1)), MAP),
        (lambda: layers.Reshape((4,)), (1, 1, 4)),
    ],
    "Rescaling": [(lambda: layers.Rescaling(0.5, offset=-1.0), MAP)],
}
JOINS = {
    "Add": "add",
    "Average": "average",
    "Maximum": "maximum",
    "Minimum": "minimum",
    "Multiply": "multiply",
    "Subtract": "subtract",
}
MAKERS: Mapping[str, Sequence[tuple[Callable[[], Any], Shape, int, int]]] = {
    # (layer, input shape, FLOPs, parameters), worked out by hand
    "Conv1D": [
        (lambda: layers.Conv1D(3, 2, padding="causal", dilation_rate=2), SEQUENCE, 2 * 8 * 24, 27),
    ],
    "Conv2D": [
        (lambda: layers.Conv2D(3, (3, 2), strides=2, padding="same"), MAP, 2 * 9 * 72, 75),
        (lambda: layers.Conv2D(2, 3, dilation_rate=2, use_bias=False), MAP, 2 * 4 * 72, 72),
        (lambda: layers.Conv2D(3, 3, strides=2), MAP, 2 * 4 * 108, 111),
    ],
    "Conv3D": [(lambda: layers.Conv3D(3, 2), VOLUME, 2 * 27 * 48, 51)],
    "Dense": [
        (lambda: layers.Dense(7), VECTOR, 2 * 35, 42),
        (lambda: layers.Dense(7, use_bias=False), MAP, 2 * 36 * 28, 28),
    ],
}
DEPTHWISE: Mapping[str, Sequence[tuple[Callable[[], Any], Shape, int, int]]] = {
    "DepthwiseConv1D": [
        (lambda: layers.DepthwiseConv1D(3, depth_multiplier=2), SEQUENCE, 2 * 6 * 24, 32)
    ],
    "DepthwiseConv2D": [
        (
            lambda: layers.DepthwiseConv2D((3, 2), strides=2, padding="same", depth_multiplier=3),
            MAP,
            2 * 9 * 72,
            84,
        ),
        (lambda: layers.DepthwiseConv2D(3, use_bias=False), MAP, 2 * 16 * 36, 36),
    ],
}
KEPT_CASES = [(name, *case) for name, cases in KEPT.items() for case in cases]
MAKER_CASES = [(name, *case) for name, cases in MAKERS.items() for case in cases]
DEPTHWISE_CASES = [(name, *case) for name, cases in DEPTHWISE.items() for case in cases]


def test_every_known_class_has_a_case():
    others = {"InputLayer", "Softmax", "Flatten", "Concatenate"}
    assert set(READERS) == {*KEPT, *JOINS, *MAKERS, *DEPTHWISE, *others}
    assert set(MAKERS) | set(DEPTHWISE) < set(KERNELS)


def moved_by(model: Any, channel: int, shape: Shape) -> set[int]:
    """Output channels that differ once one input channel is another."""
    rng = np.random.default_rng(channel)
    images = rng.normal(size=(3, *shape)).astype(np.float32)
    changed = images.copy()
    changed[..., channel] = rng.normal(size=images[..., channel].shape)
    difference = np.asarray(model(images)) != np.asarray(model(changed))
    return set(np.flatnonzero(difference.any(axis=tuple(range(difference.ndim - 1)))).tolist())


def is_constant(model: Any, shape: Shape) -> bool:
    """Whether what is constant over the map is so behind the layer as well."""
    images = np.broadcast_to(np.linspace(-1.0, 2.0, shape[-1]), (1, *shape)).astype(np.float32)
    for layer in model.layers:
        for weight in layer.weights:
            weight.assign(np.random.default_rng(1).uniform(0.2, 0.9, weight.shape))
    values = np.asarray(model(images))
    return bool(np.allclose(values, values.reshape(-1, values.shape[-1])[0], atol=1e-5))


@pytest.mark.parametrize(("name", "make", "shape"), KEPT_CASES)
def test_a_kept_channel_is_made_of_itself_alone(name, make, shape):
    if not hasattr(layers, name):
        pytest.skip("an older Keras")
    layer = make()
    described = describe_layer(layer, shape)
    assert type(layer).__name__ == name
    assert described.channels is Channels.KEPT
    model = model_of(layer, shape)
    assert [moved_by(model, one, shape) for one in range(shape[-1])] == [
        {one} for one in range(shape[-1])
    ]
    assert described.exact_constants == is_constant(model, shape)
    check_costs(model_of(make(), shape))


@pytest.mark.parametrize(("name", "make", "shape", "flops", "parameters"), DEPTHWISE_CASES)
def test_depthwise_channels_belong_to_one_input(name, make, shape, flops, parameters):
    layer = make()
    described = describe_layer(layer, shape)
    assert described.channels is Channels.DEPTHWISE
    assert described.kind == {"DepthwiseConv2D": "depthwise_conv2d"}.get(name, "depthwise_conv1d")
    times = described.width // shape[-1]
    model = model_of(layer, shape)
    assert [moved_by(model, one, shape) for one in range(shape[-1])] == [
        set(range(one * times, (one + 1) * times)) for one in range(shape[-1])
    ]
    assert described.exact_constants == is_constant(model, shape)
    assert described.prices["flops"].each * described.width == flops
    assert described.prices["parameters"].each * described.width == parameters


@pytest.mark.parametrize(("name", "make", "shape", "flops", "parameters"), MAKER_CASES)
def test_makers_cost_what_was_worked_out_by_hand(name, make, shape, flops, parameters):
    layer = make()
    described = describe_layer(layer, shape)
    assert described.channels is Channels.NEW
    assert described.kind == name.lower()
    read, made = shape[-1], described.width
    price = described.prices["parameters"]
    assert described.prices["flops"].pair * read * made == flops
    assert described.prices["flops"].each == 0
    assert price.pair * read * made + price.each * made == parameters
    assert price.each == int(layer.use_bias)
    assert described.exact_constants == is_constant(model_of(layer, shape), shape)


@pytest.mark.parametrize("name", JOINS)
def test_joined_channels_are_the_same_of_every_input(name):
    image = keras.Input(MAP)
    joined = getattr(layers, name)()([layers.Rescaling(0.5)(image), layers.Rescaling(-1.0)(image)])
    model = keras.Model(image, joined)
    described = describe_model(model)[-1]
    assert described.channels is Channels.JOINED
    assert described.kind == JOINS[name]
    assert len(described.inputs) == 2
    assert [moved_by(model, one, MAP) for one in range(4)] == [{0}, {1}, {2}, {3}]


def test_a_gate_of_one_pixel_is_joined_and_a_broadcast_over_channels_is_not():
    image = keras.Input(MAP)
    squeezed = layers.GlobalAveragePooling2D()(image)
    for gate in (squeezed, layers.Reshape((1, 1, 4))(squeezed)):
        model = keras.Model(image, layers.Multiply()([image, gate]))
        assert describe_model(model)[-1].channels is Channels.JOINED
        assert moved_by(model, 2, MAP) == {2}
    model = keras.Model(
        image, layers.Flatten()(layers.Multiply(name="mix")([image, conv(1)(image)]))
    )
    assert named(model)["mix"].channels is None
    assert named(model)["mix"].kind not in LAYERS, "it would count as a merge"


def test_concatenated_channels_follow_each_other_also_twice_the_same():
    image = keras.Input(MAP)
    parts = [image, layers.Cropping2D(0)(image), image]
    model = keras.Model(image, layers.Concatenate()(parts))
    described = describe_model(model)[-1]
    assert described.channels is Channels.CONCATENATED
    first, second, third = described.inputs
    assert first == third != second
    assert [moved_by(model, one, MAP) for one in range(4)] == [{i, i + 4, i + 8} for i in range(4)]
    beside = keras.Model(image, layers.Flatten()(layers.Concatenate(axis=1, name="beside")(parts)))
    assert named(beside)["beside"].channels is None


@pytest.mark.parametrize("make", [lambda: layers.Flatten(), lambda: layers.Reshape((-1,))])
def test_a_flat_index_is_position_times_channels_plus_channel(make):
    shape = (2, 3, 4)
    model = model_of(make(), shape)
    described = describe_model(model)[2]
    assert described.channels is Channels.TILED
    assert described.kind == "flatten"
    assert moved_by(model, 1, shape) == {position * 4 + 1 for position in range(6)}


FUNCTIONS = [
    *(
        lambda name=name: layers.Activation(name)
        for name in ("relu", "gelu", "relu6", "hard_sigmoid")
    ),
    lambda: layers.ReLU(max_value=0.5, negative_slope=0.1, threshold=0.2),
    lambda: layers.LeakyReLU(negative_slope=0.2),
    lambda: layers.ELU(alpha=0.7),
    lambda: layers.PReLU("uniform", shared_axes=[1, 2]),
    lambda: layers.Rescaling(0.5, offset=-1.0),
    lambda: layers.Activation(layers.LeakyReLU(negative_slope=0.3)),
]


@pytest.mark.parametrize("make", FUNCTIONS)
def test_the_function_is_what_the_layer_computes(make):
    layer = make()
    described = describe_layer(layer, MAP)
    values = np.linspace(-3.0, 3.0, 4 * 36).reshape(1, *MAP)
    assert described.function is not None
    told = described.function(values)
    assert isinstance(told, np.ndarray)
    assert np.allclose(told, np.asarray(layer(values.astype(np.float32))), atol=1e-5)


def test_slopes_that_differ_over_the_map_are_told_by_their_means():
    layer = layers.PReLU()
    described = describe_layer(layer, (1, 2, 3))
    layer.alpha.assign(np.array([[[0.0, 0.1, 0.2], [0.2, 0.3, 0.4]]]))
    assert described.function is not None
    assert np.allclose(described.function(-np.ones(3)), [-0.1, -0.2, -0.3])
    assert described.function(np.ones(3)).tolist() == [1.0, 1.0, 1.0]


def test_a_convolution_with_an_activation_is_one_description_with_its_function():
    described = describe_layer(conv(activation="relu"), MAP)
    assert described.channels is Channels.NEW
    assert described.function(np.array([-1.0, 2.0])).tolist() == [0.0, 2.0]
    assert describe_layer(conv(), MAP).function is None
    assert describe_layer(conv(activation="linear"), MAP).function is None
    assert (
        describe_layer(layers.Dense(3, activation=layers.ReLU(max_value=1.0)), MAP).function(5.0)
        == 1.0
    )


def test_softmax_is_known_at_the_output_only():
    softmax = layers.Dense(3, activation="softmax", name="softmax")
    assert describe_layer(softmax, VECTOR).channels is None
    for end in (
        layers.Dense(3, activation="softmax"),
        layers.Dense(3, activation="glu"),
        layers.Activation("softmax"),
        layers.Softmax(),
    ):
        model = keras.Sequential([keras.Input(VECTOR), layers.Dense(4), end])
        described = describe_model(model)
        assert described[-1].channels in (Channels.NEW, Channels.KEPT)
        assert unsupported(described) == ()


@pytest.mark.parametrize(
    ("size", "padding"),
    [((1, 1), "same"), ((2, 3), "same"), ((7, 8), "same"), ((7, 8), "valid")],
)
@pytest.mark.parametrize(("strides", "dilation_rate"), [(1, 1), (2, 1), (3, 1), (1, 2)])
@pytest.mark.parametrize("kind", ["Conv2D", "DepthwiseConv2D"])
def test_a_kernel_sees_the_map_as_often_as_keras_has_it(
    kind, size, strides, dilation_rate, padding
):
    """What a map of ones gives is the sum of the kernel, each row as often as it sees the map."""
    settings = {"strides": strides, "dilation_rate": dilation_rate, "padding": padding}
    width = {"filters": 2} if kind == "Conv2D" else {"depth_multiplier": 2}
    layer = getattr(keras.layers, kind)(kernel_size=(3, 2), **settings, **width)
    model = keras.Sequential([keras.Input((*size, 1)), layer])
    rng = np.random.default_rng(0)
    layer.set_weights([rng.normal(size=layer.kernel.shape), np.zeros(2)])
    given = np.asarray(model(np.ones((1, *size, 1)))).mean(axis=(0, 1, 2))
    (_, description) = describe_model(model)
    rows, columns = description.seen or ((1, 1, 1), (1, 1))
    kernel = np.asarray(layer.kernel).reshape(3, 2, 2)
    np.testing.assert_allclose(given, np.einsum("i,j,ijc->c", rows, columns, kernel), atol=1e-6)
    assert description.exact_constants is (padding == "valid")
