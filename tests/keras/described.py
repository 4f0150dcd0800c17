"""Keras models for the tests of their descriptions. Keras is imported when it is first needed."""

from __future__ import annotations

import importlib
import math
from collections.abc import Mapping, Sequence
from typing import Any

from mpinas.assembly.description import LayerDescription

Shape = tuple[int, ...]

MAP, VECTOR, SEQUENCE, VOLUME = (6, 6, 4), (5,), (8, 4), (4, 4, 4, 2)


class Late:
    """A module that nobody pays for who only collects the tests."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        return getattr(importlib.import_module(self._name), attribute)


keras = Late("keras")
layers = Late("keras.layers")
from_keras = Late("mpinas.assembly.from_keras")


def describe_model(model: Any) -> tuple[LayerDescription, ...]:
    described: tuple[LayerDescription, ...] = from_keras.describe_model(model)
    return described


def unsupported(described: Sequence[LayerDescription]) -> tuple[str, ...]:
    names: tuple[str, ...] = from_keras.unsupported(described)
    return names


def named(model: Any) -> Mapping[str, LayerDescription]:
    return {one.name: one for one in describe_model(model)}


def model_of(layer: Any, shape: Shape) -> Any:
    """One layer between two that change nothing."""
    image = keras.Input(shape)
    return keras.Model(image, layers.Identity()(layer(layers.Identity()(image))))


def describe_layer(layer: Any, shape: Shape) -> LayerDescription:
    return named(model_of(layer, shape))[layer.name]


def conv(filters: int = 3, **more: Any) -> Any:
    return layers.Conv2D(filters, 3, **{"padding": "same", **more})


def total(described: Sequence[LayerDescription], metric: str) -> int:
    """The cost of a network by its prices."""
    widths = {layer.name: layer.width for layer in described}
    cost = 0
    for layer in described:
        price = layer.prices[metric]
        read = widths[layer.inputs[0]] if layer.inputs else 0
        cost += layer.width * (price.pair * read + price.each) + price.once
    return cost


def counted_flops(model: Any) -> int:
    """2 x multiply-adds: each kernel value is used once at each output position."""
    return sum(
        2 * math.prod(weight.shape) * math.prod(layer.output.shape[1:-1])
        for layer in model.layers
        for weight in layer.weights
        if weight.name == "kernel"
    )


def check_costs(model: Any) -> None:
    """Compares all prices with what was built; for models whose layers are called once."""
    described = describe_model(model)
    assert total(described, "parameters") == model.count_params()
    assert total(described, "flops") == counted_flops(model)
    outputs = [model.get_layer(one.name).output for one in described]
    positions = sum(math.prod(tensor.shape[1:]) for tensor in outputs)
    assert total(described, "activations") == positions
