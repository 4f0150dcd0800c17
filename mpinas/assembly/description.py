"""What the shrink has to know of a network, layer by layer, whoever built it.

One description for a ``NetworkSpec`` (here) and for any functional Keras model
(``assembly/from_keras.py``): what each layer does to channels and what it costs, as functions of
how many channels it reads and makes. No tensors.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from mpinas.assembly.shapes import network_shapes
from mpinas.records import LayerSpec, NetworkSpec, Shape
from mpinas.space.layers import LAYERS, Channels, LayerKind

Metric = Literal["flops", "parameters", "activations"]
METRICS: tuple[Metric, ...] = ("flops", "parameters", "activations")
Function = Callable[[npt.NDArray[Any]], npt.NDArray[Any]]

BATCH_NORM_EPSILON = 1e-3
"""Keras's default, which ``assembly/keras_model.py`` leaves as it is."""

FUNCTIONS: Mapping[str, Function] = {
    "linear": lambda values: values,
    "relu": lambda values: np.maximum(values, 0),
}
"""Of the kind ``activation``, by name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """A cost of ``pair`` x channels read x channels made + ``each`` x channels made + ``once``.

    Whole numbers: a convolution has FLOPs for each pair and a bias for each output; batch norm has
    four parameters for each channel; a layer that is not known has a cost that no width changes.
    """

    pair: int = 0
    each: int = 0
    once: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerDescription:
    """One layer.

    Attributes:
        name: unique; ``inputs`` are names of earlier layers.
        kind: a key of ``space.layers.LAYERS``; for layers that only other models have, a word of
            ``assembly/from_keras.py``.
        channels: what it does to channels; None where that is not known: it keeps all of them.
        shape: of the output, without the batch axis.
        prices: by metric; one that is absent costs nothing.
        function: what the layer applies to each value last; None for nothing.
        exact_constants: whether a channel that is constant over the map stays one behind it.
        seen: of a kernel that looks beyond the border, along each axis of the map: the share of
            the output's positions at which each of its rows sees the map. Empty: all see it always.
        parameters: what else the carrying of weights has to know (``epsilon`` of a batch norm).
    """

    name: str
    kind: str
    channels: Channels | None
    inputs: tuple[str, ...]
    shape: Shape
    prices: Mapping[Metric, Price] = field(default_factory=dict)
    function: Function | None = None
    exact_constants: bool = True
    seen: tuple[tuple[float, ...], ...] = ()
    parameters: Mapping[str, Any] = field(default_factory=dict)

    @property
    def width(self) -> int:
        """Number of output channels: the last axis."""
        return self.shape[-1]


def describe_network(network: NetworkSpec) -> tuple[LayerDescription, ...]:
    """Describes a spec, in its order; the last layer gives the logits.

    Raises:
        Infeasible: as ``network_shapes``.
    """
    shapes = network_shapes(network)
    return tuple(_describe(layer, shapes) for layer in network.layers)


def _describe(layer: LayerSpec, shapes: Mapping[str, Shape]) -> LayerDescription:
    row = LAYERS[layer.kind]
    inputs = [shapes[name] for name in layer.inputs]
    function = layer.parameters.get("function")
    seen = _seen(layer, inputs)
    return LayerDescription(
        name=layer.name,
        kind=layer.kind,
        channels=row.channels,
        inputs=layer.inputs,
        shape=shapes[layer.name],
        prices={
            "flops": _price(row, row.flops, layer, inputs),
            "parameters": _price(row, row.parameter_count, layer, inputs),
            "activations": Price(each=math.prod(shapes[layer.name][:-1])),
        },
        function=None if function is None else FUNCTIONS[str(function)],
        exact_constants=not seen,
        seen=seen,
        parameters={"epsilon": BATCH_NORM_EPSILON} if layer.kind == "batch_norm" else {},
    )


def _price(
    row: LayerKind, cost: Callable[..., int], layer: LayerSpec, inputs: Sequence[Shape]
) -> Price:
    """Read off a row's own function, at one and at two channels: no formula stands twice."""
    if row.channels is Channels.NEW:
        if not inputs:
            return Price()
        one_output = {**layer.parameters, row.width: 1}
        first, second = (cost(one_output, [(*inputs[0][:-1], read)]) for read in (1, 2))
        return Price(pair=second - first, each=2 * first - second)
    one_channel = cost(layer.parameters, [(*shape[:-1], 1) for shape in inputs])
    if row.channels is Channels.DEPTHWISE:
        one_channel //= int(str(layer.parameters["depth_multiplier"]))
    return Price(each=one_channel)


def _seen(layer: LayerSpec, inputs: Sequence[Shape]) -> tuple[tuple[float, ...], ...]:
    given = layer.parameters
    if "kernel_size" not in given:
        return ()
    kernel: Any = given["kernel_size"]
    strides: Any = given["strides"]
    return seen_shares(inputs[0][:-1], kernel, strides=strides, padding=str(given["padding"]))


def seen_shares(
    sizes: Sequence[int],
    kernel: Sequence[int],
    *,
    strides: Sequence[int],
    dilations: Sequence[int] | None = None,
    padding: str,
) -> tuple[tuple[float, ...], ...]:
    """``LayerDescription.seen`` of a kernel; unless its padding is ``valid`` it sees zeros, too.

    The padding is TensorFlow's: of ``same`` half before the map, rounded down, the rest behind; of
    ``causal`` all before it.

    Args:
        sizes: of the map that it reads, without channels; as many as there are of the others.
        dilations: None for 1 everywhere.
    """
    if padding == "valid" or set(kernel) == {1}:
        return ()
    axes = zip(sizes, kernel, strides, dilations or [1] * len(kernel), strict=True)
    return tuple(_seen_along(*axis, is_causal=padding == "causal") for axis in axes)


def _seen_along(
    size: int, length: int, stride: int, dilation: int, *, is_causal: bool
) -> tuple[float, ...]:
    positions, reach = -(-size // stride), (length - 1) * dilation
    padded = max((positions - 1) * stride + reach + 1 - size, 0)
    first = stride * np.arange(positions)[:, np.newaxis] - (reach if is_causal else padded // 2)
    places = first + dilation * np.arange(length)
    shares: list[float] = ((places >= 0) & (places < size)).mean(axis=0).tolist()
    return tuple(shares)


class Connected(Protocol):
    """A layer as far as connections go: a spec's or a description's."""

    @property
    def name(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def inputs(self) -> tuple[str, ...]: ...


MERGES = frozenset({"add", "concatenate"})
"""Kinds that go on without one of their inputs."""


def gone_with(layers: Sequence[Connected], removed: Collection[str]) -> frozenset[str]:
    """All layers that have nothing to do once some are removed, those themselves included.

    What only reads removed layers is gone, and what only they read. A merge goes on with the
    inputs that are left.

    Args:
        layers: in topological order; the last is the output.
    """
    gone = set(removed)
    for layer in layers:
        lost = [name in gone for name in layer.inputs]
        if lost and (all(lost) if layer.kind in MERGES else any(lost)):
            gone.add(layer.name)
    readers: dict[str, list[str]] = {layer.name: [] for layer in layers}
    for layer in layers:
        for name in layer.inputs:
            readers[name].append(layer.name)
    for layer in reversed(layers):
        if readers[layer.name] and gone.issuperset(readers[layer.name]):
            gone.add(layer.name)
    return frozenset(gone)
