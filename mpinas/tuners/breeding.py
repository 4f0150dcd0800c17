"""The next generation of one population: who dies, who stays, who has how many children.

Comes in: a told population, its settings, and what the operators need. Comes out: the next
population, of exactly the configured size, sorted into species. Fitness is maximised; ties go to
the lower id. It knows neither trials nor candidates.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Generic, Protocol, cast

import numpy as np

from mpinas.evolution.crossover import CROSSOVER, cross
from mpinas.evolution.genome import GenomeType
from mpinas.evolution.mutation import Mutation, mutate
from mpinas.evolution.operators import Change, Surroundings, pick
from mpinas.evolution.species import Species, genome_number, speciate
from mpinas.tuners.population import Population, Register
from mpinas.tuners.scoring import mean

MOST_CHANGES = 4
"""Of one child, so that a child stays like its parents."""
_LEAST_SHARE = 0.2
"""Weight of the worst possible species, where the best possible has 1.2: all get some children."""


class BreedingSettings(Protocol):
    """What a population's configuration says about breeding; see ``codeepneat.py``."""

    @property
    def population(self) -> int: ...
    @property
    def species(self) -> int: ...
    @property
    def elites(self) -> int: ...
    @property
    def survival(self) -> float: ...
    @property
    def crossover(self) -> float: ...
    @property
    def further_change(self) -> float: ...
    @property
    def stagnation(self) -> int: ...
    @property
    def species_elitism(self) -> int: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Nursery(Generic[GenomeType]):
    """What breeding one population needs besides it.

    Attributes:
        odds: of the operators that fit this sort of genome.
        register: gives ids; it and the innovation table are all that changes here.
        fresh: makes a starting genome, without an id yet.
        repair: mends a genome that points to dead species; None where there is nothing to mend.
    """

    settings: BreedingSettings
    odds: Mapping[str, float]
    around: Surroundings
    register: Register
    fresh: Callable[[], GenomeType]
    repair: Callable[[GenomeType], Change | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Brood(Generic[GenomeType]):
    """The next population, and for each species that died the living one most like it."""

    population: Population[GenomeType]
    heirs: Mapping[int, int]


def start(nursery: Nursery[GenomeType]) -> Population[GenomeType]:
    """A population of starting genomes."""
    return _settle(_reseed(nursery), Population(), (), nursery).population


def breed(
    population: Population[GenomeType], nursery: Nursery[GenomeType], rng: np.random.Generator
) -> Brood[GenomeType]:
    """The generation after a told one. Total extinction is survived by starting afresh."""
    settings = nursery.settings
    scores = assumed_fitness(population)
    aged = [age(one, population.fitness) for one in population.species]
    living = surviving_species(aged, scores, settings)
    sizes = offspring_sizes([_mean_score(one, scores) for one in living], settings.population)
    by_id = {genome.id: genome for genome in population.genomes}
    ranked = [[by_id[member] for member in rank(one.members, scores)] for one in living]
    elites, children = [], []
    for members, size in zip(ranked, sizes, strict=True):
        kept = members[: min(settings.elites, size)]
        elites += kept
        children.append((members, size - len(kept)))
    genomes = [_mended(elite, nursery) for elite in elites]
    for members, count in children:
        parents = members[: max(1, math.ceil(settings.survival * len(members)))]
        genomes += [_child(parents, nursery, rng) for _ in range(count)]
    return _settle(genomes or _reseed(nursery), population, living, nursery)


def assumed_fitness(population: Population[GenomeType]) -> dict[str, float]:
    """A score for every genome: its own where there is evidence, else its species' mean, else
    the population's; 0.0 for all where nothing is known at all."""
    known = population.fitness
    overall = mean(list(known.values())) if known else 0.0
    scores = {}
    for one in population.species:
        own = [known[member] for member in one.members if member in known]
        expected = mean(own) if own else overall
        scores.update({member: known.get(member, expected) for member in one.members})
    return scores


def age(species: Species[GenomeType], fitness: Mapping[str, float]) -> Species[GenomeType]:
    """The species after a generation: better than ever, or staler. No evidence, no change."""
    own = [fitness[member] for member in species.members if member in fitness]
    if not own:
        return species
    reached = mean(own)
    if species.best_fitness is None or reached > species.best_fitness:
        return replace(species, best_fitness=reached, stale=0)
    return replace(species, stale=species.stale + 1)


def surviving_species(
    species: Sequence[Species[GenomeType]],
    scores: Mapping[str, float],
    settings: BreedingSettings,
) -> list[Species[GenomeType]]:
    """Those that are not stale, the best ones that are protected, and no more than there are
    places; sorted by id."""
    by_rank = sorted(species, key=lambda one: (-_mean_score(one, scores), one.id))
    kept = [
        one
        for place, one in enumerate(by_rank)
        if place < settings.species_elitism or one.stale < settings.stagnation
    ]
    return sorted(kept[: settings.population], key=lambda one: one.id)


def offspring_sizes(means: Sequence[float], population: int) -> list[int]:
    """Places for each species: at least one each, the others by mean fitness, the sum exact.

    Shares are rounded by largest remainder, ties to the earlier. Only differences of fitness
    count, so negative fitness and fitness near 1 work alike.

    Args:
        means: one for each species, no more of them than places.
    """
    if not means:
        return []
    lowest, highest = min(means), max(means)
    spread = highest - lowest
    weights = [_LEAST_SHARE + ((value - lowest) / spread if spread > 0 else 1) for value in means]
    free = population - len(means)
    shares = [free * weight / sum(weights) for weight in weights]
    sizes = [1 + math.floor(share) for share in shares]
    by_remainder = sorted(
        range(len(shares)), key=lambda place: (math.floor(shares[place]) - shares[place], place)
    )
    for place in by_remainder[: population - sum(sizes)]:
        sizes[place] += 1
    return sizes


def rank(members: Sequence[str], scores: Mapping[str, float]) -> list[str]:
    """Best first; ties to the lower number."""
    return sorted(members, key=lambda member: (-scores[member], genome_number(member)))


def _mean_score(species: Species[GenomeType], scores: Mapping[str, float]) -> float:
    return mean([scores[member] for member in species.members])


def _mended(genome: GenomeType, nursery: Nursery[GenomeType]) -> GenomeType:
    """The elite itself, or where it had to be mended a new genome that is."""
    change = nursery.repair(genome)
    if change is None:
        return genome
    mended = cast(GenomeType, change.genome)
    return nursery.register.enrol(mended, (genome.id,), ("repair",), change.genes)


def _child(
    parents: Sequence[GenomeType], nursery: Nursery[GenomeType], rng: np.random.Generator
) -> GenomeType:
    """A child of one or two parents, of which the fitter stands first in the list."""
    settings, around = nursery.settings, nursery.around
    first, others = _draw_parents(parents, settings.crossover, rng)
    if others:
        steps = [cross(first, others[0], around, rng)]
    else:
        steps = [mutate(first, nursery.odds, around, rng)]
    while len(steps) < MOST_CHANGES and rng.random() < settings.further_change:
        steps.append(mutate(steps[-1].genome, nursery.odds, around, rng))
    change = nursery.repair(cast(GenomeType, steps[-1].genome))
    if change is not None:
        steps.append(Mutation(genome=change.genome, operator="repair", genes=change.genes))
    used = (first, *others) if steps[0].operator == CROSSOVER else (first,)
    return nursery.register.enrol(
        cast(GenomeType, steps[-1].genome),
        [parent.id for parent in used],
        [step.operator for step in steps],
        [gene for step in steps for gene in step.genes],
    )


def _draw_parents(
    parents: Sequence[GenomeType], crossover: float, rng: np.random.Generator
) -> tuple[GenomeType, tuple[GenomeType, ...]]:
    """(the fitter parent, the other one if there are to be two)."""
    if len(parents) > 1 and rng.random() < crossover:
        one = int(rng.integers(len(parents)))
        other = (one + 1 + int(rng.integers(len(parents) - 1))) % len(parents)
        return parents[min(one, other)], (parents[max(one, other)],)
    return pick(parents, rng), ()


def _reseed(nursery: Nursery[GenomeType]) -> list[GenomeType]:
    size = nursery.settings.population
    return [nursery.register.enrol_start(nursery.fresh()) for _ in range(size)]


def _settle(
    genomes: Sequence[GenomeType],
    before: Population[GenomeType],
    living: Sequence[Species[GenomeType]],
    nursery: Nursery[GenomeType],
) -> Brood[GenomeType]:
    """Sorts the genomes by number and into species."""
    ordered = sorted(genomes, key=lambda genome: genome_number(genome.id))
    kept = {one.id for one in living}
    found = speciate(
        ordered,
        living,
        extinct=[one for one in before.species if one.id not in kept],
        wanted=nursery.settings.species,
        threshold=before.threshold,
        next_id=before.next_species,
        space=nursery.around.space,
    )
    population = Population(
        genomes=tuple(ordered),
        species=found.species,
        threshold=found.threshold,
        next_genome=nursery.register.next_number,
        next_species=found.next_id,
    )
    return Brood(population=population, heirs=found.heirs)
