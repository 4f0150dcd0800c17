"""What the classes of ``keras.layers`` do to channels (the last axis): one entry a class.

Comes in: a built layer and the shapes it was called with. Comes out: :class:`Facts`, or None where
a layer of this class is set up in a way that nobody here knows. Reads attributes of layers only
and does not import Keras. A class without an entry is unknown.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mpinas.assembly.description import Function, seen_shares
from mpinas.records import Shape
from mpinas.space.layers import Channels


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a layer does; the fields mean what they mean in ``LayerDescription``.

    Attributes:
        activation: what it applies last, as Keras has it: a function, a layer or None.
        function: the same where it is no matter of Keras; values have all the layer's channels.
    """

    kind: str
    channels: Channels | None
    activation: Any = None
    function: Function | None = None
    exact_constants: bool = True
    seen: tuple[tuple[float, ...], ...] = ()
    parameters: Mapping[str, Any] = field(default_factory=dict)


Reader = Callable[[Any, Sequence[Shape], Shape], Facts | None]
"""(Keras layer, shapes of its inputs, of its output) -> facts; None where they are not known."""

KERNELS: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(("Dense", "Conv1D", "Conv2D", "Conv3D"), ("kernel",)),
    **dict.fromkeys(("DepthwiseConv1D", "DepthwiseConv2D"), ("kernel",)),
    **dict.fromkeys(("Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose"), ("kernel",)),
    **dict.fromkeys(
        ("SeparableConv1D", "SeparableConv2D"), ("depthwise_kernel", "pointwise_kernel")
    ),
}
"""Classes that have FLOPs: which of their weights are used once at each position of the map."""


def fits(facts: Facts, inputs: Sequence[Shape], output: Shape) -> bool:
    """Whether the widths are what they have to be: a broadcast over channels joins none."""
    widths, made = [shape[-1] for shape in inputs], output[-1]
    if facts.channels is Channels.NEW:
        return True
    if facts.channels is Channels.CONCATENATED:
        return sum(widths) == made
    if facts.channels in (Channels.KEPT, Channels.JOINED):
        return set(widths) == {made}
    return made % widths[0] == 0


def _has_only_kernel_and_bias(layer: Any) -> bool:
    """Low-rank adapters and quantised kernels bring more."""
    return len(layer.weights) == 1 + bool(layer.use_bias)


def _windowed(kind: str, channels: Channels, layer: Any, inputs: Sequence[Shape]) -> Facts:
    """A kernel that looks beyond the border sees zeros there."""
    seen = seen_shares(
        inputs[0][:-1],
        layer.kernel_size,
        strides=layer.strides,
        dilations=layer.dilation_rate,
        padding=layer.padding,
    )
    return Facts(
        kind=kind,
        channels=channels,
        activation=layer.activation,
        exact_constants=not seen,
        seen=seen,
        parameters={"trainable": layer.trainable},
    )


def _convolution(kind: str) -> Reader:
    def read(layer: Any, inputs: Sequence[Shape], output: Shape) -> Facts | None:
        if layer.groups != 1 or not _has_only_kernel_and_bias(layer):
            return None
        return _windowed(kind, Channels.NEW, layer, inputs)

    return read


def _depthwise(kind: str) -> Reader:
    return lambda layer, inputs, output: _windowed(kind, Channels.DEPTHWISE, layer, inputs)


def _dense(layer: Any, inputs: Sequence[Shape], output: Shape) -> Facts | None:
    if not _has_only_kernel_and_bias(layer):
        return None
    return Facts(
        kind="dense",
        channels=Channels.NEW,
        activation=layer.activation,
        parameters={"trainable": layer.trainable},
    )


def _batch_norm(layer: Any, inputs: Sequence[Shape], output: Shape) -> Facts | None:
    if layer.axis not in (-1, len(output)):
        return None
    read = ("epsilon", "scale", "center", "trainable")
    parameters = {name: getattr(layer, name) for name in read}
    return Facts(kind="batch_norm", channels=Channels.KEPT, parameters=parameters)


def _kept(kind: str, *, exact_constants: bool = True) -> Reader:
    facts = Facts(kind=kind, channels=Channels.KEPT, exact_constants=exact_constants)
    return lambda layer, inputs, output: facts


def _joined(kind: str) -> Reader:
    facts = Facts(kind=kind, channels=Channels.JOINED)
    return lambda layer, inputs, output: facts


def _activation(layer: Any, inputs: Sequence[Shape], output: Shape) -> Facts:
    """Of the layer ``Activation``, and of those that are an activation themselves."""
    applied = getattr(layer, "activation", layer)
    return Facts(kind="activation", channels=Channels.KEPT, activation=applied)


def _prelu(layer: Any, inputs: Sequence[Shape], output: Shape) -> Facts | None:
    """Its slopes are those of the moment; where they differ over the map, their means."""
    if layer.alpha.shape[-1] != output[-1]:
        return None

    def function(values: Any) -> Any:
        slopes = np.asarray(layer.alpha).reshape(-1, output[-1]).mean(axis=0)
        return np.where(values < 0, slopes * values, values)

    return Facts(
        kind="prelu",
        channels=Channels.KEPT,
        function=function,
        exact_constants=set(layer.alpha.shape[:-1]) <= {1},
    )


def _rescaling(layer: Any, inputs: Sequence[Shape], output: Shape) -> Facts | None:
    scale, offset = layer.scale, layer.offset
    if np.ndim(scale) or np.ndim(offset):
        return None
    return Facts(
        kind="rescaling", channels=Channels.KEPT, function=lambda values: values * scale + offset
    )


def _dropout(layer: Any, inputs: Sequence[Shape], output: Shape) -> Facts | None:
    if layer.noise_shape is not None and layer.noise_shape[-1] not in (None, 1):
        return None
    return Facts(kind="dropout", channels=Channels.KEPT)


def _up_sampling(layer: Any, inputs: Sequence[Shape], output: Shape) -> Facts:
    """Smoother ways than these overshoot at the border."""
    way = getattr(layer, "interpolation", "nearest")
    exact = way in ("nearest", "bilinear")
    return Facts(kind="up_sampling", channels=Channels.KEPT, exact_constants=exact)


def _reshape(layer: Any, inputs: Sequence[Shape], output: Shape) -> Facts | None:
    if inputs[0][-1] == output[-1]:
        to_map = len(inputs[0]) == 1 and output[:-1] == (1, 1)
        return Facts(kind="to_map" if to_map else "reshape", channels=Channels.KEPT)
    return Facts(kind="flatten", channels=Channels.TILED) if len(output) == 1 else None


def _flatten(layer: Any, inputs: Sequence[Shape], output: Shape) -> Facts:
    return Facts(kind="flatten", channels=Channels.TILED)


def _concatenate(layer: Any, inputs: Sequence[Shape], output: Shape) -> Facts | None:
    """Along another axis maps lie beside each other, with different constants in one channel."""
    if layer.axis not in (-1, len(output)):
        return None
    return Facts(kind="concatenate", channels=Channels.CONCATENATED)


def _ranks(name: str, reader: Reader) -> dict[str, Reader]:
    return {f"{name}{rank}D": reader for rank in (1, 2, 3)}


READERS: Mapping[str, Reader] = {
    "InputLayer": lambda layer, inputs, output: Facts(kind="input", channels=Channels.NEW),
    "Conv1D": _convolution("conv1d"),
    "Conv2D": _convolution("conv2d"),
    "Conv3D": _convolution("conv3d"),
    "DepthwiseConv1D": _depthwise("depthwise_conv1d"),
    "DepthwiseConv2D": _depthwise("depthwise_conv2d"),
    "Dense": _dense,
    "BatchNormalization": _batch_norm,
    **dict.fromkeys(("Activation", "ReLU", "LeakyReLU", "ELU", "Softmax"), _activation),
    "PReLU": _prelu,
    **_ranks("MaxPooling", _kept("max_pool")),
    **_ranks("AveragePooling", _kept("average_pool")),
    **_ranks("AdaptiveMaxPooling", _kept("adaptive_max_pool")),
    **_ranks("AdaptiveAveragePooling", _kept("adaptive_average_pool")),
    **_ranks("GlobalMaxPooling", _kept("global_max_pool")),
    **_ranks("GlobalAveragePooling", _kept("global_average_pool")),
    "Dropout": _dropout,
    **_ranks("SpatialDropout", _kept("dropout")),
    **dict.fromkeys(("AlphaDropout", "GaussianDropout"), _kept("dropout")),
    "GaussianNoise": _kept("noise"),
    **dict.fromkeys(("Identity", "ActivityRegularization"), _kept("identity")),
    **_ranks("ZeroPadding", _kept("zero_padding", exact_constants=False)),
    **_ranks("Cropping", _kept("cropping")),
    **_ranks("UpSampling", _up_sampling),
    "RepeatVector": _kept("repeat"),
    "Flatten": _flatten,
    "Reshape": _reshape,
    "Rescaling": _rescaling,
    "Add": _joined("add"),
    "Subtract": _joined("subtract"),
    "Multiply": _joined("multiply"),
    "Average": _joined("average"),
    "Maximum": _joined("maximum"),
    "Minimum": _joined("minimum"),
    "Concatenate": _concatenate,
}
"""By the name of the class."""
