"""What of a genome shows in its network; the rest is carried along.

A dropout rate acts only in a layer that is followed by dropout, ``merge`` only where something is
merged, a disabled connection not at all. Changing such a gene alone would spend a trial on the
network of the parent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from mpinas.evolution.genome import AnyGenome, AnyNode, LayerNode
from mpinas.evolution.graph import enabled_edges, merges
from mpinas.records import ParameterValue
from mpinas.space.layers import LAYERS


def acting_parameters(node: LayerNode) -> tuple[str, ...]:
    """Names of the parameters that the layers of this node follow."""
    gene = LAYERS[node.kind].gene
    assert gene is not None
    return gene.active(node.parameters)


def acting_hyperparameters(genome: AnyGenome) -> list[str]:
    """Names of the genome's values that its networks follow, sorted."""
    idle = set() if merges(genome.connections) else {"merge"}
    return sorted(set(genome.hyperparameters) - idle)


def look_alike(one: AnyGenome, other: AnyGenome) -> bool:
    """Whether two genomes stand for the same networks, as far as genomes can tell.

    Not seen are what only a shape decides (a kernel larger than its map) and nodes that have
    changed places.
    """
    return _shown(one) == _shown(other)


def _shown(genome: AnyGenome) -> tuple[object, ...]:
    return (
        [_shown_node(node) for node in genome.nodes],
        set(enabled_edges(genome.connections)),
        _items(genome.hyperparameters, acting_hyperparameters(genome)),
    )


def _shown_node(node: AnyNode) -> tuple[object, ...]:
    if isinstance(node, LayerNode):
        return node.id, node.kind, _items(node.parameters, acting_parameters(node))
    return node.id, node.species


def _items(values: Mapping[str, ParameterValue], names: Iterable[str]) -> dict[str, ParameterValue]:
    return {name: values[name] for name in names}
