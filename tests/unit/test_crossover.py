"""NEAT crossover: who gives which gene, and what happens where no child is valid."""

from __future__ import annotations

import pytest
from genetics import CONV, blueprint, generator, module, new_table

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
    crossed = [cross(fitter, other, generator(seed)) for seed in range(100)]
    assert crossed.count(None) <= 2
    for done in filter(None, crossed):
        assert done.operator == "crossover"
        assert is_valid(done.genome)
        assert done.genome != fitter
        assert done.genes


def test_parents_whose_networks_are_equal_are_not_crossed() -> None:
    """They differ in nothing, or in genes that no network follows."""
    table = new_table()
    unused = LayerNode(id=2, kind="conv2d", parameters={**CONV, "rate": 0.3, "pool_size": 3})
    for genome, twin in (
        (blueprint(table, {2: 0}), blueprint(table, {2: 0}, id="b0001")),
        (
            module(table),
            module(table, nodes=[unused], hyperparameters={"merge": "concatenate"}, id="m0001"),
        ),
    ):
        for seed in range(20):
            assert cross(genome, twin, generator(seed)) is None


def test_a_difference_that_shows_is_crossed() -> None:
    table = new_table()
    dropped = {**CONV, "follow": "dropout", "rate": 0.1}
    one = module(table, nodes=[LayerNode(id=2, kind="conv2d", parameters=dropped)])
    other = module(
        table, nodes=[LayerNode(id=2, kind="conv2d", parameters={**dropped, "rate": 0.3})]
    )
    assert all(cross(one, other, generator(seed)) is not None for seed in range(20))


def test_where_no_child_is_valid_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []

    def never(genome: object) -> bool:
        tried.append(genome)
        return False

    monkeypatch.setattr(crossover, "is_valid", never)
    fitter, other = parents()
    assert cross(fitter, other, generator(3)) is None
    assert 0 < len(tried) <= crossover.ATTEMPTS


def test_invalid_children_do_occur_and_are_not_returned() -> None:
    """Switches of both parents can shut every way; the draw has to be repeated."""
    table = new_table()
    one = module(table, [(0, 2), (2, 3), (3, 1)], [2, 3], off=[(2, 1), (0, 3)])
    other = module(table, [(0, 3), (3, 1), (0, 2), (2, 1)], [2, 3], off=[(2, 3)])
    drawn = [recombine(one, other, generator(seed)).genome for seed in range(100)]
    assert not all(is_valid(genome) for genome in drawn)
    crossed = [cross(one, other, generator(seed)) for seed in range(100)]
    assert any(crossed)
    assert all(child is None or is_valid(child.genome) for child in crossed)
