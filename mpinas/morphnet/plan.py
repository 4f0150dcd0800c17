"""From alive groups to what each layer keeps: nothing that is left ends up without channels."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from mpinas.assembly.description import MERGES, gone_with
from mpinas.morphnet.channels import ChannelGraph, Ids, Mask
from mpinas.space.layers import Channels


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A cut.

    Attributes:
        alive: the groups that are kept.
        dead: the groups that were not alive to begin with. Some may be kept all the same, and
            some that were alive may be cut with the layers that are gone.
        gone: names of the layers that are left out, merges of a single input included.
        keep_inputs, keep_outputs: indices of the channels that each remaining layer reads and
            makes, sorted, into those it had; only of the first input.
        widths: channels that each layer makes afterwards, 0 where it is gone.
    """

    alive: Mask
    dead: Mask
    gone: frozenset[str]
    keep_inputs: Mapping[str, Ids]
    keep_outputs: Mapping[str, Ids]
    widths: Mapping[str, int]

    @property
    def removes_nothing(self) -> bool:
        """Whether the network stays as it is."""
        return bool(self.alive.all()) and not self.gone


def make_plan(
    graph: ChannelGraph,
    alive: Mask,
    *,
    sizes: npt.NDArray[np.floating] | None = None,
    min_filters: int = 1,
    round_to: int = 1,
    remove_layers: bool = True,
) -> Plan:
    """Decides what is cut.

    A layer without an alive channel is left out where the network goes on without it: a dead
    branch of a sum, a dead part of a concatenation. Elsewhere it keeps ``min_filters``.

    Args:
        alive: by the threshold; frozen groups are alive whatever it says.
        sizes: of the groups; where a layer has to keep more, its largest live, of equal ones the
            first. Of layers of which not all can go the smaller ones do.
        round_to: kept channels are rounded up to a multiple, as far as the layer has them.
        remove_layers: whether layers may go; without it each keeps ``min_filters``.
    """
    alive = alive | graph.frozen
    rank = np.zeros(graph.groups) if sizes is None else sizes

    def kept_without(gone: frozenset[str]) -> Mask:
        return _kept(graph, alive, gone, partial(_needed, rank, min_filters, round_to))

    gone = _gone(graph, alive, rank, kept_without) if remove_layers else frozenset()
    return _plan(graph, kept_without(gone), ~alive, gone)


def _plan(graph: ChannelGraph, alive: Mask, dead: Mask, gone: frozenset[str]) -> Plan:
    dropped = gone | frozenset(_single_merges(graph, gone))
    left = [one for one in graph.descriptions if one.name not in dropped]
    return Plan(
        alive=alive,
        dead=dead,
        gone=dropped,
        keep_inputs={
            one.name: np.flatnonzero(alive[graph.inputs[one.name][0]]) for one in left if one.inputs
        },
        keep_outputs={one.name: np.flatnonzero(alive[graph.outputs[one.name]]) for one in left},
        widths={
            one.name: 0 if one.name in gone else int(alive[graph.outputs[one.name]].sum())
            for one in graph.makers
        },
    )


def _kept(
    graph: ChannelGraph,
    alive: Mask,
    gone: frozenset[str],
    needed: Callable[[Ids, Mask], Ids],
) -> Mask:
    """The alive groups that are still made without some layers, and those that have to be back."""
    kept = alive & _made_without(graph, gone)
    left = [one for one in graph.makers if one.name not in gone]
    changed = True
    while changed:  # a group that comes back for one layer is back in all that share it
        before = kept.copy()
        for layer in left:
            kept[needed(graph.outputs[layer.name], kept)] = True
        changed = bool((before != kept).any())
    return kept


def _needed(
    rank: npt.NDArray[np.floating], min_filters: int, round_to: int, ids: Ids, alive: Mask
) -> Ids:
    """Dead groups of a layer that have to come back, the largest first."""
    kept = int(alive[ids].sum())
    wanted = max(kept, min(min_filters, len(ids)))
    wanted = min(-(-wanted // round_to) * round_to, len(ids))
    dead = ids[~alive[ids]]
    return dead[np.argsort(-rank[dead], kind="stable")][: wanted - kept]


def _gone(
    graph: ChannelGraph,
    alive: Mask,
    rank: npt.NDArray[np.floating],
    kept_without: Callable[[frozenset[str]], Mask],
) -> frozenset[str]:
    """Layers the network goes on without, the smallest taken first, until none can go."""
    largest = {one.name: rank[graph.outputs[one.name]].max() for one in graph.makers}
    dead = [one.name for one in graph.makers if not alive[graph.outputs[one.name]].any()]
    idle = sorted(dead, key=lambda name: float(largest[name]))
    gone: frozenset[str] = frozenset()
    changed = True
    while changed:
        before = gone
        for name in idle:
            without = gone_with(graph.descriptions, gone | {name})
            if without != gone and _goes_on(graph, without, kept_without):
                gone = without
        changed = gone != before
    return gone


def _goes_on(
    graph: ChannelGraph, gone: frozenset[str], kept_without: Callable[[frozenset[str]], Mask]
) -> bool:
    """Whether all that is left still fits together.

    No frozen group goes with a layer; and no channel that some other layer keeps is missing from
    a concatenation, because a sum behind it would then have inputs of different widths.
    """
    if graph.descriptions[-1].name in gone:
        return False
    if not _made_without(graph, gone)[graph.frozen].all():
        return False
    kept = kept_without(gone)
    return not any(
        kept[graph.outputs[name]].any()
        for layer in graph.descriptions
        if layer.channels is Channels.CONCATENATED and layer.name not in gone
        for name in layer.inputs
        if name in gone
    )


def _made_without(graph: ChannelGraph, gone: frozenset[str]) -> Mask:
    """Groups that the remaining layers make; the image's are its own."""
    made = np.zeros(graph.groups, bool)
    for layer in graph.descriptions:
        if layer.channels in (Channels.NEW, None) and layer.name not in gone:
            made[graph.outputs[layer.name]] = True
    return made


def _single_merges(graph: ChannelGraph, gone: frozenset[str]) -> Iterator[str]:
    """Merges that are left with one input: they are that input."""
    for layer in graph.descriptions:
        left = [name for name in layer.inputs if name not in gone]
        if layer.kind in MERGES and layer.name not in gone and len(left) == 1 < len(layer.inputs):
            yield layer.name
