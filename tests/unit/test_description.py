"""Descriptions of specs: what each layer does and costs, at any width."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from handmade import network
from hypothesis import given, settings
from hypothesis import strategies as st
from random_specs import random_spec

from mpinas.assembly.description import (
    METRICS,
    LayerDescription,
    Price,
    describe_network,
    seen_shares,
)
from mpinas.assembly.narrow import narrow
from mpinas.assembly.shapes import network_costs, network_shapes
from mpinas.errors import Infeasible
from mpinas.records import LayerSpec, NetworkSpec
from mpinas.space.layers import LAYERS, Channels

WINDOW = {"strides": (1, 1), "padding": "same", "use_bias": True}


def chain(*steps: tuple[str, dict[str, Any]]) -> NetworkSpec:
    """Layers named by their kinds, on 8x6 images of 3 channels."""
    layers = [LayerSpec(name="input", kind="input", parameters={"shape": (8, 6, 3)})]
    for kind, parameters in steps:
        inputs = (layers[-1].name,)
        layers.append(LayerSpec(name=kind, kind=kind, inputs=inputs, parameters=parameters))
    return NetworkSpec(input_shape=(8, 6, 3), layers=tuple(layers))


def described(*steps: tuple[str, dict[str, Any]]) -> LayerDescription:
    """The last of them."""
    return describe_network(chain(*steps))[-1]


def conv2d(**changes: Any) -> tuple[str, dict[str, Any]]:
    return ("conv2d", {"filters": 5, "kernel_size": (3, 2), **WINDOW, **changes})


def total(layers: tuple[LayerDescription, ...], metric: str) -> int:
    widths = {layer.name: layer.width for layer in layers}
    cost = 0
    for layer in layers:
        price = layer.prices[metric]
        read = widths[layer.inputs[0]] if layer.inputs else 0
        cost += layer.width * (price.pair * read + price.each)
    return cost


def test_hand_worked_prices_of_a_convolution():
    layer = described(conv2d(strides=(2, 1), padding="valid"))
    assert layer.shape == (3, 5, 5)
    assert layer.prices["flops"] == Price(pair=2 * 15 * 6)
    assert layer.prices["parameters"] == Price(pair=6, each=1)
    assert layer.prices["activations"] == Price(each=15)


def test_hand_worked_prices_of_other_layers():
    dense = described(("flatten", {}), ("dense", {"units": 7, "use_bias": False}))
    assert dense.prices["flops"] == Price(pair=2)
    assert dense.prices["parameters"] == Price(pair=1)
    assert dense.prices["activations"] == Price(each=1)
    depthwise = {"depth_multiplier": 2, "kernel_size": (3, 3), **WINDOW}
    assert described(("depthwise_conv2d", depthwise)).prices == {
        "flops": Price(each=2 * 48 * 9),
        "parameters": Price(each=10),
        "activations": Price(each=48),
    }
    batch_norm = described(("batch_norm", {}))
    assert batch_norm.prices["flops"] == Price()
    assert batch_norm.prices["parameters"] == Price(each=4)
    assert batch_norm.parameters["epsilon"] == 1e-3
    assert describe_network(chain(("flatten", {})))[0].prices == {
        "flops": Price(),
        "parameters": Price(),
        "activations": Price(each=48),
    }


@pytest.mark.parametrize("seed", range(12))
def test_prices_sum_up_to_the_costs_of_the_spec(seed):
    spec = random_spec(seed)
    costs = network_costs(spec)
    layers = describe_network(spec)
    assert {metric: total(layers, metric) for metric in METRICS} == {
        "flops": costs.flops,
        "parameters": costs.parameters,
        "activations": costs.activations,
    }


def test_the_random_specs_have_merges():
    kinds = {layer.kind for seed in range(12) for layer in random_spec(seed).layers}
    assert {"add", "concatenate", "conv2d", "dense", "max_pool", "batch_norm"} <= kinds


@given(st.lists(st.integers(1, 9), min_size=3, max_size=3), st.booleans())
@settings(max_examples=40, deadline=None)
def test_the_same_prices_hold_at_every_width(widths, use_bias):
    spec = network(filters=32, convolutions=3)
    names = [layer.name for layer in spec.layers if layer.kind == "conv2d"]
    wide = describe_network(spec)
    narrow_spec = narrow(spec, dict(zip(names, widths, strict=True)))
    assert [layer.prices for layer in describe_network(narrow_spec)] == [
        layer.prices for layer in wide
    ]


@pytest.mark.parametrize("seed", range(3))
def test_names_inputs_shapes_and_channels_are_those_of_the_spec(seed):
    spec = random_spec(seed)
    layers = describe_network(spec)
    assert [(one.name, one.kind, one.inputs) for one in layers] == [
        (one.name, one.kind, one.inputs) for one in spec.layers
    ]
    assert {one.name: one.shape for one in layers} == dict(network_shapes(spec))
    assert all(one.channels is LAYERS[one.kind].channels for one in layers)
    assert all(one.width == one.shape[-1] for one in layers)


def test_only_activations_apply_a_function():
    relu = described(conv2d(), ("activation", {"function": "relu"}))
    assert relu.function is not None
    assert relu.function(np.array([-2.0, 0.0, 3.0])).tolist() == [0.0, 0.0, 3.0]
    assert described(conv2d()).function is None
    assert described(("batch_norm", {})).function is None


def test_kernels_that_look_beyond_the_border_keep_no_constants():
    assert not described(conv2d()).exact_constants
    assert not described(conv2d(kernel_size=(1, 3))).exact_constants
    assert described(conv2d(padding="valid")).exact_constants
    assert described(conv2d(kernel_size=(1, 1))).exact_constants
    pool = {"pool_size": (2, 2), "strides": (2, 2), "padding": "same"}
    assert described(("max_pool", pool)).exact_constants, "a pool never sees the border's zeros"
    assert described(("flatten", {}), ("dense", {"units": 2, "use_bias": True})).exact_constants


def test_channels_of_a_flatten_are_tiled():
    layer = described(("flatten", {}))
    assert layer.channels is Channels.TILED
    assert layer.width == math.prod((8, 6, 3))


def test_what_has_no_shape_is_infeasible():
    with pytest.raises(Infeasible):
        describe_network(chain(conv2d(kernel_size=(9, 9), padding="valid")))


@pytest.mark.parametrize(
    ("size", "length", "stride", "dilation", "shares"),
    [
        (1, 3, 1, 1, (0, 1, 0)),
        (2, 3, 1, 1, (1 / 2, 1, 1 / 2)),
        (4, 2, 1, 1, (1, 3 / 4)),
        (5, 3, 2, 1, (2 / 3, 1, 2 / 3)),
        (4, 3, 2, 1, (1, 1, 1 / 2)),
        (4, 3, 1, 2, (2 / 4, 1, 2 / 4)),
        (7, 1, 3, 1, (1,)),
    ],
)
def test_how_often_a_kernel_sees_the_map(size, length, stride, dilation, shares):
    """By hand: with an even padding the odd zero lies behind the map."""
    given = {"strides": (stride, 1), "dilations": (dilation, 1), "padding": "same"}
    seen = seen_shares((size, 1), (length, 1), **given)
    assert seen == (() if length == 1 else (shares, (1,)))
    assert seen_shares((size, 1), (length, 1), **{**given, "padding": "valid"}) == ()
