"""Genomes: the small graphs that evolve. Records only; what changes them is ``operators.py``.

A module genome is a NEAT graph of layers, a blueprint genome a NEAT graph of pointers to module
*species* (Miikkulainen et al. 2017, sections 3 and 4). In both, node 0 is the input and node 1
the output; they carry no gene. A genome is valid if its enabled connections form an acyclic graph
in which every node lies on a path from input to output.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from mpinas.records import ParameterValue

INPUT_NODE = 0
OUTPUT_NODE = 1
FIRST_FREE_NODE = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerNode:
    """A layer in a module: its kind (a searchable row of ``space.layers``) and parameters."""

    id: int
    kind: str
    parameters: Mapping[str, ParameterValue]


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeciesNode:
    """A place in a blueprint, to be filled by a module of that species."""

    id: int
    species: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """An edge. ``innovation`` is its historical marking: equal edges carry equal numbers."""

    innovation: int
    start: int
    end: int
    enabled: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Genome:
    """What modules and blueprints share.

    Attributes:
        id: ``m0042`` or ``b0007``; numbers are never used twice in a run.
        connections: sorted by innovation number.
        hyperparameters: by name, each in its domain of the search space (``merge``;
            for a blueprint also ``learning_rate`` and those of the head).
        splits: (innovation number, how often this genome split that connection), sorted;
            absent means never.
    """

    id: str
    connections: tuple[Connection, ...]
    hyperparameters: Mapping[str, ParameterValue]
    splits: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ModuleGenome(Genome):
    """A small graph of layers. ``nodes`` are sorted by id; at least one."""

    nodes: tuple[LayerNode, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class BlueprintGenome(Genome):
    """A graph of species pointers. ``nodes`` are sorted by id; at least one."""

    nodes: tuple[SpeciesNode, ...]


AnyGenome = ModuleGenome | BlueprintGenome
AnyNode = LayerNode | SpeciesNode
GenomeType = TypeVar("GenomeType", bound=AnyGenome)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChosenModule:
    """The one module that stands for a species in a candidate."""

    species: int
    module: ModuleGenome


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A blueprint with one module chosen for each species it mentions, sorted by species."""

    blueprint: BlueprintGenome
    modules: tuple[ChosenModule, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LineageRecord:
    """Where a genome came from. There is exactly one record for each genome id.

    Attributes:
        genome_id: the child.
        parents: ids; none for a starting genome, two after a crossover (the fitter first).
        operator: name in ``OPERATORS``, or ``start``, ``crossover``, ``clone``, ``repair``;
            several in a row are joined: ``crossover+perturb_layer``.
        genes: what was touched, e.g. ``node 5``, ``connection 12``, ``learning_rate``.
        generation: in which it was made.
    """

    genome_id: str
    parents: tuple[str, ...]
    operator: str
    genes: tuple[str, ...]
    generation: int
