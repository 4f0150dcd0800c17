"""Graphs: order, cycles, what may be added, what may go, and every fault by its name."""

from __future__ import annotations

from dataclasses import replace

import pytest
from genetics import blueprint, connections, module, new_table

from mpinas.evolution.graph import (
    addable_edges,
    enabled_edges,
    graph_faults,
    is_valid,
    merges,
    removable_connections,
    topological_order,
)


def test_order_is_topological_and_takes_the_lowest_id_first() -> None:
    edges = [(0, 5), (0, 3), (3, 4), (5, 4), (4, 1)]
    assert topological_order([0, 1, 5, 4, 3], edges) == (0, 3, 5, 4, 1)


def test_order_refuses_a_cycle_and_an_unknown_node() -> None:
    with pytest.raises(ValueError, match=r"cycle through some of the nodes \[1, 2, 3\]"):
        topological_order([0, 1, 2, 3], [(0, 2), (2, 3), (3, 2), (3, 1)])
    with pytest.raises(ValueError, match="unknown node"):
        topological_order([0, 1], [(0, 9)])


def test_disabled_connections_build_nothing() -> None:
    genes = connections(new_table(), [(0, 2), (2, 1)], off=[(0, 1)])
    assert set(enabled_edges(genes)) == {(0, 2), (2, 1)}


def test_addable_edges_leave_out_cycles_duplicates_and_the_ends() -> None:
    genes = connections(new_table(), [(0, 2), (2, 3), (3, 1)], off=[(0, 1)])
    assert addable_edges([2, 3], genes) == [(0, 1), (0, 3), (2, 1)]


def test_nothing_can_be_added_to_a_complete_graph() -> None:
    genes = connections(new_table(), [(0, 2), (2, 1), (0, 1)])
    assert addable_edges([2], genes) == []


def test_removable_are_the_edges_that_are_nobodys_only_way() -> None:
    genes = connections(new_table(), [(0, 2), (2, 3), (3, 1), (0, 3), (2, 1)])
    assert {(gene.start, gene.end) for gene in removable_connections(genes)} == {
        (0, 3),
        (2, 1),
        (2, 3),
    }
    chain = connections(new_table(), [(0, 2), (2, 1)])
    assert removable_connections(chain) == []


def test_a_graph_merges_where_a_node_has_two_enabled_ways_in() -> None:
    table = new_table()
    assert not merges(connections(table, [(0, 2), (2, 3), (3, 1)], off=[(0, 1), (0, 3)]))
    assert merges(connections(table, [(0, 2), (2, 1), (0, 1)]))
    assert merges(connections(table, [(0, 2), (2, 3), (0, 3), (3, 1)]))


def test_a_chain_with_a_disabled_edge_is_valid() -> None:
    assert is_valid(module(new_table(), off=[(0, 1)]))


@pytest.mark.parametrize(
    ("edges", "off", "nodes", "expected"),
    [
        ([(0, 1)], [], [], "no node"),
        ([(0, 2), (2, 1)], [], [2, 3], "node 3 leads nowhere"),
        ([(0, 2), (2, 1), (3, 1)], [], [2, 3], "node 3 has no input"),
        ([(0, 2), (2, 1), (0, 3)], [(3, 1)], [2, 3], "node 3 leads nowhere"),
        ([(0, 2), (2, 3), (3, 2), (3, 1)], [], [2, 3], "cycle"),
        ([(0, 2), (2, 1), (2, 0)], [], [2], "edge 2->0 is not allowed"),
        ([(0, 2), (2, 1), (1, 2)], [], [2], "edge 1->2 is not allowed"),
        ([(0, 2), (2, 1), (2, 2)], [], [2], "edge 2->2 is not allowed"),
        ([(0, 2), (2, 1), (2, 7)], [], [2], "edge 2->7 names an unknown node"),
    ],
)
def test_faults_are_found_by_name(
    edges: list[tuple[int, int]],
    off: list[tuple[int, int]],
    nodes: list[int],
    expected: str,
) -> None:
    genome = module(new_table(), edges, nodes, off)
    assert any(expected in fault for fault in graph_faults(genome)), graph_faults(genome)


def test_unsorted_and_double_genes_are_faults() -> None:
    genome = blueprint(new_table(), {2: 0, 3: 0}, [(0, 2), (2, 3), (3, 1)])
    assert is_valid(genome)
    assert "not sorted" in graph_faults(replace(genome, nodes=genome.nodes[::-1]))[0]
    assert "not sorted" in graph_faults(replace(genome, connections=genome.connections[::-1]))[0]
    twice = replace(genome.connections[0], innovation=99)
    double = replace(genome, connections=(*genome.connections, twice))
    assert graph_faults(double) == ("an edge stands there twice",)


def test_a_node_must_not_stand_for_the_input() -> None:
    genome = blueprint(new_table(), {0: 0, 2: 0}, [(0, 2), (2, 1)])
    assert any("input or the output" in fault for fault in graph_faults(genome))
