"""Trials made by hand, for tests of what runs them: no search, no data, no Keras."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from mpinas.config import TrialConfig
from mpinas.dispatch.base import Executor
from mpinas.records import (
    Event,
    Failure,
    Finished,
    LayerSpec,
    NetworkSpec,
    ProblemSpec,
    TrialSpec,
    WorkerLost,
    trial_id,
)
from mpinas.trial import handle

ODD_PROGRAM = handle.PROGRAM.replace(
    "main(*arguments)",
    'import mpinas.trial.forkserver as server\nserver.RUNNERS = {"odd": "odd_runner"}\n'
    "main(*arguments)",
)
"""Of a forkserver that knows the runner ``odd`` and no other."""

ATTEMPTS = 3

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
            name="none", path="/nowhere", training_images=8, validation_images=2, split_seed=0
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


def farm_again(executor: Executor, specs: Iterable[TrialSpec]) -> Iterator[Event]:
    """Runs all trials as a search does: what the infrastructure failed is tried again.

    That is when another worker could take it or nothing else is left to wait for, and at most
    three times in all; no longer than there is a worker.
    """
    waiting, failed = list(specs), list[TrialSpec]()
    running: dict[str, TrialSpec] = {}
    attempts: Counter[str] = Counter()
    while (waiting or failed or running) and executor.workers():
        while executor.free() and (waiting or (failed and (executor.free() > 1 or not running))):
            spec = (waiting or failed).pop(0)
            running[spec.trial_id] = spec
            attempts[spec.trial_id] += 1
            executor.submit(spec)
        for event in executor.events(1.0):
            ended = _ended(event)
            spec_of_ended = running.pop(ended, None) if ended is not None else None
            if spec_of_ended is not None and not _stands(event) and attempts[ended] < ATTEMPTS:
                failed.append(spec_of_ended)
            yield event


def _ended(event: Event) -> str | None:
    if isinstance(event, Finished):
        return event.result.trial_id
    return event.trial_id if isinstance(event, WorkerLost) else None


def _stands(event: Event) -> bool:
    return isinstance(event, Finished) and event.result.failure is not Failure.INFRASTRUCTURE
