"""Networks for tests of the shrink: small ones made by hand, and random ones with every join."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from mpinas.assembly.shapes import network_shapes
from mpinas.records import LayerSpec, NetworkSpec, ParameterValue

Pick = Callable[[int, int], int]
"""A whole number between two, both included: drawn by Hypothesis or by a generator."""


def layer(name: str, kind: str, *inputs: str, **parameters: ParameterValue) -> LayerSpec:
    return LayerSpec(name=name, kind=kind, inputs=inputs, parameters=parameters)


def conv(
    name: str,
    reads: str,
    filters: int,
    size: int | tuple[int, int] = 1,
    *,
    stride: int = 1,
    padding: str = "same",
    use_bias: bool = False,
) -> LayerSpec:
    kernel = size if isinstance(size, tuple) else (size, size)
    return layer(
        name,
        "conv2d",
        reads,
        filters=filters,
        kernel_size=kernel,
        strides=(stride, stride),
        padding=padding,
        use_bias=use_bias,
    )


def depthwise(
    name: str,
    reads: str,
    size: int,
    *,
    multiplier: int = 1,
    padding: str = "same",
    use_bias: bool = False,
) -> LayerSpec:
    return layer(
        name,
        "depthwise_conv2d",
        reads,
        depth_multiplier=multiplier,
        kernel_size=(size, size),
        strides=(1, 1),
        padding=padding,
        use_bias=use_bias,
    )


def batch_norm(name: str, reads: str) -> LayerSpec:
    return layer(name, "batch_norm", reads)


def relu(name: str, reads: str) -> LayerSpec:
    return layer(name, "activation", reads, function="relu")


def max_pool(name: str, reads: str) -> LayerSpec:
    return layer(name, "max_pool", reads, pool_size=(2, 2), strides=(2, 2), padding="valid")


def dense(name: str, reads: str, units: int, *, use_bias: bool = True) -> LayerSpec:
    return layer(name, "dense", reads, units=units, use_bias=use_bias)


def network_of(shape: tuple[int, int, int], *layers: LayerSpec) -> NetworkSpec:
    """The input is named ``image``."""
    image = LayerSpec(name="image", kind="input", parameters={"shape": shape})
    return NetworkSpec(input_shape=shape, layers=(image, *layers))


def conv_block(name: str, reads: str, filters: int, size: int = 3) -> tuple[LayerSpec, ...]:
    """``name``, its batch norm ``name_norm`` and ReLU ``name_relu``."""
    return (
        conv(name, reads, filters, size),
        batch_norm(f"{name}_norm", name),
        relu(f"{name}_relu", f"{name}_norm"),
    )


CONCATENATED = network_of(
    (17, 19, 3),
    conv("conv1", "image", 13, (7, 5)),
    batch_norm("norm1", "conv1"),
    conv("conv2", "image", 23),
    batch_norm("norm2", "conv2"),
    layer("concat", "concatenate", "norm1", "norm2"),
    conv("conv3", "concat", 29, 3, stride=2),
    batch_norm("norm3", "conv3"),
    conv("conv4", "concat", 31),
    batch_norm("norm4", "conv4"),
    layer("pool3", "global_average_pool", "norm3"),
    layer("pool4", "global_average_pool", "norm4"),
    layer("pools", "concatenate", "pool3", "pool4"),
    dense("logits", "pools", 10, use_bias=False),
)
"""The network that the original implementation of MorphNet is tested with; ours needs logits."""

CONCATENATED_GAMMAS = {
    "norm1": [0.8] * 7 + [0.2] * 6,
    "norm2": [-0.7] * 11 + [0.1] * 12,
    "norm3": [0.6] * 10 + [-0.3] * 19,
    "norm4": [-0.5] * 17 + [-0.4] * 14,
}

SEPARABLE = network_of(
    (17, 19, 3),
    depthwise("depthwise1", "image", 3),
    conv("conv1", "depthwise1", 13, (7, 5)),
    batch_norm("norm1", "conv1"),
    conv("conv2", "image", 23),
    batch_norm("norm2", "conv2"),
    depthwise("depthwise2", "norm2", 5),
    batch_norm("norm_depthwise2", "depthwise2"),
    layer("concat", "concatenate", "norm1", "norm_depthwise2"),
    conv("conv3", "concat", 29, 3, stride=2),
    batch_norm("norm3", "conv3"),
    layer("pool", "global_average_pool", "norm3"),
    dense("logits", "pool", 10, use_bias=False),
)
"""The same with depthwise layers."""

SEPARABLE_GAMMAS = {
    "norm1": CONCATENATED_GAMMAS["norm1"],
    "norm2": CONCATENATED_GAMMAS["norm2"],
    "norm_depthwise2": [0.3] * 5 + [0.9] * 10 + [-0.1] * 8,
    "norm3": CONCATENATED_GAMMAS["norm3"],
}

FLATTENED = network_of(
    (4, 4, 1),
    conv("conv", "image", 3),
    batch_norm("norm", "conv"),
    layer("flat", "flatten", "norm"),
    dense("logits", "flat", 5, use_bias=False),
)
FLATTENED_GAMMAS = {"norm": [1.0, 0.05, 0.5]}

RESIDUAL = network_of(
    (28, 28, 1),
    *conv_block("stem", "image", 24),
    max_pool("pool1", "stem_relu"),
    *conv_block("inner", "pool1", 48),
    conv("back", "inner_relu", 24, 3),
    batch_norm("back_norm", "back"),
    layer("sum", "add", "pool1", "back_norm"),
    relu("sum_relu", "sum"),
    *conv_block("branch", "sum_relu", 16, 1),
    layer("concat", "concatenate", "sum_relu", "branch_relu"),
    max_pool("pool2", "concat"),
    *conv_block("last", "pool2", 48),
    layer("flat", "flatten", "last_relu"),
    dense("hidden", "flat", 64, use_bias=False),
    batch_norm("hidden_norm", "hidden"),
    relu("hidden_relu", "hidden_norm"),
    dense("logits", "hidden_relu", 10),
)
"""A stem, a residual block, a branch and a hidden dense layer."""


class _Growing:
    """A network while it grows; ``tips`` are layers that nobody reads yet."""

    def __init__(self, pick: Pick, *, exact: bool) -> None:
        self._pick = pick
        self._exact = exact
        self.layers = [layer("image", "input", shape=(6, 6, 2))]
        self.tips = ["image"]
        self.maps = ["image"]

    def shape(self, name: str) -> tuple[int, ...]:
        network = NetworkSpec(input_shape=(6, 6, 2), layers=tuple(self.layers))
        return network_shapes(network)[name]

    def put(self, kind: str, *inputs: str, **parameters: ParameterValue) -> str:
        name = f"{kind}_{len(self.layers)}"
        self.layers.append(layer(name, kind, *inputs, **parameters))
        self.tips = [tip for tip in self.tips if tip not in inputs] + [name]
        return name

    def one_of(self, names: Sequence[str]) -> str:
        return names[self._pick(0, len(names) - 1)]

    def grow(self) -> None:
        steps = (self._conv, self._conv, self._depthwise, self._pool, self._add, self._concatenate)
        reads = self.one_of(self.maps)
        self.maps.append(steps[self._pick(0, len(steps) - 1)](reads))

    def finish(self) -> None:
        vectors = []
        for tip in list(self.tips):
            kind = ("flatten", "global_average_pool")[self._pick(0, 1)]
            vectors.append(self.put(kind, tip))
        joined = vectors[0] if len(vectors) == 1 else self.put("concatenate", *vectors)
        if self._pick(0, 1):
            joined = self._followed(
                self.put("dense", joined, units=self._pick(1, 4), use_bias=True)
            )
        self.put("dense", joined, units=3, use_bias=True)

    def _conv(self, reads: str, filters: int = 0, stride: int = 0) -> str:
        size = self._pick(0, 1) * 2 + 1
        strides = stride or self._pick(1, 2)
        padding = "valid" if self._exact and size <= self.shape(reads)[0] else "same"
        use_bias = bool(self._pick(0, 1))
        return self._followed(
            self.put(
                "conv2d",
                reads,
                filters=filters or self._pick(1, 5),
                kernel_size=(1, 1) if stride else (size, size),
                strides=(strides, strides),
                padding=padding,
                use_bias=use_bias,
            )
        )

    def _followed(self, name: str) -> str:
        if self._pick(0, 1):
            name = self.put("batch_norm", name)
        if self._pick(0, 2):
            name = self.put("activation", name, function="relu")
        return self.put("dropout", name, rate=0.25) if self._pick(0, 3) == 0 else name

    def _depthwise(self, reads: str) -> str:
        size = self._pick(0, 1) * 2 + 1
        return self._followed(
            self.put(
                "depthwise_conv2d",
                reads,
                depth_multiplier=self._pick(1, 2),
                kernel_size=(size, size),
                strides=(1, 1),
                padding="valid" if self._exact and size <= self.shape(reads)[0] else "same",
                use_bias=bool(self._pick(0, 1)),
            )
        )

    def _pool(self, reads: str) -> str:
        window = min(2, self.shape(reads)[0])
        size = (window, window)
        return self.put("max_pool", reads, pool_size=size, strides=size, padding="valid")

    def _add(self, reads: str) -> str:
        same = [name for name in self.maps if self.shape(name) == self.shape(reads)]
        other = self.one_of(same)
        if other == reads or self._pick(0, 1):
            other = self._conv(reads, filters=self.shape(reads)[-1], stride=1)
        return self.put("add", reads, other)

    def _concatenate(self, reads: str) -> str:
        same = [name for name in self.maps if self.shape(name)[:2] == self.shape(reads)[:2]]
        others = [self.one_of(same) for _ in range(self._pick(1, 2))]
        return self.put("concatenate", reads, *others)


def random_network(pick: Pick, *, exact: bool = False) -> NetworkSpec:
    """With convolutions, depthwise layers, pools, sums, concatenations, flattens, dropout.

    Args:
        exact: no kernel that looks beyond the border, as far as the map is as large.
    """
    growing = _Growing(pick, exact=exact)
    for _ in range(pick(1, 7)):
        growing.grow()
    growing.finish()
    return NetworkSpec(input_shape=(6, 6, 2), layers=tuple(growing.layers))


def renamed(network: NetworkSpec, names: Mapping[str, str]) -> NetworkSpec:
    """The same with other names."""
    return NetworkSpec(
        input_shape=network.input_shape,
        layers=tuple(
            layer(
                names[one.name], one.kind, *(names[name] for name in one.inputs), **one.parameters
            )
            for one in network.layers
        ),
    )


def reordered(network: NetworkSpec, pick: Pick) -> NetworkSpec:
    """The same in another topological order."""
    left, done = list(network.layers), dict[str, LayerSpec]()
    while left:
        ready = [one for one in left if all(name in done for name in one.inputs)]
        chosen = ready[pick(0, len(ready) - 1)]
        done[chosen.name] = chosen
        left.remove(chosen)
    return NetworkSpec(input_shape=network.input_shape, layers=tuple(done.values()))
