"""Who shares a channel, what it costs, and which channels each layer keeps.

Comes in: a description of a network. Comes out: a :class:`ChannelGraph`. Channels that can only
live or die together (through additions, poolings, a flatten, depthwise layers) are one *group*;
groups are found by union-find over single channels, so that misaligned concatenations need no
care (Gordon et al. 2018, section 4.2). All costs are whole numbers, functions of which groups
are alive. numpy only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from mpinas.assembly.description import (
    METRICS,
    LayerDescription,
    Metric,
    Price,
    describe_network,
)
from mpinas.records import NetworkSpec
from mpinas.space.layers import Channels

Ids = npt.NDArray[np.int64]
"""Of the group that each channel of a tensor belongs to, along its last axis."""
Mask = npt.NDArray[np.bool_]
"""One truth value a group."""

FREE = Price()


@dataclass(frozen=True, slots=True, kw_only=True)
class Incidence:
    """How often each kind of group is read and made by each priced layer.

    Groups that no layer tells apart are one *bundle* and have one price, whatever is alive.

    Attributes:
        bundle_of: index of each group's bundle, shape (groups,).
        read, made: counts, shape (layers, bundles).
        pair, each: prices of the layers, shape (layers,).
        both: the part of ``each`` that counts for what is read as well: of depthwise layers, whose
            input and output are the same channels, as in the bilinear form (Gordon et al. 2018).
    """

    bundle_of: Ids
    read: npt.NDArray[np.int64]
    made: npt.NDArray[np.int64]
    pair: npt.NDArray[np.int64]
    each: npt.NDArray[np.int64]
    both: npt.NDArray[np.int64]

    def alive_counts(self, alive: Mask) -> npt.NDArray[np.int64]:
        """Alive groups of each bundle."""
        counts = np.bincount(self.bundle_of[alive], minlength=self.read.shape[1])
        return counts.astype(np.int64)


class ChannelGraph:
    """The groups of a network's channels.

    Attributes:
        descriptions: of the layers, in topological order.
        inputs, outputs: ids of the channels each layer reads (one array an input) and makes.
        groups: how many there are; ids count from 0.
        frozen: those that never die: of the image, of the logits, of layers that are not known.
        unknown: names of the layers that are not known.
    """

    def __init__(self, descriptions: Sequence[LayerDescription]) -> None:
        self.descriptions = tuple(descriptions)
        self.unknown = tuple(one.name for one in descriptions if one.channels is None)
        union = _Union()
        inputs: dict[str, tuple[Ids, ...]] = {}
        outputs: dict[str, Ids] = {}
        frozen: list[Ids] = []
        for layer in self.descriptions:
            inputs[layer.name] = tuple(outputs[name] for name in layer.inputs)
            outputs[layer.name] = _outputs(layer, inputs[layer.name], union)
            if layer.channels is None:
                frozen += [*inputs[layer.name], outputs[layer.name]]
            elif not layer.inputs:
                frozen.append(outputs[layer.name])
        frozen.append(outputs[self.descriptions[-1].name])
        group_of = union.groups()
        self.groups = int(group_of.max()) + 1
        self.inputs = {
            name: tuple(group_of[ids] for ids in several) for name, several in inputs.items()
        }
        self.outputs = {name: group_of[ids] for name, ids in outputs.items()}
        self.frozen: Mask = np.zeros(self.groups, bool)
        self.frozen[group_of[np.concatenate(frozen)]] = True

    @cached_property
    def makers(self) -> tuple[LayerDescription, ...]:
        """Layers that make new channels out of all they read; the network's input is none."""
        return tuple(
            one for one in self.descriptions if one.channels is Channels.NEW and one.inputs
        )

    @cached_property
    def readers(self) -> Mapping[str, tuple[LayerDescription, ...]]:
        """Who reads each layer, by its name."""
        found: dict[str, list[LayerDescription]] = {one.name: [] for one in self.descriptions}
        for layer in self.descriptions:
            for name in layer.inputs:
                found[name].append(layer)
        return {name: tuple(layers) for name, layers in found.items()}

    def all_alive(self) -> Mask:
        """The network as it is."""
        return np.ones(self.groups, bool)

    def cost(self, alive: Mask, metric: Metric, gone: Iterable[str] = ()) -> int:
        """What the network costs with these groups alive and without the layers that are gone.

        Equal to the cost of the network that is rebuilt with the channels that are alive.
        """
        left_out = frozenset(gone)
        total = 0
        for layer in self.descriptions:
            price = layer.prices.get(metric, FREE)
            if price != FREE and layer.name not in left_out:
                made = int(alive[self.outputs[layer.name]].sum())
                read = int(alive[self.inputs[layer.name][0]].sum()) if layer.inputs else 0
                total += made * (price.pair * read + price.each) + price.once
        return total

    def costs(self, alive: Mask, gone: Iterable[str] = ()) -> Mapping[Metric, int]:
        """All three of them."""
        return {metric: self.cost(alive, metric, gone) for metric in METRICS}

    def incidence(self, metric: Metric) -> Incidence:
        """What :meth:`prices` and the regulariser reckon with."""
        priced = [one for one in self.descriptions if one.prices.get(metric, FREE) != FREE]
        prices = [one.prices[metric] for one in priced]
        read = np.zeros((len(priced), self.groups), np.int64)
        made = np.zeros_like(read)
        for row, layer in enumerate(priced):
            for ids in self.inputs[layer.name][:1]:
                np.add.at(read[row], ids, 1)
            np.add.at(made[row], self.outputs[layer.name], 1)
        columns, bundle_of = np.unique(np.vstack([read, made]), axis=1, return_inverse=True)
        each = np.array([price.each for price in prices], np.int64)
        depthwise = np.array([one.channels is Channels.DEPTHWISE for one in priced], bool)
        return Incidence(
            bundle_of=bundle_of.reshape(-1),
            read=columns[: len(priced)],
            made=columns[len(priced) :],
            pair=np.array([price.pair for price in prices], np.int64),
            each=each,
            both=each * depthwise,
        )

    def prices(self, alive: Mask, metric: Metric = "flops") -> npt.NDArray[np.int64]:
        """What each group costs at the margin, with the others as they are; shape (groups,).

        The difference that the group's death makes, except for a group that one layer both reads
        and makes: there the bilinear form counts it twice.
        """
        table = self.incidence(metric)
        counts = table.alive_counts(alive)
        read, made = table.read @ counts, table.made @ counts
        of_bundle = table.made.T @ (table.pair * read + table.each)
        of_bundle += table.read.T @ (table.pair * made + table.both)
        return of_bundle[table.bundle_of]  # type: ignore[no-any-return]


def graph_of(network: NetworkSpec) -> ChannelGraph:
    """The groups of a spec's channels. Raises Infeasible as ``network_shapes``."""
    return ChannelGraph(describe_network(network))


def _outputs(layer: LayerDescription, inputs: Sequence[Ids], union: _Union) -> Ids:
    if layer.channels is Channels.NEW or layer.channels is None:
        return union.fresh(layer.width)
    if layer.channels is Channels.CONCATENATED:
        return np.concatenate(inputs)
    if layer.channels is Channels.JOINED:
        for other in inputs[1:]:
            union.join(inputs[0], other)
        return inputs[0]
    if layer.channels is Channels.DEPTHWISE:
        return np.repeat(inputs[0], layer.width // len(inputs[0]))
    return np.tile(inputs[0], layer.width // len(inputs[0]))


class _Union:
    """Union-find over single channels, with path halving."""

    def __init__(self) -> None:
        self._parents: list[int] = []

    def fresh(self, count: int) -> Ids:
        first = len(self._parents)
        self._parents += range(first, first + count)
        return np.arange(first, first + count)

    def join(self, one: Ids, other: Ids) -> None:
        for left, right in zip(one.tolist(), other.tolist(), strict=True):
            first, second = sorted((self._root(left), self._root(right)))
            self._parents[second] = first

    def _root(self, channel: int) -> int:
        parents = self._parents
        while parents[channel] != channel:
            parents[channel] = parents[parents[channel]]
            channel = parents[channel]
        return channel

    def groups(self) -> Ids:
        """Group of each channel, counted from 0 in the order of their first channels."""
        roots = [self._root(channel) for channel in range(len(self._parents))]
        return np.unique(roots, return_inverse=True)[1].reshape(-1)
