"""From any functional or sequential Keras model to descriptions that the shrink understands.

Comes in: a built ``keras.Model``, of mpinas or not. Comes out: one ``LayerDescription`` for each
*call* of a layer. What a layer does to channels (the last axis) is looked up by its exact class in
``keras_facts``; all others, subclasses of known ones included, are of the kind ``unknown``: their
channels are kept, never guessed. Costs are read off the built weights. No weight is changed.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import keras
import numpy as np
from keras.src.models.functional import Functional

from mpinas.assembly.description import Function, LayerDescription, Metric, Price
from mpinas.assembly.keras_facts import KERNELS, READERS, Facts, fits
from mpinas.errors import UserMustChange, fault
from mpinas.records import Shape
from mpinas.space.layers import Channels

UNKNOWN = "unknown"
"""The kind of a layer of which all channels are kept."""

# fmt: off
ELEMENTWISE = frozenset((
    "celu", "elu", "exponential", "gelu", "hard_shrink", "hard_sigmoid", "hard_silu", "hard_tanh",
    "leaky_relu", "linear", "log_sigmoid", "mish", "relu", "relu6", "selu", "sigmoid", "silu",
    "soft_shrink", "softplus", "softsign", "sparse_plus", "sparse_sigmoid", "squareplus", "tanh",
    "tanh_shrink",
))
# fmt: on
"""Functions of ``keras.activations`` that look at one value at a time; softmax is none of them."""

_NOT_KNOWN = Facts(kind=UNKNOWN, channels=None, exact_constants=False)


class _Call(NamedTuple):
    """One use of a layer. Layers are compared by identity."""

    layer: Any
    number: int

    @property
    def read(self) -> Sequence[Any]:
        return self.layer._inbound_nodes[self.number].input_tensors  # type: ignore[no-any-return]

    @property
    def made(self) -> Sequence[Any]:
        return self.layer._inbound_nodes[self.number].outputs  # type: ignore[no-any-return]


_Key = tuple[_Call, int]
"""A tensor: which output of which call. Unlike an ``id`` it stays valid."""


def describe_model(model: keras.Model) -> tuple[LayerDescription, ...]:
    """Describes a model in topological order; the last description is its output.

    Layers carry their Keras names. Further calls of a layer are ``<name> (call 2)``, further
    outputs of one call ``<name> (output 2)``. A layer with weights that is called more than once
    is unknown: its calls would have to keep the same channels of different tensors. So are nested
    models, attention, recurrent, grouped, separable and transposed layers, channels-first ones,
    and what mixes channels (softmax before the output, layer normalisation, permutations).

    FLOPs are 2 x multiply-adds of convolution and dense layers, those of unknown layers and of
    nested models included, those inside of attention, recurrent and wrapper layers not. Weights of
    a shared layer count once. What an unknown layer costs no width changes.

    Raises:
        UserMustChange: it is subclassed, not built, has a ``Lambda`` anywhere, several inputs or
            outputs, or a size that is not fixed.
    """
    faults = tuple(_model_faults(model))
    if faults:
        raise UserMustChange(*faults)
    return tuple(_descriptions(model.outputs))


def unsupported(descriptions: Sequence[LayerDescription]) -> tuple[str, ...]:
    """Names of the layers whose channels are all kept because it is not known what they do.

    The output is not among them: its channels are kept whatever it is.
    """
    return tuple(layer.name for layer in descriptions[:-1] if layer.channels is None)


def _model_faults(model: keras.Model) -> Iterator[str]:
    where = f"model '{model.name}'"
    if not _is_graph(model):
        yield fault(
            where,
            "it does not say how its layers are connected",
            f"class={type(model).__name__}",
            "Functional models and built sequential ones are allowed, subclassed ones are not",
            "Write it as keras.Model(inputs, outputs); give a sequential model an Input",
        )
        return
    layers = model._flatten_layers()
    lambdas = [layer.name for layer in layers if isinstance(layer, keras.layers.Lambda)]
    if lambdas:
        yield fault(
            where,
            "it has a Lambda layer, which may do anything to channels",
            f"layers={', '.join(lambdas)}",
            "All other layers of Keras are allowed",
            "Replace it by a layer that says what it does, as Rescaling, Activation or Reshape",
        )
    for noun, tensors in (("input", model.inputs), ("output", model.outputs)):
        if len(tensors) != 1:
            yield fault(
                where,
                f"it has {len(tensors)} {noun}s",
                f"{noun}s={', '.join(tensor.name for tensor in tensors)}",
                f"One {noun} is allowed",
                f"Make a keras.Model with one {noun} of it",
            )


def _is_graph(model: Any) -> bool:
    """Whether calling it is nothing but walking its graph."""
    if isinstance(model, keras.Sequential):
        return type(model).call is keras.Sequential.call and _is_connected(model)
    return isinstance(model, Functional) and type(model).call is Functional.call


def _is_connected(model: keras.Sequential) -> bool:
    """Whether it was built; older versions of Keras raise where later ones say None."""
    try:
        return getattr(model, "outputs", None) is not None
    except ValueError:
        return False


def _calls(outputs: Sequence[Any]) -> tuple[_Call, ...]:
    """All calls that the outputs depend on, each after those it reads. Walks, never recurses."""
    order: dict[_Call, None] = {}
    stack = [call for call, _ in _keys(outputs)]
    while stack:
        waiting = [call for call, _ in _keys(stack[-1].read) if call not in order]
        if waiting:
            stack += waiting
        else:
            order[stack.pop()] = None
    return tuple(order)


def _keys(tensors: Sequence[Any]) -> list[_Key]:
    histories = [tensor._keras_history for tensor in tensors]
    return [(_Call(one.operation, one.node_index), one.tensor_index) for one in histories]


def _descriptions(outputs: Sequence[Any]) -> Iterator[LayerDescription]:
    """Of a call with several outputs, those that are read."""
    calls = _calls(outputs)
    shared = _shared_weights(calls)
    consumed = {key for call in calls for key in _keys(call.read)} | set(_keys(outputs))
    names: dict[_Key, str] = {}
    seen: Counter[Any] = Counter()
    counted: set[int] = set()
    for call in calls:
        seen[call.layer] += 1
        weights = {id(weight): _size(weight) for weight in _weights(call.layer)}
        known = shared.isdisjoint(weights)
        facts = _facts(call, is_output=call is calls[-1]) if known else _NOT_KNOWN
        parameters = sum(size for one, size in weights.items() if one not in counted)
        costs = {"flops": _flops(call), "parameters": parameters}
        counted.update(weights)
        inputs = tuple(names[key] for key in _keys(call.read))
        for key in ((call, index) for index in range(len(call.made))):
            if key in consumed:
                names[key] = _name(key, seen[call.layer])
                yield _describe(key, names[key], inputs, facts, costs)
                costs = dict.fromkeys(costs, 0)


def _shared_weights(calls: Sequence[_Call]) -> set[int]:
    """Ids of the weights that more than one call uses, nested models included."""
    uses = Counter(id(weight) for call in calls for weight in _weights(call.layer))
    return {weight for weight, count in uses.items() if count > 1}


def _weights(layer: Any) -> Sequence[Any]:
    """Operations of ``keras.ops`` have none."""
    return getattr(layer, "weights", ())


def _size(weight: Any) -> int:
    return math.prod(weight.shape)


def _name(key: _Key, count: int) -> str:
    (layer, _), index = key
    call = f" (call {count})" if count > 1 else ""
    return f"{layer.name}{call}" + (f" (output {index + 1})" if index else "")


def _describe(
    key: _Key, name: str, inputs: tuple[str, ...], facts: Facts, costs: Mapping[str, int]
) -> LayerDescription:
    call, index = key
    shape = _shape(call.made[index], name)
    prices: dict[Metric, Price] = {
        "flops": Price(each=costs["flops"] // shape[-1]),
        "parameters": Price(each=costs["parameters"] // shape[-1]),
        "activations": Price(each=math.prod(shape[:-1])),
    }
    if facts.channels is None:
        prices |= {metric: Price(once=costs[metric]) for metric in ("flops", "parameters")}
    elif facts.channels is Channels.NEW and inputs:
        kernel = _size(call.layer.kernel)
        pairs = _shape(call.read[0], name)[-1] * shape[-1]
        bias = (costs["parameters"] - kernel) // shape[-1]
        prices["flops"] = Price(pair=costs["flops"] // pairs)
        prices["parameters"] = Price(pair=kernel // pairs, each=bias)
    return LayerDescription(
        name=name,
        kind=facts.kind,
        channels=facts.channels,
        inputs=inputs,
        shape=shape,
        prices=prices,
        function=facts.function,
        exact_constants=facts.exact_constants,
        seen=facts.seen,
        parameters=facts.parameters,
    )


def _shape(tensor: Any, name: str) -> Shape:
    """Without the batch axis."""
    shape = tuple(tensor.shape[1:])
    if not shape or None in shape:
        raise UserMustChange(
            fault(
                f"layer '{name}'",
                "its output has no fixed size",
                f"shape={shape}",
                "A size for each axis but the batch is allowed",
                "Build the model with a fixed input shape",
            )
        )
    return shape


def _flops(call: _Call) -> int:
    """2 x multiply-adds of a call for one image."""
    layer, word = call.layer, _word(call.layer)
    if isinstance(layer, keras.Model):
        return sum(map(_flops, _calls(layer.outputs))) if _is_graph(layer) else 0
    if word not in KERNELS:
        return 0
    tensor = call.read[0] if word.endswith("Transpose") else call.made[0]
    shape = _shape(tensor, layer.name)
    positions = math.prod(shape[1:] if _channels_first(layer) else shape[:-1])
    kernels = (getattr(layer, name) for name in KERNELS[word])
    return 2 * positions * sum(_size(kernel) for kernel in kernels)


def _word(layer: Any) -> str:
    """The name of its class in ``keras.layers``; empty for all other classes."""
    name = type(layer).__name__
    return name if getattr(keras.layers, name, None) is type(layer) else ""


def _channels_first(layer: Any) -> bool:
    return getattr(layer, "data_format", None) == "channels_first"


def _facts(call: _Call, *, is_output: bool) -> Facts:
    """The function of the output is of no interest: its channels are kept whatever it is."""
    reader = READERS.get(_word(call.layer))
    if reader is None or _channels_first(call.layer) or len(call.made) != 1:
        return _NOT_KNOWN
    inputs = [_shape(tensor, call.layer.name) for tensor in call.read]
    output = _shape(call.made[0], call.layer.name)
    facts = reader(call.layer, inputs, output)
    if facts is None or not fits(facts, inputs, output):
        return _NOT_KNOWN
    function, mixes = _last(facts.activation)
    if mixes and not is_output:
        return _NOT_KNOWN
    return replace(facts, function=function or facts.function)


def _last(activation: Any) -> tuple[Function | None, bool]:
    """What a layer applies last, and whether that looks at more than one value.

    Where nobody knows, it does.
    """
    if activation is None or activation is keras.activations.linear:
        return None, False
    if _word(activation) in _FUNCTIONS:
        of_layer: Callable[[Any], Any] = _FUNCTIONS[_word(activation)](activation)
        return _on_numpy(of_layer), False
    if activation in [getattr(keras.activations, name, None) for name in ELEMENTWISE]:
        return _on_numpy(activation), False
    return None, True


def _on_numpy(function: Callable[[Any], Any]) -> Function:
    return lambda values: np.asarray(keras.ops.convert_to_numpy(function(values)))


_FUNCTIONS: Mapping[str, Callable[[Any], Callable[[Any], Any]]] = {
    "ReLU": lambda layer: partial(
        keras.activations.relu,
        negative_slope=layer.negative_slope,
        max_value=layer.max_value,
        threshold=layer.threshold,
    ),
    "LeakyReLU": lambda layer: partial(
        keras.activations.leaky_relu, negative_slope=layer.negative_slope
    ),
    "ELU": lambda layer: partial(keras.activations.elu, alpha=layer.alpha),
}
"""What the layers that are an elementwise activation apply to each value."""
