"""Who dies, who stays, who has children: sizes exact, nobody lost by accident."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from genetics import around, blueprint, generator, module, new_table, space_of

from mpinas.evolution.genome import ModuleGenome
from mpinas.evolution.innovation import InnovationTable
from mpinas.evolution.mutation import repair_species
from mpinas.evolution.species import Species, genome_number, speciate
from mpinas.evolution.starting import grow_module
from mpinas.tuners import breeding
from mpinas.tuners.breeding import (
    Nursery,
    age,
    assumed_fitness,
    breed,
    offspring_sizes,
    rank,
    start,
    surviving_species,
)
from mpinas.tuners.codeepneat_config import BlueprintsConfig, ModulesConfig
from mpinas.tuners.population import Population, Register


def nursery(
    seed: int = 0,
    register: Register | None = None,
    table: InnovationTable | None = None,
    **settings: object,
) -> Nursery:
    """What modules need to breed, with its own seeded supply of fresh genomes."""
    config = ModulesConfig(**{"population": 12, "species": 3, **settings})
    surroundings, rng = around(space_of(), table=table or new_table()), generator(seed)
    return Nursery(
        settings=config,
        odds=config.mutation.model_dump(),
        around=surroundings,
        register=register or Register("m", 0, 0),
        fresh=lambda: grow_module("", 1 + int(rng.integers(3)), 0.3, surroundings, rng),
        repair=lambda genome: None,
    )


def told(population: Population[ModuleGenome]) -> Population[ModuleGenome]:
    """With a fitness for every genome: its number, scaled."""
    fitness = {genome.id: genome_number(genome.id) / 100 for genome in population.genomes}
    return replace(population, fitness=fitness)


@pytest.mark.parametrize(
    ("means", "population", "expected"),
    [
        ([0.5], 7, [7]),
        ([0.5, 0.5], 7, [4, 3]),
        ([0.1, 0.9], 10, [2, 8]),
        ([0.3, 0.3, 0.3], 3, [1, 1, 1]),
        ([0.0, 0.0, 0.0], 10, [4, 3, 3]),
        ([], 5, []),
    ],
)
def test_offspring_sizes(means: list[float], population: int, expected: list[int]) -> None:
    assert offspring_sizes(means, population) == expected


def test_offspring_sizes_do_not_depend_on_where_zero_is() -> None:
    """TFNE 11: negative fitness broke the sizes; near 1 all shares would be equal."""
    low = offspring_sizes([-5.0, -4.5, -4.0], 20)
    high = offspring_sizes([95.0, 95.5, 96.0], 20)
    assert low == high
    assert low[0] < low[1] < low[2]


def test_no_evidence_means_the_mean_of_the_species_and_never_zero() -> None:
    """TFNE and SASH count a module that was never drawn as 0."""
    table = new_table()
    genomes = tuple(module(table, id=f"m{number:04d}") for number in range(5))
    population = Population(
        genomes=genomes,
        species=(
            Species(id=0, representative=genomes[0], members=("m0000", "m0001", "m0002")),
            Species(id=1, representative=genomes[3], members=("m0003", "m0004")),
        ),
        fitness={"m0000": 0.6, "m0001": 0.8},
    )
    scores = assumed_fitness(population)
    assert scores["m0002"] == pytest.approx(0.7)
    assert scores["m0003"] == scores["m0004"] == pytest.approx(0.7)
    assert set(assumed_fitness(replace(population, fitness={})).values()) == {0.0}


def test_ties_go_to_the_lower_number() -> None:
    assert rank(["m10000", "m9999", "m0001"], dict.fromkeys(["m10000", "m9999", "m0001"], 1.0)) == [
        "m0001",
        "m9999",
        "m10000",
    ]


def test_a_species_gets_stale_only_on_evidence_of_no_rise() -> None:
    one = Species(id=0, representative=module(new_table()), members=("m0000", "m0001"))
    better = age(one, {"m0000": 0.5, "m0001": 0.7})
    assert (better.best_fitness, better.stale) == (pytest.approx(0.6), 0)
    assert age(better, {"m0000": 0.6}).stale == 1
    assert age(better, {}).stale == 0
    risen = age(replace(better, stale=9), {"m0000": 0.61})
    assert (risen.best_fitness, risen.stale) == (0.61, 0)


def species_with(stale: list[int]) -> tuple[list[Species], dict[str, float]]:
    """Species 0, 1, 2, ... of one member each; the later, the fitter."""
    genome = module(new_table())
    found = [
        Species(id=number, representative=genome, members=(f"m{number:04d}",), stale=age_)
        for number, age_ in enumerate(stale)
    ]
    return found, {f"m{number:04d}": number / 10 for number in range(len(stale))}


@pytest.mark.parametrize(
    ("elitism", "left"), [(0, [1]), (1, [1, 3]), (2, [1, 2, 3]), (9, [0, 1, 2, 3])]
)
def test_stale_species_die_but_for_the_best(elitism: int, left: list[int]) -> None:
    species, scores = species_with([5, 0, 5, 9])
    settings = ModulesConfig(stagnation=5, species_elitism=elitism)
    assert [one.id for one in surviving_species(species, scores, settings)] == left


def test_no_more_species_survive_than_there_are_places() -> None:
    species, scores = species_with([0, 0, 0, 0])
    settings = ModulesConfig(population=2, species=2)
    assert [one.id for one in surviving_species(species, scores, settings)] == [2, 3]


@pytest.mark.parametrize("population", [1, 2, 3, 7, 12, 25])
@pytest.mark.parametrize("elites", [0, 1, 3])
def test_population_sizes_are_exact_in_every_generation(population: int, elites: int) -> None:
    """In NEATPY populations drifted from their size or doubled (258, 270); 1 divided by zero."""
    wanted = min(4, population)
    settings = {"population": population, "species": wanted, "elites": min(elites, population)}
    table = new_table()
    current = start(nursery(table=table, **settings))
    assert len(current.genomes) == population
    for generation in range(5):
        register = Register("m", current.next_genome, generation)
        current = breed(
            told(current), nursery(generation, register, table, **settings), generator(generation)
        ).population
        assert len(current.genomes) == population
        assert sum(len(one.members) for one in current.species) == population


def test_elites_stay_unchanged_and_none_means_none() -> None:
    """In TFNE elitism 0 kept everybody: a slice from -0."""
    table = new_table()
    first = told(start(nursery(table=table)))
    before = {genome.id: genome for genome in first.genomes}
    for elites, kept in ((0, 0), (1, len(first.species))):
        register = Register("m", first.next_genome, 1)
        after = breed(first, nursery(1, register, table, elites=elites), generator()).population
        same = [genome for genome in after.genomes if genome.id in before]
        assert len(same) == kept
        assert all(genome == before[genome.id] for genome in same)
        if kept:
            best = {max(one.members, key=genome_number) for one in first.species}
            assert {genome.id for genome in same} == best


@pytest.mark.parametrize("elites", [0, 1, 4])
def test_every_species_has_a_child(elites: int) -> None:
    """A species with one place kept its elite there and never changed."""
    table = new_table()
    settings = {"population": 4, "species": 4, "elites": elites}
    first = told(start(nursery(table=table, **settings)))
    register = Register("m", first.next_genome, 1)
    breed(first, nursery(1, register, table, **settings), generator())
    assert len(register.lineage) >= len(first.species)
    config = ModulesConfig(**settings)
    assert breeding.elites([1, 2, 9], config) == [0, min(1, elites), elites]


def test_a_species_of_two_has_two_parents_and_one_of_one_finds_a_mate_elsewhere() -> None:
    """However small the share that survives, the configured odds are to hold."""
    table = new_table()
    settings = {"population": 4, "species": 2, "survival": 0.01, "crossover": 1.0, "elites": 0}
    settings["further_change"] = 0.0
    first = start(nursery(table=table, **settings))
    ids = [genome.id for genome in first.genomes]
    for split in (2, 3):
        species = tuple(
            Species(id=number, representative=first.genomes[0], members=tuple(members))
            for number, members in enumerate((ids[:split], ids[split:]))
        )
        register = Register("m", first.next_genome, 1)
        breed(
            told(replace(first, species=species)),
            nursery(1, register, table, **settings),
            generator(),
        )
        crossed = [record for record in register.lineage if len(record.parents) == 2]
        assert len(crossed) >= 3


def test_representatives_are_mended_before_new_genomes_are_compared_with_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Mended genomes once looked like strangers to their own species."""
    table = new_table()
    genomes = tuple(blueprint(table, {2: 7}, id=f"b{number:04d}") for number in range(4))
    members = tuple(genome.id for genome in genomes)
    one = Species(id=0, representative=genomes[0], members=members)
    population = Population(genomes=genomes, species=(one,), next_genome=4, next_species=1)
    surroundings = around(space_of(), species=(3,), table=table)
    mending = Nursery(
        settings=BlueprintsConfig(population=4, species=1),
        odds=BlueprintsConfig().mutation.model_dump(),
        around=surroundings,
        register=Register("b", 4, 1),
        fresh=lambda: genomes[0],
        repair=lambda genome: repair_species(genome, {7: 3}, surroundings, generator()),
    )
    seen = []

    def spied(genomes: object, species: list[Species], **more: object) -> object:
        seen.extend(species)
        return speciate(genomes, species, **more)

    monkeypatch.setattr(breeding, "speciate", spied)
    breed(population, mending, generator())
    assert [node.species for one in seen for node in one.representative.nodes] == [3]


def test_only_survivors_have_children() -> None:
    table = new_table()
    first = told(start(nursery(table=table, species=1)))
    register = Register("m", first.next_genome, 1)
    breed(first, nursery(1, register, table, species=1, survival=0.25, elites=0), generator())
    parents = {parent for record in register.lineage for parent in record.parents}
    assert parents <= {"m0009", "m0010", "m0011"}


def test_total_extinction_is_survived_by_starting_afresh() -> None:
    """NEATPY crashed (44, 50, 15)."""
    table = new_table()
    first = told(start(nursery(table=table)))
    stale = [replace(one, stale=3, best_fitness=9.0) for one in first.species]
    register = Register("m", first.next_genome, 1)
    settings = {"stagnation": 2, "species_elitism": 0}
    brood = breed(
        replace(first, species=tuple(stale)), nursery(1, register, table, **settings), generator()
    )
    assert len(brood.population.genomes) == 12
    assert {record.operator for record in register.lineage} == {"start"}
    assert not {genome.id for genome in brood.population.genomes} & {
        genome.id for genome in first.genomes
    }
    old, new = ({one.id for one in part.species} for part in (first, brood.population))
    assert not old & new
    assert set(brood.heirs) == old
    assert set(brood.heirs.values()) <= new


def test_every_new_genome_has_one_lineage_record_with_parents_and_genes() -> None:
    table = new_table()
    first = told(start(nursery(table=table)))
    register = Register("m", first.next_genome, 1)
    settings = {"crossover": 0.8, "survival": 1.0, "species": 2}
    after = breed(first, nursery(1, register, table, **settings), generator()).population
    new = [genome.id for genome in after.genomes if genome_number(genome.id) >= 12]
    assert [record.genome_id for record in register.lineage] == new
    by_id = {genome.id: genome for genome in first.genomes}
    for record in register.lineage:
        assert 1 <= len(record.parents) <= 2
        assert (len(record.parents) == 2) == record.operator.startswith("crossover")
        assert set(record.parents) <= set(by_id)
        assert record.genes
        assert record.generation == 1
    crossed = [record.parents for record in register.lineage if len(record.parents) == 2]
    assert crossed
    assert all(genome_number(fit) > genome_number(other) for fit, other in crossed)


@pytest.mark.parametrize(("crossover", "further"), [(0.0, 0.0), (0.4, 0.25), (1.0, 0.5)])
def test_the_odds_of_two_parents_and_of_further_changes_are_kept_by_count(
    crossover: float, further: float
) -> None:
    children = 1500
    settings = {
        "population": children,
        "species": 1,
        "survival": 1.0,
        "elites": 0,
        "crossover": crossover,
        "further_change": further,
    }
    table = new_table()
    first = told(start(nursery(table=table, **settings)))
    register = Register("m", first.next_genome, 1)
    breed(first, nursery(1, register, table, **settings), generator())
    assert len(register.lineage) == children
    crossed = sum(len(record.parents) == 2 for record in register.lineage)
    changed_once = sum("+" not in record.operator for record in register.lineage)
    changed_thrice = sum(record.operator.count("+") >= 2 for record in register.lineage)
    # Parents that are too much alike to be crossed are mutated instead: a few in a hundred.
    assert within(crossed, crossover, children) or 0.95 * crossover < crossed / children < crossover
    assert within(changed_once, 1 - further, children)
    assert within(changed_thrice, further**2, children)


def within(count: int, odds: float, draws: int) -> bool:
    """Inside five standard deviations of a binomial count."""
    return abs(count - draws * odds) <= 5 * math.sqrt(draws * odds * (1 - odds))
