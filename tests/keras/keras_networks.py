"""Small networks and trials that the Keras tests train."""

from __future__ import annotations

from typing import Any

from mpinas.records import LayerSpec, NetworkSpec, ProblemSpec, TrialSpec

Layer = tuple[str, dict[str, Any]]


def chain(input_shape: tuple[int, int, int], *layers: Layer) -> NetworkSpec:
    """A network without branches. Layers are named by kind and place, from ``input_0``."""
    specs = [LayerSpec(name="input_0", kind="input", parameters={"shape": input_shape})]
    for kind, parameters in layers:
        name = f"{kind}_{len(specs)}"
        inputs = (specs[-1].name,)
        specs.append(LayerSpec(name=name, kind=kind, inputs=inputs, parameters=parameters))
    return NetworkSpec(input_shape=input_shape, layers=tuple(specs))


def conv2d(filters: int, *, use_bias: bool = False) -> Layer:
    return (
        "conv2d",
        {
            "filters": filters,
            "kernel_size": (3, 3),
            "strides": (1, 1),
            "padding": "same",
            "use_bias": use_bias,
        },
    )


def dense(units: int) -> Layer:
    return ("dense", {"units": units, "use_bias": True})


RELU: Layer = ("activation", {"function": "relu"})
MAX_POOL: Layer = ("max_pool", {"pool_size": (2, 2), "strides": (2, 2), "padding": "valid"})

DIGITS_NETWORK = chain(
    (8, 8, 1),
    conv2d(8),
    ("batch_norm", {}),
    RELU,
    MAX_POOL,
    ("flatten", {}),
    dense(32),
    RELU,
    ("dropout", {"rate": 0.2}),
    dense(10),
)


def trial(prepared: str, network: NetworkSpec = DIGITS_NETWORK, **changes: Any) -> TrialSpec:
    """A trial on digits; other arguments are fields of the spec, its problem or its settings."""
    problem = {"training_images": 600, "validation_images": 200, "split_seed": 0}
    fields: dict[str, Any] = {"learning_rate": 3e-3, "seed": 11, "weights_path": None}
    settings: dict[str, Any] = {"epochs": 2, "batch_size": 64}
    for name, value in changes.items():
        home = problem if name in problem else fields if name in fields else settings
        home[name] = value
    return TrialSpec(
        trial_id="g000-t000",
        candidate={},
        network=network,
        problem=ProblemSpec(name="digits", path=prepared, **problem),
        settings=settings,
        **fields,
    )
