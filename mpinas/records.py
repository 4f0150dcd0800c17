"""The nouns that travel: what a trial is, what came of it, and what happens in between.

Everything here is a frozen record with a JSON form in both directions. Nothing here knows
genomes, Keras, MPI or files. ``TrialSpec`` goes out to a worker, ``TrialResult`` comes back;
``Event`` is what an executor tells the search.
"""

from __future__ import annotations

import enum
import hashlib
import json
import math
import re
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import Any, ClassVar, TypeVar, cast

import pydantic_core
from pydantic import ConfigDict, TypeAdapter

ParameterValue = int | float | str | bool | tuple[int, ...]
Shape = tuple[int, ...]
"""Of a tensor, without the batch axis: ``(height, width, channels)`` or ``(units,)``."""

BYTES_PER_MB = 2**20
"""Of every ``_mb`` in the project."""

Record = TypeVar("Record")

_NOT_A_NUMBER_SURVIVES = ConfigDict(ser_json_inf_nan="strings")
"""A diverged loss is written as ``"NaN"``, which is JSON and reads back as the same float."""


@cache
def _cached_adapter(record_type: Hashable) -> TypeAdapter[Any]:
    return TypeAdapter(cast(Any, record_type))


def _adapter(record_type: type[Any]) -> TypeAdapter[Any]:
    return _cached_adapter(cast(Hashable, record_type))


def to_json(record: object) -> bytes:
    """Serialises any record of this package. Floats keep every bit; the text is one line."""
    return _adapter(type(record)).dump_json(record)


def from_json(record_type: type[Record], text: bytes | str) -> Record:
    """Reads what :func:`to_json` wrote.

    Raises:
        ValueError: the text is not JSON or not such a record.
    """
    return _adapter(record_type).validate_json(text)  # type: ignore[no-any-return]


def to_plain(record: object) -> Any:
    """The record as dictionaries, lists, numbers and strings, as they stand in JSON."""
    return parse_json(to_json(record))


def parse_json(text: bytes | str) -> Any:
    """Any JSON text as plain values, several times as fast as the standard library.

    Raises:
        ValueError: it is not JSON.
    """
    return pydantic_core.from_json(text)


def from_plain(record_type: type[Record], value: Any) -> Record:
    """Reads what :func:`to_plain` gave. Raises ValueError where it is not such a record."""
    return _adapter(record_type).validate_python(value)  # type: ignore[no-any-return]


def canonical_json(value: Any) -> bytes:
    """JSON text that is equal for equal values: keys sorted, no spaces, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def last_line(error: str) -> str:
    """The line of a traceback that says what went wrong; empty for an empty text."""
    lines = error.strip().splitlines()  # a progress bar ends its lines in other ways
    return lines[-1].strip() if lines else ""


def trial_id(generation: int, index: int) -> str:
    """``g003-t017``: sorts and greps."""
    return f"g{generation:03d}-t{index:03d}"


def trial_number(trial_id: str) -> tuple[int, int]:
    """(generation, index) of a trial id: the key to sort by, right beyond 999 as well.

    Raises:
        ValueError: it is no trial id.
    """
    match = re.fullmatch(r"g(\d+)-t(\d+)", trial_id)
    if not match:
        raise ValueError(f"a trial id looks like g003-t017. Received: trial_id={trial_id!r}.")
    return int(match[1]), int(match[2])


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerSpec:
    """One layer of a network.

    Attributes:
        name: unique within the network; layers refer to each other by it.
        kind: key into ``space.layers.LAYERS``.
        inputs: names of the layers it reads, in order; empty for the input only.
        parameters: Keras's own names (``filters``, ``kernel_size``, ``rate``, ...).
    """

    name: str
    kind: str
    inputs: tuple[str, ...] = ()
    parameters: Mapping[str, ParameterValue] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class NetworkSpec:
    """A network, flat: enough to build it, with nothing about how it was found.

    Attributes:
        input_shape: ``(height, width, channels)`` of one image.
        layers: in topological order; the first is the input, the last gives the class logits.
    """

    input_shape: tuple[int, int, int]
    layers: tuple[LayerSpec, ...]

    @cached_property
    def hash(self) -> str:
        """16 hexadecimal digits, equal for equal specs on every machine and version."""
        return hashlib.sha256(canonical_json(to_plain(self))).hexdigest()[:16]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProblemSpec:
    """What a trial learns.

    Attributes:
        name: of the problem, for people.
        path: prepared HDF5 file (see ``problems.prepared``), absolute.
        data: checksum of the prepared data; empty for any.
        training_images, validation_images: sizes of the parts of the training data.
        split_seed: seeds the split; the same for all trials of a search.
        augment: a ``problem.augment`` section.
        stage: whether each node maps a copy of the file on a disk of its own.
    """

    name: str
    path: str
    training_images: int
    validation_images: int
    split_seed: int
    data: str = ""
    augment: Mapping[str, Any] = field(default_factory=dict)
    stage: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialSpec:
    """One network to be evaluated once.

    Attributes:
        trial_id: ``g003-t017``: generation 3, candidate 17.
        candidate: the genotype as plain JSON; carried along, read by nobody below the tuner.
        learning_rate: of this candidate (a blueprint carries it).
        settings: the ``trial`` section of the configuration as plain JSON.
        seed: of this trial's weights and batches, below 2**31.
        predicted_cost: FLOPs x images x epochs, to start long trials first; no unit promised.
        time_limit_s: wall time after which the child is killed; None for no limit.
        memory_limit_mb: own memory of the child (resident and not shared) after which it is killed;
            None for none.
        weights_path: where to save the trained weights, or None.
        events_path: folder for the trial's event files (TensorBoard), or None.
    """

    trial_id: str
    candidate: Mapping[str, Any]
    network: NetworkSpec
    problem: ProblemSpec
    learning_rate: float
    settings: Mapping[str, Any]
    seed: int
    predicted_cost: float = 0.0
    time_limit_s: float | None = None
    memory_limit_mb: float | None = None
    weights_path: str | None = None
    events_path: str | None = None


class TrialStatus(str, enum.Enum):
    """How a trial ended. ``INTERRUPTED`` is never journaled: such a trial is run again."""

    COMPLETE = "complete"
    FAILED = "failed"
    INFEASIBLE = "infeasible"
    INTERRUPTED = "interrupted"


class Failure(str, enum.Enum):
    """Why a trial failed. All but ``INFRASTRUCTURE`` are the candidate's own doing."""

    OUT_OF_MEMORY = "oom"
    NOT_A_NUMBER = "nan"
    TIMEOUT = "timeout"
    CRASH = "crash"
    ERROR = "error"
    INFRASTRUCTURE = "infrastructure"


@dataclass(frozen=True, slots=True, kw_only=True)
class Curves:
    """One number an epoch, in order. Losses are cross entropies in nats, accuracies in 0..1."""

    __pydantic_config__: ClassVar[ConfigDict] = _NOT_A_NUMBER_SURVIVES

    training_loss: tuple[float, ...] = ()
    training_accuracy: tuple[float, ...] = ()
    validation_loss: tuple[float, ...] = ()
    validation_accuracy: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """What a network costs.

    Attributes:
        flops: of one image's forward pass: 2 x multiply-adds of convolution and dense layers.
        parameters: all weights, batch-norm statistics included, as Keras counts them.
        activations: values of all layer outputs for one image.
    """

    flops: int
    parameters: int
    activations: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """Seconds of wall time, by phase. ``start_s`` is from the order to the child's first line.

    ``shrink_s`` is the regularised training, ``rebuild_s`` the cut: the narrower network is built,
    given its weights and compiled. The first step of either network is traced in its training.
    ``epochs_s`` are those of the training proper, one each, without their evaluation; ``cpu_s`` are
    processor seconds of the whole trial, which other load on the machine changes little.
    ``ended_at`` is in seconds since the epoch, by the clock of the worker's host: the end of
    ``wall_time_s``; 0 where no worker ran the trial.
    """

    start_s: float = 0.0
    build_s: float = 0.0
    shrink_s: float = 0.0
    rebuild_s: float = 0.0
    train_s: float = 0.0
    evaluate_s: float = 0.0
    wall_time_s: float = 0.0
    epochs_s: tuple[float, ...] = ()
    cpu_s: float = 0.0
    ended_at: float = 0.0

    @property
    def on_worker_s(self) -> float:
        """From the child's first line on: what the trial itself took of its worker."""
        return self.wall_time_s - self.start_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """Who ran a trial. ``rank`` counts workers from 1 (rank 0 searches); device e.g. ``cpu``."""

    host: str
    rank: int
    device: str


class ShrinkOutcome(str, enum.Enum):
    """What a shrink came to. After ``BROKEN`` the network was trained unshrunk, from the start."""

    SHRUNK = "shrunk"
    NOTHING_REMOVED = "nothing_removed"
    BROKEN = "broken"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shrink:
    """What the shrink did to a network (Gordon et al. 2018; the paper, section 4).

    Attributes:
        steps: of regularised training that were made.
        widths: output channels by layer name after the cut; 0 for a layer that is gone.
        alive_flops_at_start: by the alive channels before the first step; below the network's
            FLOPs the threshold removes by initialiser, not by learning.
        accuracy_before_cut, accuracy_after_cut: validation accuracies in 0..1, both after the
            regularised training; None where there was none, and after the cut also where the
            network was broken or begins anew.
        cut_error: how much the cut changed the logits of a few training batches: root mean square
            of the difference over that of the logits, before statistics are estimated anew; None
            as ``accuracy_after_cut``. In JSON a NaN is None.
        warnings: what a reader of the result has to know, one line each.
    """

    outcome: ShrinkOutcome
    steps: int
    widths: Mapping[str, int] = field(default_factory=dict)
    alive_flops_at_start: int
    accuracy_before_cut: float | None = None
    accuracy_after_cut: float | None = None
    cut_error: float | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialResult:
    """What came of a trial.

    Attributes:
        fitness: validation accuracy in 0..1, higher is better; None unless ``COMPLETE``.
        costs: of the candidate's network; None where it could not be told.
        shrunk_costs: of the network that was trained after the shrink, equal to ``costs`` where
            nothing was removed; None where the trial had no shrink, or it broke the network.
        shrink: what the shrink did; None where the trial had none.
        widths: output channels by layer name, before the shrink.
        error: the traceback or the reason, as text; empty for a complete trial.
    """

    trial_id: str
    network_hash: str
    status: TrialStatus
    failure: Failure | None = None
    fitness: float | None = None
    curves: Curves = Curves()
    costs: Costs | None = None
    shrunk_costs: Costs | None = None
    shrink: Shrink | None = None
    widths: Mapping[str, int] = field(default_factory=dict)
    times: Times = Times()
    worker: Worker | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    error: str = ""

    def __post_init__(self) -> None:
        complete = self.status is TrialStatus.COMPLETE
        if complete != (self.fitness is not None and math.isfinite(self.fitness)):
            raise ValueError(
                f"TrialResult {self.trial_id}: exactly a complete trial has a finite fitness. "
                f"Received: status={self.status.value}, fitness={self.fitness}."
            )
        if (self.status is TrialStatus.FAILED) != (self.failure is not None):
            raise ValueError(
                f"TrialResult {self.trial_id}: exactly a failed trial has a failure class. "
                f"Received: status={self.status.value}, failure={self.failure}."
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """A worker has begun the trial."""

    trial_id: str
    worker: Worker


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """An epoch has ended in a running trial. ``epoch`` counts from 1."""

    __pydantic_config__: ClassVar[ConfigDict] = _NOT_A_NUMBER_SURVIVES

    trial_id: str
    epoch: int
    epochs: int
    loss: float
    accuracy: float
    validation_accuracy: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """A trial has ended, one way or another."""

    result: TrialResult


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerLost:
    """A worker is gone or set aside; ``trial_id`` is the trial it had, to be run again."""

    worker: Worker
    trial_id: str | None
    reason: str


Event = Started | Progress | Finished | WorkerLost
