"""CoDeepNEAT as a whole: three sizes, one table, bounded states, and its configuration's faults."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable
from statistics import fmean
from typing import Any

import pytest
from genetics import (
    complete,
    failed,
    generator,
    pretended_fitness,
    space_of,
)
from pydantic import ValidationError

from mpinas.evolution.genome import Candidate
from mpinas.evolution.species import genome_number
from mpinas.records import Failure
from mpinas.tuners.breeding import assumed_fitness
from mpinas.tuners.codeepneat import CoDeepNeat, CoDeepNeatState
from mpinas.tuners.codeepneat_config import BlueprintsConfig, CoDeepNeatConfig, ModulesConfig

SECTION = {
    "name": "codeepneat",
    "generations": 6,
    "individuals": 8,
    "modules": {"population": 10, "species": 3},
    "blueprints": {"population": 5, "species": 2},
}


STALE_SOON = {"population": 10, "species": 3, "stagnation": 2, "species_elitism": 1}
DEFAULTS = {"modules": {}, "blueprints": {}, "individuals": 12}


def tuner(**more: object) -> CoDeepNeat:
    return CoDeepNeat(CoDeepNeatConfig.model_validate({**SECTION, **more}), space_of())


def states(
    tuner: CoDeepNeat,
    generations: int = 6,
    fitness: Callable[[Candidate], float] = pretended_fitness,
    seed: int = 0,
) -> list[CoDeepNeatState]:
    """The told state of each generation."""
    state, found = tuner.init(generator(1000 * seed + 1)), []
    for generation in range(generations):
        candidates, state = tuner.ask(state, generator(1000 * seed + 100 + generation), 8)
        results = [
            complete(generation, index, fitness(candidate))
            for index, candidate in enumerate(candidates)
        ]
        state = tuner.tell(state, results)
        found.append(state)
    return found


def test_individuals_modules_and_blueprints_are_three_sizes() -> None:
    for state in states(tuner()):
        assert len(state.draws) == 8
        assert len(state.modules.genomes) == 10
        assert len(state.blueprints.genomes) == 5


def test_every_pointer_leads_to_a_living_species() -> None:
    """Nobody may point to a species that died."""
    changes = 0
    for before, after in itertools.pairwise(states(tuner(modules=STALE_SOON), 30)):
        living = {one.id for one in after.modules.species}
        changes += living != {one.id for one in before.modules.species}
        for blueprint in after.blueprints.genomes:
            assert {node.species for node in blueprint.nodes} <= living
    assert changes > 3


def test_repairs_are_in_the_lineage_and_make_a_new_genome() -> None:
    repaired = [
        record
        for state in states(tuner(modules=STALE_SOON), 30)
        for record in state.lineage
        if record.operator == "repair"
    ]
    assert repaired
    for record in repaired:
        assert len(record.parents) == 1
        assert genome_number(record.genome_id) > genome_number(record.parents[0])
        assert all(gene.startswith("node ") for gene in record.genes)


def test_a_genome_never_changes_under_its_id() -> None:
    known: dict[str, object] = {}
    for state in states(tuner(), 20):
        for genome in (*state.modules.genomes, *state.blueprints.genomes):
            assert known.setdefault(genome.id, genome) == genome


def test_species_and_genome_numbers_are_never_used_twice() -> None:
    seen: dict[str, set[Any]] = {"modules": set(), "blueprints": set()}
    before: dict[str, set[Any]] = {"modules": set(), "blueprints": set()}
    for state in states(tuner(), 20):
        for name in seen:
            population = getattr(state, name)
            now = {one.id for one in population.species}
            assert not (now - before[name]) & seen[name]
            seen[name] |= now
            before[name] = now
            assert max(now) < population.next_species
            numbers = [genome_number(genome.id) for genome in population.genomes]
            assert numbers == sorted(set(numbers))
            assert max(numbers) < population.next_genome


def test_fitness_is_the_mean_over_the_trials_of_this_generation() -> None:
    for state in states(tuner(), 4):
        fitness = {outcome.index: outcome.fitness for outcome in state.outcomes}
        for population in (state.modules, state.blueprints):
            for genome in population.genomes:
                own = [
                    fitness[index]
                    for index, draw in enumerate(state.draws)
                    if genome.id in draw.genome_ids
                ]
                expected = pytest.approx(sum(own) / len(own)) if own else None
                assert population.fitness.get(genome.id) == expected


def test_an_infrastructure_failure_leaves_no_trace_in_the_fitness() -> None:
    subject = tuner()
    candidates, state = subject.ask(subject.init(generator(1)), generator(2), 8)
    results = [complete(0, index, 0.5 + index / 100) for index in range(len(candidates))]
    results[3] = failed(0, 3, Failure.INFRASTRUCTURE)
    told = subject.tell(state, results)
    alone = set(state.draws[3].genome_ids) - {
        name for draw in (*state.draws[:3], *state.draws[4:]) for name in draw.genome_ids
    }
    assert not alone & (set(told.modules.fitness) | set(told.blueprints.fitness))
    assert min((*told.modules.fitness.values(), *told.blueprints.fitness.values())) >= 0.5


def test_one_table_marks_equal_places_of_all_genomes_alike() -> None:
    """Equal edges carry equal numbers, in modules and blueprints, over all generations."""
    numbers: dict[int, tuple[int, int]] = {}
    edges: dict[tuple[int, int], int] = {}
    for state in states(tuner(), 15):
        for genome in (*state.modules.genomes, *state.blueprints.genomes):
            for gene in genome.connections:
                edge = (gene.start, gene.end)
                assert numbers.setdefault(gene.innovation, edge) == edge
                assert edges.setdefault(edge, gene.innovation) == gene.innovation


def test_modules_that_are_used_least_are_drawn_first() -> None:
    for state in states(tuner(individuals=30), 3):
        for one in state.modules.species:
            uses = [
                sum(member in draw.genome_ids for draw in state.draws) for member in one.members
            ]
            assert max(uses) - min(uses) <= 1


def test_the_plain_state_does_not_grow_with_the_run() -> None:
    subject = tuner()
    sizes = [len(json.dumps(subject.state_to_plain(state))) for state in states(subject, 160)]
    assert "history" not in subject.state_to_plain(states(subject, 1)[0])
    # Starting genomes are smaller than later ones, which their limits bound.
    assert max(sizes[120:]) < 1.5 * max(sizes[20:60])


def test_selection_works_on_a_fitness_that_likes_one_thing() -> None:
    """The share of 3x3 kernels among the layers drawn rises when only they pay."""

    def share_of_3x3(candidate: Candidate) -> float:
        layers = [node for one in candidate.modules for node in one.module.nodes]
        return sum(node.parameters.get("kernel_size") == 3 for node in layers) / len(layers)

    found = states(tuner(), 12, share_of_3x3)
    means = [
        sum(outcome.fitness or 0 for outcome in state.outcomes) / len(state.outcomes)
        for state in found
    ]
    assert sum(means[-3:]) / 3 > sum(means[:3]) / 3 + 0.15


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        ({"modules": {"population": 3, "species": 4}}, "species must not be above population"),
        (
            {"blueprints": {"population": 3, "species": 2, "elites": 4}},
            "elites must not be above population. Received: elites=4, population=3",
        ),
        ({"modules": {"mutation": {"ad_node": 1.0}}}, "Extra inputs are not permitted"),
        ({"modules": {"mutation": {"change_species": 1.0}}}, "Extra inputs are not permitted"),
        ({"modules": {"crossover": 1.5}}, "less than or equal to 1"),
        ({"modules": {"survival": 0.0}}, "greater than 0"),
        ({"individuals": 0}, "greater than 0"),
        (
            {
                "blueprints": {
                    "mutation": {
                        "add_node": 0,
                        "add_connection": 0,
                        "remove_node": 0,
                        "remove_connection": 0,
                        "change_species": 0,
                        "perturb_hyperparameter": 0,
                    }
                }
            },
            "the odds must not all be 0",
        ),
    ],
)
def test_faults_of_the_section_are_named(section: dict[str, Any], expected: str) -> None:
    with pytest.raises(ValidationError, match=expected):
        CoDeepNeatConfig.model_validate({**SECTION, **section})


def test_configured_odds_are_the_odds_of_what_happens() -> None:
    """With one operator allowed, the lineage holds that operator and no other mutation."""
    only = {
        "add_node": 0.0,
        "add_connection": 0.0,
        "remove_node": 0.0,
        "remove_connection": 0.0,
        "perturb_hyperparameter": 0.0,
    }
    modules = {
        "population": 10,
        "species": 3,
        "crossover": 0.0,
        "mutation": {**only, "change_layer_kind": 0.0, "perturb_layer": 1.0},
    }
    subject = tuner(modules=modules)
    operators = {
        operator
        for state in states(subject, 5)[1:]
        for record in state.lineage
        if record.genome_id.startswith("m")
        for operator in record.operator.split("+")
    }
    assert operators == {"perturb_layer", "clone"}


@pytest.fixture(scope="module")
def default_runs() -> list[list[CoDeepNeatState]]:
    """Twelve generations with the default settings, for some seeds."""
    return [states(tuner(**DEFAULTS), 12, seed=seed) for seed in range(12)]


@pytest.mark.parametrize("name", ["modules", "blueprints"])
def test_species_live_on(default_runs: list[list[CoDeepNeatState]], name: str) -> None:
    """One in five was founded anew every generation, often the best: nobody ever got stale."""
    lived = died = best_died = met = 0
    wanted = getattr(CoDeepNeatConfig(generations=1, individuals=1), name).species
    for run in default_runs:
        for before, after in itertools.pairwise(getattr(state, name) for state in run):
            now = {one.id for one in after.species}
            scores = assumed_fitness(before)
            best = max(
                before.species, key=lambda one: fmean(scores[member] for member in one.members)
            )
            lived += sum(one.id in now for one in before.species)
            died += sum(one.id not in now for one in before.species)
            best_died += best.id not in now
            met += len(after.species) == wanted
    breedings = sum(len(run) - 1 for run in default_runs)
    assert lived / (lived + died) > 0.94
    assert best_died / breedings < 0.04
    assert met / breedings > 0.9


def test_few_blueprints_have_to_be_mended(default_runs: list[list[CoDeepNeatState]]) -> None:
    """Three in ten were, whose pointers had lost their meaning."""
    new = [
        record
        for run in default_runs
        for state in run[1:]
        for record in state.lineage
        if record.genome_id.startswith("b")
    ]
    assert sum(record.operator.endswith("repair") for record in new) / len(new) < 0.1


@pytest.mark.parametrize("letter", ["m", "b"])
def test_the_default_odds_of_two_parents_are_what_happens(
    default_runs: list[list[CoDeepNeatState]], letter: str
) -> None:
    """It was 14 to 18 % where 25 were asked for: small species had but one parent."""
    children = [
        record
        for run in default_runs
        for state in run[1:]
        for record in state.lineage
        if record.genome_id.startswith(letter) and record.operator != "repair"
    ]
    crossed = sum(len(record.parents) == 2 for record in children)
    expected = ModulesConfig().crossover * len(children)
    assert abs(crossed - expected) < 5 * math.sqrt(0.75 * expected)


@pytest.mark.parametrize("population", [1, 2, 3, 4, 7])
def test_a_population_of_any_size_changes_in_every_generation(population: int) -> None:
    """With as many elites or species as genomes, all trials were once of the same networks."""
    for section in (
        {"population": population, "species": population},
        {"population": population, "species": 1, "elites": population},
    ):
        found = states(tuner(modules=section, blueprints=section), 6)
        for before, after in itertools.pairwise(found):
            for name in ("modules", "blueprints"):
                old = {genome.id for genome in getattr(before, name).genomes}
                new = {genome.id for genome in getattr(after, name).genomes} - old
                assert new
        networks = {repr(state.modules.genomes) for state in found}
        assert len(networks) == len(found)


def test_species_elitism_does_not_protect_every_species_by_default() -> None:
    """With as many protected as there are, stagnation has no effect."""
    for section in (ModulesConfig(), BlueprintsConfig()):
        assert section.species_elitism < section.species
