"""Scales in front of activations, for layers without a batch norm; folded away after use.

The gate of an output channel begins at 1 and multiplies what the layer gives to its activation,
so that a gate of 0 is a dead channel whatever the weights are.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from mpinas.morphnet.folding import LayerWeights

Array = npt.NDArray[Any]


class Gated(keras.layers.Layer):  # type: ignore[misc]
    """A convolution or dense layer with a gate for each output channel.

    Args:
        inner: the layer, not built yet; it loses its activation to this one.
    """

    def __init__(self, inner: keras.layers.Layer, **common: Any) -> None:
        super().__init__(name=inner.name, dtype=inner.dtype_policy, **common)
        self._function = inner.activation
        inner.activation = keras.activations.linear
        self.inner = inner

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        self.inner.build(input_shape)
        width = self.inner.compute_output_shape(input_shape)[-1]
        self.gate = self.add_weight(name="gate", shape=(width,), initializer="ones")

    def call(self, inputs: Any) -> Any:
        return self._function(self.inner(inputs) * keras.ops.cast(self.gate, self.compute_dtype))

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> Any:
        return self.inner.compute_output_shape(input_shape)

    def folded(self) -> tuple[Array, ...]:
        """The inner layer's weights with the gate in them: kernel, and bias if there is one."""
        gate = np.asarray(self.gate)
        return tuple(np.asarray(weight) * gate for weight in self.inner.get_weights())


def with_gates(model: keras.Model, names: Collection[str]) -> keras.Model:
    """The same function with a gate in each of these layers; weights are copied.

    Args:
        model: functional or sequential; it stays as it is.
        names: of convolution and dense layers.
    """

    def clone(layer: keras.layers.Layer) -> keras.layers.Layer:
        copy = type(layer).from_config(layer.get_config())
        return Gated(copy) if layer.name in names else copy

    gated = keras.models.clone_model(model, clone_function=clone)
    for layer in model.layers:
        if layer.weights:  # a clone names its input layer anew
            copy = gated.get_layer(layer.name)
            (copy.inner if isinstance(copy, Gated) else copy).set_weights(layer.get_weights())
    return gated


def weights_of(model: keras.Model) -> LayerWeights:
    """The weights by layer name, gates folded into them."""
    return {
        layer.name: layer.folded() if isinstance(layer, Gated) else tuple(layer.get_weights())
        for layer in model.layers
        if layer.weights
    }
