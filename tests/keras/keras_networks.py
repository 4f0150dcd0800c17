"""Small networks and trials that the Keras tests train, and the process that runs them."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
from typing import Any

import numpy as np

from mpinas.problems import open_prepared, split
from mpinas.records import (
    LayerSpec,
    NetworkSpec,
    ProblemSpec,
    TrialResult,
    TrialSpec,
    from_json,
    to_json,
)

Layer = tuple[str, dict[str, Any]]

SERVER = pathlib.Path(__file__).with_name("keras_trial_server.py")


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
    fields: dict[str, Any] = {
        "learning_rate": 3e-3,
        "seed": 11,
        "weights_path": None,
        "events_path": None,
    }
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


class Server:
    """A process that has TensorFlow loaded and forks for each trial."""

    def __init__(self, **environment: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(SERVER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **environment},
            text=True,
        )

    def ask(self, spec: TrialSpec) -> dict[str, Any]:
        """The result, the progress and the number of threads, as plain JSON."""
        self.process.stdin.write(to_json(spec).decode() + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def run(self, spec: TrialSpec) -> TrialResult:
        return from_plain_result(self.ask(spec))

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait(timeout=60)


def from_plain_result(answer: dict[str, Any]) -> TrialResult:
    assert "crashed" not in answer
    return from_json(TrialResult, json.dumps(answer["result"]))


def same_numbers(one: TrialResult, other: TrialResult) -> bool:
    return (one.fitness, one.curves) == (other.fitness, other.curves)


def validation_accuracy(
    digits: str, weights: pathlib.Path, network: NetworkSpec = DIGITS_NETWORK
) -> float:
    """Of a model that gets these weights, computed without ``run_trial``."""
    from mpinas.assembly.keras_model import build_model

    problem = open_prepared(pathlib.Path(digits))
    training, validation = split(
        problem.y_train, training_images=600, validation_images=200, seed=0
    )
    seen = problem.x_train[training].astype(np.float64)
    model = build_model(network, seed=99)
    model.load_weights(weights)
    images = (problem.x_train[validation] - seen.mean()) / seen.std()
    logits = np.asarray(model(images.astype(np.float32)))
    return float(np.mean(logits.argmax(axis=1) == problem.y_train[validation]))
