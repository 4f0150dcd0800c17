"""The section ``trial.fake``: how long trials without Keras take, and how often they fail.

``trial/fake.py`` is what does it.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from pydantic import ConfigDict, Field, field_validator, model_validator

from mpinas.config_values import Section, or_a_number

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
"""In the order in which their odds are added up."""


class FakeSeconds(Section):
    """How long a fake trial sleeps: log-normal, seeded by the trial. A number is its mean."""

    model_config = ConfigDict(json_schema_extra=or_a_number)

    mean: float = Field(default=0.0, ge=0, description="seconds")
    sigma: float = Field(default=0.0, ge=0, description="of the logarithm; 0 for always the mean")

    @model_validator(mode="before")
    @classmethod
    def _a_number_is_the_mean(cls, value: Any) -> Any:
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        return {"mean": value} if is_number else value


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
