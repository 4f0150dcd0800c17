"""Speciation with a wanted number of species (after Stanley and Miikkulainen 2002, section 3.3).

A species is known by its representative. A genome belongs to the species with the nearest
representative. While there are fewer species than wanted, one that is farther than the threshold
from all founds a species; the old ones stay, or nobody would stagnate and no blueprint's pointer
would keep its meaning. The threshold follows the wanted number and is clamped. No draws:
everything goes by id.
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
_ROUNDS = 20
_STEP = 1.5


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
    """Positions in the distance table: leaders, and for each genome which of them is its own.

    ``count`` is the number of species that the threshold alone would have given.
    """

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
    """Moves the threshold from the given one on, in steps and then by bisection, until it gives
    as many species as are wanted: up where there would be more, down where there are fewer.

    Where none does, more are better than fewer, because those above the number are left out.
    """
    low = high = None
    at = min(max(threshold, LOWEST_THRESHOLD), HIGHEST_THRESHOLD)
    best = _group(table, olds, size, at, wanted)
    grouping = best
    for _ in range(_ROUNDS):
        if grouping.count == wanted:
            break
        low, high = (at, high) if grouping.count > wanted else (low, at)
        following = _next_threshold(low, high)
        if following == at:
            break
        at = following
        grouping = _group(table, olds, size, at, wanted)
        best = min((best, grouping), key=lambda one: (one.count < wanted, abs(one.count - wanted)))
    return best


def _next_threshold(low: float | None, high: float | None) -> float:
    """Between one that was too low and one that was too high, or a step beyond the only one."""
    if low is not None and high is not None:
        return math.sqrt(low * high)
    if low is not None:
        return min(low * _STEP, HIGHEST_THRESHOLD)
    assert high is not None
    return max(high / _STEP, LOWEST_THRESHOLD)


def _group(
    table: DistanceTable, olds: Sequence[int], size: int, threshold: float, wanted: int
) -> _Grouping:
    """Old leaders stay, up to the wanted number; a genome beyond everybody's threshold becomes a
    leader while there are fewer than wanted, and otherwise joins the nearest.

    Counted are also those that would have become leaders, until well above the wanted number.
    """
    leaders = _with_members(table, olds, size)[:wanted]
    rows = [table.row(leader)[:size] for leader in leaders]
    least = np.min(rows, axis=0) if rows else np.full(size, np.inf)
    while len(leaders) <= 2 * wanted and (least > threshold).any():
        leaders.append(int(np.argmax(least > threshold)))
        least = np.minimum(least, table.row(leaders[-1])[:size])
    count = len(leaders)
    if count <= wanted:
        leaders = _with_members(table, leaders, size)
        count = len(leaders)
    nearest = np.argmin([table.row(leader)[:size] for leader in leaders[:wanted]], axis=0)
    return _Grouping(
        threshold=threshold,
        leaders=tuple(leaders[:wanted]),
        nearest=tuple(int(index) for index in nearest),
        count=count,
    )


def _with_members(table: DistanceTable, leaders: Sequence[int], size: int) -> list[int]:
    """Those leaders to whom some genome is nearest, in their order."""
    if not leaders:
        return []
    nearest = np.argmin([table.row(leader)[:size] for leader in leaders], axis=0)
    return [leaders[index] for index in np.unique(nearest)]


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
