"""A trial without Keras: fitness from the network alone, pretended time, real failures.

For trying job scripts without a GPU, for tests and for benchmarks. Comes in: a ``TrialSpec``
whose settings hold ``fake``. Comes out: a ``TrialResult`` like that of ``run.py``. It must know
nothing of TensorFlow, processes or MPI; the failures it makes are real and end or block the
process it is called in.
"""

from __future__ import annotations

import ctypes
import math
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, cast

from numpy.random import SeedSequence, default_rng

from mpinas import __version__
from mpinas.assembly.shapes import network_costs, network_widths
from mpinas.config_fake import FAILURE_KINDS
from mpinas.errors import Infeasible
from mpinas.records import (
    Curves,
    Failure,
    NetworkSpec,
    Progress,
    Times,
    TrialResult,
    TrialSpec,
    TrialStatus,
)

Report = Callable[[Progress], None]

MEMORY_BLOCK_BYTES = 8 * 2**20
MEMORY_BLOCK_SECONDS = 0.005
MEMORY_ENOUGH_BYTES = 2**30
EXIT_CODE = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Trait:
    """What the closed form looks at: the value it likes best, and how far off is half as good."""

    best: float
    half: float


TRAITS: Mapping[str, Trait] = {
    "convolutions": Trait(best=6.0, half=3.0),
    "mean_log2_filters": Trait(best=5.0, half=0.5),
    "share_of_3x3": Trait(best=1.0, half=0.4),
    "merges": Trait(best=2.0, half=1.5),
    "pools": Trait(best=2.0, half=1.5),
}


def network_traits(network: NetworkSpec) -> dict[str, float]:
    """The numbers of a network that :func:`closed_form_fitness` looks at, named as ``TRAITS``."""
    kinds = [layer.kind for layer in network.layers]
    convolutions = [layer.parameters for layer in network.layers if layer.kind == "conv2d"]
    kernels = [_pair(parameters["kernel_size"]) for parameters in convolutions]
    log_filters = [math.log2(cast(int, parameters["filters"])) for parameters in convolutions]
    return {
        "convolutions": len(convolutions),
        "mean_log2_filters": _mean(log_filters),
        "share_of_3x3": _mean([float(kernel == (3, 3)) for kernel in kernels]),
        "merges": kinds.count("add") + kinds.count("concatenate"),
        "pools": kinds.count("max_pool"),
    }


def closed_form_fitness(network: NetworkSpec) -> float:
    """A pretended accuracy in 0..1, the same on every machine; pure.

    The geometric mean over ``TRAITS`` of ``1 / (1 + ((value - best) / half)**2)``: smooth, with
    one peak and no plateau, since every trait pulls however far it is off. The optimum is 1.0,
    for exactly six convolutions with 32 filters (in the geometric mean) and 3x3 kernels, two
    merges and two max-pools, whatever else the network holds.
    """
    traits = network_traits(network)
    product = math.prod(
        1.0 / (1.0 + ((traits[name] - trait.best) / trait.half) ** 2)
        for name, trait in TRAITS.items()
    )
    return float(product ** (1.0 / len(TRAITS)))


def run_trial(spec: TrialSpec, report: Report) -> TrialResult:
    """Pretends to train the network: sleeps, reports each epoch, may fail on purpose.

    Args:
        spec: ``settings`` is the ``trial`` section of the configuration as plain JSON. The sleep
            and whether and how it fails are drawn from ``spec.seed`` alone.
        report: called after each epoch.
    """
    try:
        costs, widths = network_costs(spec.network), network_widths(spec.network)
    except Infeasible as reason:
        return _result(spec, status=TrialStatus.INFEASIBLE, error=reason.reason)
    fake: Mapping[str, Any] = spec.settings["fake"]
    rng = default_rng(SeedSequence(spec.seed))
    failure = draw_failure(fake["failures"], float(rng.random()))
    seconds = draw_seconds(fake["seconds"], float(rng.standard_normal()))
    accuracies = _learn(spec, report, seconds, failure)
    curves = _curves(accuracies)
    times = Times(train_s=seconds)
    if not math.isfinite(accuracies[-1]):
        return _result(
            spec,
            status=TrialStatus.FAILED,
            failure=Failure.NOT_A_NUMBER,
            error=f"the accuracy is {accuracies[-1]} after {len(accuracies)} epochs",
            curves=curves,
            times=times,
        )
    return _result(
        spec,
        status=TrialStatus.COMPLETE,
        fitness=accuracies[-1],
        curves=curves,
        costs=costs,
        widths=widths,
        times=times,
        versions=_versions(unserialisable=failure == "unserialisable"),
    )


def draw_failure(odds: Mapping[str, float], uniform: float) -> str | None:
    """The kind of failure that a uniform number in [0, 1) stands for; None for a good end."""
    threshold = 0.0
    for kind in FAILURE_KINDS:
        threshold += odds.get(kind, 0.0)
        if uniform < threshold:
            return kind
    return None


def draw_seconds(seconds: Mapping[str, float], normal: float) -> float:
    """A log-normal duration whose expected value is ``mean``, from a standard normal number."""
    sigma = seconds["sigma"]
    return float(seconds["mean"] * math.exp(sigma * normal - sigma**2 / 2))


def _learn(spec: TrialSpec, report: Report, seconds: float, failure: str | None) -> list[float]:
    """Sleeps through the epochs; the failure strikes at the end of the middle one."""
    epochs = int(spec.settings["epochs"])
    goal = closed_form_fitness(spec.network)
    accuracies: list[float] = []
    for epoch in range(1, epochs + 1):
        time.sleep(seconds / epochs)
        if failure in FAILURES and epoch == (epochs + 1) // 2:
            FAILURES[failure]()
        accuracy = math.nan if failure == "nan" else goal * epoch / epochs
        accuracies.append(accuracy)
        report(
            Progress(
                trial_id=spec.trial_id,
                epoch=epoch,
                epochs=epochs,
                loss=_loss(accuracy),
                accuracy=accuracy,
                validation_accuracy=accuracy,
            )
        )
    return accuracies


def _result(spec: TrialSpec, **what: Any) -> TrialResult:
    return TrialResult(trial_id=spec.trial_id, network_hash=spec.network.hash, **what)


def _versions(*, unserialisable: bool) -> Mapping[str, str]:
    version: Any = object() if unserialisable else __version__
    return {"mpinas": version}


def _curves(accuracies: Sequence[float]) -> Curves:
    losses = tuple(_loss(accuracy) for accuracy in accuracies)
    return Curves(
        training_loss=losses,
        training_accuracy=tuple(accuracies),
        validation_loss=losses,
        validation_accuracy=tuple(accuracies),
    )


def _loss(accuracy: float) -> float:
    return -math.log(max(accuracy, 1e-7)) if math.isfinite(accuracy) else math.nan


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def _pair(value: object) -> tuple[int, int]:
    if isinstance(value, int):
        return value, value
    height, width = cast(Sequence[int], value)
    return height, width


def _raise() -> NoReturn:
    raise ValueError("a failure on purpose")


def _exit() -> NoReturn:
    sys.exit(EXIT_CODE)


def _os_exit() -> NoReturn:
    os._exit(EXIT_CODE)


def _segfault() -> None:
    ctypes.string_at(0)


def _kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _memory() -> NoReturn:
    """Fills memory until somebody stops it; gives up where nobody does."""
    blocks: list[bytearray] = []
    while len(blocks) * MEMORY_BLOCK_BYTES < MEMORY_ENOUGH_BYTES:
        blocks.append(bytearray(b"\1") * MEMORY_BLOCK_BYTES)
        time.sleep(MEMORY_BLOCK_SECONDS)
    raise MemoryError(f"nobody stopped a trial that holds {MEMORY_ENOUGH_BYTES >> 20} MB")


def _hang() -> NoReturn:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while True:
        pass


FAILURES: Mapping[str | None, Callable[[], None]] = {
    "raise": _raise,
    "exit": _exit,
    "os_exit": _os_exit,
    "segfault": _segfault,
    "kill": _kill,
    "memory": _memory,
    "hang": _hang,
}
"""The failures that strike while it runs; ``nan`` and ``unserialisable`` spoil the result."""
