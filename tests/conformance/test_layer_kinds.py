"""For every layer kind the pure rules and Keras agree: shape, parameters, FLOPs, what is refused.

A row of ``LAYERS`` without a case here fails. FLOPs are compared with a count made from the
kernels that Keras built and the shapes that came out.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from mpinas.assembly.shapes import network_costs, network_shapes
from mpinas.errors import Infeasible
from mpinas.records import LayerSpec, NetworkSpec, Shape
from mpinas.space.layers import LAYERS

pytestmark = pytest.mark.keras

Case = tuple[dict[str, Any], tuple[Shape, ...]]


def windows(name: str, **more: Any) -> list[Case]:
    """Kernels and pools: both paddings, odd and even sizes, strides that do not divide."""
    return [
        ({name: window, "strides": strides, "padding": padding, **more}, (shape,))
        for padding in ("same", "valid")
        for window, strides, shape in (
            ((1, 1), (1, 1), (5, 7, 3)),
            ((3, 3), (1, 1), (8, 8, 1)),
            ((3, 5), (1, 1), (6, 9, 2)),
            ((2, 2), (2, 2), (7, 8, 4)),
            ((3, 3), (2, 2), (8, 7, 2)),
            ((2, 2), (3, 3), (7, 7, 2)),
            ((4, 1), (4, 1), (4, 1, 3)),
            ((1, 1), (2, 2), (3, 3, 1)),
        )
    ]


CASES: dict[str, list[Case]] = {
    "input": [({"shape": (8, 6, 3)}, ()), ({"shape": (1, 1, 1)}, ())],
    "conv2d": [
        *windows("kernel_size", filters=5, use_bias=True),
        *windows("kernel_size", filters=1, use_bias=False),
        (
            {"filters": 4, "kernel_size": 3, "strides": 2, "padding": "same", "use_bias": True},
            ((9, 9, 2),),
        ),
    ],
    "depthwise_conv2d": [
        case
        for multiplier, use_bias in ((1, True), (3, False))
        for case in windows("kernel_size", depth_multiplier=multiplier, use_bias=use_bias)
    ],
    "dense": [
        ({"units": 7, "use_bias": True}, ((5,),)),
        ({"units": 1, "use_bias": False}, ((12,),)),
    ],
    "batch_norm": [({}, ((4, 4, 6),)), ({}, ((9,),))],
    "activation": [({"function": "relu"}, ((4, 4, 2),)), ({"function": "relu"}, ((3,),))],
    "max_pool": windows("pool_size"),
    "dropout": [({"rate": 0.5}, ((4, 4, 2),)), ({"rate": 0.0}, ((3,),))],
    "identity": [({}, ((4, 5, 2),)), ({}, ((3,),))],
    "add": [({}, ((4, 5, 2),) * 2), ({}, ((3,),) * 4)],
    "concatenate": [({}, ((4, 5, 2), (4, 5, 3))), ({}, ((3,), (1,), (3,)))],
    "flatten": [({}, ((4, 5, 2),)), ({}, ((7,),))],
    "global_average_pool": [({}, ((4, 5, 2),)), ({}, ((1, 1, 3),))],
    "to_map": [({}, ((6,),)), ({}, ((1,),))],
}

REFUSED: list[tuple[str, dict[str, Any], tuple[Shape, ...]]] = [
    *(
        (kind, {name: (5, 5), "strides": (1, 1), "padding": "valid", **more}, ((4, 6, 2),))
        for kind, name, more in (
            ("conv2d", "kernel_size", {"filters": 2, "use_bias": True}),
            ("depthwise_conv2d", "kernel_size", {"depth_multiplier": 1, "use_bias": True}),
            ("max_pool", "pool_size", {}),
        )
    ),
    (
        "conv2d",
        {"filters": 2, "kernel_size": 1, "strides": 1, "padding": "same", "use_bias": True},
        ((4,),),
    ),
    ("max_pool", {"pool_size": 2, "strides": 2, "padding": "same"}, ((4,),)),
    ("global_average_pool", {}, ((4,),)),
    ("concatenate", {}, ((4, 4, 2), (4, 5, 2))),
    ("add", {}, ((4, 4, 2), (5, 4, 2))),
]

ALL_CASES = [(kind, *case) for kind, cases in CASES.items() for case in cases]


def build(kind: str, parameters: dict[str, Any], inputs: tuple[Shape, ...]):
    """The Keras layer of a kind, called on symbolic inputs: (layer, output shape)."""
    import keras

    from mpinas.assembly.keras_model import BUILDERS

    layer = BUILDERS[kind](parameters, {"name": "layer"}, 0)
    if not inputs:
        return layer, tuple(layer.output.shape[1:])
    tensors = [keras.Input(shape) for shape in inputs]
    output = layer(tensors if len(tensors) > 1 else tensors[0])
    return layer, tuple(output.shape[1:])


def counted_flops(layer, output: Shape) -> int:
    """2 x multiply-adds: each kernel value is used once at each output position."""
    positions = math.prod(output[:-1])
    return sum(
        2 * math.prod(weight.shape) * positions
        for weight in layer.weights
        if "kernel" in weight.name
    )


def test_every_kind_has_cases_and_a_builder():
    from mpinas.assembly.keras_model import BUILDERS

    assert set(CASES) == set(LAYERS)
    assert set(BUILDERS) == set(LAYERS)
    for kind, parameters, _ in ALL_CASES:
        assert set(parameters) == set(LAYERS[kind].parameters), kind


@pytest.mark.parametrize(("kind", "parameters", "inputs"), ALL_CASES)
def test_the_row_and_keras_agree(kind, parameters, inputs):
    row = LAYERS[kind]
    layer, output = build(kind, parameters, inputs)
    assert row.shape(parameters, inputs) == output
    assert row.parameter_count(parameters, inputs) == layer.count_params()
    assert row.flops(parameters, inputs) == counted_flops(layer, output)


@pytest.mark.parametrize(("kind", "parameters", "inputs"), REFUSED)
def test_what_the_row_refuses_keras_cannot_build(kind, parameters, inputs):
    with pytest.raises(Infeasible):
        LAYERS[kind].shape(parameters, inputs)
    with pytest.raises(ValueError):  # noqa: PT011 (Keras's own words, which are not ours to fix)
        build(kind, parameters, inputs)


class RandomNetwork:
    """Grows a random network by the rows alone, every layer of it on a path to the output."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.shapes: dict[str, Shape] = {}
        self.loose: set[str] = set()
        self.layers: list[LayerSpec] = []
        size = int(self.rng.integers(6, 13)), int(self.rng.integers(6, 13))
        self.input_shape = (*size, int(self.rng.integers(1, 4)))
        self.add("input", {"shape": self.input_shape})
        for _ in range(12):
            self.grow()
        ends = [self.flat(name) for name in sorted(self.loose)]
        joined = self.add("concatenate", {}, *ends) if len(ends) > 1 else ends[0]
        self.add("dense", {"units": 3, "use_bias": True}, joined)

    def add(self, kind: str, parameters: dict[str, Any], *inputs: str) -> str:
        shape = LAYERS[kind].shape(parameters, [self.shapes[name] for name in inputs])
        name = f"{kind}_{len(self.layers)}"
        self.layers.append(LayerSpec(name=name, kind=kind, inputs=inputs, parameters=parameters))
        self.shapes[name] = shape
        self.loose = (self.loose - set(inputs)) | {name}
        return name

    def flat(self, name: str) -> str:
        return name if len(self.shapes[name]) == 1 else self.add("flatten", {}, name)

    def pick(self, *values: Any) -> Any:
        return values[int(self.rng.integers(len(values)))]

    def grow(self) -> None:
        kind = self.pick(*(kind for kind in sorted(LAYERS) if kind != "input"))
        source = self.pick(*sorted(self.shapes))
        inputs = [source]
        if kind in ("add", "concatenate"):
            inputs += [
                name
                for name in sorted(self.shapes)
                if self.shapes[name] == self.shapes[source] and name != source
            ][:2]
            if len(inputs) < 2:
                return
        try:
            self.add(kind, self.parameters(kind), *inputs)
        except Infeasible:
            return

    def parameters(self, kind: str) -> dict[str, Any]:
        stride = int(self.rng.integers(1, 3))
        window = int(self.rng.integers(1, 4)), int(self.rng.integers(1, 4))
        values = {
            "filters": int(self.rng.integers(1, 6)),
            "units": int(self.rng.integers(1, 6)),
            "depth_multiplier": int(self.rng.integers(1, 4)),
            "kernel_size": window,
            "pool_size": window,
            "strides": (stride, stride),
            "padding": self.pick("same", "valid"),
            "use_bias": self.pick(True, False),
            "function": "relu",
            "rate": 0.25,
        }
        return {name: values[name] for name in LAYERS[kind].parameters}


def random_network(seed: int) -> NetworkSpec:
    grown = RandomNetwork(seed)
    return NetworkSpec(input_shape=grown.input_shape, layers=tuple(grown.layers))


def test_the_random_networks_hold_every_kind():
    kinds = {layer.kind for seed in range(16) for layer in random_network(seed).layers}
    assert kinds == set(LAYERS)


@pytest.mark.parametrize("seed", range(16))
def test_a_random_network_has_the_shapes_and_costs_that_were_told(seed):
    from mpinas.assembly.keras_model import build_model

    network = random_network(seed)
    model = build_model(network, seed=0)
    built = {
        layer.name: tuple(model.get_layer(layer.name).output.shape[1:]) for layer in network.layers
    }
    assert built == network_shapes(network)
    costs = network_costs(network)
    assert costs.parameters == model.count_params()
    assert costs.flops == sum(
        counted_flops(model.get_layer(name), shape) for name, shape in built.items()
    )
    assert costs.activations == sum(math.prod(shape) for shape in built.values())
    images = np.random.default_rng(0).normal(size=(2, *network.input_shape)).astype(np.float32)
    assert model(images).shape == (2, 3)
