"""What tells how alive a channel is: which layers of a network carry a size of each channel.

A group may die only where every layer that makes it is heard: one that is not could still need
the channel. numpy only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from mpinas.assembly.description import LayerDescription
from mpinas.config_shrink import Source
from mpinas.errors import MpinasError
from mpinas.morphnet.channels import ChannelGraph, Ids, Mask
from mpinas.space.layers import Channels

Mode = Literal["auto", "gamma", "gate", "group_lasso", "max_weight"]
"""A ``trial.shrink.source``."""


class NothingToShrink(MpinasError):
    """No channel of the network may die."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceLayer:
    """A layer with one size a channel.

    Attributes:
        ids: group of each of its channels.
    """

    name: str
    source: Source
    ids: Ids


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """All of them, each with at least one channel that may die.

    Attributes:
        may_die: the groups whose makers are all heard.
    """

    layers: tuple[SourceLayer, ...]
    may_die: Mask

    def named(self, source: Source) -> tuple[str, ...]:
        """The layers that have this one."""
        return tuple(one.name for one in self.layers if one.source == source)


def find_sources(graph: ChannelGraph, mode: Mode) -> Sources:
    """Chooses a source for each layer.

    ``gamma`` are scales of batch norms, wherever they stand. ``gate`` are scales put in front of
    the activation of layers that some reader sees without a batch norm between. ``auto`` has both.

    Raises:
        NothingToShrink: no group may die.
    """
    bare = frozenset(one.name for one in graph.makers if _is_seen_bare(graph, one))
    may_die = ~graph.frozen & _heard(graph, mode, bare)
    candidates = [
        SourceLayer(name=layer.name, source=source, ids=graph.outputs[layer.name])
        for layer in graph.descriptions
        if (source := _source(layer, mode, bare)) is not None
    ]
    layers = tuple(one for one in candidates if may_die[one.ids].any())
    if not layers:
        raise NothingToShrink(
            f"source {mode}: the network has no channel that may die. {_why(graph, mode)}"
        )
    return Sources(layers=layers, may_die=may_die)


def _source(layer: LayerDescription, mode: Mode, bare: frozenset[str]) -> Source | None:
    is_maker = layer.channels is Channels.NEW and bool(layer.inputs)
    if mode == "group_lasso" or mode == "max_weight":
        return mode if is_maker and _is_trained(layer) else None
    if mode != "gate" and _has_scale(layer):
        return "gamma"
    return "gate" if mode != "gamma" and layer.name in bare else None


def _has_scale(layer: LayerDescription) -> bool:
    """Whether it has a scale that training moves."""
    is_scaled = layer.kind == "batch_norm" and bool(layer.parameters.get("scale", True))
    return is_scaled and _is_trained(layer)


def _is_trained(layer: LayerDescription) -> bool:
    """Whether its weights move; a model of others may have layers whose weights do not."""
    return bool(layer.parameters.get("trainable", True))


def _heard(graph: ChannelGraph, mode: Mode, bare: frozenset[str]) -> Mask:
    """Groups whose every maker has a source in this mode."""
    made, unheard = np.zeros(graph.groups, bool), np.zeros(graph.groups, bool)
    for layer in graph.makers:
        ids = graph.outputs[layer.name]
        made[ids] = True
        silent = {"gamma": layer.name in bare, "gate": layer.name not in bare}
        unheard[ids] |= silent.get(mode, mode != "auto" and not _is_trained(layer))
    return made & ~unheard


def _is_seen_bare(graph: ChannelGraph, maker: LayerDescription) -> bool:
    """Whether some reader gets the layer's channels without a batch norm's scale between."""
    left, seen = [maker], {maker.name}
    while left:
        readers = graph.readers[left.pop().name]
        if not readers:
            return True
        for reader in readers:
            if reader.channels in (Channels.NEW, None):
                return True
            if not _has_scale(reader) and reader.name not in seen:
                seen.add(reader.name)
                left.append(reader)
    return False


def _why(graph: ChannelGraph, mode: Mode) -> str:
    if graph.unknown:
        return f"Layers that are not known keep their channels: {', '.join(graph.unknown)}."
    reasons: Mapping[Mode, str] = {
        "gamma": "Only channels with a batch norm before their next use may; source: auto has "
        "gates for the others.",
        "gate": "Only channels without a batch norm before their next use may; source: auto has "
        "gammas for the others.",
    }
    return reasons.get(mode, "It makes the logits out of the image at once.")
