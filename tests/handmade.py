"""Trials made by hand, for tests of what runs them: no search, no data, no Keras."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from mpinas.config import TrialConfig
from mpinas.dispatch.base import Executor
from mpinas.records import (
    Event,
    Finished,
    LayerSpec,
    NetworkSpec,
    ProblemSpec,
    TrialSpec,
    WorkerLost,
    trial_id,
)

CONV2D = {"kernel_size": (3, 3), "strides": (1, 1), "padding": "same", "use_bias": True}


def network(filters: int = 32, convolutions: int = 1) -> NetworkSpec:
    """A chain of convolutions on 8x8 images, ten classes."""
    layers = [LayerSpec(name="input", kind="input", parameters={"shape": (8, 8, 1)})]
    for index in range(convolutions):
        layers.append(
            LayerSpec(
                name=f"convolution_{index}",
                kind="conv2d",
                inputs=(layers[-1].name,),
                parameters={"filters": filters, **CONV2D},
            )
        )
    layers.append(LayerSpec(name="flatten", kind="flatten", inputs=(layers[-1].name,)))
    layers.append(
        LayerSpec(
            name="logits",
            kind="dense",
            inputs=("flatten",),
            parameters={"units": 10, "use_bias": True},
        )
    )
    return NetworkSpec(input_shape=(8, 8, 1), layers=tuple(layers))


def fake_spec(
    index: int,
    *,
    seconds: float = 0.0,
    failures: Mapping[str, float] | None = None,
    epochs: int = 3,
    convolutions: int = 1,
    **more: Any,
) -> TrialSpec:
    """Trial ``index`` of generation 0 for the fake runner; its seed is its index."""
    settings = TrialConfig.model_validate(
        {
            "runner": "fake",
            "epochs": epochs,
            "fake": {"seconds": {"mean": seconds}, "failures": dict(failures or {})},
        }
    )
    return TrialSpec(
        trial_id=trial_id(0, index),
        candidate={"number": index},
        network=network(convolutions=convolutions),
        problem=ProblemSpec(
            name="none", path="/nowhere", train_images=None, validation=0.2, split_seed=0
        ),
        learning_rate=0.001,
        settings=settings.model_dump(mode="json"),
        seed=index,
        **more,
    )


def farm(executor: Executor, specs: Iterable[TrialSpec]) -> Iterator[Event]:
    """Runs all trials and yields all events, until each has ended."""
    waiting = list(specs)
    running: set[str] = set()
    while waiting or running:
        while waiting and executor.free():
            running.add(waiting[0].trial_id)
            executor.submit(waiting.pop(0))
        for event in executor.events(1.0):
            if isinstance(event, Finished):
                running.remove(event.result.trial_id)
            elif isinstance(event, WorkerLost) and event.trial_id is not None:
                running.remove(event.trial_id)
            yield event
