"""The cut: the same network with the channels that are left, built anew, with its weights.

Comes in: a model after its regularised training and the plan of the cut. Comes out: a smaller
model of plain Keras layers; a mask would save no time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from mpinas.assembly.keras_model import build_model
from mpinas.assembly.narrow import narrow
from mpinas.morphnet.channels import ChannelGraph
from mpinas.morphnet.folding import LayerWeights
from mpinas.morphnet.plan import Plan
from mpinas.records import NetworkSpec

Array = npt.NDArray[Any]


def rebuild_network(network: NetworkSpec, plan: Plan, *, seed: int) -> keras.Model:
    """The narrower network by the code that built the wider one, with weights of its own."""
    return build_model(narrow(network, plan.widths), seed=seed)


def rebuild_model(model: keras.Model, graph: ChannelGraph, plan: Plan) -> keras.Model:
    """The same for a model that no spec can express: its layers, with other widths.

    Args:
        plan: made with ``remove_layers=False``.
    """
    makers = {one.name for one in graph.makers}
    shapes = {one.name: one.shape for one in graph.descriptions}

    def clone(layer: keras.layers.Layer) -> keras.layers.Layer:
        settings = layer.get_config()
        if layer.name in makers:
            width = "units" if "units" in settings else "filters"
            settings[width] = plan.widths[layer.name]
        elif isinstance(layer, keras.layers.Reshape) and layer.name in plan.keep_outputs:
            # Whatever is left: calls of one layer may keep different numbers of channels.
            settings["target_shape"] = (*shapes[layer.name][:-1], -1)
        return type(layer).from_config(settings)

    return keras.models.clone_model(model, clone_function=clone)


def set_weights(model: keras.Model, weights: LayerWeights) -> None:
    """Gives each layer its arrays."""
    for layer in model.layers:
        if layer.weights:
            layer.set_weights(list(weights[layer.name]))


def estimate_statistics(
    network: keras.Model, model: Callable[..., Any], batches: Sequence[Any]
) -> None:
    """Has batch norms forget their means and variances for those of a few batches.

    Args:
        network: has them among its layers; without any nothing is done.
        model: around the network, or the network itself.
        batches: what the model takes, each. Each counts the same.
    """
    normalisations = [
        layer for layer in network.layers if isinstance(layer, keras.layers.BatchNormalization)
    ]
    if not normalisations:
        return
    momenta = [layer.momentum for layer in normalisations]
    for index, batch in enumerate(batches):
        for layer in normalisations:
            layer.momentum = index / (index + 1)
        model(batch, training=True)
    for layer, momentum in zip(normalisations, momenta, strict=True):
        layer.momentum = momentum


def difference(
    before: Callable[[Any], Any], after: Callable[[Any], Any], batches: Sequence[Any]
) -> float:
    """Root mean square of what changed in the outputs, over that of the outputs before."""
    old = np.concatenate([np.asarray(before(batch), np.float64) for batch in batches])
    new = np.concatenate([np.asarray(after(batch), np.float64) for batch in batches])
    scale = float(np.sqrt(np.mean(old**2)))
    return float(np.sqrt(np.mean((new - old) ** 2))) / max(scale, np.finfo(float).tiny)
