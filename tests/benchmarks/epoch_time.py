"""What our input costs: the time of an epoch over that of a bare Keras ``fit``.

    python tests/benchmarks/epoch_time.py [--prepared FILE] [--repetitions N]

On a CPU, one thread. Both sides train the same network with the same seed, batch size and steps
per execution, and measure it on the same validation images after each epoch. Ours is
``run_trial`` on a prepared file; bare is ``fit`` with shuffling on float32 arrays in memory,
normalised beforehand. Random images, 28x28x1 and 32x32x3 (or those of FILE), of which 6,400 are
trained on and one batch held out; a small and a medium network; ours also with three copies of
each image, its time divided by three. Every measurement is a process of its own, the sides take
turns, the first epoch of each process (which compiles) does not count. Printed are the fastest
epoch of each side, in seconds of wall time and of CPU, and each side over the bare one.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mpinas.config import TrialConfig
from mpinas.problems.images import ImageData, numbered_names
from mpinas.problems.normalisation import channel_statistics
from mpinas.problems.prepared import open_prepared, write_prepared
from mpinas.problems.splits import split
from mpinas.records import LayerSpec, NetworkSpec, ProblemSpec, TrialSpec

IMAGES, TRAINING, VALIDATION = 50_000, 6_400, 128
EPOCHS = 4
COPIES = 3
SHAPES = ((28, 28, 1), (32, 32, 3))
FILTERS = {"small": (8, 16), "medium": (32, 64)}
SIDES = ("bare", "ours", "copies")
SETTINGS = {"epochs": EPOCHS, "threads": 1}
AUGMENT = {"flip": True, "shift": 0.125, "brightness": 0.2, "contrast": 0.2, "saturation": 0.2}
Moment = tuple[float, float]
"""Wall time and CPU time of the process, in seconds."""


def write_random_images(file: Path, shape: tuple[int, int, int]) -> None:
    """A prepared file of as many images as MNIST or CIFAR-10 have, roughly."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (IMAGES, *shape), dtype=np.uint8)
    labels = rng.integers(0, 10, IMAGES, dtype=np.int32)
    data = ImageData(
        x_train=images,
        y_train=labels,
        x_test=images[:100],
        y_test=labels[:100],
        class_names=numbered_names(10),
        source="random images",
    )
    write_prepared(data, file)


def convolutions(shape: tuple[int, int, int], classes: int, size: str) -> NetworkSpec:
    """Twice convolution, batch norm, ReLU and pool; then logits."""
    window = {"strides": (1, 1), "padding": "same", "use_bias": False, "kernel_size": (3, 3)}
    pool = {"pool_size": (2, 2), "strides": (2, 2), "padding": "valid"}
    layers: list[tuple[str, dict[str, Any]]] = [("input", {"shape": shape})]
    for filters in FILTERS[size]:
        layers += [
            ("conv2d", {"filters": filters, **window}),
            ("batch_norm", {}),
            ("activation", {"function": "relu"}),
            ("max_pool", pool),
        ]
    layers += [("flatten", {}), ("dense", {"units": classes, "use_bias": True})]
    specs = tuple(
        LayerSpec(name=f"l{i}", kind=kind, inputs=(f"l{i - 1}",) if i else (), parameters=given)
        for i, (kind, given) in enumerate(layers)
    )
    return NetworkSpec(input_shape=shape, layers=specs)


def moment() -> Moment:
    return time.perf_counter(), time.process_time()


def epochs_of_ours(file: Path, network: NetworkSpec, augment: Mapping[str, Any]) -> list[Moment]:
    """When each epoch ended."""
    from mpinas.trial.run import run_trial

    spec = TrialSpec(
        trial_id="g000-t000",
        candidate={},
        network=network,
        problem=ProblemSpec(
            name="random",
            path=str(file),
            training_images=TRAINING,
            validation_images=VALIDATION,
            split_seed=0,
            augment=augment,
        ),
        learning_rate=1e-3,
        settings=SETTINGS,
        seed=0,
    )
    moments: list[Moment] = []
    result = run_trial(spec, lambda _: moments.append(moment()))
    if result.fitness is None:
        raise RuntimeError(result.error)
    return moments


def epochs_of_bare_fit(file: Path, network: NetworkSpec) -> list[Moment]:
    """When each epoch ended."""
    import keras
    import tensorflow as tf

    from mpinas.assembly.keras_model import build_model

    settings = TrialConfig.model_validate(SETTINGS)
    tf.config.threading.set_intra_op_parallelism_threads(settings.threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    prepared = open_prepared(file)
    parts = split(prepared.y_train, training_images=TRAINING, validation_images=VALIDATION, seed=0)
    mean, deviation = channel_statistics(prepared.x_train, parts[0])
    (images, labels), held_out = (
        ((prepared.x_train[part].astype(np.float32) - mean) / deviation, prepared.y_train[part])
        for part in parts
    )
    model = build_model(network, seed=0)
    model.compile(
        optimizer=keras.optimizers.Adam(1e-3),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        steps_per_execution=settings.steps_per_execution,
        jit_compile=False,
    )
    moments: list[Moment] = []
    watch = keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: moments.append(moment()))
    model.fit(
        images,
        labels,
        batch_size=settings.batch_size,
        validation_data=held_out,
        epochs=EPOCHS,
        shuffle=True,
        verbose=0,
        callbacks=[watch],
    )
    return moments


def measure_here(side: str, file: Path, size: str) -> None:
    """Prints seconds of wall time and of CPU, of the fastest epoch but the first."""
    prepared = open_prepared(file)
    network = convolutions(prepared.image_shape, prepared.classes, size)
    if side == "bare":
        moments = epochs_of_bare_fit(file, network)
    else:
        augment = AUGMENT | {"copies": COPIES} if side == "copies" else {}
        moments = epochs_of_ours(file, network, augment)
    print(json.dumps([float(lasted) for lasted in np.diff(moments, axis=0).min(axis=0)]))


def measure(side: str, file: Path, size: str) -> Moment:
    """The same, in a process of its own."""
    answer = subprocess.run(
        [sys.executable, __file__, "--side", side, "--size", size, "--prepared", str(file)],
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
        check=False,
    )
    if answer.returncode:
        raise RuntimeError(answer.stderr)
    wall_s, cpu_s = json.loads(answer.stdout)
    return wall_s, cpu_s


def compare(file: Path, repetitions: int) -> Iterator[str]:
    """Yields a line for each network."""
    shape = "x".join(str(length) for length in open_prepared(file).image_shape)
    for size in FILTERS:
        rows = [[measure(side, file, size) for side in SIDES] for _ in range(repetitions)]
        best = dict(zip(SIDES, np.min(rows, axis=0), strict=True))
        best["copies"] /= COPIES
        for side in SIDES:
            wall_s, cpu_s = best[side]
            wall, cpu = best[side] / best["bare"]
            yield (
                f"{shape:8} {size:7} {side:7} {wall_s:6.3f} s wall {cpu_s:6.3f} s CPU"
                f"   over bare: {wall:.3f} wall {cpu:.3f} CPU"
            )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--prepared", type=Path)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--size", choices=FILTERS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.side:
        measure_here(given.side, given.prepared, given.size)
        return
    with tempfile.TemporaryDirectory() as folder:
        files = [given.prepared] if given.prepared else []
        for shape in () if files else SHAPES:
            files.append(Path(folder) / f"random{shape[2]}.h5")
            write_random_images(files[-1], shape)
        for file in files:
            for line in compare(file, given.repetitions):
                print(line, flush=True)


if __name__ == "__main__":
    main()
