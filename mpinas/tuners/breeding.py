"""The next generation of one population: who dies, who stays, who has how many children.

Comes in: a told population, its settings, and what the operators need. Comes out: the next
population, of exactly the configured size, sorted into species. Fitness is maximised; ties go to
the lower id. It knows neither trials nor candidates.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Generic, cast

import numpy as np

from mpinas.evolution.crossover import cross
from mpinas.evolution.genome import GenomeType
from mpinas.evolution.mutation import Mutation, mutate
from mpinas.evolution.operators import Change, Surroundings, pick
from mpinas.evolution.species import Species, genome_number, speciate
from mpinas.tuners.codeepneat_config import PopulationConfig
from mpinas.tuners.population import Population, Register
from mpinas.tuners.scoring import mean

MOST_CHANGES = 4
"""Of one child, so that a child stays like its parents."""
_LEAST_SHARE = 0.2
"""Weight of the worst possible species, where the best possible has 1.2: all get some children."""
_MATES = 4
"""How many are tried: crossing with a near twin comes to nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Nursery(Generic[GenomeType]):
    """What breeding one population needs besides it.

    Attributes:
        odds: of the operators that fit this sort of genome.
        register: gives ids; it and the innovation table are all that changes here.
        fresh: makes a starting genome, without an id yet.
        repair: mends a genome that points to dead species; None where there is nothing to mend.
    """

    settings: PopulationConfig
    odds: Mapping[str, float]
    around: Surroundings
    register: Register
    fresh: Callable[[], GenomeType]
    repair: Callable[[GenomeType], Change | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Parentage(Generic[GenomeType]):
    """Who may be a parent: survivors of the child's species, those of all others, all scores."""

    own: Sequence[GenomeType]
    strangers: Sequence[GenomeType]
    scores: Mapping[str, float]

    def rank(self, genome: GenomeType) -> tuple[float, int]:
        """A key to sort by: the fitter first, ties to the lower number."""
        return -self.scores[genome.id], genome_number(genome.id)


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
    parents = [surviving_members(members, settings.survival) for members in ranked]
    kept = [members[:count] for members, count in zip(ranked, elites(sizes, settings), strict=True)]
    genomes = [_mended(elite, nursery) for members in kept for elite in members]
    for own, size, stay in zip(parents, sizes, kept, strict=True):
        strangers = [genome for others in parents if others is not own for genome in others]
        parentage = _Parentage(own=own, strangers=strangers, scores=scores)
        genomes += [_child(parentage, nursery, rng) for _ in range(size - len(stay))]
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
    settings: PopulationConfig,
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


def elites(sizes: Sequence[int], settings: PopulationConfig) -> list[int]:
    """How many of each species stay unchanged: always one fewer than its places, so that in
    every species, and so in every population, there is something new each generation."""
    return [min(settings.elites, size - 1) for size in sizes]


def surviving_members(members: Sequence[GenomeType], survival: float) -> Sequence[GenomeType]:
    """The best of a ranked species, who may be parents: that share of it, but two if it has two."""
    return members[: max(2, math.ceil(survival * len(members)))]


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


def _mended_representative(
    species: Species[GenomeType], nursery: Nursery[GenomeType]
) -> Species[GenomeType]:
    """The species as it would be known if its representative pointed to living species only:
    the new genomes, which do, are not to look like strangers for that."""
    change = nursery.repair(species.representative)
    if change is None:
        return species
    return replace(species, representative=cast(GenomeType, change.genome))


def _child(
    parentage: _Parentage[GenomeType], nursery: Nursery[GenomeType], rng: np.random.Generator
) -> GenomeType:
    """A child of two parents, by the configured odds and if any two can be crossed, or of one."""
    settings, around = nursery.settings, nursery.around
    used: tuple[GenomeType, ...] = (pick(parentage.own, rng),)
    steps: list[Mutation] = []
    if rng.random() < settings.crossover:
        used, steps = _crossing(used[0], parentage, rng)
    if not steps:
        steps = [mutate(used[0], nursery.odds, around, rng)]
    while len(steps) < MOST_CHANGES and rng.random() < settings.further_change:
        steps.append(mutate(steps[-1].genome, nursery.odds, around, rng))
    change = nursery.repair(cast(GenomeType, steps[-1].genome))
    if change is not None:
        steps.append(Mutation(genome=change.genome, operator="repair", genes=change.genes))
    return nursery.register.enrol(
        cast(GenomeType, steps[-1].genome),
        [parent.id for parent in used],
        [step.operator for step in steps],
        [gene for step in steps for gene in step.genes],
    )


def _crossing(
    parent: GenomeType, parentage: _Parentage[GenomeType], rng: np.random.Generator
) -> tuple[tuple[GenomeType, ...], list[Mutation]]:
    """(the parents, the fitter first; the crossing), or the parent alone and no crossing.

    Mates are drawn from the parent's species, and from the others where it has none or only
    twins of it (NEAT's interspecies mating).
    """
    relatives = [genome for genome in parentage.own if genome.id != parent.id]
    mates = [*_some(relatives, rng), *_some(parentage.strangers, rng)]
    for mate in mates[:_MATES]:
        first, second = sorted((parent, mate), key=parentage.rank)
        crossed = cross(first, second, rng)
        if crossed is not None:
            return (first, second), [crossed]
    return (parent,), []


def _some(genomes: Sequence[GenomeType], rng: np.random.Generator) -> list[GenomeType]:
    """A few different ones, in random order."""
    return [genomes[int(index)] for index in rng.permutation(len(genomes))[: _MATES - 1]]


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
    extinct = [one for one in before.species if one.id not in kept]
    found = speciate(
        ordered,
        [_mended_representative(one, nursery) for one in living],
        extinct=[_mended_representative(one, nursery) for one in extinct],
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
