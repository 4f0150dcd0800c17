"""The section ``trial.shrink``: how a candidate is narrowed before it is trained.

``morphnet/`` is what does it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import ConfigDict, Field, model_validator

from mpinas.config_values import Section, or_a_number
from mpinas.errors import fault

Source = Literal["gamma", "gate", "group_lasso", "max_weight"]
SHRINK_DRIFT = 3.0
"""How far a scale may move in the whole regularised training where nothing else is said: learning
rate times steps. Below 1 nothing that begins at 1 can come near 0."""

FEWEST_GATE_STEPS = 120
"""In which gates come from 1 to 0 without the network: docs/decisions.md has what fewer do."""


class Thresholds(Section):
    """From where on a channel is alive, by what tells it. A number is all four of them."""

    model_config = ConfigDict(json_schema_extra=or_a_number)

    gamma: float = Field(default=0.2, ge=0, description="scale of a batch norm")
    gate: float = Field(default=0.1, ge=0, description="scale in front of an activation")
    group_lasso: float = Field(default=0.1, ge=0, description="root mean square of its weights")
    max_weight: float = Field(default=0.1, ge=0, description="largest of its weights")

    @model_validator(mode="before")
    @classmethod
    def _a_number_is_all(cls, value: Any) -> Any:
        if isinstance(value, (Mapping, Thresholds)):
            return value
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise ValueError(
                "wrong type: a number or a section with keys of its own is wanted. "
                f"Received: threshold={value!r:.60}"
            )
        if not 0 <= value < math.inf:
            raise ValueError(
                f"value out of range. Received: threshold={value!r:.60}. Allowed: 0 and above"
            )
        return dict.fromkeys(cls.model_fields, value)


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
        for source in ("gamma", "gate") if self.source == "auto" else (self.source,):
            threshold = self.threshold_of(source)
            if self.is_relative(source) and threshold >= 1:
                raise ValueError(
                    "a threshold relative to the layer's largest is below 1. "
                    f"Received: threshold.{source}={threshold:g}, source={self.source}, "
                    f"relative={json.dumps(self.relative)}"
                )
        return self

    def source_with(self, *, batch_norm: bool) -> Source:
        """What tells how alive a channel is, behind which there is a batch norm or none."""
        if self.source == "auto":
            return "gamma" if batch_norm else "gate"
        return self.source

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

    def epochs_at_most(self, epochs: int) -> int:
        """That a trial of so many trains in all: one that the shrink broke begins anew."""
        return epochs + math.ceil(self.epochs) if self.enabled else epochs

    def check_epochs(self, epochs: int) -> None:
        """Raises ValueError where a trial of so many epochs has none left after the shrink."""
        if self.epochs_after(epochs) < 1:
            raise ValueError(
                "the regularised epochs count among the trial's where weights are inherited, and "
                "at least one is left for the shrunk network. Received: "
                f"epochs={epochs}, shrink.epochs={self.epochs:g}, shrink.inherit_weights=true. "
                "Give the trial more epochs or the shrink fewer, or set shrink.inherit_weights to "
                "false"
            )

    def check_scales(self, *, batch_norm: bool) -> None:
        """Raises ValueError for scales that no network has: nothing could be removed by them."""
        if self.source == ("gate" if batch_norm else "gamma"):
            raise ValueError(
                "gamma needs networks with batch norm, and gate stands only where there is none. "
                f"Received: shrink.source={self.source}, space.batch_norm={json.dumps(batch_norm)}."
                " Set shrink.source to auto"
            )


def drift_warnings(
    shrink: ShrinkConfig,
    *,
    batch_norm: bool,
    learning_rate: float,
    optimizer: str,
    steps_per_epoch: int,
) -> tuple[str, ...]:
    """Lines where the regularised training is too short for what it is to do.

    Adam and its kin move a value by at most about the learning rate in a step, so learning rate
    times steps says how far it can come, whatever the strength. Scales begin at 1. Where weights
    tell, they begin anywhere; a threshold that is a share of the largest says nothing there.

    Args:
        batch_norm: whether the networks have it.
        learning_rate: the highest of a trial.
        optimizer: of a trial; the steps of ``sgd`` have no such bound.
        steps_per_epoch: of training; at least 1.
    """
    if not shrink.enabled:
        return ()
    source, steps = shrink.source_with(batch_norm=batch_norm), shrink.steps(steps_per_epoch)
    threshold, relative = shrink.threshold_of(source), shrink.is_relative(source)
    if source in ("gamma", "gate"):
        drift = shrink.scale_rate(steps_per_epoch) * steps
        needed = (1 - threshold) / (1 + threshold) if relative else 1 - threshold
        if drift < needed:
            return (_still_scales(shrink, source, steps, needed),)
        is_hasty = source == "gate" and steps < FEWEST_GATE_STEPS
        return (_hasty_gates(steps),) if is_hasty else ()
    is_bounded = optimizer != "sgd" and not relative
    if is_bounded and learning_rate * steps < threshold:
        return (_still_weights(learning_rate, source, steps, threshold),)
    return ()


def _still_scales(shrink: ShrinkConfig, source: Source, steps: int, needed: float) -> str:
    """Where one scale falls and the layer's largest rises, half of the way is enough for each."""
    rate, threshold = shrink.scale_learning_rate or 0.0, shrink.threshold_of(source)
    share = " of the layer's largest" if shrink.is_relative(source) else ""
    return fault(
        "trial.shrink.scale_learning_rate",
        "no channel can be removed at any strength: Adam moves a scale, which begins at 1, by at "
        "most about the learning rate in a step",
        f"scale_learning_rate={rate:g}, steps={steps}, product={rate * steps:.4g}",
        f"Needed: a product of {needed:.4g} for threshold.{source}={threshold:g}{share}",
        "Set scale_learning_rate to null, give the shrink more epochs or make batch_size smaller",
    )


def _hasty_gates(steps: int) -> str:
    return fault(
        "trial.shrink.epochs",
        "in so few steps gates fall faster than the weights behind them can follow, and what is "
        "left of the networks is worse for it",
        f"steps={steps}",
        f"Needed: about {FEWEST_GATE_STEPS} steps",
        "Give the shrink more epochs or make batch_size smaller",
    )


def _still_weights(rate: float, source: Source, steps: int, threshold: float) -> str:
    return fault(
        "trial.shrink.threshold",
        "what is removed follows more from the initial weights than from training: the optimizer "
        "moves a weight by at most about the learning rate in a step",
        f"learning_rate={rate:g}, steps={steps}, product={rate * steps:.4g}",
        f"Needed: a product of {threshold:.4g} for threshold.{source}={threshold:g}",
        "Give the shrink more epochs, make batch_size smaller or learning_rate higher, or set "
        "source to auto and scale_learning_rate to null",
    )
