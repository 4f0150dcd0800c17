"""What values may stand in a configuration: sections with known keys, ranges, choices.

Comes in: plain values, as ``config_yaml.py`` reads them. Comes out: frozen models, or pydantic's
``ValidationError``. What a range is drawn from, and how, stands in ``space/domains.py``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Protocol

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    model_validator,
)
from typing_extensions import Self

MOST_STEPS = 1_000_000


class Section(BaseModel):
    """Base of all sections: unknown keys are faults, values are never coerced."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


def _above_0_or_null(schema: dict[str, Any]) -> None:
    """What pydantic has no words for: a limit on a union."""
    schema["anyOf"] = [{"type": "number", "exclusiveMinimum": 0}, {"type": "null"}]


class RangeDomain(Section):
    """Numbers from ``min`` to ``max``, both included. Whole numbers if all of it is whole.

    ``scale: log`` draws evenly in the logarithm; ``step`` keeps to ``min + k * step``.
    """

    min: int | float = Field(description="the lowest value")
    max: int | float = Field(description="the highest value")
    step: int | float | None = Field(
        default=None,
        gt=0,
        json_schema_extra=_above_0_or_null,
        description="between neighbouring values; null: 1 where min and max are whole, else none",
    )
    scale: Literal["linear", "log"] = Field(
        default="linear", description="log: drawn and moved evenly in the logarithm"
    )

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min > self.max:
            raise ValueError(f"min must not be above max. Received: min={self.min}, max={self.max}")
        if self.scale == "log" and self.min <= 0:
            raise ValueError(f"a log scale needs min above 0. Received: min={self.min}")
        if self.scale == "log" and self.step is not None:
            raise ValueError(f"a log scale takes no step. Received: step={self.step}")
        is_whole = isinstance(self.min, int) and isinstance(self.max, int)
        step = 1 if self.step is None and is_whole and self.scale == "linear" else self.step
        if step is not None and (self.max - self.min) / step > MOST_STEPS:
            raise ValueError(
                f"at most {MOST_STEPS} steps from min to max. "
                f"Received: min={self.min}, max={self.max}, step={step}, scale={self.scale}"
            )
        return self


def or_a_number(schema: dict[str, Any]) -> None:
    """In the schema of a section: the section, or a number from 0 that stands for it."""
    del schema["title"]
    section = {key: schema.pop(key) for key in list(schema) if key != "description"}
    schema["anyOf"] = [section, {"type": "number", "minimum": 0}]


ChoiceValue = bool | int | float | str


def as_tuple(value: Any) -> Any:
    """YAML has lists only; a record holds tuples."""
    return tuple(value) if isinstance(value, list) else value


ChoiceDomain = Annotated[tuple[ChoiceValue, ...], Field(min_length=1), BeforeValidator(as_tuple)]
DOMAIN_TAGS = ("range", "choices", "value", "bool", "int", "float", "str", "[key]")
"""Steps that pydantic puts into the path of an error and no user ever wrote."""


def domain_form(value: Any) -> str | None:
    if isinstance(value, (Mapping, RangeDomain)):
        return "range"
    if isinstance(value, (list, tuple)):
        return "choices"
    return "value" if isinstance(value, (bool, int, float, str)) else None


class ParameterLimits(Protocol):
    """What one parameter of a searchable layer may be."""

    @property
    def description(self) -> str:
        """For people."""

    @property
    def low(self) -> float | None:
        """The lowest number; None for a choice."""

    @property
    def high(self) -> float | None:
        """The highest number; None for a choice."""

    @property
    def whole(self) -> bool:
        """Whether numbers are whole."""

    @property
    def values(self) -> tuple[Any, ...]:
        """Of a choice."""

    @property
    def fixed(self) -> Any:
        """The value where nothing is said; None: a domain has to be given."""


class SearchableLayer(Protocol):
    """What a configuration may say about a layer kind; ``space/layers.py`` has them."""

    @property
    def description(self) -> str:
        """For people."""

    @property
    def parameters(self) -> Mapping[str, ParameterLimits]:
        """By name."""


DomainConfig = Annotated[
    Annotated[RangeDomain, Tag("range")]
    | Annotated[ChoiceDomain, Tag("choices")]
    | Annotated[ChoiceValue, Tag("value")],
    Discriminator(domain_form),
]
"""A range, a list to choose from, or a single fixed value."""

_WALLTIMES = (
    r"(?P<minutes>N)(?::(?P<seconds>N))?",
    r"(?P<hours>N):(?P<minutes>N):(?P<seconds>N)",
    r"(?P<days>N)-(?P<hours>N)(?::(?P<minutes>N)(?::(?P<seconds>N))?)?",
)
_UNITS_S = {"days": 86_400, "hours": 3_600, "minutes": 60, "seconds": 1}


def parse_walltime_s(text: str) -> float:
    """Seconds of minutes, ``MM:SS``, ``HH:MM:SS``, ``D-HH``, ``D-HH:MM`` or ``D-HH:MM:SS``.

    These are the forms of Slurm's ``--time``, with at most six digits a part.

    Raises:
        ValueError: it is none of these, or no time at all.
    """
    received = f"Received: walltime={text if len(text) <= 40 else text[:37] + '...'}"
    for form in _WALLTIMES:
        if match := re.fullmatch(form.replace("N", "[0-9]{1,6}"), text):
            parts = match.groupdict()
            total_s = sum(int(parts.get(unit) or 0) * unit_s for unit, unit_s in _UNITS_S.items())
            if total_s == 0:
                raise ValueError(f"walltime must be above 0. {received}")
            return float(total_s)
    raise ValueError(
        "walltime is minutes, MM:SS, HH:MM:SS, D-HH, D-HH:MM or D-HH:MM:SS, at most six digits "
        f"a part. {received}"
    )
