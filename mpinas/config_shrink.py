"""The section ``trial.shrink``: how a candidate is narrowed before it is trained.

``morphnet/`` is what does it.
"""

from __future__ import annotations

import math
from typing import Any, Literal

from pydantic import ConfigDict, Field, model_validator

from mpinas.config_values import Section

Source = Literal["gamma", "gate", "group_lasso", "max_weight"]
SHRINK_DRIFT = 3.0
"""How far a scale may move in the whole regularised training where nothing else is said: learning
rate times steps. Below 1 nothing that begins at 1 can come near 0."""


def _or_one_number(schema: dict[str, Any]) -> None:
    """The section, or the number that stands for all its values."""
    del schema["title"]
    section = {key: schema.pop(key) for key in list(schema) if key != "description"}
    schema["anyOf"] = [section, {"type": "number", "minimum": 0}]


class Thresholds(Section):
    """From where on a channel is alive, by what tells it. A number is all four of them."""

    model_config = ConfigDict(json_schema_extra=_or_one_number)

    gamma: float = Field(default=0.2, ge=0, description="scale of a batch norm")
    gate: float = Field(default=0.1, ge=0, description="scale in front of an activation")
    group_lasso: float = Field(default=0.1, ge=0, description="root mean square of its weights")
    max_weight: float = Field(default=0.1, ge=0, description="largest of its weights")

    @model_validator(mode="before")
    @classmethod
    def _a_number_is_all(cls, value: Any) -> Any:
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        return dict.fromkeys(cls.model_fields, value) if is_number else value


class ShrinkConfig(Section):
    """Narrowing by regularised training (Gordon et al. 2018) before the training proper."""

    enabled: bool = Field(default=False, description="whether candidates are shrunk at all")
    epochs: float = Field(default=1.0, gt=0, description="of regularised training; 0.5 is half one")
    source: Literal["auto", "gamma", "gate", "group_lasso", "max_weight"] = Field(
        default="auto",
        description="what tells how alive a channel is. gamma: the scale of the batch norm behind "
        "it; gate: a scale in front of the activation, trained from 1 and folded into the weights "
        "afterwards; auto: gamma where there is a batch norm, else gate; group_lasso: the root "
        "mean square of its weights; max_weight: the largest of them",
    )
    penalty: Literal["l1", "l2"] = Field(default="l1", description="of sizes or their squares")
    metric: Literal["flops", "parameters"] = Field(
        default="flops", description="what the channels of a network are charged for"
    )
    strength: float = Field(
        default=1.0, ge=0, description="of the regulariser, in multiples of 1 / (full cost)"
    )
    threshold: Thresholds = Thresholds()
    relative: bool | None = Field(
        default=None,
        description="whether thresholds are shares of the layer's largest; null: for gamma only, "
        "because a batch norm's scales can all shrink at no loss",
    )
    scale_learning_rate: float | None = Field(
        default=None,
        gt=0,
        description="of gammas and gates, with Adam, in the regularised training; all other "
        "weights keep the trial's; null: 3 / steps",
    )
    inherit_weights: bool = Field(
        default=True,
        description="whether the shrunk network goes on with its weights, the regularised epochs "
        "counted among `trial.epochs`; false: it begins anew, with all of them",
    )
    min_filters: int = Field(
        default=1, gt=0, description="channels that every remaining layer keeps"
    )
    round_to: int = Field(
        default=1, gt=0, description="kept channels are rounded up to a multiple of it"
    )

    @model_validator(mode="after")
    def _relative_thresholds(self) -> ShrinkConfig:
        for source in type(self.threshold).model_fields:
            threshold = self.threshold_of(source)
            if self.is_relative(source) and threshold >= 1:
                raise ValueError(
                    "a threshold relative to the layer's largest is below 1. "
                    f"Received: threshold.{source}={threshold:g}"
                )
        return self

    def threshold_of(self, source: str) -> float:
        """From where on a channel is alive that ``source`` tells of."""
        return float(getattr(self.threshold, source))

    def is_relative(self, source: str) -> bool:
        """Whether that threshold is a share of the layer's largest."""
        return source == "gamma" if self.relative is None else self.relative

    def steps(self, steps_per_epoch: int) -> int:
        """Of regularised training; at least one."""
        return max(1, round(self.epochs * steps_per_epoch))

    def scale_rate(self, steps_per_epoch: int) -> float:
        """Learning rate of gammas and gates."""
        if self.scale_learning_rate is not None:
            return self.scale_learning_rate
        return SHRINK_DRIFT / self.steps(steps_per_epoch)

    def epochs_after(self, epochs: int) -> int:
        """Of training after the cut, in a trial of so many epochs; below 1 where none is left."""
        return epochs - math.ceil(self.epochs) if self.inherit_weights else epochs
