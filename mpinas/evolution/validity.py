"""What a search space allows a genome: its graph, its size, every value in its domain."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from mpinas.evolution.genome import AnyGenome, LayerNode, ModuleGenome
from mpinas.evolution.graph import graph_faults
from mpinas.records import ParameterValue
from mpinas.space.domains import Domain
from mpinas.space.search_space import SearchSpace


def size_limit(genome: AnyGenome, space: SearchSpace) -> int:
    """The most nodes such a genome may have."""
    if isinstance(genome, ModuleGenome):
        return space.max_module_layers
    return space.max_blueprint_nodes


def hyperparameter_domains(genome: AnyGenome, space: SearchSpace) -> Mapping[str, Domain]:
    """The domains of what such a genome carries as a whole."""
    if isinstance(genome, ModuleGenome):
        return space.module_hyperparameters
    return space.blueprint_hyperparameters


def genome_faults(genome: AnyGenome, space: SearchSpace) -> tuple[str, ...]:
    """All that is wrong with a genome, one line a fault; empty if nothing is."""
    return (*graph_faults(genome), *_content_faults(genome, space))


def _content_faults(genome: AnyGenome, space: SearchSpace) -> Iterator[str]:
    limit = size_limit(genome, space)
    if len(genome.nodes) > limit:
        yield f"{len(genome.nodes)} nodes, where at most {limit} are allowed"
    domains = hyperparameter_domains(genome, space)
    yield from _value_faults("genome", genome.hyperparameters, domains)
    if isinstance(genome, ModuleGenome):
        for node in genome.nodes:
            yield from _layer_faults(node, space)


def _layer_faults(node: LayerNode, space: SearchSpace) -> Iterator[str]:
    if node.kind not in space.layers:
        yield f"node {node.id} is of the unknown kind {node.kind}"
        return
    yield from _value_faults(f"node {node.id}", node.parameters, space.layers[node.kind])


def _value_faults(
    where: str, values: Mapping[str, ParameterValue], domains: Mapping[str, Domain]
) -> Iterator[str]:
    if set(values) != set(domains):
        yield f"{where} has the values {sorted(values)} instead of {sorted(domains)}"
        return
    for name, value in values.items():
        if not domains[name].contains(value):
            yield f"{where} has {name}={value!r}, which is outside its domain"
