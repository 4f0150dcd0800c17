"""New genomes from nothing: chains of random genes, with some edges added and some taken out.

Every valid graph within the size limit can come out: a chain of the right length, the edges it
lacks, without those it should not have. With an innovation table shared by all, equal places get
equal markings, so that starting genomes can be compared and crossed.
"""

from __future__ import annotations

from collections import Counter
from typing import cast

import numpy as np

from mpinas.evolution.genome import (
    INPUT_NODE,
    OUTPUT_NODE,
    AnyGenome,
    BlueprintGenome,
    Connection,
    ModuleGenome,
)
from mpinas.evolution.graph import addable_edges, enabled_edges, removable_connections
from mpinas.evolution.operators import (
    Surroundings,
    sample_all,
    split_connection,
    with_graph,
)


def grow_module(
    genome_id: str, size: int, density: float, around: Surroundings, rng: np.random.Generator
) -> ModuleGenome:
    """A random module genome.

    Args:
        size: number of layers, from 1 to the space's limit.
        density: odds, for each edge that could be added to the chain, that it is, and then for
            each that could go, that it goes; 0 leaves a chain.
    """
    seed = ModuleGenome(
        id=genome_id,
        nodes=(),
        connections=_direct(around),
        hyperparameters=sample_all(around.space.module_hyperparameters, rng),
    )
    return cast(ModuleGenome, _grow(seed, size, density, around, rng))


def grow_blueprint(
    genome_id: str, size: int, density: float, around: Surroundings, rng: np.random.Generator
) -> BlueprintGenome:
    """A random blueprint genome, its nodes pointing to living species; see :func:`grow_module`."""
    seed = BlueprintGenome(
        id=genome_id,
        nodes=(),
        connections=_direct(around),
        hyperparameters=sample_all(around.space.blueprint_hyperparameters, rng),
    )
    return cast(BlueprintGenome, _grow(seed, size, density, around, rng))


def _direct(around: Surroundings) -> tuple[Connection, ...]:
    innovation = around.innovations.connection(INPUT_NODE, OUTPUT_NODE)
    return (Connection(innovation=innovation, start=INPUT_NODE, end=OUTPUT_NODE),)


def _grow(
    genome: AnyGenome, size: int, density: float, around: Surroundings, rng: np.random.Generator
) -> AnyGenome:
    for _ in range(size):
        last = next(gene for gene in genome.connections if gene.enabled and gene.end == OUTPUT_NODE)
        genome = split_connection(genome, last, around, rng).genome
    if density > 0:
        genome = _add_edges(genome, density, around, rng)
        genome = _remove_edges(genome, density, rng)
    return genome


def _add_edges(
    genome: AnyGenome, density: float, around: Surroundings, rng: np.random.Generator
) -> AnyGenome:
    connections = {gene.innovation: gene for gene in genome.connections}
    for start, end in addable_edges([node.id for node in genome.nodes], genome.connections):
        if rng.random() < density:
            number = around.innovations.connection(start, end)
            connections[number] = Connection(innovation=number, start=start, end=end)
    return with_graph(genome, genome.nodes, list(connections.values()))


def _remove_edges(genome: AnyGenome, density: float, rng: np.random.Generator) -> AnyGenome:
    """Removes as :func:`removable_connections` allows, asked again after each removal."""
    edges = enabled_edges(genome.connections)
    leaving, entering = Counter(edge[0] for edge in edges), Counter(edge[1] for edge in edges)
    gone = set()
    for gene in removable_connections(genome.connections):
        still_free = leaving[gene.start] > 1 and entering[gene.end] > 1
        if still_free and rng.random() < density:
            leaving[gene.start] -= 1
            entering[gene.end] -= 1
            gone.add(gene.innovation)
    kept = [gene for gene in genome.connections if gene.innovation not in gone]
    return with_graph(genome, genome.nodes, kept)


def draw_size(largest: int, rng: np.random.Generator) -> int:
    """A number of nodes from 1 to the largest, all equally likely."""
    return 1 + int(rng.integers(largest))


def draw_density(rng: np.random.Generator) -> float:
    """0 (a chain) for every second genome, any share for the others."""
    density = float(rng.uniform())
    return density if rng.random() < 0.5 else 0.0
