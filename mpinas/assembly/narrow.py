"""The same network with fewer channels: a spec with other widths, and without what is gone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from mpinas.assembly.description import MERGES, gone_with
from mpinas.records import LayerSpec, NetworkSpec
from mpinas.space.layers import LAYERS


def narrow(network: NetworkSpec, widths: Mapping[str, int]) -> NetworkSpec:
    """Builds the spec with other widths; what is not named stays.

    Args:
        widths: output channels by layer name. Layers with 0 go, and with them all that has nothing
            to do without them; a merge that is left with one input goes as well.

    Raises:
        ValueError: a name is no layer that makes channels, or nothing would be left.
        Infeasible: the widths do not fit each other (``network_shapes`` says so).
    """
    kinds = {layer.name: layer.kind for layer in network.layers}
    strangers = [name for name in widths if name not in kinds or not LAYERS[kinds[name]].width]
    if strangers:
        raise ValueError(f"narrow: no layers that make channels. Received: {strangers}")
    gone = gone_with(network.layers, [name for name, width in widths.items() if width == 0])
    if network.layers[-1].name in gone:
        raise ValueError(f"narrow: nothing would be left. Received: widths={dict(widths)}")
    stands_for: dict[str, str] = {}
    layers = []
    for layer in network.layers:
        if layer.name in gone:
            continue
        inputs = tuple(stands_for[name] for name in layer.inputs if name not in gone)
        if layer.kind in MERGES and len(inputs) == 1 < len(layer.inputs):
            stands_for[layer.name] = inputs[0]
            continue
        stands_for[layer.name] = layer.name
        layers.append(_with_width(replace(layer, inputs=inputs), widths))
    return replace(network, layers=tuple(layers))


def _with_width(layer: LayerSpec, widths: Mapping[str, int]) -> LayerSpec:
    if layer.name not in widths:
        return layer
    name = LAYERS[layer.kind].width
    return replace(layer, parameters={**layer.parameters, name: widths[layer.name]})
