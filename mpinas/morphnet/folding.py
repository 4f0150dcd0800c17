"""The weights of a narrower network, so that it computes what the wider one did.

A channel that is cut off was the same everywhere, or nearly: a batch norm with a scale of 0 gives
its offset, a kernel of zeros gives its bias. What it gave is pushed on through the layers behind
it and folded into the next bias, or into the mean of the next batch norm. numpy only.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mpinas.assembly.description import MERGES, LayerDescription
from mpinas.morphnet.channels import ChannelGraph
from mpinas.morphnet.plan import Plan
from mpinas.space.layers import Channels

Array = npt.NDArray[Any]
LayerWeights = Mapping[str, tuple[Array, ...]]
"""The arrays of each layer that has any, by its name, in Keras's order."""

SUMS = frozenset({"add", "average", "subtract"})
"""Joins of which an offset on an input is one on the output."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Carried:
    """What the narrower network begins with.

    Attributes:
        weights: of its layers.
        exact: whether it computes the same as the wider one would, were the channels that are cut
            off as constant as they are taken to be. Not so where a kernel looks beyond the border,
            or where a constant stands before a nonlinear function.
    """

    weights: LayerWeights
    exact: bool


def carry(
    graph: ChannelGraph, plan: Plan, weights: LayerWeights, gammas: Collection[str]
) -> Carried:
    """Slices and folds.

    Args:
        weights: of the wider network; not changed.
        gammas: names of the batch norms whose scales decided. A channel they let go is taken to be
            what its batch norm gives on average, its offset; where something else decided, so is
            a channel that is not made by zeros.
    """
    walk = _Walk(graph=graph, plan=plan, weights=weights, gammas=frozenset(gammas))
    for layer in graph.descriptions:
        walk.pass_layer(layer)
    return Carried(weights=walk.carried, exact=walk.exact)


class _Walk:
    """Goes through the layers once.

    ``offsets`` has for each layer what its output was, less what it is in the narrower network
    (0 for a channel that is cut off), one number a channel.
    """

    def __init__(
        self, *, graph: ChannelGraph, plan: Plan, weights: LayerWeights, gammas: Collection[str]
    ) -> None:
        self._graph = graph
        self._plan = plan
        self._weights = weights
        self._gammas = gammas
        self._constant = _constant(graph, weights)
        self.offsets: dict[str, Array] = {}
        self.carried: dict[str, tuple[Array, ...]] = {}
        self.exact = True
        self._left: set[str] = set()

    def pass_layer(self, layer: LayerDescription) -> None:
        """Finds the layer's offsets and, where it is left, its weights."""
        kept = self._kept(layer)
        inputs = [self.offsets[name] for name in layer.inputs]
        arrays = self._weights.get(layer.name, ())
        self.exact &= layer.exact_constants or not any(one.any() for one in inputs)
        if layer.channels is None or not inputs:
            offsets = self._lost(layer, inputs)
            new = arrays
        elif layer.kind == "batch_norm":
            offsets, new = self._batch_norm(layer, inputs[0], arrays, kept)
        elif layer.channels in (Channels.NEW, Channels.DEPTHWISE):
            offsets, new = self._weighted(layer, inputs[0], arrays, kept)
        else:
            offsets, new = _moved(layer, inputs), tuple(array[..., kept] for array in arrays)
            if layer.channels is Channels.JOINED and layer.kind not in SUMS:
                offsets = self._only_cut_off(offsets, kept)
        self.offsets[layer.name] = self._through_function(layer, offsets, kept)
        if arrays and layer.name in self._plan.keep_outputs:
            self.carried[layer.name] = new

    def _kept(self, layer: LayerDescription) -> npt.NDArray[np.bool_]:
        """Which of its channels the narrower network has.

        A merge that is left with one input is that input, and so still there.
        """
        is_merge = layer.kind in MERGES and not self._left.isdisjoint(layer.inputs)
        if layer.name in self._plan.keep_outputs or is_merge:
            self._left.add(layer.name)
        return self._plan.alive[self._graph.outputs[layer.name]] & (layer.name in self._left)

    def _lost(self, layer: LayerDescription, inputs: list[Array]) -> Array:
        self.exact &= not any(one.any() for one in inputs)
        return np.zeros(layer.width)

    def _only_cut_off(self, offsets: Array, kept: npt.NDArray[np.bool_]) -> Array:
        self.exact &= not offsets[kept].any()
        return np.where(kept, 0.0, offsets)

    def _through_function(
        self, layer: LayerDescription, offsets: Array, kept: npt.NDArray[np.bool_]
    ) -> Array:
        if layer.function is None:
            return offsets
        return np.where(kept, 0.0, layer.function(self._only_cut_off(offsets, kept)))

    def _weighted(
        self,
        layer: LayerDescription,
        offsets: Array,
        arrays: tuple[Array, ...],
        kept: npt.NDArray[np.bool_],
    ) -> tuple[Array, tuple[Array, ...]]:
        kernel, *bias = arrays
        sums = _sums(kernel, layer.seen)
        if layer.channels is Channels.DEPTHWISE:
            shift = (sums * offsets[:, np.newaxis]).reshape(-1)
        else:
            shift = offsets @ sums
        given = shift + bias[0] if bias else shift
        narrow = kernel[..., self._plan.keep_inputs.get(layer.name, []), :]
        if layer.channels is Channels.NEW:
            narrow = narrow[..., kept]
        new_bias = tuple(given[kept].astype(one.dtype) for one in bias)
        return np.where(kept, 0.0, given) if bias else given, (narrow, *new_bias)

    def _batch_norm(
        self,
        layer: LayerDescription,
        offsets: Array,
        arrays: tuple[Array, ...],
        kept: npt.NDArray[np.bool_],
    ) -> tuple[Array, tuple[Array, ...]]:
        *affine, mean, variance = arrays
        has_scale, has_center = (bool(layer.parameters.get(key, True)) for key in _AFFINE)
        scale = affine[0] if has_scale else np.ones_like(mean)
        beta = affine[-1] if has_center else np.zeros_like(mean)
        deviation = np.sqrt(variance.astype(np.float64) + layer.parameters["epsilon"])
        given = (offsets - mean) * scale / deviation + beta
        ids = self._graph.outputs[layer.name]
        takes_beta = self._plan.dead[ids]
        if layer.name not in self._gammas:
            takes_beta &= ~self._constant[ids]
        given = np.where(takes_beta, beta, given)
        new_mean = (mean - offsets).astype(mean.dtype)
        new = tuple(array[kept] for array in (*affine, new_mean, variance))
        return np.where(kept, 0.0, given), new


_AFFINE = ("scale", "center")


def _sums(kernel: Array, seen: Sequence[Sequence[float]]) -> Array:
    """What a kernel makes of a map of ones, on average over the output's positions."""
    weighed = kernel.astype(np.float64)
    for axis, shares in enumerate(seen):
        weighed *= np.reshape(shares, (-1, *[1] * (kernel.ndim - axis - 1)))
    sums: Array = weighed.sum(axis=tuple(range(kernel.ndim - 2)))
    return sums


def _constant(graph: ChannelGraph, weights: LayerWeights) -> Array:
    """Groups that are the same everywhere, whatever is read: made by kernels of zeros alone."""
    constant = np.ones(graph.groups, bool)
    for layer in graph.makers:
        kernel = weights[layer.name][0]
        zeros = ~kernel.any(axis=tuple(range(kernel.ndim - 1)))
        np.logical_and.at(constant, graph.outputs[layer.name], zeros)
    return constant


def _moved(layer: LayerDescription, inputs: list[Array]) -> Array:
    """Offsets behind a layer without a kernel of its own."""
    if layer.channels is Channels.CONCATENATED:
        return np.concatenate(inputs)
    if layer.channels is Channels.TILED:
        return np.tile(inputs[0], layer.width // len(inputs[0]))
    if layer.channels is Channels.JOINED:
        return _JOINS[layer.kind](np.stack(inputs))
    return inputs[0]


_JOINS: Mapping[str, Callable[[Array], Array]] = {
    "add": lambda rows: rows.sum(axis=0),
    "average": lambda rows: rows.mean(axis=0),
    "subtract": lambda rows: rows[0] - rows[1],
    "multiply": lambda rows: rows.prod(axis=0),
    "maximum": lambda rows: rows.max(axis=0),
    "minimum": lambda rows: rows.min(axis=0),
}
