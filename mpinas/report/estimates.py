"""How far a figure over experiments is from sure."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isnan
from typing import TypeVar

FEWEST_FOR_INTERVAL = 5
"""Experiments; of fewer, resampling would tell a false certainty."""
RESAMPLES = 2000
LEVEL = 0.95

Experiment = TypeVar("Experiment")


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A figure over experiments.

    Attributes:
        value: not a number where the figure is a quotient of nothing by nothing.
        low, high: the bounds of the middle 95 % of resampled experiments where there are enough of
            them, else the least and the greatest of any one experiment that has the figure; None
            for one experiment.
        experiments: it is of.
    """

    value: float
    low: float | None
    high: float | None
    experiments: int


def estimate(
    experiments: Sequence[Experiment], figure: Callable[[Sequence[Experiment]], float]
) -> Estimate:
    """A figure and how far it is from sure, by resampling whole experiments.

    Trials of one search are no independent draws: they descend from each other. What is drawn
    again and again, with replacement, is therefore the experiment, all its arms together
    (Efron 1979, the percentile interval). The draws are the same every time.
    """
    low, high = _bounds(experiments, figure)
    return Estimate(value=figure(experiments), low=low, high=high, experiments=len(experiments))


def _bounds(
    experiments: Sequence[Experiment], figure: Callable[[Sequence[Experiment]], float]
) -> tuple[float, float] | tuple[None, None]:
    count = len(experiments)
    if count == 1:
        return None, None
    if count < FEWEST_FOR_INTERVAL:
        known = _sorted([figure([one]) for one in experiments])
        outside = 0
    else:
        draw = random.Random(0)
        draws = (draw.choices(experiments, k=count) for _ in range(RESAMPLES))
        known = _sorted([figure(one) for one in draws])
        outside = round(len(known) * (1.0 - LEVEL) / 2.0)
    return (known[outside], known[-1 - outside]) if known else (None, None)


def _sorted(values: Sequence[float]) -> list[float]:
    """Without those that are no number: they would make any order."""
    return sorted(value for value in values if not isnan(value))
