"""The loss that makes channels die by what they cost: a weighted L1 (Gordon et al. 2018).

``R = sum over groups of price x size``, where the price is what the group costs at the margin with
the channels that are alive now (a constant for the gradient) and the size is the largest of its
sources. Prices and sizes never need the data: two small matrix products a step. Written with
``keras.ops``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import keras
import numpy as np
import numpy.typing as npt

from mpinas.config_shrink import ShrinkConfig
from mpinas.morphnet.channels import ChannelGraph, Mask
from mpinas.morphnet.gates import Gated, with_gates
from mpinas.morphnet.sources import SourceLayer, Sources

Floats = npt.NDArray[np.floating]
SMALLEST_MEAN_SQUARE = 1e-12
"""Keeps the gradient of a square root finite at a kernel of zeros."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """How alive the groups are at one moment.

    Attributes:
        sizes: the largest source of each group; infinite for groups that never die.
        shares: the same, each source as a multiple of its threshold: above 1 is alive.
    """

    sizes: Floats
    shares: Floats

    @property
    def alive(self) -> Mask:
        """The groups above their threshold."""
        return self.shares > 1


class Regularizer:
    """The regularising term of a model.

    Args:
        graph: of the model.
        sources: of the graph.
        model: has a layer of the name of each source; gates are in place.
        settings: metric, penalty, thresholds; the strength is left to the caller.

    Attributes:
        scales: the variables that are gammas and gates.
        full_cost: of the network with everything alive, in the metric's unit.
    """

    def __init__(
        self, graph: ChannelGraph, sources: Sources, model: keras.Model, settings: ShrinkConfig
    ) -> None:
        self._sources = sources.layers
        self._variables = [_variable(model.get_layer(one.name), one) for one in sources.layers]
        self.scales = [
            variable
            for variable, one in zip(self._variables, sources.layers, strict=True)
            if one.source in ("gamma", "gate")
        ]
        self.full_cost = graph.cost(graph.all_alive(), settings.metric)
        self._penalty = settings.penalty
        self._members = _Members.of(sources, settings)
        self._prices = _Prices.of(graph, sources.may_die, settings.metric)
        self._groups = graph.groups

    def loss(self) -> Any:
        """``R``, a scalar in the unit of the metric."""
        sizes = self._sizes()
        grouped = self._members.grouped(sizes)
        alive = self._members.grouped(self._members.alive(sizes))
        if self._penalty == "l2":
            grouped = keras.ops.square(grouped)
        return self._prices.weighted(grouped, keras.ops.stop_gradient(alive))

    def read(self) -> Reading:
        """What the variables say now."""
        sizes = keras.ops.convert_to_numpy(self._sizes())
        shares = _shares(sizes, self._members.thresholds(sizes))
        everywhere = np.full((2, self._groups), np.inf)
        everywhere[:, self._members.may_die] = 0.0
        for row, values in zip(everywhere, (sizes, shares), strict=True):
            np.maximum.at(row, self._members.of_group, values[self._members.used])
        return Reading(sizes=everywhere[0], shares=everywhere[1])

    def _sizes(self) -> Any:
        """Of all channels of all sources, one after the other."""
        return keras.ops.concatenate(
            [
                _size(keras.ops.convert_to_tensor(variable), one)
                for variable, one in zip(self._variables, self._sources, strict=True)
            ]
        )


def group_lasso_size(kernel: Any, l1_fraction: float = 0.0) -> Any:
    """Root mean square of the weights of each output: last axis kept.

    Args:
        l1_fraction: how much of it is the mean of their magnitudes instead, 0..1.
    """
    axes = tuple(range(len(kernel.shape) - 1))
    mean_square = keras.ops.mean(keras.ops.square(kernel), axis=axes)
    root = keras.ops.sqrt(mean_square + SMALLEST_MEAN_SQUARE)
    if l1_fraction == 0:
        return root
    magnitude = keras.ops.mean(keras.ops.abs(kernel), axis=axes)
    return (1 - l1_fraction) * root + l1_fraction * magnitude


def _shares(sizes: Floats, thresholds: Floats) -> Floats:
    """Sizes in thresholds; of nothing, a size above it is infinitely many."""
    shares: Floats = np.where(sizes > 0, np.inf, 0.0)
    return np.divide(sizes, thresholds, out=shares, where=thresholds > 0, dtype=np.float64)


def _size(variable: Any, source: SourceLayer) -> Any:
    if source.source == "group_lasso":
        return group_lasso_size(variable)
    if source.source == "max_weight":
        axes = tuple(range(len(variable.shape) - 1))
        return keras.ops.max(keras.ops.abs(variable), axis=axes)
    return keras.ops.abs(variable)


def _variable(layer: keras.layers.Layer, source: SourceLayer) -> Any:
    if source.source == "gamma":
        return layer.gamma
    if source.source == "gate":
        return layer.gate
    return layer.inner.kernel if isinstance(layer, Gated) else layer.kernel


@dataclass(frozen=True, slots=True, kw_only=True)
class _Members:
    """The channels of all sources, one after the other, and the groups they belong to.

    Attributes:
        layer_of: index of each channel's layer.
        absolute, share: threshold of each channel = absolute + share x its layer's largest.
        used: which channels belong to a group that may die.
        of_group: the group of each used channel.
        dense: index of that group among those that may die.
        may_die: the groups.
    """

    layer_of: npt.NDArray[np.int32]
    layers: int
    absolute: Floats
    share: Floats
    used: npt.NDArray[np.int64]
    of_group: npt.NDArray[np.int64]
    dense: npt.NDArray[np.int32]
    may_die: npt.NDArray[np.int64]

    @classmethod
    def of(cls, sources: Sources, settings: ShrinkConfig) -> _Members:
        widths = [len(one.ids) for one in sources.layers]
        thresholds = np.array([settings.threshold_of(one.source) for one in sources.layers])
        relative = np.array([settings.is_relative(one.source) for one in sources.layers])
        ids = np.concatenate([one.ids for one in sources.layers])
        used = np.flatnonzero(sources.may_die[ids])
        may_die = np.flatnonzero(sources.may_die)
        return cls(
            layer_of=np.repeat(np.arange(len(widths), dtype=np.int32), widths),
            layers=len(widths),
            absolute=np.repeat(np.where(relative, 0.0, thresholds), widths).astype(np.float32),
            share=np.repeat(np.where(relative, thresholds, 0.0), widths).astype(np.float32),
            used=used,
            of_group=ids[used],
            dense=np.searchsorted(may_die, ids[used]).astype(np.int32),
            may_die=may_die,
        )

    def thresholds(self, sizes: Floats) -> Floats:
        """Of each channel, for sizes as numpy has them; in the precision of :meth:`alive`."""
        largest = np.zeros(self.layers, np.float32)
        np.maximum.at(largest, self.layer_of, sizes)
        thresholds: Floats = self.absolute + self.share * largest[self.layer_of]
        return thresholds

    def alive(self, sizes: Any) -> Any:
        """1.0 for each channel above its threshold, else 0.0."""
        thresholds = self.absolute
        if self.share.any():
            largest = keras.ops.segment_max(sizes, self.layer_of, num_segments=self.layers)
            thresholds = thresholds + self.share * keras.ops.take(largest, self.layer_of)
        return keras.ops.cast(sizes > thresholds, "float32")

    def grouped(self, values: Any) -> Any:
        """The largest value of each group that may die, in the order of ``may_die``.

        The gradient goes to the largest; equal ones share it equally (TensorFlow's rule).
        """
        used = values
        if len(self.used) < len(self.layer_of):
            used = keras.ops.take(values, self.used)
        if np.array_equal(self.dense, np.arange(len(self.may_die))):
            return used
        return keras.ops.segment_max(used, self.dense, num_segments=len(self.may_die))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Prices:
    """The bilinear form over bundles, in floats.

    Attributes:
        in_bundle: which bundle each group that may die belongs to, shape (groups, bundles).
        always: groups of each bundle that are alive whatever happens.
    """

    in_bundle: Floats
    always: Floats
    read: Floats
    made: Floats
    pair: Floats
    each: Floats
    both: Floats

    @classmethod
    def of(
        cls, graph: ChannelGraph, may_die: Mask, metric: Literal["flops", "parameters"]
    ) -> _Prices:
        table = graph.incidence(metric)
        bundles = table.read.shape[1]
        return cls(
            in_bundle=np.eye(bundles)[table.bundle_of[may_die]].astype(np.float32),
            always=table.alive_counts(~may_die).astype(np.float32),
            **{
                name: getattr(table, name).astype(np.float32)
                for name in ("read", "made", "pair", "each", "both")
            },
        )

    def weighted(self, sizes: Any, alive: Any) -> Any:
        """Sum of prices x sizes of the groups that may die; ``alive`` is 0 or 1 for each."""
        sums = keras.ops.matmul(keras.ops.stack([sizes, alive]), self.in_bundle)
        counts = sums[1] + self.always
        read, made = keras.ops.matmul(self.read, counts), keras.ops.matmul(self.made, counts)
        prices = keras.ops.matmul(self.pair * read + self.each, self.made)
        prices += keras.ops.matmul(self.pair * made + self.both, self.read)
        return keras.ops.sum(prices * sums[0])


def with_regularizer(
    model: keras.Model, graph: ChannelGraph, sources: Sources, settings: ShrinkConfig
) -> tuple[keras.Model, Regularizer]:
    """The same function with the gates that the sources want, and its regularising term."""
    gates = sources.named("gate")
    gated = with_gates(model, gates) if gates else model
    return gated, Regularizer(graph, sources, gated, settings)


class RegularizedModel(keras.Model):  # type: ignore[misc]
    """A functional model whose training loss has the regulariser in it; evaluation does not."""

    def add_regularizer(self, regularizer: Regularizer, strength: float) -> None:
        """Args: strength: in multiples of 1 / (full cost)."""
        self._regularizer = regularizer
        self._factor = strength / regularizer.full_cost

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        loss = super().compute_loss(x, y, y_pred, sample_weight, training=training)
        if not training:
            return loss
        return loss + keras.ops.cast(self._factor * self._regularizer.loss(), loss.dtype)


def is_broken(loss: float, classes: int) -> bool:
    """Whether a validation loss in nats is no better than guessing.

    A loss above that of a uniform guess by 0.1 nats, or no number: the shrink phase went wrong.
    """
    return not loss <= math.log(classes) + 0.1
