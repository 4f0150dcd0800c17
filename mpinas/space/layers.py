"""The layer kinds: one row each, and everything that is known about a kind stands in its row.

A row says what the kind's parameters are, the shape, parameters and FLOPs it has for given
inputs, and what it does to channels. A *searchable* row also says what a gene of it holds and
which chain of buildable layers that gene stands for. Rows know no tensors:
``assembly/keras_model.py`` has one line a kind that builds it, and the conformance suite compares
the two.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from mpinas.errors import Infeasible
from mpinas.records import ParameterValue, Shape

Parameters = Mapping[str, ParameterValue]
Step = tuple[str, Parameters]
"""One layer of the chain a gene stands for: (kind, parameters)."""


class Channels(enum.Enum):
    """What a layer does to the channels that pass through it (what the shrink must know)."""

    NEW = "new outputs that read every input channel"
    KEPT = "output channel i is input channel i"
    DEPTHWISE = "output channels j * multiplier + k belong to input channel j"
    JOINED = "output channel i is the same channel of every input"
    CONCATENATED = "output channels are those of the inputs, in order"
    TILED = "flat index = position * channels + channel"


@dataclass(frozen=True, slots=True, kw_only=True)
class GeneParameter:
    """A parameter that a gene of a searchable kind holds.

    Attributes:
        description: what it is, for people.
        low, high: range of a number; both None for a choice.
        values: allowed values of a choice.
        whole: the number is an int.
        fixed: the value where the search space does not mention it; None: it must.
    """

    description: str = ""
    low: float | None = None
    high: float | None = None
    values: tuple[ParameterValue, ...] = ()
    whole: bool = False
    fixed: ParameterValue | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Gene:
    """What makes a kind searchable.

    Attributes:
        description: what it builds, for people.
        parameters: what the gene holds, by name.
        reads: what it needs as input: ``map``, ``vector`` or ``any``.
        chain: gene parameters, input shape (of the map it reads), whether batch norm is on ->
            the buildable layers it stands for, in order. Kernels and pools never exceed the map.
        active: gene parameters -> names of those that the chain follows; the others are carried
            along until ``follow`` calls for them.
    """

    description: str
    parameters: Mapping[str, GeneParameter]
    reads: Literal["map", "vector", "any"]
    chain: Callable[[Parameters, Shape, bool], tuple[Step, ...]]
    active: Callable[[Parameters], tuple[str, ...]]


def _no_cost(parameters: Parameters, inputs: Sequence[Shape]) -> int:
    return 0


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerKind:
    """A row. All functions are pure and take (parameters, shapes of the inputs).

    Attributes:
        parameters: names a ``LayerSpec`` of this kind must have, no more and no fewer.
        shape: of the output; raises Infeasible where there is none.
        parameter_count: all weights, as ``keras.Layer.count_params`` counts them.
        flops: 2 x multiply-adds for one image; 0 for all but convolution and dense layers.
        channels: what happens to channels.
        width: the parameter that is the number of new outputs; empty where there is none.
        gene: None for a kind that can be built but not searched.
    """

    parameters: tuple[str, ...] = ()
    shape: Callable[[Parameters, Sequence[Shape]], Shape]
    parameter_count: Callable[[Parameters, Sequence[Shape]], int] = _no_cost
    flops: Callable[[Parameters, Sequence[Shape]], int] = _no_cost
    channels: Channels
    width: str = ""
    gene: Gene | None = None


def whole(parameters: Parameters, name: str) -> int:
    """The parameter as an int."""
    value = parameters[name]
    assert isinstance(value, int)
    return value


def pair(parameters: Parameters, name: str) -> tuple[int, int]:
    """The parameter as (height, width); a single number stands for both."""
    value = parameters[name]
    if isinstance(value, int):
        return value, value
    assert isinstance(value, tuple)
    return value[0], value[1]


def _same_shape(parameters: Parameters, inputs: Sequence[Shape]) -> Shape:
    return inputs[0]


def _input_shape(parameters: Parameters, inputs: Sequence[Shape]) -> Shape:
    value = parameters["shape"]
    assert isinstance(value, tuple)
    return value


def _require_map(kind: str, shape: Shape) -> None:
    if len(shape) != 3:
        raise Infeasible(f"{kind} needs a feature map, its input has shape {shape}")


def _windows(size: int, window: int, stride: int, same: bool, kind: str) -> int:
    count = math.ceil(size / stride) if same else (size - window) // stride + 1
    if count < 1:
        raise Infeasible(f"{kind} window {window} does not fit into {size} pixels")
    return count


def _window_shape(kind: str, window_name: str) -> Callable[[Parameters, Sequence[Shape]], Shape]:
    def shape(parameters: Parameters, inputs: Sequence[Shape]) -> Shape:
        _require_map(kind, inputs[0])
        same = parameters["padding"] == "same"
        window, strides = pair(parameters, window_name), pair(parameters, "strides")
        rows, columns = (
            _windows(size, window[axis], strides[axis], same, kind)
            for axis, size in enumerate(inputs[0][:2])
        )
        if kind == "conv2d":
            return rows, columns, whole(parameters, "filters")
        if kind == "depthwise_conv2d":
            return rows, columns, inputs[0][2] * whole(parameters, "depth_multiplier")
        return rows, columns, inputs[0][2]

    return shape


_conv2d_shape = _window_shape("conv2d", "kernel_size")
_depthwise_shape = _window_shape("depthwise_conv2d", "kernel_size")


def _bias(parameters: Parameters, outputs: int) -> int:
    return outputs if parameters["use_bias"] else 0


def _conv2d_parameters(parameters: Parameters, inputs: Sequence[Shape]) -> int:
    filters = whole(parameters, "filters")
    kernel = math.prod(pair(parameters, "kernel_size"))
    return kernel * inputs[0][2] * filters + _bias(parameters, filters)


def _conv2d_flops(parameters: Parameters, inputs: Sequence[Shape]) -> int:
    kernel = math.prod(pair(parameters, "kernel_size"))
    return 2 * kernel * inputs[0][2] * math.prod(_conv2d_shape(parameters, inputs))


def _depthwise_parameters(parameters: Parameters, inputs: Sequence[Shape]) -> int:
    outputs = inputs[0][2] * whole(parameters, "depth_multiplier")
    return math.prod(pair(parameters, "kernel_size")) * outputs + _bias(parameters, outputs)


def _depthwise_flops(parameters: Parameters, inputs: Sequence[Shape]) -> int:
    kernel = math.prod(pair(parameters, "kernel_size"))
    return 2 * kernel * math.prod(_depthwise_shape(parameters, inputs))


def _dense_shape(parameters: Parameters, inputs: Sequence[Shape]) -> Shape:
    if len(inputs[0]) != 1:
        raise Infeasible(f"dense needs a vector, its input has shape {inputs[0]}")
    return (whole(parameters, "units"),)


def _dense_parameters(parameters: Parameters, inputs: Sequence[Shape]) -> int:
    units = whole(parameters, "units")
    return inputs[0][0] * units + _bias(parameters, units)


def _dense_flops(parameters: Parameters, inputs: Sequence[Shape]) -> int:
    return 2 * inputs[0][0] * whole(parameters, "units")


def _batch_norm_parameters(parameters: Parameters, inputs: Sequence[Shape]) -> int:
    return 4 * inputs[0][-1]


def _add_shape(parameters: Parameters, inputs: Sequence[Shape]) -> Shape:
    if len(set(inputs)) != 1:
        raise Infeasible(f"add needs equal shapes, got {list(inputs)}")
    return inputs[0]


def _concatenate_shape(parameters: Parameters, inputs: Sequence[Shape]) -> Shape:
    if len({shape[:-1] for shape in inputs}) != 1:
        raise Infeasible(f"concatenate needs equal sizes, got {list(inputs)}")
    return (*inputs[0][:-1], sum(shape[-1] for shape in inputs))


def _flatten_shape(parameters: Parameters, inputs: Sequence[Shape]) -> Shape:
    return (math.prod(inputs[0]),)


def _global_pool_shape(parameters: Parameters, inputs: Sequence[Shape]) -> Shape:
    _require_map("global_average_pool", inputs[0])
    return (inputs[0][2],)


def _to_map_shape(parameters: Parameters, inputs: Sequence[Shape]) -> Shape:
    if len(inputs[0]) != 1:
        raise Infeasible(f"to_map needs a vector, its input has shape {inputs[0]}")
    return (1, 1, inputs[0][0])


def _conv2d_chain(gene: Parameters, shape: Shape, batch_norm: bool) -> tuple[Step, ...]:
    kernel = whole(gene, "kernel_size")
    steps: list[Step] = [
        (
            "conv2d",
            {
                "filters": whole(gene, "filters"),
                "kernel_size": (min(kernel, shape[0]), min(kernel, shape[1])),
                "strides": (1, 1),
                "padding": "same",
                "use_bias": not batch_norm,
            },
        )
    ]
    if batch_norm:
        steps.append(("batch_norm", {}))
    steps.append(("activation", {"function": "relu"}))
    pool = whole(gene, "pool_size")
    if gene["follow"] == "max_pool" and max(shape[:2]) > 1:
        window = (min(pool, shape[0]), min(pool, shape[1]))
        steps.append(("max_pool", {"pool_size": window, "strides": window, "padding": "valid"}))
    if gene["follow"] == "dropout" and gene["rate"]:
        steps.append(("dropout", {"rate": gene["rate"]}))
    return tuple(steps)


def _conv2d_active(gene: Parameters) -> tuple[str, ...]:
    followed_by = {"max_pool": ("pool_size",), "dropout": ("rate",)}
    return ("filters", "kernel_size", "follow", *followed_by.get(str(gene["follow"]), ()))


def _dense_chain(gene: Parameters, shape: Shape, batch_norm: bool) -> tuple[Step, ...]:
    steps: list[Step] = [("dense", {"units": whole(gene, "units"), "use_bias": not batch_norm})]
    if batch_norm:
        steps.append(("batch_norm", {}))
    steps.append(("activation", {"function": "relu"}))
    if gene["rate"]:
        steps.append(("dropout", {"rate": gene["rate"]}))
    return tuple(steps)


def _dense_active(gene: Parameters) -> tuple[str, ...]:
    return ("units", "rate")


def _identity_active(gene: Parameters) -> tuple[str, ...]:
    return ()


def _identity_chain(gene: Parameters, shape: Shape, batch_norm: bool) -> tuple[Step, ...]:
    return ()


_CONV2D_GENE = Gene(
    description="Convolution with stride 1 and the size of its input, batch norm, ReLU, then what "
    "`follow` says. Kernels and pools are cut to the size of the map.",
    parameters={
        "filters": GeneParameter(
            description="number of output channels", low=1, high=8192, whole=True
        ),
        "kernel_size": GeneParameter(
            description="height and width of the kernel", low=1, high=255, whole=True
        ),
        "follow": GeneParameter(
            description="what follows the ReLU",
            values=("none", "max_pool", "dropout"),
            fixed="none",
        ),
        "pool_size": GeneParameter(
            description="window and stride of the max-pooling", low=2, high=16, whole=True, fixed=2
        ),
        "rate": GeneParameter(
            description="share of values that the dropout leaves out", low=0.0, high=0.95, fixed=0.0
        ),
    },
    reads="map",
    chain=_conv2d_chain,
    active=_conv2d_active,
)
_DENSE_GENE = Gene(
    description="Dense layer, batch norm, ReLU, dropout. Maps become vectors before it.",
    parameters={
        "units": GeneParameter(description="number of outputs", low=1, high=65536, whole=True),
        "rate": GeneParameter(
            description="share of values that the dropout leaves out; 0: no dropout",
            low=0.0,
            high=0.95,
            fixed=0.0,
        ),
    },
    reads="vector",
    chain=_dense_chain,
    active=_dense_active,
)
_IDENTITY_GENE = Gene(
    description="Nothing: what comes in goes out. Lets a module skip a layer.",
    parameters={},
    reads="any",
    chain=_identity_chain,
    active=_identity_active,
)

LAYERS: Mapping[str, LayerKind] = {
    "input": LayerKind(parameters=("shape",), shape=_input_shape, channels=Channels.NEW),
    "conv2d": LayerKind(
        parameters=("filters", "kernel_size", "strides", "padding", "use_bias"),
        shape=_conv2d_shape,
        parameter_count=_conv2d_parameters,
        flops=_conv2d_flops,
        channels=Channels.NEW,
        width="filters",
        gene=_CONV2D_GENE,
    ),
    "depthwise_conv2d": LayerKind(
        parameters=("depth_multiplier", "kernel_size", "strides", "padding", "use_bias"),
        shape=_depthwise_shape,
        parameter_count=_depthwise_parameters,
        flops=_depthwise_flops,
        channels=Channels.DEPTHWISE,
    ),
    "dense": LayerKind(
        parameters=("units", "use_bias"),
        shape=_dense_shape,
        parameter_count=_dense_parameters,
        flops=_dense_flops,
        channels=Channels.NEW,
        width="units",
        gene=_DENSE_GENE,
    ),
    "batch_norm": LayerKind(
        shape=_same_shape, parameter_count=_batch_norm_parameters, channels=Channels.KEPT
    ),
    "activation": LayerKind(parameters=("function",), shape=_same_shape, channels=Channels.KEPT),
    "max_pool": LayerKind(
        parameters=("pool_size", "strides", "padding"),
        shape=_window_shape("max_pool", "pool_size"),
        channels=Channels.KEPT,
    ),
    "dropout": LayerKind(parameters=("rate",), shape=_same_shape, channels=Channels.KEPT),
    "identity": LayerKind(shape=_same_shape, channels=Channels.KEPT, gene=_IDENTITY_GENE),
    "add": LayerKind(shape=_add_shape, channels=Channels.JOINED),
    "concatenate": LayerKind(shape=_concatenate_shape, channels=Channels.CONCATENATED),
    "flatten": LayerKind(shape=_flatten_shape, channels=Channels.TILED),
    "global_average_pool": LayerKind(shape=_global_pool_shape, channels=Channels.KEPT),
    "to_map": LayerKind(shape=_to_map_shape, channels=Channels.KEPT),
}
