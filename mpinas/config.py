"""From one YAML file to one frozen ``RunConfig``: every key known, every default written here.

Comes in: the file's text and ``key=value`` overrides. Comes out: ``RunConfig``, or
``ConfigurationFaults`` with all faults at once. The judgement of lower layers (does this layer
kind exist, is this tuner known) comes in as callables; see :func:`build`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    SerializeAsAny,
    Tag,
    field_validator,
    model_validator,
)
from typing_extensions import Self

MOST_STEPS = 1_000_000


class Section(BaseModel):
    """Base of all sections: unknown keys are faults, values are never coerced."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class RangeDomain(Section):
    """Numbers from ``min`` to ``max``, both included. Whole numbers if all of it is whole.

    ``scale: log`` draws evenly in the logarithm; ``step`` keeps to ``min + k * step``.
    """

    min: int | float
    max: int | float
    step: int | float | None = Field(default=None, gt=0)
    scale: Literal["linear", "log"] = "linear"

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min > self.max:
            raise ValueError(f"min must not be above max. Received: min={self.min}, max={self.max}")
        if self.scale == "log" and self.min <= 0:
            raise ValueError(f"a log scale needs min above 0. Received: min={self.min}")
        if self.scale == "log" and self.step is not None:
            raise ValueError(f"a log scale takes no step. Received: step={self.step}")
        if self.step is not None and (self.max - self.min) / self.step > MOST_STEPS:
            raise ValueError(
                f"at most {MOST_STEPS} steps from min to max. Received: step={self.step}"
            )
        return self


ChoiceValue = bool | int | float | str


def _as_tuple(value: Any) -> Any:
    """YAML has lists only; a record holds tuples."""
    return tuple(value) if isinstance(value, list) else value


ChoiceDomain = Annotated[tuple[ChoiceValue, ...], Field(min_length=1), BeforeValidator(_as_tuple)]
DOMAIN_TAGS = ("range", "choices", "value", "bool", "int", "float", "str", "[key]")
"""Steps that pydantic puts into the path of an error and no user ever wrote."""


def _domain_form(value: Any) -> str | None:
    if isinstance(value, (Mapping, RangeDomain)):
        return "range"
    if isinstance(value, (list, tuple)):
        return "choices"
    return "value" if isinstance(value, (bool, int, float, str)) else None


DomainConfig = Annotated[
    Annotated[RangeDomain, Tag("range")]
    | Annotated[ChoiceDomain, Tag("choices")]
    | Annotated[ChoiceValue, Tag("value")],
    Discriminator(_domain_form),
]
"""A range, a list to choose from, or a single fixed value."""


class ProblemConfig(Section):
    """What is learned."""

    name: str = Field(description="data set: digits, or arrays (a .npz given by path)")
    path: str | None = Field(default=None, description="file with the data, where one is needed")
    train_images: int | None = Field(
        default=None, gt=0, description="use only so many training images, validation not counted"
    )
    validation: float = Field(
        default=0.15,
        gt=0,
        description="held-out part of the training data: a share (below 1) or a number of images",
    )

    @field_validator("validation")
    @classmethod
    def _whole_number_of_images(cls, validation: float) -> float:
        if validation >= 1 and validation != int(validation):
            raise ValueError(
                "validation is a share below 1 or a whole number of images. "
                f"Received: validation={validation}"
            )
        return validation


class HeadConfig(Section):
    """The layers between the evolved part and the class logits."""

    reduce: Annotated[
        tuple[Literal["flatten", "global_average_pool"], ...], BeforeValidator(_as_tuple)
    ] = Field(default=("flatten", "global_average_pool"), min_length=1)
    layers: int = Field(default=1, ge=0, le=8, description="dense layers before the logits")
    units: DomainConfig = Field(default=RangeDomain(min=32, max=256))


class SpaceConfig(Section):
    """What may be built."""

    layers: dict[str, dict[str, DomainConfig]] = Field(
        min_length=1, description="searchable layer kinds with the domains of their parameters"
    )
    merge: Annotated[tuple[Literal["add", "concatenate"], ...], BeforeValidator(_as_tuple)] = Field(
        default=("add", "concatenate"), min_length=1
    )
    head: HeadConfig = HeadConfig()
    batch_norm: bool = Field(default=True, description="convolution, batch norm, ReLU")
    max_module_layers: int = Field(default=4, ge=1, le=64)
    max_blueprint_nodes: int = Field(default=6, ge=1, le=64)
    max_parameters: int | None = Field(default=None, gt=0)
    max_flops: int | None = Field(default=None, gt=0)
    max_activation_mb: float | None = Field(
        default=None, gt=0, description="of one training batch, all layer outputs in float32"
    )


class TunerConfig(Section):
    """What every tuner has; each tuner adds keys of its own in ``tuners/<name>.py``."""

    name: str
    generations: int = Field(gt=0)
    individuals: int = Field(gt=0, description="networks trained in each generation")


FailureKind = Literal[
    "raise",
    "exit",
    "os_exit",
    "segfault",
    "kill",
    "memory",
    "hang",
    "nan",
    "unserialisable",
]
FAILURE_KINDS: tuple[FailureKind, ...] = get_args(FailureKind)


class FakeSeconds(Section):
    """How long a fake trial sleeps: log-normal, seeded by the trial."""

    mean: float = Field(default=0.0, ge=0)
    sigma: float = Field(default=0.0, ge=0, description="of the logarithm; 0 for always the mean")


class FakeConfig(Section):
    """Trials without Keras: for trying job scripts, for tests and benchmarks."""

    seconds: FakeSeconds = FakeSeconds()
    failures: dict[FailureKind, Annotated[float, Field(ge=0, le=1)]] = Field(
        default={}, description="odds of each kind of failure; their sum is at most 1"
    )

    @field_validator("failures")
    @classmethod
    def _odds(cls, failures: dict[FailureKind, float]) -> dict[FailureKind, float]:
        total = sum(failures.values())
        if total > 1 + 1e-9:
            raise ValueError(f"the odds add up to at most 1. Received: sum={total:g}")
        return failures


class TrialConfig(Section):
    """One trial. All of it defines the search."""

    runner: Literal["keras", "fake"] = "keras"
    epochs: int = Field(default=5, gt=0)
    batch_size: int = Field(default=128, gt=0)
    optimizer: Literal["adam", "sgd", "rmsprop", "adamw", "nadam"] = "adam"
    learning_rate: Annotated[
        Annotated[RangeDomain, Tag("range")] | Annotated[float, Field(gt=0), Tag("value")],
        Discriminator(_domain_form),
    ] = Field(
        default=RangeDomain(min=3e-4, max=3e-3, scale="log"),
        description="one value for all, or a range that blueprints evolve in",
    )
    fitness: Literal["last", "best"] = Field(
        default="last", description="validation accuracy after the last or in the best epoch"
    )
    threads: int = Field(default=1, gt=0, description="of each trial; part of what is searched")
    precision: Literal["float32", "mixed_float16", "mixed_bfloat16"] = "float32"
    jit_compile: bool = Field(default=False, description="XLA, on a GPU only")
    steps_per_execution: int = Field(default=8, gt=0)
    deterministic: bool = Field(default=False, description="deterministic kernels on a GPU")
    time_limit_s: float | None = Field(default=None, gt=0)
    memory_limit_mb: float | None = Field(
        default=None, gt=0, description="resident memory of a trial, TensorFlow's 0.6 GB included"
    )
    save_weights: Literal["none", "best", "last_generation"] = "none"
    fake: FakeConfig = FakeConfig()

    @field_validator("learning_rate")
    @classmethod
    def _learning_rate_is_positive(cls, rate: RangeDomain | float) -> RangeDomain | float:
        if isinstance(rate, RangeDomain) and rate.min <= 0:
            raise ValueError(f"learning_rate must be above 0. Received: min={rate.min}")
        return rate


class RunSettings(Section):
    """How the search is run. Nothing here changes what is found."""

    workers: int = Field(default=1, gt=0, description="local workers, where there is no mpiexec")
    walltime: str | None = Field(
        default=None, description="HH:MM:SS; no trial is started that would end after it"
    )
    grace_s: float = Field(default=30.0, ge=0, description="time for an orderly end")
    gpu_binding: Literal["auto", "env", "none"] = "auto"
    gpus: int | None = Field(default=None, ge=0, description="a node; None: what is visible")
    workers_per_gpu: int = Field(default=1, gt=0)
    heartbeat_s: float = Field(default=10.0, gt=0, description="between signs of life on disk")

    @field_validator("walltime")
    @classmethod
    def _walltime(cls, walltime: str | None) -> str | None:
        if walltime is not None:
            parse_walltime_s(walltime)
        return walltime


class RunConfig(Section):
    """One search, complete."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    seed: int = Field(default=0, ge=0, lt=2**63)
    problem: ProblemConfig
    space: SpaceConfig
    tuner: SerializeAsAny[TunerConfig]
    trial: TrialConfig = TrialConfig()
    run: RunSettings = RunSettings()


def parse_walltime_s(text: str) -> float:
    """Seconds of ``HH:MM:SS``, ``MM:SS`` or ``D-HH:MM:SS`` (Slurm's forms).

    Raises:
        ValueError: it is none of these, or no time at all.
    """
    match = re.fullmatch(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)", text)
    if not match:
        raise ValueError(f"walltime is HH:MM:SS. Received: walltime={text!r}")
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    total_s = ((days * 24 + hours) * 60 + minutes) * 60 + seconds
    if total_s == 0:
        raise ValueError(f"walltime must be above 0. Received: walltime={text!r}")
    return float(total_s)
