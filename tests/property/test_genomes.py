"""Whatever is done to a genome, it stays valid: acyclic, connected, in its domains and limits."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
from genetics import around, distance, space_of
from hypothesis import given, settings
from hypothesis import strategies as st

from mpinas.evolution.crossover import cross
from mpinas.evolution.expression import look_alike
from mpinas.evolution.genome import AnyGenome, BlueprintGenome, ModuleGenome
from mpinas.evolution.graph import topological_order
from mpinas.evolution.innovation import InnovationTable
from mpinas.evolution.mutation import mutate, plain_mutation, repair_species
from mpinas.evolution.operators import OPERATORS, Surroundings
from mpinas.evolution.species import speciate
from mpinas.evolution.starting import grow_blueprint, grow_module
from mpinas.evolution.validity import genome_faults
from mpinas.records import from_plain, to_plain
from mpinas.space.search_space import SearchSpace
from mpinas.tuners.breeding import offspring_sizes

examples = settings(max_examples=60, deadline=None)

DOMAIN = st.one_of(
    st.just(32),
    st.just((8, 16)),
    st.just({"min": 4, "max": 9}),
    st.just({"min": 8, "max": 64, "step": 8}),
    st.just({"min": 1, "max": 512, "scale": "log"}),
)


@st.composite
def spaces(draw: st.DrawFn) -> SearchSpace:
    """Small search spaces of many sorts."""
    rows = {
        "conv2d": {
            "filters": draw(DOMAIN),
            "kernel_size": (1, 3),
            "rate": {"min": 0.0, "max": 0.5},
        },
        "dense": {"units": draw(DOMAIN)},
        "identity": {},
    }
    kinds = draw(st.lists(st.sampled_from(sorted(rows)), min_size=1, unique=True))
    return space_of(
        {
            "layers": {kind: rows[kind] for kind in kinds},
            "merge": draw(st.sampled_from([("add",), ("add", "concatenate")])),
            "max_module_layers": draw(st.integers(1, 6)),
            "max_blueprint_nodes": draw(st.integers(1, 6)),
        }
    )


def grown(
    space: SearchSpace, seed: int, *, blueprint: bool, count: int = 1
) -> tuple[list[AnyGenome], Surroundings, np.random.Generator]:
    """Random genomes that share a table."""
    rng = np.random.default_rng(seed)
    surroundings = around(space, species=range(1 + seed % 4), table=InnovationTable())
    limit = space.max_blueprint_nodes if blueprint else space.max_module_layers
    grow, letter = (grow_blueprint, "b") if blueprint else (grow_module, "m")
    genomes: list[AnyGenome] = [
        grow(
            f"{letter}{number:04d}",
            1 + int(rng.integers(limit)),
            float(rng.random()),
            surroundings,
            rng,
        )
        for number in range(count)
    ]
    return genomes, surroundings, rng


def check(genome: AnyGenome, space: SearchSpace) -> None:
    """The invariants, by the package's own judgement and by an independent one."""
    assert genome_faults(genome, space) == ()
    edges = [(gene.start, gene.end) for gene in genome.connections if gene.enabled]
    order = topological_order([0, 1, *(node.id for node in genome.nodes)], edges)
    place = {node: index for index, node in enumerate(order)}
    assert all(place[start] < place[end] for start, end in edges)
    ahead, behind = {0}, {1}
    for _ in order:
        ahead |= {end for start, end in edges if start in ahead}
        behind |= {start for start, end in edges if end in behind}
    assert set(order) <= ahead & behind
    plain = json.loads(json.dumps(to_plain(genome), allow_nan=False))
    assert from_plain(type(genome), plain) == genome


seeds = st.integers(0, 2**32 - 1)


@examples
@given(space=spaces(), seed=seeds, blueprint=st.booleans())
def test_starting_genomes_are_valid(space: SearchSpace, seed: int, blueprint: bool) -> None:
    genomes, _, _ = grown(space, seed, blueprint=blueprint, count=3)
    for genome in genomes:
        check(genome, space)


@examples
@given(
    space=spaces(),
    seed=seeds,
    blueprint=st.booleans(),
    names=st.lists(st.sampled_from(sorted(OPERATORS)), min_size=1, max_size=25),
)
def test_any_sequence_of_operators_keeps_a_genome_valid(
    space: SearchSpace, seed: int, blueprint: bool, names: list[str]
) -> None:
    (genome,), surroundings, rng = grown(space, seed, blueprint=blueprint)
    for name in names:
        change = OPERATORS[name](genome, surroundings, rng)
        if change is not None:
            assert not look_alike(change.genome, genome), name
            assert change.genes, name
            assert change.genome.id == genome.id
            genome = change.genome
            check(genome, space)


@examples
@given(space=spaces(), seed=seeds, blueprint=st.booleans())
def test_mutation_and_plain_mutation_keep_a_genome_valid(
    space: SearchSpace, seed: int, blueprint: bool
) -> None:
    (genome,), surroundings, rng = grown(space, seed, blueprint=blueprint)
    odds = dict.fromkeys(OPERATORS, 1.0)
    for _ in range(8):
        mutated = mutate(genome, odds, surroundings, rng)
        plain = plain_mutation(genome, odds, surroundings, rng)
        for done in (mutated, plain):
            assert (done.genome == genome) == (done.operator == "clone")
            check(done.genome, space)
        genome = mutated.genome


@examples
@given(space=spaces(), seed=seeds, blueprint=st.booleans())
def test_crossover_keeps_a_genome_valid(space: SearchSpace, seed: int, blueprint: bool) -> None:
    genomes, surroundings, rng = grown(space, seed, blueprint=blueprint, count=4)
    for _ in range(3):
        for fitter in genomes:
            for other in genomes:
                done = cross(fitter, other, rng)
                if done is not None:
                    check(done.genome, space)
                    assert not look_alike(done.genome, fitter)
                    assert [node.id for node in done.genome.nodes] == [
                        node.id for node in fitter.nodes
                    ]
        genomes = [
            replace(mutate(one, dict.fromkeys(OPERATORS, 1.0), surroundings, rng).genome, id=one.id)
            for one in genomes
        ]


@examples
@given(space=spaces(), seed=seeds)
def test_repair_leaves_only_living_species(space: SearchSpace, seed: int) -> None:
    (genome,), surroundings, rng = grown(space, seed, blueprint=True)
    assert isinstance(genome, BlueprintGenome)
    later = replace(surroundings, species=(1, 9))
    change = repair_species(genome, {0: 9}, later, rng)
    mended = genome if change is None else change.genome
    check(mended, space)
    assert isinstance(mended, BlueprintGenome)
    for before, after in zip(genome.nodes, mended.nodes, strict=True):
        expected = {0: {9}, 1: {1}}.get(before.species, {1, 9})
        assert after.species in expected


@examples
@given(space=spaces(), seed=seeds, blueprint=st.booleans())
def test_distances_are_symmetric_zero_to_itself_and_at_most_one(
    space: SearchSpace, seed: int, blueprint: bool
) -> None:
    genomes, _, _ = grown(space, seed, blueprint=blueprint, count=4)
    for one in genomes:
        assert distance(one, one, space) == 0
        for other in genomes:
            assert distance(one, other, space) == distance(other, one, space)
            assert 0 <= distance(one, other, space) <= 1


@examples
@given(
    space=spaces(),
    seed=seeds,
    wanted=st.integers(1, 8),
    threshold=st.floats(0.0, 2.0),
    count=st.integers(1, 20),
)
def test_species_share_out_the_population(
    space: SearchSpace, seed: int, wanted: int, threshold: float, count: int
) -> None:
    genomes, _, _ = grown(space, seed, blueprint=False, count=2 * count)
    modules = [genome for genome in genomes if isinstance(genome, ModuleGenome)]
    first = speciate(
        modules[:count], (), wanted=wanted, threshold=threshold, next_id=3, space=space
    )
    second = speciate(
        modules[count:],
        first.species,
        wanted=wanted,
        threshold=first.threshold,
        next_id=first.next_id,
        space=space,
    )
    for found, population in ((first, modules[:count]), (second, modules[count:])):
        members = [member for one in found.species for member in one.members]
        assert sorted(members) == [genome.id for genome in population]
        ids = [one.id for one in found.species]
        assert ids == sorted(set(ids))
        assert all(one.members for one in found.species)
    gone = {one.id for one in first.species} - {one.id for one in second.species}
    assert set(second.heirs) == gone
    fresh = {one.id for one in second.species} - {one.id for one in first.species}
    assert all(first.next_id <= number < second.next_id for number in fresh)


@given(
    means=st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30),
    extra=st.integers(0, 1000),
)
def test_offspring_sizes_add_up_exactly(means: list[float], extra: int) -> None:
    population = len(means) + extra
    sizes = offspring_sizes(means, population)
    assert sum(sizes) == population
    assert min(sizes) >= 1
    for one, size in zip(means, sizes, strict=True):
        for other, smaller in zip(means, sizes, strict=True):
            if one - other > 1e-9 * (max(means) - min(means)):
                assert size >= smaller
