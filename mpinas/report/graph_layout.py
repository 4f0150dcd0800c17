"""Where the boxes of a small directed graph go: from top to bottom, few crossings. Pure.

The usual steps (Sugiyama, Tagawa and Toda 1981): a row for each node by its longest path, an
invisible node wherever an edge passes a row, then rows sorted by the mean place of neighbours.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

Name = Any
"""Anything hashable."""
Edge = tuple[Name, Name]
Point = tuple[float, float]
"""(place in its row, row); places are centred around 0, a box wide each; rows grow downwards."""

SWEEPS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Where everything is.

    Attributes:
        places: of the nodes.
        routes: points along each edge, both ends included.
        width: boxes in the fullest row, those of passing edges included.
        rows: how many there are.
    """

    places: Mapping[Name, Point]
    routes: Mapping[Edge, Sequence[Point]]
    width: int
    rows: int


def lay_out(
    nodes: Sequence[Name], edges: Iterable[Edge], rows: Mapping[Name, int] | None = None
) -> Layout:
    """Lays a graph out.

    Args:
        nodes: in topological order.
        edges: between them, each once.
        rows: where nodes have to be, an edge always leading downwards; None: by longest path.
    """
    links = list(edges)
    row_of = dict(rows) if rows is not None else _longest_paths(nodes, links)
    lines: dict[int, list[Name]] = defaultdict(list)
    for node in nodes:
        lines[row_of[node]].append(node)
    chains = {}
    for edge in links:
        start, end = edge
        passing: list[Name] = [
            ("passing", edge, row) for row in range(row_of[start] + 1, row_of[end])
        ]
        chains[edge] = [start, *passing, end]
        for row, invisible in enumerate(passing, start=row_of[start] + 1):
            lines[row].append(invisible)
    _sort_rows(lines, list(chains.values()))
    places = _places(lines)
    return Layout(
        places={node: places[node] for node in nodes},
        routes={edge: [places[step] for step in chain] for edge, chain in chains.items()},
        width=max(map(len, lines.values()), default=1),
        rows=max(lines, default=0) + 1,
    )


def _longest_paths(nodes: Sequence[Name], edges: Sequence[Edge]) -> dict[Name, int]:
    before: dict[Name, list[Name]] = defaultdict(list)
    for start, end in edges:
        before[end].append(start)
    rows: dict[Name, int] = {}
    for node in nodes:
        rows[node] = max((rows[one] + 1 for one in before[node]), default=0)
    return rows


def _sort_rows(lines: dict[int, list[Name]], chains: Sequence[Sequence[Name]]) -> None:
    """Sorts every row by the mean place of what it is joined to, down and up in turn."""
    above: dict[Name, list[Name]] = defaultdict(list)
    below: dict[Name, list[Name]] = defaultdict(list)
    for chain in chains:
        for start, end in pairwise(chain):
            above[end].append(start)
            below[start].append(end)
    for sweep in range(SWEEPS):
        joined, order = (above, sorted(lines)) if sweep % 2 == 0 else (below, sorted(lines)[::-1])
        for row in order:
            places = {node: place for node, (place, _) in _places(lines).items()}
            lines[row].sort(key=lambda node: _mean_place(node, joined[node], places))


def _mean_place(node: Name, joined: Sequence[Name], places: Mapping[Name, float]) -> float:
    return sum(places[one] for one in joined) / len(joined) if joined else places[node]


def _places(lines: Mapping[int, Sequence[Name]]) -> dict[Name, Point]:
    return {
        node: (index - (len(line) - 1) / 2, float(row))
        for row, line in lines.items()
        for index, node in enumerate(line)
    }
