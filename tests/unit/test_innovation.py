"""The innovation table: equal changes, equal numbers; splitting again, another node."""

from __future__ import annotations

import pytest
from genetics import around, generator, module, new_table

from mpinas.evolution.innovation import InnovationTable
from mpinas.evolution.operators import (
    add_node,
    enable_edge,
    remove_node,
    split_connection,
    with_graph,
)


def test_equal_edges_get_equal_numbers_and_new_ones_the_next() -> None:
    table = InnovationTable()
    assert [table.connection(*edge) for edge in [(0, 1), (0, 2), (0, 1), (2, 1)]] == [0, 1, 0, 2]


def test_equal_splits_in_different_genomes_give_equal_nodes() -> None:
    table = new_table()
    surroundings = around(table=table)
    one, other = module(table, id="m0001"), module(table, id="m0002")
    gene = one.connections[0]
    changes = [
        split_connection(genome, gene, surroundings, generator(seed))
        for seed, genome in enumerate((one, other))
    ]
    ids = [{node.id for node in change.genome.nodes} for change in changes]
    genes = [{gene.innovation for gene in change.genome.connections} for change in changes]
    assert ids[0] == ids[1]
    assert genes[0] == genes[1]


def test_splitting_again_in_one_genome_gives_a_fresh_node() -> None:
    """TFNE's key is the edge alone: the same node comes back and overwrites the first."""
    table = new_table()
    surroundings = around(table=table)
    genome = module(table)
    gene = genome.connections[0]
    once = split_connection(genome, gene, surroundings, generator()).genome
    enabled, _ = enable_edge(once.connections, gene.start, gene.end, table)
    reopened = with_graph(once, once.nodes, enabled)
    again = split_connection(reopened, enabled[-1], surroundings, generator()).genome
    assert len(again.nodes) == 3
    assert len({node.id for node in again.nodes}) == 3
    assert dict(again.splits)[gene.innovation] == 2


def test_the_count_is_kept_while_a_node_of_a_split_is_there() -> None:
    """Or splitting once more would give the id of a node that the genome still has."""
    table = new_table()
    surroundings = around(table=table)
    genome = module(table, [(0, 2), (2, 1), (0, 1)], [2], splits=((0, 1),))
    direct = next(gene for gene in genome.connections if (gene.start, gene.end) == (0, 1))
    for seed in range(20):
        grown = split_connection(genome, direct, surroundings, generator(seed)).genome
        smaller = remove_node(grown, surroundings, generator(seed))
        assert smaller is not None
        enabled, _ = enable_edge(smaller.genome.connections, 0, 1, table)
        reopened = with_graph(smaller.genome, smaller.genome.nodes, enabled)
        again = split_connection(reopened, direct, surroundings, generator(seed)).genome
        ids = [node.id for node in again.nodes]
        assert len(set(ids)) == len(ids) == 2
        assert dict(again.splits)[direct.innovation] == 3


def test_counts_that_can_matter_no_more_are_dropped() -> None:
    """Or genomes, and with them every checkpoint, would grow with the length of the run."""
    table = new_table()
    surroundings = around(table=table)
    genome = module(table)
    for seed in range(300):
        operator = add_node if len(genome.nodes) < 3 else remove_node
        change = operator(genome, surroundings, generator(seed))
        assert change is not None
        genome = change.genome
    assert len(genome.splits) <= len(genome.connections) + len(genome.nodes)


def test_history_is_only_appended_to() -> None:
    table = InnovationTable()
    table.connection(0, 1)
    table.split(0, 0)
    before = table.history()
    later = InnovationTable(before)
    later.connection(0, 2)
    later.split(0, 0)
    later.split(0, 1)
    assert later.history()[: len(before)] == before
    assert len(later.history()) == len(before) + 2


def test_a_table_goes_on_from_its_history_as_if_never_stopped() -> None:
    whole, first = InnovationTable(), InnovationTable()
    for table in (whole, first):
        table.connection(0, 1)
        table.split(0, 0)
    second = InnovationTable([list(row) for row in first.history()])
    for table in (whole, second):
        table.connection(0, 2)
        table.split(1, 0)
        table.connection(0, 1)
    assert second.history() == whole.history()
    assert second.origin(3) == (1, 0)


@pytest.mark.parametrize(
    "rows",
    [
        [(0, 1, 0, 1)],
        [(0, 0, 0, 1), (0, 0, 0, 2)],
        [(0, 0, 0, 1), (0, 1, 0, 1)],
        [(1, 3, 0, 0)],
        [(2, 0, 0, 0)],
        [(0, 0, 0)],
        [()],
    ],
)
def test_rows_that_are_no_history_are_refused(rows: list[tuple[int, ...]]) -> None:
    with pytest.raises(ValueError, match="history: not the next row"):
        InnovationTable(rows)
