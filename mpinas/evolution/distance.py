"""How different two genomes are: 0 to itself, symmetric, at most 1.

Three parts, weighed by constants: genes (enabled connections and nodes) that only one of the two
has, as a share of all that either has; contents of the nodes both have (for a layer its kind and
parameters, for a blueprint node its species); values of the whole genome. Distances to many
genomes are taken at once, in numpy: a generation of 1,000 needs tens of thousands.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mpinas.evolution.genome import AnyGenome, AnyNode, LayerNode
from mpinas.evolution.operators import hyperparameter_domains
from mpinas.records import ParameterValue
from mpinas.space.domains import Choice, Domain, Number
from mpinas.space.search_space import SearchSpace

STRUCTURE_WEIGHT = 0.5
CONTENT_WEIGHT = 0.35
HYPERPARAMETER_WEIGHT = 0.15

Floats = npt.NDArray[np.float64]
Coordinates = tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Contents:
    """What the genomes have at one node: rows of the table, kinds, and coordinates."""

    rows: npt.NDArray[np.intp]
    kinds: npt.NDArray[np.int64]
    coordinates: Floats


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
        self._nodes = [
            {node.id: self._encoder.node(node) for node in genome.nodes} for genome in genomes
        ]
        self._contents = self._gather()
        values = [self._encoder.values(genome) for genome in genomes]
        self._values = np.array(values, dtype=np.float64).reshape(len(genomes), -1)
        domains = hyperparameter_domains(genomes[0], space) if genomes else {}
        self._ordered = np.array([isinstance(domain, Number) for domain in domains.values()], bool)
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
        matched = np.zeros(len(self._genes))
        for node, (kind, coordinates) in self._nodes[index].items():
            contents = self._contents[node]
            ordered = self._encoder.ordered(kind)
            distances = _mean_distance(
                contents.coordinates[:, : len(coordinates)], np.array(coordinates), ordered
            )
            total[contents.rows] += np.where(contents.kinds == kind, distances, 1.0)
            matched[contents.rows] += 1
        return np.where(matched > 0, total / np.maximum(matched, 1), 1.0)

    def _hyperparameters(self, index: int) -> Floats:
        return _mean_distance(self._values, self._values[index], self._ordered)

    def _gather(self) -> Mapping[int, _Contents]:
        found: dict[int, list[tuple[int, int, Coordinates]]] = defaultdict(list)
        for row, nodes in enumerate(self._nodes):
            for node, (kind, coordinates) in nodes.items():
                found[node].append((row, kind, coordinates))
        width = max((len(entry[2]) for entries in found.values() for entry in entries), default=0)
        gathered = {}
        for node, entries in found.items():
            padded = np.zeros((len(entries), width))
            for position, (_, _, coordinates) in enumerate(entries):
                padded[position, : len(coordinates)] = coordinates
            gathered[node] = _Contents(
                rows=np.array([entry[0] for entry in entries], dtype=np.intp),
                kinds=np.array([entry[1] for entry in entries], dtype=np.int64),
                coordinates=padded,
            )
        return gathered


class _Encoder:
    """Values as coordinates: a number by its place in its domain, a choice by its index."""

    def __init__(self, space: SearchSpace) -> None:
        self._space = space
        self._kinds = {kind: index for index, kind in enumerate(space.layers)}
        self._ordered = [
            np.array([isinstance(domain, Number) for domain in domains.values()], bool)
            for domains in space.layers.values()
        ]

    def ordered(self, kind: int) -> npt.NDArray[np.bool_]:
        """Which coordinates of a node of this kind are numbers; none for a blueprint's node."""
        return self._ordered[kind] if kind < len(self._ordered) else np.zeros(1, bool)

    def node(self, node: AnyNode) -> tuple[int, Coordinates]:
        """(kind, coordinates); all blueprint nodes are of one kind, the species a choice."""
        if isinstance(node, LayerNode):
            domains = self._space.layers[node.kind]
            return self._kinds[node.kind], _coordinates(domains, node.parameters)
        return len(self._kinds), (float(node.species),)

    def values(self, genome: AnyGenome) -> Coordinates:
        """Coordinates of the values that belong to the whole genome."""
        return _coordinates(hyperparameter_domains(genome, self._space), genome.hyperparameters)


def distance(one: AnyGenome, other: AnyGenome, space: SearchSpace) -> float:
    """The distance of two genomes of one sort, in 0..1."""
    return float(DistanceTable([one, other], space).row(0)[1])


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


def _coordinates(
    domains: Mapping[str, Domain], values: Mapping[str, ParameterValue]
) -> Coordinates:
    return tuple(_coordinate(domain, values[name]) for name, domain in domains.items())


def _coordinate(domain: Domain, value: ParameterValue) -> float:
    if isinstance(domain, Number):
        return domain.distance(domain.low, value)
    assert isinstance(domain, Choice)
    return float(domain.values.index(value))


def _mean_distance(rows: Floats, coordinates: Floats, ordered: npt.NDArray[np.bool_]) -> Floats:
    """Mean over the coordinates of ``Domain.distance``; 0 where there are none."""
    if not len(coordinates):
        return np.zeros(len(rows))
    gaps = np.abs(rows - coordinates)
    return np.asarray(np.where(ordered, gaps, gaps > 0).mean(axis=1), dtype=np.float64)
