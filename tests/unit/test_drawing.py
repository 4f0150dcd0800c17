"""Which candidates are drawn: every blueprint in turn, every module before one comes twice."""

from __future__ import annotations

from collections import Counter

import pytest
from genetics import blueprint, generator, module, new_table

from mpinas.evolution.genome import BlueprintGenome, ModuleGenome
from mpinas.evolution.species import Species
from mpinas.tuners.drawing import assemble, draw_candidates
from mpinas.tuners.population import Population


def blueprints(count: int) -> list[BlueprintGenome]:
    table = new_table()
    edges = [(0, 2), (2, 3), (3, 4), (4, 1)]
    return [
        blueprint(table, {2: 0, 3: 1, 4: 0}, edges, id=f"b{number:04d}") for number in range(count)
    ]


def two_species() -> list[Species[ModuleGenome]]:
    first = module(new_table())
    return [
        Species(id=0, representative=first, members=("m0000", "m0001", "m0002")),
        Species(id=1, representative=first, members=("m0003", "m0004")),
    ]


@pytest.mark.parametrize("individuals", [1, 3, 7, 12])
def test_blueprints_and_modules_are_used_equally_often_give_or_take_one(individuals: int) -> None:
    draws = draw_candidates(blueprints(4), two_species(), individuals, generator())
    assert len(draws) == individuals
    uses = Counter(name for draw in draws for name in draw.genome_ids)
    for names in (
        [f"b{number:04d}" for number in range(4)],
        ["m0000", "m0001", "m0002"],
        ["m0003", "m0004"],
    ):
        counts = [uses[name] for name in names]
        assert max(counts) - min(counts) <= 1


def test_one_module_stands_for_a_species_wherever_the_blueprint_mentions_it() -> None:
    (draw,) = draw_candidates(blueprints(1), two_species(), 1, generator())
    assert [species for species, _ in draw.modules] == [0, 1]
    assert len(draw.genome_ids) == len(set(draw.genome_ids)) == 3


def test_ties_are_broken_by_the_seed() -> None:
    drawn = {
        draw_candidates(blueprints(1), two_species(), 1, generator(seed)) for seed in range(40)
    }
    assert len(drawn) == 6
    again = draw_candidates(blueprints(4), two_species(), 9, generator(3))
    assert again == draw_candidates(blueprints(4), two_species(), 9, generator(3))


def test_candidates_hold_the_genomes_in_full() -> None:
    table = new_table()
    genomes = tuple(module(table, id=f"m{number:04d}") for number in range(5))
    draws = draw_candidates(blueprints(2), two_species(), 3, generator())
    candidates = assemble(
        draws, Population(genomes=tuple(blueprints(2))), Population(genomes=genomes)
    )
    for draw, candidate in zip(draws, candidates, strict=True):
        assert candidate.blueprint.id == draw.blueprint
        assert [(one.species, one.module.id) for one in candidate.modules] == list(draw.modules)
