"""Shapes and costs of a network spec, by walking the rows of ``space.layers``. No tensors."""

from __future__ import annotations

import math
from collections.abc import Mapping

from mpinas.errors import Infeasible
from mpinas.records import BYTES_PER_MB, Costs, NetworkSpec, Shape
from mpinas.space.layers import LAYERS
from mpinas.space.search_space import SearchSpace

FLOAT32_BYTES = 4


def network_shapes(network: NetworkSpec) -> Mapping[str, Shape]:
    """Output shape of each layer by name, without the batch axis.

    Raises:
        Infeasible: a layer has no output for its inputs.
    """
    shapes: dict[str, Shape] = {}
    for layer in network.layers:
        inputs = [shapes[name] for name in layer.inputs]
        shapes[layer.name] = LAYERS[layer.kind].shape(layer.parameters, inputs)
    return shapes


def network_costs(network: NetworkSpec) -> Costs:
    """FLOPs (2 x multiply-adds), parameters and activations of one image's forward pass.

    Raises:
        Infeasible: as :func:`network_shapes`.
    """
    shapes = network_shapes(network)
    flops = parameters = activations = 0
    for layer in network.layers:
        row = LAYERS[layer.kind]
        inputs = [shapes[name] for name in layer.inputs]
        flops += row.flops(layer.parameters, inputs)
        parameters += row.parameter_count(layer.parameters, inputs)
        activations += math.prod(shapes[layer.name])
    return Costs(flops=flops, parameters=parameters, activations=activations)


def network_widths(network: NetworkSpec) -> Mapping[str, int]:
    """Output channels of the layers that make new ones, by name: what a shrink can narrow."""
    shapes = network_shapes(network)
    return {
        layer.name: shapes[layer.name][-1]
        for layer in network.layers
        if LAYERS[layer.kind].flops(layer.parameters, [shapes[name] for name in layer.inputs])
    }


def activation_mb(costs: Costs, batch_size: int) -> float:
    """Memory of all layer outputs of one batch in float32, in MB of 2**20 bytes."""
    return costs.activations * batch_size * FLOAT32_BYTES / BYTES_PER_MB


def check_limits(costs: Costs, space: SearchSpace) -> None:
    """Refuses a network that is larger than the search space allows.

    Raises:
        Infeasible: with all limits it breaks, in one line.
    """
    memory_mb = activation_mb(costs, space.batch_size)
    broken = [
        f"{name} {value:.6g} above {limit:.6g}"
        for name, value, limit in (
            ("parameters", costs.parameters, space.max_parameters),
            ("flops", costs.flops, space.max_flops),
            ("activation_mb", memory_mb, space.max_activation_mb),
        )
        if limit is not None and value > limit
    ]
    if broken:
        raise Infeasible("too large: " + ", ".join(broken))
