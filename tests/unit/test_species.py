"""Distances and species: zero to itself, symmetric, the wanted number, ids never used twice."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from genetics import (
    CONV,
    around,
    blueprint,
    distance,
    generator,
    module,
    new_table,
    space_of,
)

from mpinas.evolution.distance import (
    CONTENT_WEIGHT,
    HYPERPARAMETER_WEIGHT,
    STRUCTURE_WEIGHT,
    DistanceTable,
)
from mpinas.evolution.genome import LayerNode, ModuleGenome
from mpinas.evolution.species import (
    HIGHEST_THRESHOLD,
    LOWEST_THRESHOLD,
    Speciation,
    Species,
    genome_number,
    speciate,
)
from mpinas.evolution.starting import grow_module
from mpinas.space.search_space import SearchSpace


def modules(count: int, space: SearchSpace, first: int = 0, seed: int = 0) -> list[ModuleGenome]:
    """Random modules that share a table."""
    rng, surroundings = generator(seed), around(space)
    return [
        grow_module(f"m{number:04d}", 1 + number % 3, 0.3, surroundings, rng)
        for number in range(first, first + count)
    ]


@pytest.mark.parametrize("follow", ["none", "max_pool", "dropout"])
def test_the_distance_of_a_genome_to_itself_is_zero(follow: str) -> None:
    """In TFNE it was 0.1667: pool and dropout flags counted backwards."""
    space = space_of()
    layer = LayerNode(id=2, kind="conv2d", parameters={**CONV, "follow": follow})
    genome = module(new_table(), nodes=[layer])
    assert distance(genome, genome, space) == 0
    assert distance(genome, replace(genome, id="m0009"), space) == 0


def test_layer_parameters_count_by_the_distance_in_their_domain() -> None:
    """In SASH only topology counts."""
    space, table = space_of(), new_table()
    plain = module(table)
    other = module(
        table,
        nodes=[
            LayerNode(
                id=2,
                kind="conv2d",
                parameters={**CONV, "filters": 64, "kernel_size": 5, "rate": 0.25},
            )
        ],
    )
    gaps = {"filters": 32 / 52, "kernel_size": 1, "follow": 0, "pool_size": 0, "rate": 0.5}
    expected = np.mean([gaps[name] for name in space.layers["conv2d"]])
    assert distance(plain, other, space) == pytest.approx(CONTENT_WEIGHT * expected)


def test_the_kind_of_a_layer_the_species_of_a_node_and_genome_values_count() -> None:
    space, table = space_of(), new_table()
    plain = module(table)
    other_kind = module(table, nodes=[LayerNode(id=2, kind="identity", parameters={})])
    assert distance(plain, other_kind, space) == pytest.approx(CONTENT_WEIGHT)
    assert distance(
        plain, module(table, hyperparameters={"merge": "concatenate"}), space
    ) == pytest.approx(HYPERPARAMETER_WEIGHT)
    assert distance(blueprint(table, {2: 3}), blueprint(table, {2: 8}), space) == pytest.approx(
        CONTENT_WEIGHT
    )


def test_genes_that_only_one_has_count_as_a_share_of_all() -> None:
    space, table = space_of(), new_table()
    plain = module(table)
    longer = module(table, [(0, 2), (2, 3), (3, 1)], [2, 3], off=[(2, 1)])
    # shared: node 2, edge 0->2; of one only: edge 2->1, node 3, edges 2->3, 3->1
    expected = STRUCTURE_WEIGHT * 4 / 6 + CONTENT_WEIGHT * 1 / 2
    assert distance(plain, longer, space) == pytest.approx(expected)


def test_contents_tell_genomes_apart_that_share_no_marking() -> None:
    """Or all strangers would be equally far, and no threshold could sort them."""
    space, table = space_of(), new_table()
    wide = LayerNode(id=4, kind="conv2d", parameters={**CONV, "filters": 68})
    plain = module(table)
    like = module(table, [(0, 3), (3, 1)], [3])
    unlike = module(table, [(0, 4), (4, 1)], [wide])
    assert distance(plain, like, space) == pytest.approx(STRUCTURE_WEIGHT)
    assert distance(plain, unlike, space) > STRUCTURE_WEIGHT + 0.01


def test_contents_are_compared_in_topological_order() -> None:
    space, table = space_of(), new_table()
    layers = [
        LayerNode(id=2, kind="identity", parameters={}),
        LayerNode(id=3, kind="conv2d", parameters=dict(CONV)),
    ]
    swapped = [replace(layers[1], id=2), replace(layers[0], id=3)]
    one = module(table, [(0, 2), (2, 3), (3, 1)], layers)
    other = module(table, [(0, 3), (3, 2), (2, 1)], swapped)
    assert distance(one, other, space) <= STRUCTURE_WEIGHT


def test_distances_at_once_equal_distances_one_by_one_and_are_symmetric() -> None:
    space = space_of()
    genomes = modules(12, space)
    table = DistanceTable(genomes, space)
    rows = np.array([table.row(index) for index in range(12)])
    assert np.array_equal(rows, rows.T)
    assert (np.diag(rows) == 0).all()
    assert rows.max() <= 1
    for one, other in itertools.combinations(range(12), 2):
        assert rows[one, other] == distance(genomes[one], genomes[other], space)


def grouped(
    genomes: list[ModuleGenome],
    space: SearchSpace,
    wanted: int,
    before: Speciation[ModuleGenome] | None = None,
    threshold: float = 0.3,
) -> Speciation[ModuleGenome]:
    return speciate(
        genomes,
        before.species if before else (),
        wanted=wanted,
        threshold=before.threshold if before else threshold,
        next_id=before.next_id if before else 0,
        space=space,
    )


@pytest.mark.parametrize("threshold", [LOWEST_THRESHOLD, 0.3, HIGHEST_THRESHOLD, 50.0])
@pytest.mark.parametrize("wanted", [1, 2, 4, 7])
def test_the_wanted_number_is_reached_from_any_threshold(wanted: int, threshold: float) -> None:
    """SASH's threshold could only grow; nobody can guess a good one (goNEAT 48, NEATPY 246)."""
    space = space_of()
    found = grouped(modules(40, space), space, wanted, threshold=threshold)
    assert abs(len(found.species) - wanted) <= 1
    assert LOWEST_THRESHOLD <= found.threshold <= HIGHEST_THRESHOLD


def test_the_threshold_goes_down_as_well_as_up() -> None:
    space = space_of()
    genomes = modules(40, space)
    few = grouped(genomes, space, 2)
    many = grouped(genomes, space, 8, before=few)
    again = grouped(genomes, space, 2, before=many)
    assert many.threshold < few.threshold
    assert again.threshold > many.threshold


def test_every_genome_is_in_exactly_one_species_with_a_representative() -> None:
    space = space_of()
    genomes = modules(40, space)
    found = grouped(genomes, space, 5)
    members = [member for one in found.species for member in one.members]
    assert sorted(members) == sorted(genome.id for genome in genomes)
    for one in found.species:
        assert one.members
        assert one.representative.id in one.members


def test_species_ids_are_never_used_twice() -> None:
    space = space_of()
    found = grouped(modules(30, space), space, 4)
    before = {one.id for one in found.species}
    dead: set[int] = set()
    for turn in range(1, 8):
        wanted = 2 if turn % 2 else 7
        genomes = modules(30, space, first=30 * turn, seed=turn)
        found = grouped(genomes, space, wanted, before=found)
        now = {one.id for one in found.species}
        assert not now & dead
        assert found.next_id > max(now | before | dead)
        dead |= before - now
        before = now
    assert dead


def test_a_species_keeps_its_id_while_its_kind_lives() -> None:
    space = space_of()
    genomes = modules(30, space)
    first = grouped(genomes, space, 4)
    second = grouped(genomes, space, 4, before=first)
    assert [(one.id, one.members) for one in second.species] == [
        (one.id, one.members) for one in first.species
    ]


@pytest.mark.parametrize("threshold", [LOWEST_THRESHOLD, 0.05, 0.3, HIGHEST_THRESHOLD])
def test_old_species_live_on_though_near_each_other_and_though_strangers_come(
    threshold: float,
) -> None:
    """The younger of two that had come near each other was dropped, whoever was in it, and the
    strangers got its place."""
    space, table = space_of(), new_table()
    narrow, near, wide = (
        module(
            table,
            nodes=[LayerNode(id=2, kind="conv2d", parameters={**CONV, "filters": filters})],
            id=f"m{filters:04d}",
        )
        for filters in (16, 20, 68)
    )
    stranger = module(
        table,
        [(0, 3), (3, 1)],
        [LayerNode(id=3, kind="identity", parameters={})],
        id="m0100",
    )
    old = [
        Species(id=number, representative=genome, members=(genome.id,))
        for number, genome in enumerate((narrow, near, wide))
    ]
    found = speciate(
        [narrow, near, wide, stranger],
        old,
        wanted=3,
        threshold=threshold,
        next_id=3,
        space=space,
    )
    assert [one.id for one in found.species] == [0, 1, 2]


def test_a_place_that_is_free_is_filled_by_lowering_the_threshold() -> None:
    space = space_of()
    genomes = modules(30, space)
    first = grouped(genomes, space, 4)
    short = replace(first, species=first.species[:3], threshold=HIGHEST_THRESHOLD)
    second = grouped(genomes, space, 4, before=short)
    assert len(second.species) == 4
    assert {one.id for one in short.species} < {one.id for one in second.species}
    assert second.threshold < HIGHEST_THRESHOLD


def test_equal_genomes_are_one_species_however_many_are_wanted() -> None:
    space, table = space_of(), new_table()
    genomes = [module(table, id=f"m{number:04d}") for number in range(5)]
    found = grouped(genomes, space, 4)
    assert len(found.species) == 1


def test_a_population_of_one_is_fine() -> None:
    """Division by zero in NEATPY (206, 214)."""
    space = space_of()
    found = grouped(modules(1, space), space, 3)
    assert [one.members for one in found.species] == [("m0000",)]


def test_the_heir_of_a_dead_species_is_the_nearest_living_one() -> None:
    space = space_of()
    genomes = modules(40, space)
    many = grouped(genomes, space, 8)
    gone, kept = many.species[3], [one for one in many.species if one is not many.species[3]]
    left = [genome for genome in genomes if genome.id not in gone.members]
    found = speciate(
        left,
        kept,
        extinct=[gone],
        wanted=7,
        threshold=many.threshold,
        next_id=many.next_id,
        space=space,
    )
    before = {one.id: one.representative for one in kept}
    distances = {
        one.id: distance(gone.representative, before.get(one.id, one.representative), space)
        for one in found.species
    }
    assert found.heirs[gone.id] == min(distances, key=lambda number: distances[number])
    assert set(found.heirs) == {one.id for one in many.species} - set(distances)


def test_genome_numbers_sort_beyond_four_digits() -> None:
    assert sorted(["m10000", "m9999"], key=genome_number) == ["m9999", "m10000"]
    with pytest.raises(ValueError, match="looks like m0042"):
        genome_number("x1")
