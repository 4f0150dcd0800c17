"""What a Keras trial costs: CPU seconds that every trial pays, and CPU seconds an epoch.

Run by hand: ``python tests/benchmarks/trial_cost.py [data.npz]``. Without a file it measures
digits; with one, 10,000 of its training images. One thread, batch 128, two convolutions.
"""

from __future__ import annotations

import pathlib
import sys
import tempfile
import time

from mpinas.config import ProblemConfig
from mpinas.problems import open_prepared, prepare
from mpinas.records import LayerSpec, NetworkSpec, ProblemSpec, TrialSpec

EPOCHS = 4


def two_convolutions(input_shape: tuple[int, int, int], classes: int) -> NetworkSpec:
    """conv 32, pool, conv 64, pool, dense 128, logits; kernels of 3, with batch norm."""
    window = {"strides": (1, 1), "padding": "same", "use_bias": False, "kernel_size": (3, 3)}
    pool = {"pool_size": (2, 2), "strides": (2, 2), "padding": "valid"}
    layers = [
        ("input", {"shape": input_shape}),
        *(
            step
            for filters in (32, 64)
            for step in (
                ("conv2d", {"filters": filters, **window}),
                ("batch_norm", {}),
                ("activation", {"function": "relu"}),
                ("max_pool", pool),
            )
        ),
        ("flatten", {}),
        ("dense", {"units": 128, "use_bias": False}),
        ("batch_norm", {}),
        ("activation", {"function": "relu"}),
        ("dense", {"units": classes, "use_bias": True}),
    ]
    specs = tuple(
        LayerSpec(name=f"l{i}", kind=kind, inputs=(f"l{i - 1}",) if i else (), parameters=given)
        for i, (kind, given) in enumerate(layers)
    )
    return NetworkSpec(input_shape=input_shape, layers=specs)


def main(path: str | None) -> None:
    from mpinas.trial.run import run_trial

    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder) / "prepared.h5"
        name = "arrays" if path else "digits"
        prepare(ProblemConfig(name=name, path=path), file)
        prepared = open_prepared(file)
        images = 10_000 if path else len(prepared.y_train) * 85 // 100
        spec = TrialSpec(
            trial_id="g000-t000",
            candidate={},
            network=two_convolutions(prepared.image_shape, prepared.classes),
            problem=ProblemSpec(
                name=name,
                path=str(file),
                training_images=images,
                validation_images=int(0.15 * images),
                split_seed=0,
            ),
            learning_rate=1e-3,
            settings={"epochs": EPOCHS, "batch_size": 128, "threads": 1},
            seed=0,
        )
        ends_s = [time.process_time()]
        result = run_trial(spec, lambda _: ends_s.append(time.process_time()))
        epoch_s = (ends_s[-1] - ends_s[1]) / (EPOCHS - 1)
        print(f"fixed cost of a trial: {ends_s[1] - ends_s[0] - epoch_s:.2f} CPU seconds")
        print(f"an epoch with its validation: {epoch_s:.2f} CPU seconds")
        print(f"validation accuracy after {EPOCHS} epochs: {result.fitness:.4f}")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
