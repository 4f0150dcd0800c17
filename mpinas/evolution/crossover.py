"""NEAT crossover by innovation number (Stanley and Miikkulainen 2002, section 3.2).

Matching genes come from either parent at random, disjoint and excess genes from the fitter one
only, so the child has the fitter parent's graph with some of the other's contents and switches.
Who is fitter, also in a tie, the caller decides.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from mpinas.evolution.expression import look_alike
from mpinas.evolution.genome import AnyGenome
from mpinas.evolution.graph import is_valid
from mpinas.evolution.mutation import ATTEMPTS, Mutation
from mpinas.evolution.operators import Change, with_graph

CROSSOVER = "crossover"


def cross(fitter: AnyGenome, other: AnyGenome, rng: np.random.Generator) -> Mutation | None:
    """A child of two genomes of the same sort, with the fitter parent's id.

    Returns:
        None where ``ATTEMPTS`` draws gave no valid graph that shows a difference from the fitter
        parent, so that a child is never a copy by accident.
    """
    for _ in range(ATTEMPTS):
        change = recombine(fitter, other, rng)
        if not look_alike(change.genome, fitter) and is_valid(change.genome):
            return Mutation(genome=change.genome, operator=CROSSOVER, genes=change.genes)
    return None


def recombine(fitter: AnyGenome, other: AnyGenome, rng: np.random.Generator) -> Change:
    """One draw, not checked: the graph may have a cycle or a dead end.

    Returns:
        The child, and the genes in which it follows the other parent and differs from the
        fitter; none of them where it is a copy.
    """
    nodes = _mix(
        {node.id: node for node in fitter.nodes}, {node.id: node for node in other.nodes}, rng
    )
    connections = _mix(
        {gene.innovation: gene for gene in fitter.connections},
        {gene.innovation: gene for gene in other.connections},
        rng,
    )
    values = _mix(fitter.hyperparameters, other.hyperparameters, rng)
    child = with_graph(fitter, list(nodes.values()), list(connections.values()))
    genes = (
        *(f"node {node.id}" for node in fitter.nodes if nodes[node.id] != node),
        *(
            f"connection {gene.innovation}"
            for gene in fitter.connections
            if connections[gene.innovation] != gene
        ),
        *(name for name in values if values[name] != fitter.hyperparameters[name]),
    )
    return Change(genome=replace(child, hyperparameters=values), genes=genes)


def _mix(
    fitter: Mapping[Any, Any], other: Mapping[Any, Any], rng: np.random.Generator
) -> dict[Any, Any]:
    """The fitter's genes; those that both have from either, a fair coin for each.

    In sorted order: that of a mapping does not survive a checkpoint.
    """
    coins = rng.random(len(fitter)) < 0.5
    return {
        mark: other[mark] if from_other and mark in other else fitter[mark]
        for mark, from_other in zip(sorted(fitter), coins, strict=True)
    }
