"""What the regulariser adds to a training step, as a ratio of processor seconds.

Run by hand: ``python tests/benchmarks/regularizer_cost.py``. Each network is trained with and
without the term, in turns, in chunks of steps on one thread; the ratio is that of the fastest
chunks, because other load only ever adds.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from trial_cost import two_convolutions

from mpinas.config_shrink import ShrinkConfig
from mpinas.morphnet.channels import graph_of
from mpinas.morphnet.sources import find_sources
from mpinas.records import NetworkSpec

BATCH = 128
STEPS_PER_CHUNK = 16
CHUNKS = 12
SHAPES = ((8, 8, 1), (28, 28, 1), (32, 32, 3))


def trained(network: NetworkSpec, regularized: bool) -> Any:
    """A compiled model."""
    import keras

    from mpinas.assembly.keras_model import build_model
    from mpinas.morphnet.optimizer import with_scale_rate
    from mpinas.morphnet.regularizer import RegularizedModel, Regularizer

    inner = build_model(network, seed=0)
    image = keras.Input(network.input_shape)
    optimizer = keras.optimizers.Adam(1e-3)
    if regularized:
        model = RegularizedModel(image, inner(image))
        graph = graph_of(network)
        settings = ShrinkConfig(enabled=True)
        regularizer = Regularizer(graph, find_sources(graph, settings.source), inner, settings)
        model.add_regularizer(regularizer, settings.strength)
        optimizer = with_scale_rate(optimizer, regularizer.scales, 1e-3)
    else:
        model = keras.Model(image, inner(image))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss, steps_per_execution=8, jit_compile=False)
    return model


def chunk_s(model: Any, data: Any) -> float:
    """Processor seconds of one chunk of steps."""
    started = time.process_time()
    model.fit(data, steps_per_epoch=STEPS_PER_CHUNK, verbose=0)
    return time.process_time() - started


def main() -> None:
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    rng = np.random.default_rng(0)
    for shape in SHAPES:
        network = two_convolutions(shape, 10)
        images = rng.normal(size=(BATCH, *shape)).astype(np.float32)
        labels = rng.integers(10, size=BATCH)
        data = tf.data.Dataset.from_tensors((images, labels)).repeat()
        models = [trained(network, regularized) for regularized in (False, True)]
        chunks = [[chunk_s(model, data) for model in models] for _ in range(CHUNKS)]
        plain_s, regularized_s = np.min(chunks, axis=0)
        step_ms = 1e3 * plain_s / STEPS_PER_CHUNK
        print(f"{shape}: {step_ms:.1f} ms a step, with the term {regularized_s / plain_s:.3f}")


if __name__ == "__main__":
    main()
