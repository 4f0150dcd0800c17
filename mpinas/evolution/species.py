"""Speciation with a wanted number of species (after Stanley and Miikkulainen 2002, section 3.3).

A species is known by its representative. A genome belongs to the species with the nearest
representative; one that is farther than the threshold from all founds a species. The threshold
follows the wanted number and is clamped. No draws: everything goes by id.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Generic

import numpy as np

from mpinas.evolution.distance import DistanceTable
from mpinas.evolution.genome import GenomeType
from mpinas.space.search_space import SearchSpace

LOWEST_THRESHOLD = 0.01
HIGHEST_THRESHOLD = 1.0
FIRST_THRESHOLD = 0.3
_ROUNDS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Species(Generic[GenomeType]):
    """Genomes that are alike.

    Attributes:
        id: never used twice in a run.
        representative: what members are compared with; need not live any more.
        members: ids, in the order of their numbers; at least one.
        best_fitness: the highest mean fitness a generation of it had; None before the first.
        stale: generations since that mean last rose.
    """

    id: int
    representative: GenomeType
    members: tuple[str, ...]
    best_fitness: float | None = None
    stale: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Speciation(Generic[GenomeType]):
    """What :func:`speciate` found.

    Attributes:
        species: the living ones, sorted by id.
        threshold: that gave them; where the next speciation starts.
        next_id: of the next new species.
        heirs: species that died here -> the living one with the nearest representative.
    """

    species: tuple[Species[GenomeType], ...]
    threshold: float
    next_id: int
    heirs: Mapping[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Grouping:
    """Positions in the distance table: leaders, and for each genome its leader."""

    threshold: float
    leaders: tuple[int, ...]
    nearest: tuple[int, ...]
    count: int


def genome_number(genome_id: str) -> int:
    """The number in ``m0042``: the key to sort by, right beyond 9999 as well.

    Raises:
        ValueError: it is no genome id.
    """
    match = re.fullmatch(r"[mb](\d+)", genome_id)
    if not match:
        raise ValueError(f"a genome id looks like m0042. Received: genome_id={genome_id!r}.")
    return int(match[1])


def speciate(
    genomes: Sequence[GenomeType],
    species: Sequence[Species[GenomeType]],
    *,
    extinct: Sequence[Species[GenomeType]] = (),
    wanted: int,
    threshold: float,
    next_id: int,
    space: SearchSpace,
) -> Speciation[GenomeType]:
    """Sorts a population into species, as near to the wanted number of them as can be.

    Args:
        genomes: sorted by number, at least one.
        species: of the generation before, as far as they live, sorted by id.
        extinct: the others; they only get heirs.
        wanted: number of species, at least 1.
        threshold: of the generation before.
    """
    positions = {genome.id: index for index, genome in enumerate(genomes)}
    listed = list(genomes)
    places = []
    for old in (*species, *extinct):
        same = positions.get(old.representative.id)
        if same is None:
            listed.append(old.representative)
        places.append(len(listed) - 1 if same is None else same)
    table = DistanceTable(listed, space)
    before = dict(zip(places, species, strict=False))
    grouping = _search(table, list(before), len(genomes), wanted, threshold)
    living = _name(genomes, before, grouping, table, next_id)
    found = {one.id: place for place, one in living.items()}
    dead = {
        old.id: place
        for place, old in zip(places, (*species, *extinct), strict=True)
        if old.id not in found
    }
    return Speciation(
        species=tuple(sorted(living.values(), key=lambda one: one.id)),
        threshold=grouping.threshold,
        next_id=max(next_id, *(number + 1 for number in found)),
        heirs=_heirs(dead, found, table),
    )


def _search(
    table: DistanceTable, olds: Sequence[int], size: int, wanted: int, threshold: float
) -> _Grouping:
    """Bisects the threshold, from the given one on, until the count is the wanted one."""
    low, high = LOWEST_THRESHOLD, HIGHEST_THRESHOLD
    at = min(max(threshold, low), high)
    best = _group(table, olds, size, at, wanted)
    for _ in range(_ROUNDS):
        if best.count == wanted:
            break
        grouping = best if at == best.threshold else _group(table, olds, size, at, wanted)
        if abs(grouping.count - wanted) < abs(best.count - wanted):
            best = grouping
        low, high = (at, high) if grouping.count > wanted else (low, at)
        at = math.sqrt(low * high)
    return best


def _group(
    table: DistanceTable, olds: Sequence[int], size: int, threshold: float, wanted: int
) -> _Grouping:
    """Old leaders come first, each unless an earlier one is within the threshold; then genomes
    that are within no leader's threshold become leaders. Stops well above the wanted number."""
    leaders: list[int] = []
    for old in olds:
        if all(table.row(leader)[old] > threshold for leader in leaders):
            leaders.append(old)
    rows = [table.row(leader)[:size] for leader in leaders]
    least = np.min(rows, axis=0) if rows else np.full(size, np.inf)
    while len(leaders) <= 2 * wanted + len(olds):
        far = np.flatnonzero(least > threshold)
        if not len(far):
            break
        leaders.append(int(far[0]))
        least = np.minimum(least, table.row(leaders[-1])[:size])
    nearest = np.argmin([table.row(leader)[:size] for leader in leaders], axis=0)
    return _Grouping(
        threshold=threshold,
        leaders=tuple(leaders),
        nearest=tuple(int(index) for index in nearest),
        count=len(np.unique(nearest)),
    )


def _name(
    genomes: Sequence[GenomeType],
    before: Mapping[int, Species[GenomeType]],
    grouping: _Grouping,
    table: DistanceTable,
    next_id: int,
) -> dict[int, Species[GenomeType]]:
    """Species by leader: old leaders keep their ids, new ones take the next."""
    members: dict[int, list[int]] = defaultdict(list)
    for place, group in enumerate(grouping.nearest):
        members[grouping.leaders[group]].append(place)
    living: dict[int, Species[GenomeType]] = {}
    for leader in grouping.leaders:
        if leader not in members:
            continue
        ids = tuple(genomes[place].id for place in members[leader])
        if leader in before:
            row = table.row(leader)
            nearest = genomes[members[leader][int(np.argmin(row[members[leader]]))]]
            living[leader] = replace(before[leader], members=ids, representative=nearest)
        else:
            living[leader] = Species(id=next_id, representative=genomes[leader], members=ids)
            next_id += 1
    return living


def _heirs(
    dead: Mapping[int, int], living: Mapping[int, int], table: DistanceTable
) -> dict[int, int]:
    """For each dead species the nearest living one, ties by id.

    Args:
        dead, living: species id -> place of its representative in the table.
    """
    return {
        gone: min(sorted(living), key=lambda heir: float(table.row(place)[living[heir]]))
        for gone, place in dead.items()
    }
