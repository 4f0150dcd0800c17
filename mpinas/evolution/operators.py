"""The mutations: one function each, all of one signature, in one literal registry.

An operator takes a genome, its surroundings and a random generator, and returns the changed
genome (with the id it came with) and the genes it touched, or None where it cannot change
anything. It never returns an invalid graph, a value outside its domain or a genome above its
size limit, and never the genome it was given. Nothing here knows odds or fitness.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar, cast

import numpy as np

from mpinas.evolution.expression import acting_hyperparameters, acting_parameters
from mpinas.evolution.genome import (
    AnyGenome,
    AnyNode,
    BlueprintGenome,
    Connection,
    LayerNode,
    ModuleGenome,
    SpeciesNode,
)
from mpinas.evolution.graph import addable_edges, removable_connections
from mpinas.evolution.innovation import InnovationTable
from mpinas.evolution.validity import hyperparameter_domains, size_limit
from mpinas.records import ParameterValue
from mpinas.space.domains import Domain
from mpinas.space.search_space import SearchSpace


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What an operator may look at besides the genome.

    Attributes:
        innovations: numbers new genes; the only thing here that changes.
        species: ids of the living module species, sorted, at least one.
        strength: of a perturbation, as a share of the domain's width.
    """

    space: SearchSpace
    innovations: InnovationTable
    species: tuple[int, ...]
    strength: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What an operator did: the new genome, and the genes touched, e.g. ``node 5``."""

    genome: AnyGenome
    genes: tuple[str, ...]


Operator = Callable[[AnyGenome, Surroundings, np.random.Generator], Change | None]
_Item = TypeVar("_Item")


def pick(items: Sequence[_Item], rng: np.random.Generator) -> _Item:
    """One of the items, all equally likely. There must be at least one."""
    return items[int(rng.integers(len(items)))]


def with_graph(
    genome: AnyGenome, nodes: Sequence[AnyNode], connections: Sequence[Connection]
) -> AnyGenome:
    """The genome with this graph, its genes sorted; the nodes must be of the genome's sort."""
    genes = tuple(sorted(connections, key=lambda gene: gene.innovation))
    ordered = tuple(sorted(nodes, key=lambda node: node.id))
    if isinstance(genome, ModuleGenome):
        return replace(genome, nodes=cast(tuple[LayerNode, ...], ordered), connections=genes)
    return replace(genome, nodes=cast(tuple[SpeciesNode, ...], ordered), connections=genes)


def random_layer(node: int, space: SearchSpace, rng: np.random.Generator) -> LayerNode:
    """A layer of any kind, every parameter drawn from its domain."""
    kind = pick(list(space.layers), rng)
    return LayerNode(id=node, kind=kind, parameters=sample_all(space.layers[kind], rng))


def sample_all(
    domains: Mapping[str, Domain], rng: np.random.Generator
) -> dict[str, ParameterValue]:
    """A value from every domain."""
    return {name: domain.sample(rng) for name, domain in domains.items()}


def split_connection(
    genome: AnyGenome, gene: Connection, around: Surroundings, rng: np.random.Generator
) -> Change:
    """Puts a random new node in the middle of an enabled connection, which is disabled.

    One that was split before, and enabled again since, gets another node.
    """
    table = around.innovations
    splits = dict(genome.splits)
    count = splits.get(gene.innovation, 0)
    node = table.split(gene.innovation, count)
    splits[gene.innovation] = count + 1
    added: AnyNode = (
        random_layer(node, around.space, rng)
        if isinstance(genome, ModuleGenome)
        else SpeciesNode(id=node, species=pick(around.species, rng))
    )
    halves = [
        Connection(innovation=table.connection(*edge), start=edge[0], end=edge[1])
        for edge in ((gene.start, node), (node, gene.end))
    ]
    kept = [other for other in genome.connections if other.innovation != gene.innovation]
    connections = [*kept, replace(gene, enabled=False), *halves]
    grown = with_graph(genome, (*genome.nodes, added), connections)
    marked = replace(grown, splits=tuple(sorted(splits.items())))
    return Change(genome=marked, genes=(f"node {node}", f"connection {gene.innovation}"))


def add_node(genome: AnyGenome, around: Surroundings, rng: np.random.Generator) -> Change | None:
    """Splits an enabled connection. None at the size limit."""
    if len(genome.nodes) >= size_limit(genome, around.space):
        return None
    return split_connection(
        genome, pick([gene for gene in genome.connections if gene.enabled], rng), around, rng
    )


def add_connection(
    genome: AnyGenome, around: Surroundings, rng: np.random.Generator
) -> Change | None:
    """Adds an edge, or enables a disabled one; never one that closes a cycle."""
    edges = addable_edges([node.id for node in genome.nodes], genome.connections)
    if not edges:
        return None
    start, end = pick(edges, rng)
    connections, innovation = enable_edge(genome.connections, start, end, around.innovations)
    return Change(
        genome=with_graph(genome, genome.nodes, connections),
        genes=(f"connection {innovation}",),
    )


def enable_edge(
    connections: Sequence[Connection], start: int, end: int, innovations: InnovationTable
) -> tuple[list[Connection], int]:
    """The connections with that edge among them and enabled, and its innovation number."""
    innovation = innovations.connection(start, end)
    others = [gene for gene in connections if gene.innovation != innovation]
    return [*others, Connection(innovation=innovation, start=start, end=end)], innovation


def remove_node(genome: AnyGenome, around: Surroundings, rng: np.random.Generator) -> Change | None:
    """Takes a node out and connects what hung on it alone. None where it is the last node."""
    if len(genome.nodes) == 1:
        return None
    gone = pick([node.id for node in genome.nodes], rng)
    touching = [gene for gene in genome.connections if gone in (gene.start, gene.end)]
    connections = [gene for gene in genome.connections if gone not in (gene.start, gene.end)]
    genes = [f"node {gone}"]
    for start, end in _bridges(touching, gone, connections, rng):
        connections, innovation = enable_edge(connections, start, end, around.innovations)
        genes.append(f"connection {innovation}")
    nodes = [node for node in genome.nodes if node.id != gone]
    smaller = with_graph(genome, nodes, connections)
    kept = replace(smaller, splits=_needed_splits(smaller, around.innovations))
    return Change(genome=kept, genes=tuple(genes))


def _bridges(
    touching: Sequence[Connection],
    gone: int,
    remaining: Sequence[Connection],
    rng: np.random.Generator,
) -> list[tuple[int, int]]:
    """Edges past a removed node, for each neighbour that is left without a way in or out.

    They lead from before the node to behind it, so they close no cycle.
    """
    before = [gene.start for gene in touching if gene.enabled and gene.end == gone]
    behind = [gene.end for gene in touching if gene.enabled and gene.start == gone]
    starts = {gene.start for gene in remaining if gene.enabled}
    ends = {gene.end for gene in remaining if gene.enabled}
    blind = [node for node in before if node not in starts]
    orphans = [node for node in behind if node not in ends]
    bridges = [(node, pick(orphans or behind, rng)) for node in blind]
    reached = {end for _, end in bridges}
    return bridges + [(pick(before, rng), node) for node in orphans if node not in reached]


def _needed_splits(genome: AnyGenome, innovations: InnovationTable) -> tuple[tuple[int, int], ...]:
    """Split counts of connections that are there, or whose nodes are; without the others,
    which could no longer make a node id come twice, so that genomes stay small."""
    present = {gene.innovation for gene in genome.connections}
    present |= {innovations.origin(node.id)[0] for node in genome.nodes}
    return tuple(split for split in genome.splits if split[0] in present)


def remove_connection(
    genome: AnyGenome, around: Surroundings, rng: np.random.Generator
) -> Change | None:
    """Takes an enabled edge out. None where every edge is somebody's only way in or out."""
    removable = removable_connections(genome.connections)
    if not removable:
        return None
    gone = pick(removable, rng).innovation
    connections = [gene for gene in genome.connections if gene.innovation != gone]
    return Change(
        genome=with_graph(genome, genome.nodes, connections), genes=(f"connection {gone}",)
    )


def change_species(
    genome: AnyGenome, around: Surroundings, rng: np.random.Generator
) -> Change | None:
    """Points a blueprint's node to another living species. None for a module."""
    if not isinstance(genome, BlueprintGenome):
        return None
    node = pick(genome.nodes, rng)
    others = [species for species in around.species if species != node.species]
    if not others:
        return None
    return replace_node(genome, replace(node, species=pick(others, rng)))


def change_layer_kind(
    genome: AnyGenome, around: Surroundings, rng: np.random.Generator
) -> Change | None:
    """Makes a layer another kind; parameters that both kinds share are kept where allowed."""
    if not isinstance(genome, ModuleGenome):
        return None
    node = pick(genome.nodes, rng)
    others = [kind for kind in around.space.layers if kind != node.kind]
    if not others:
        return None
    kind = pick(others, rng)
    domains = around.space.layers[kind]
    parameters = sample_all(domains, rng)
    for name, value in node.parameters.items():
        if name in domains and domains[name].contains(value):
            parameters[name] = value
    return replace_node(genome, LayerNode(id=node.id, kind=kind, parameters=parameters))


def perturb_layer(
    genome: AnyGenome, around: Surroundings, rng: np.random.Generator
) -> Change | None:
    """Moves one parameter of one layer inside its domain, one that the network depends on.

    None where all their domains hold one value, and for a blueprint.
    """
    if not isinstance(genome, ModuleGenome):
        return None
    layers = around.space.layers
    movable = [
        (node, names)
        for node in genome.nodes
        if (names := _variable(acting_parameters(node), layers[node.kind]))
    ]
    if not movable:
        return None
    node, names = pick(movable, rng)
    name = pick(names, rng)
    value = layers[node.kind][name].perturb(node.parameters[name], rng, around.strength)
    change = replace_node(genome, replace(node, parameters={**node.parameters, name: value}))
    return replace(change, genes=(f"node {node.id} {name}",))


def perturb_hyperparameter(
    genome: AnyGenome, around: Surroundings, rng: np.random.Generator
) -> Change | None:
    """Moves one value that belongs to the whole genome, e.g. the learning rate.

    ``merge`` only where something is merged.
    """
    domains = hyperparameter_domains(genome, around.space)
    names = _variable(acting_hyperparameters(genome), domains)
    if not names:
        return None
    name = pick(names, rng)
    value = domains[name].perturb(genome.hyperparameters[name], rng, around.strength)
    changed = replace(genome, hyperparameters={**genome.hyperparameters, name: value})
    return Change(genome=changed, genes=(name,))


def _variable(names: Iterable[str], domains: Mapping[str, Domain]) -> list[str]:
    """Those names whose domains hold more than one value, in the order of the domains."""
    wanted = set(names)
    return [name for name, domain in domains.items() if name in wanted and domain.size > 1]


def replace_node(genome: AnyGenome, node: AnyNode) -> Change:
    """The genome with this node in the place of the one of the same id."""
    nodes = [node if other.id == node.id else other for other in genome.nodes]
    return Change(genome=with_graph(genome, nodes, genome.connections), genes=(f"node {node.id}",))


OPERATORS: Mapping[str, Operator] = {
    "add_node": add_node,
    "add_connection": add_connection,
    "remove_node": remove_node,
    "remove_connection": remove_connection,
    "change_species": change_species,
    "change_layer_kind": change_layer_kind,
    "perturb_layer": perturb_layer,
    "perturb_hyperparameter": perturb_hyperparameter,
}
