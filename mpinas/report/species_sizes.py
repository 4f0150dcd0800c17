"""How many members each species of a run had, generation by generation, by its checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mpinas.checkpoint import START
from mpinas.errors import RunDirectoryFault
from mpinas.proposals import Proposals

SpeciesSizes = Mapping[int, Mapping[int, int]]
"""Generation -> species -> members."""

POPULATIONS = ("blueprints", "modules")


def species_sizes(
    proposals: Proposals, told: int
) -> tuple[Mapping[str, SpeciesSizes], tuple[int, ...]]:
    """Sizes by population, none for a tuner without populations; generations that cannot be read.

    Args:
        told: how many generations are; with none, the starting populations are generation 0.
    """
    sizes: dict[str, dict[int, Mapping[int, int]]] = {name: {} for name in POPULATIONS}
    lost = []
    for generation in range(max(told, 1)):
        try:
            state = proposals.checkpoint(generation if told else START).state
        except RunDirectoryFault:
            lost.append(generation)
            continue
        for name in POPULATIONS:
            if isinstance(state.get(name), Mapping):
                sizes[name][generation] = _sizes(state[name])
    return {name: own for name, own in sizes.items() if own}, tuple(lost)


def _sizes(population: Mapping[str, Any]) -> Mapping[int, int]:
    return {int(one["id"]): len(one["members"]) for one in population["species"]}
