"""From a network spec to an untrained Keras model: one line a layer kind.

Comes in: ``NetworkSpec`` and a seed. Comes out: a functional model that maps float32 images
(batch, height, width, channels) to float32 class logits (batch, classes). Knows no data and no
training; only child processes import this.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from mpinas.records import LayerSpec, NetworkSpec, ParameterValue

LAST_LAYER_DTYPE = "float32"
"""A loss from half-precision logits would lose what the training needs most."""

BATCH_NORM_MOMENTUM = 0.9
"""Keras's 0.99 remembers its starting values for hundreds of steps; short trials have fewer."""

Arguments = Mapping[str, Any]
Builder = Callable[[Mapping[str, ParameterValue], Arguments, int], keras.Layer]
"""(the layer's parameters, its name and dtype, seed) -> the Keras layer, not yet called."""


def _kernel(seed: int) -> keras.Initializer:
    """He et al. 2015, equation 10: right for layers that a ReLU follows."""
    return keras.initializers.HeNormal(seed=seed)


BUILDERS: Mapping[str, Builder] = {
    "input": lambda given, common, seed: keras.layers.InputLayer(
        shape=given["shape"], name=common["name"]
    ),
    "conv2d": lambda given, common, seed: keras.layers.Conv2D(
        **given, **common, kernel_initializer=_kernel(seed)
    ),
    "depthwise_conv2d": lambda given, common, seed: keras.layers.DepthwiseConv2D(
        **given, **common, depthwise_initializer=_kernel(seed)
    ),
    "dense": lambda given, common, seed: keras.layers.Dense(
        **given, **common, kernel_initializer=_kernel(seed)
    ),
    "batch_norm": lambda given, common, seed: keras.layers.BatchNormalization(
        **given, **common, momentum=BATCH_NORM_MOMENTUM
    ),
    "activation": lambda given, common, seed: keras.layers.Activation(given["function"], **common),
    "max_pool": lambda given, common, seed: keras.layers.MaxPooling2D(**given, **common),
    "dropout": lambda given, common, seed: keras.layers.Dropout(**given, **common, seed=seed),
    "identity": lambda given, common, seed: keras.layers.Identity(**given, **common),
    "add": lambda given, common, seed: keras.layers.Add(**given, **common),
    "concatenate": lambda given, common, seed: keras.layers.Concatenate(**given, **common),
    "flatten": lambda given, common, seed: keras.layers.Flatten(**given, **common),
    "global_average_pool": lambda given, common, seed: keras.layers.GlobalAveragePooling2D(
        **given, **common
    ),
    "to_map": lambda given, common, seed: keras.layers.Reshape((1, 1, -1), **given, **common),
}


def build_model(
    network: NetworkSpec, *, seed: int, front: Sequence[keras.Layer] = ()
) -> keras.Model:
    """Builds the model under the current precision policy.

    Args:
        seed: of the initial weights and of dropout. Equal seeds give bit-equal weights in any
            process; no global random state is read or changed.
        front: layers that images go through first, such as one that scales their pixels.

    Returns:
        A model whose layers carry the names of the spec. Its output is float32 logits.

    Raises:
        ValueError: the spec is not one that ``assembly.expand`` makes (unknown kind, no input).
    """
    tensors: dict[str, Any] = {}
    for index, layer in enumerate(network.layers):
        built = _build_layer(layer, _layer_seed(seed, index), last=layer is network.layers[-1])
        if isinstance(built, keras.layers.InputLayer):
            images = built.output
            tensors[layer.name] = functools.reduce(lambda tensor, one: one(tensor), front, images)
        else:
            inputs = [tensors[name] for name in layer.inputs]
            tensors[layer.name] = built(inputs if layer.kind in _TAKE_LISTS else inputs[0])
    return keras.Model(images, tensors[network.layers[-1].name], name="network")


_TAKE_LISTS = frozenset({"add", "concatenate"})
_WEIGHTS_ROLE = 0  # of the random streams of a trial; its batches have another


def _build_layer(layer: LayerSpec, seed: int, *, last: bool) -> keras.Layer:
    common = {"name": layer.name} | ({"dtype": LAST_LAYER_DTYPE} if last else {})
    return BUILDERS[layer.kind](layer.parameters, common, seed)


def _layer_seed(seed: int, index: int) -> int:
    """Below 2**31, independent for each layer."""
    state = np.random.SeedSequence(seed, spawn_key=(_WEIGHTS_ROLE, index)).generate_state(1)
    return int(state[0]) >> 1
