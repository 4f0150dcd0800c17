"""Questions about the graph of a genome: order, cycles, what may be added, what may go.

Pure. Comes in: node ids, connections, edges. Node 0 is the input, node 1 the output. All answers
are in a fixed order, so that a seeded draw from them repeats.
"""

from __future__ import annotations

import heapq
import itertools
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence

from mpinas.evolution.genome import (
    FIRST_FREE_NODE,
    INPUT_NODE,
    OUTPUT_NODE,
    AnyGenome,
    Connection,
)

Edge = tuple[int, int]
"""(start node, end node)."""


def enabled_edges(connections: Iterable[Connection]) -> tuple[Edge, ...]:
    """The edges that are built, in the order of their connections."""
    return tuple((gene.start, gene.end) for gene in connections if gene.enabled)


def neighbours(edges: Iterable[Edge]) -> Mapping[int, list[int]]:
    """Node -> where its edges lead, for the nodes that have any."""
    ends: dict[int, list[int]] = defaultdict(list)
    for start, end in edges:
        ends[start].append(end)
    return ends


def reachable(ends: Mapping[int, Sequence[int]], start: int) -> set[int]:
    """All nodes that paths from start lead to, itself included."""
    found = {start}
    waiting = [start]
    while waiting:
        for end in ends.get(waiting.pop(), ()):
            if end not in found:
                found.add(end)
                waiting.append(end)
    return found


def topological_order(nodes: Iterable[int], edges: Collection[Edge]) -> tuple[int, ...]:
    """The nodes, each after all that lead to it; of several that could be next, the lowest id.

    Raises:
        ValueError: the edges form a cycle, or name a node that is not among the nodes.
    """
    missing = dict.fromkeys(nodes, 0)
    for start, end in edges:
        if start not in missing or end not in missing:
            raise ValueError(f"edge {start}->{end} names an unknown node.")
        missing[end] += 1
    ends = neighbours(edges)
    ready = [node for node, count in missing.items() if count == 0]
    heapq.heapify(ready)
    order = []
    while ready:
        order.append(heapq.heappop(ready))
        for end in ends.get(order[-1], ()):
            missing[end] -= 1
            if missing[end] == 0:
                heapq.heappush(ready, end)
    if len(order) < len(missing):
        cyclic = sorted(node for node, count in missing.items() if count > 0)
        raise ValueError(f"the edges form a cycle through some of the nodes {cyclic}.")
    return tuple(order)


def graph_faults(genome: AnyGenome) -> tuple[str, ...]:
    """What keeps the genome's graph from being valid, one line a fault; empty if it is valid.

    Valid: genes sorted and unique, no edge into the input or out of the output, the enabled
    edges free of cycles, and every node on an enabled path from input to output.
    """
    node_ids = [node.id for node in genome.nodes]
    faults = list(_gene_faults(genome, node_ids))
    if faults:
        return tuple(faults)
    edges = enabled_edges(genome.connections)
    try:
        topological_order((INPUT_NODE, OUTPUT_NODE, *node_ids), edges)
    except ValueError as cycle:
        return (str(cycle),)
    starts, ends = {start for start, _ in edges}, {end for _, end in edges}
    faults += [f"node {node} leads nowhere" for node in node_ids if node not in starts]
    faults += [f"node {node} has no input" for node in node_ids if node not in ends]
    return tuple(faults)


def _gene_faults(genome: AnyGenome, node_ids: Sequence[int]) -> Iterable[str]:
    if not node_ids:
        yield "there is no node"
    if any(late <= early for early, late in itertools.pairwise(node_ids)):
        yield f"node ids are not sorted and unique: {list(node_ids)}"
    if node_ids and node_ids[0] < FIRST_FREE_NODE:
        yield f"node {node_ids[0]} stands for the input or the output"
    marks = [gene.innovation for gene in genome.connections]
    if any(late <= early for early, late in itertools.pairwise(marks)):
        yield f"innovation numbers are not sorted and unique: {marks}"
    edges = [(gene.start, gene.end) for gene in genome.connections]
    if len(set(edges)) < len(edges):
        yield "an edge stands there twice"
    known = {INPUT_NODE, OUTPUT_NODE, *node_ids}
    for start, end in edges:
        if start not in known or end not in known:
            yield f"edge {start}->{end} names an unknown node"
        if start in (OUTPUT_NODE, end) or end == INPUT_NODE:
            yield f"edge {start}->{end} is not allowed"


def is_valid(genome: AnyGenome) -> bool:
    """Whether :func:`graph_faults` finds nothing."""
    return not graph_faults(genome)


def addable_edges(node_ids: Sequence[int], connections: Iterable[Connection]) -> list[Edge]:
    """Edges that could be added or enabled: none that is there, closes a cycle, enters the
    input or leaves the output; sorted."""
    present = set(enabled_edges(connections))
    ends = neighbours(present)
    found = []
    for end in (OUTPUT_NODE, *node_ids):
        behind = reachable(ends, end)
        found += [
            (start, end)
            for start in (INPUT_NODE, *node_ids)
            if start not in behind and (start, end) not in present
        ]
    return sorted(found)


def merges(connections: Iterable[Connection]) -> bool:
    """Whether some node has more than one enabled way in."""
    ends = [end for _, end in enabled_edges(connections)]
    return len(set(ends)) < len(ends)


def removable_connections(connections: Iterable[Connection]) -> list[Connection]:
    """Enabled connections without which every node still has a way in and a way out.

    In a graph without cycles that is enough to keep every node on a path from input to output.
    """
    enabled = [gene for gene in connections if gene.enabled]
    leaving = Counter(gene.start for gene in enabled)
    entering = Counter(gene.end for gene in enabled)
    return [gene for gene in enabled if leaving[gene.start] > 1 and entering[gene.end] > 1]
