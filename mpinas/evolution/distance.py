"""How different two genomes are: 0 to itself, symmetric, at most 1.

Three parts, weighed by constants: genes (enabled connections and nodes) that only one of the two
has, by their historical markings, as a share of all that either has; contents of the nodes in
topological order (for a layer its kind and parameters, for a blueprint node its species); values
of the whole genome. Contents are not matched by marking: genomes that have drifted so far apart
that they share none would all be equally different, and no threshold could tell them apart.
Distances to many genomes are taken at once, in numpy: a generation of 1,000 needs tens of
thousands.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from mpinas.evolution.genome import INPUT_NODE, OUTPUT_NODE, AnyGenome, AnyNode, LayerNode
from mpinas.evolution.graph import enabled_edges, topological_order
from mpinas.evolution.validity import hyperparameter_domains
from mpinas.records import ParameterValue
from mpinas.space.domains import Domain
from mpinas.space.search_space import SearchSpace

STRUCTURE_WEIGHT = 0.5
CONTENT_WEIGHT = 0.35
HYPERPARAMETER_WEIGHT = 0.15

Floats = npt.NDArray[np.float64]
Coordinates = tuple[float, ...]
_NO_NODE = -1


class DistanceTable:
    """Distances among some genomes of one sort, by their position; each row taken once.

    Args:
        genomes: all modules or all blueprints.
        space: whose domains measure the values.
    """

    def __init__(self, genomes: Sequence[AnyGenome], space: SearchSpace) -> None:
        self._encoder = _Encoder(space)
        self._genes = [_gene_marks(genome) for genome in genomes]
        self._sizes = np.array([len(marks) for marks in self._genes], dtype=np.int64)
        self._owners = _owners(self._genes)
        self._lengths = np.array([len(genome.nodes) for genome in genomes], dtype=np.int64)
        self._kinds, self._coordinates = _content_arrays(
            [self._encoder.nodes(genome) for genome in genomes]
        )
        values = [self._encoder.values(genome) for genome in genomes]
        self._values = np.array(values, dtype=np.float64).reshape(len(genomes), -1)
        domains = hyperparameter_domains(genomes[0], space) if genomes else {}
        self._ordered = np.array([domain.ordered for domain in domains.values()], bool)
        self._rows: dict[int, Floats] = {}

    def row(self, index: int) -> Floats:
        """Distances of the genome at this position to all, itself included; shape (genomes,)."""
        if index not in self._rows:
            distances = STRUCTURE_WEIGHT * self._structure(index)
            distances += CONTENT_WEIGHT * self._content(index)
            distances += HYPERPARAMETER_WEIGHT * self._hyperparameters(index)
            self._rows[index] = distances
        return self._rows[index]

    def _structure(self, index: int) -> Floats:
        shared = np.zeros(len(self._genes))
        for mark in self._genes[index]:
            shared[self._owners[mark]] += 1
        union = self._sizes + self._sizes[index] - shared
        return np.asarray(1 - shared / union, dtype=np.float64)

    def _content(self, index: int) -> Floats:
        total = np.zeros(len(self._genes))
        for place, kind in enumerate(self._kinds[index]):
            kinds = self._kinds[:, place]
            if kind == _NO_NODE:
                total += kinds != _NO_NODE
                continue
            ordered = self._encoder.ordered(int(kind))
            width = len(ordered)
            gaps = _mean_distance(
                self._coordinates[:, place, :width],
                self._coordinates[index, place, :width],
                ordered,
            )
            total += np.where(kinds == kind, gaps, 1.0)
        return np.asarray(total / np.maximum(self._lengths, self._lengths[index]))

    def _hyperparameters(self, index: int) -> Floats:
        return _mean_distance(self._values, self._values[index], self._ordered)


class _Encoder:
    """Values as coordinates: a number by its place in its domain, a choice by its index."""

    def __init__(self, space: SearchSpace) -> None:
        self._space = space
        self._kinds = {kind: index for index, kind in enumerate(space.layers)}
        self._ordered = [
            np.array([domain.ordered for domain in domains.values()], bool)
            for domains in space.layers.values()
        ]

    def ordered(self, kind: int) -> npt.NDArray[np.bool_]:
        """Which coordinates of a node of this kind are numbers; none for a blueprint's node."""
        return self._ordered[kind] if kind < len(self._ordered) else np.zeros(1, bool)

    def nodes(self, genome: AnyGenome) -> list[tuple[int, Coordinates]]:
        """(kind, coordinates) of each node, in topological order."""
        by_id = {node.id: node for node in genome.nodes}
        edges = enabled_edges(genome.connections)
        order = topological_order((INPUT_NODE, OUTPUT_NODE, *by_id), edges)
        return [self._node(by_id[node]) for node in order if node in by_id]

    def _node(self, node: AnyNode) -> tuple[int, Coordinates]:
        """All blueprint nodes are of one kind, their species a choice."""
        if isinstance(node, LayerNode):
            domains = self._space.layers[node.kind]
            return self._kinds[node.kind], _coordinates(domains, node.parameters)
        return len(self._kinds), (float(node.species),)

    def values(self, genome: AnyGenome) -> Coordinates:
        """Coordinates of the values that belong to the whole genome."""
        return _coordinates(hyperparameter_domains(genome, self._space), genome.hyperparameters)


def _gene_marks(genome: AnyGenome) -> list[int]:
    """Enabled connections by innovation number, nodes by id below zero."""
    return [gene.innovation for gene in genome.connections if gene.enabled] + [
        -node.id for node in genome.nodes
    ]


def _owners(genes: Sequence[Sequence[int]]) -> Mapping[int, npt.NDArray[np.intp]]:
    owners: dict[int, list[int]] = defaultdict(list)
    for row, marks in enumerate(genes):
        for mark in marks:
            owners[mark].append(row)
    return {mark: np.array(rows, dtype=np.intp) for mark, rows in owners.items()}


def _content_arrays(
    contents: Sequence[Sequence[tuple[int, Coordinates]]],
) -> tuple[npt.NDArray[np.int64], Floats]:
    """Kinds, shape (genomes, places), and coordinates, shape (genomes, places, parameters)."""
    places = max((len(nodes) for nodes in contents), default=0)
    width = max((len(node[1]) for nodes in contents for node in nodes), default=0)
    kinds = np.full((len(contents), places), _NO_NODE, dtype=np.int64)
    coordinates = np.zeros((len(contents), places, width))
    for row, nodes in enumerate(contents):
        for place, (kind, values) in enumerate(nodes):
            kinds[row, place] = kind
            coordinates[row, place, : len(values)] = values
    return kinds, coordinates


def _coordinates(
    domains: Mapping[str, Domain], values: Mapping[str, ParameterValue]
) -> Coordinates:
    return tuple(domain.place(values[name]) for name, domain in domains.items())


def _mean_distance(rows: Floats, coordinates: Floats, ordered: npt.NDArray[np.bool_]) -> Floats:
    """Mean gap of the coordinates, 0 or 1 for those without an order; 0 where there are none."""
    if not len(coordinates):
        return np.zeros(len(rows))
    gaps = np.abs(rows - coordinates)
    return np.asarray(np.where(ordered, gaps, gaps > 0).mean(axis=1), dtype=np.float64)
