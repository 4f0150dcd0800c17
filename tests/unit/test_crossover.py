"""NEAT crossover: who gives which gene, and what happens where no child is valid."""

from __future__ import annotations

from dataclasses import replace

import pytest
from genetics import CONV, around, blueprint, generator, module, new_table

from mpinas.evolution import crossover
from mpinas.evolution.crossover import cross, recombine
from mpinas.evolution.genome import LayerNode
from mpinas.evolution.graph import is_valid


def parents() -> tuple[object, object]:
    """The fitter has nodes 2 and 3, the other 2 and 4; node 2 differs."""
    table = new_table()
    wide = LayerNode(id=2, kind="conv2d", parameters={**CONV, "filters": 64})
    fitter = module(table, [(0, 2), (2, 3), (3, 1)], [2, 3], off=[(2, 1)], id="m0005")
    other = module(
        table,
        [(0, 2), (2, 4), (4, 1)],
        [wide, LayerNode(id=4, kind="identity", parameters={})],
        off=[(2, 1)],
        id="m0003",
        hyperparameters={"merge": "concatenate"},
    )
    return fitter, other


def test_disjoint_and_excess_genes_come_from_the_fitter_parent_only() -> None:
    """SASH compares a genome with itself, so its second parent always wins."""
    fitter, other = parents()
    for seed in range(50):
        for first, second in ((fitter, other), (other, fitter)):
            child = recombine(first, second, generator(seed)).genome
            assert [node.id for node in child.nodes] == [node.id for node in first.nodes]
            assert [gene.innovation for gene in child.connections] == [
                gene.innovation for gene in first.connections
            ]


def test_matching_genes_come_from_either_parent() -> None:
    fitter, other = parents()
    widths, merges = set(), set()
    for seed in range(50):
        child = recombine(fitter, other, generator(seed)).genome
        widths.add(child.nodes[0].parameters["filters"])
        merges.add(child.hyperparameters["merge"])
    assert widths == {32, 64}
    assert merges == {"add", "concatenate"}


def test_the_genes_named_are_those_taken_from_the_other_parent() -> None:
    fitter, other = parents()
    for seed in range(50):
        change = recombine(fitter, other, generator(seed))
        took_node = change.genome.nodes[0] != fitter.nodes[0]
        took_merge = change.genome.hyperparameters != fitter.hyperparameters
        expected = ("node 2",) * took_node + ("merge",) * took_merge
        assert change.genes == expected


def test_a_child_is_valid_and_no_copy_of_the_fitter_parent() -> None:
    """A crossing that only copies wastes a trial."""
    fitter, other = parents()
    for seed in range(100):
        done = cross(fitter, other, around(), generator(seed))
        assert is_valid(done.genome)
        assert done.genome != fitter
        assert done.genes


def test_equal_parents_give_a_plain_mutation() -> None:
    table = new_table()
    genome = blueprint(table, {2: 0})
    twin = replace(genome, id="b0001")
    done = cross(genome, twin, around(table=table), generator())
    assert done.operator in {"perturb_hyperparameter", "change_species"}
    assert done.genome != genome


def test_where_no_child_is_valid_the_fitter_parent_is_mutated(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tried = []

    def never(genome: object) -> bool:
        tried.append(genome)
        return False

    monkeypatch.setattr(crossover, "is_valid", never)
    fitter, other = parents()
    done = cross(fitter, other, around(), generator(3))
    assert 0 < len(tried) <= crossover.ATTEMPTS
    assert done.operator != "crossover"


def test_invalid_children_do_occur_and_are_not_returned() -> None:
    """Switches of both parents can shut every way; the draw has to be repeated."""
    table = new_table()
    one = module(table, [(0, 2), (2, 3), (3, 1)], [2, 3], off=[(2, 1), (0, 3)])
    other = module(table, [(0, 3), (3, 1), (0, 2), (2, 1)], [2, 3], off=[(2, 3)])
    drawn = [recombine(one, other, generator(seed)).genome for seed in range(100)]
    assert not all(is_valid(genome) for genome in drawn)
    for seed in range(100):
        assert is_valid(cross(one, other, around(table=table), generator(seed)).genome)
