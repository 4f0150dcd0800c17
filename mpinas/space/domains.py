"""Domains of searchable parameters: where values are drawn, moved, compared.

Pure: the random generator is an argument. Values are plain Python ints, floats, strings, bools,
so that they survive JSON unchanged.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from mpinas.config_values import DomainConfig, RangeDomain
from mpinas.records import ParameterValue

_SMALLEST_MOVE = 1e-3
"""Of a continuous value, as a share of its domain: a smaller one would change nothing but bits."""


class Domain(Protocol):
    """A set of values of one parameter."""

    def sample(self, rng: np.random.Generator) -> ParameterValue:
        """Draws a value, all equally likely (for a log scale: evenly in the logarithm)."""

    def perturb(
        self, value: ParameterValue, rng: np.random.Generator, strength: float
    ) -> ParameterValue:
        """Moves a value inside the domain; numbers by a normal step, choices by a fresh draw.

        Args:
            strength: standard deviation of the step as a share of the domain's width.

        Returns:
            Another value than the given one, unless the domain holds only one.
        """

    def contains(self, value: ParameterValue) -> bool: ...

    def place(self, value: ParameterValue) -> float:
        """Where a value lies: a number from 0 (lowest) to 1 (highest), a choice by its index."""

    @property
    def ordered(self) -> bool:
        """Whether the difference of two places says how far apart they are, or only whether."""

    @property
    def size(self) -> float:
        """Number of values; ``math.inf`` for a continuous domain."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Number:
    """Numbers from ``low`` to ``high``, both included.

    Attributes:
        step: values are ``low + k * step``; None for a continuous domain.
        log: draws, moves and places are in the logarithm.
        whole: values are Python ints.
    """

    low: float
    high: float
    step: float | None
    log: bool
    whole: bool

    def sample(self, rng: np.random.Generator) -> int | float:
        if self.step is not None and not self.log:
            return self._at(int(rng.integers(self._steps + 1)))
        return self._snap(float(rng.uniform(self._to_scale(self.low), self._to_scale(self.high))))

    def perturb(
        self, value: ParameterValue, rng: np.random.Generator, strength: float
    ) -> int | float:
        """See ``Domain``. A move past an end comes back from it: the ends collect nothing."""
        given = _number(value)
        if self.size == 1:
            return self._snap(self._to_scale(self.low))
        step = float(rng.normal(0.0, strength * self._width))
        if self.step is None:
            step = math.copysign(max(abs(step), self._width * _SMALLEST_MOVE), step)
        moved = self._snap(self._reflect(self._to_scale(given) + step))
        return moved if moved != given else self._neighbour(given, up=step >= 0)

    def contains(self, value: ParameterValue) -> bool:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return False
        if self.whole != isinstance(value, int) or not self.low <= value <= self.high:
            return False
        if self.step is None or self.log:
            return True
        steps = (value - self.low) / self.step
        return math.isclose(steps, round(steps), abs_tol=1e-9)

    def place(self, value: ParameterValue) -> float:
        if self._width == 0:
            return 0.0
        return (self._to_scale(_number(value)) - self._to_scale(self.low)) / self._width

    @property
    def ordered(self) -> bool:
        return True

    @property
    def size(self) -> float:
        if self.low == self.high:
            return 1
        return math.inf if self.step is None else self._steps + 1

    @property
    def _width(self) -> float:
        return self._to_scale(self.high) - self._to_scale(self.low)

    @property
    def _steps(self) -> int:
        assert self.step is not None
        return math.floor((self.high - self.low) / self.step + 1e-9)

    def _at(self, index: int) -> int | float:
        assert self.step is not None
        value = self.low + index * self.step
        return round(value) if self.whole else min(value, self.high)

    def _snap(self, scaled: float) -> int | float:
        value = math.exp(scaled) if self.log else scaled
        value = min(max(value, self.low), self.high)
        if self.step is None:
            return value
        index = min(max(round((value - self.low) / self.step), 0), self._steps)
        return self._at(index)

    def _reflect(self, scaled: float) -> float:
        """The scaled value mirrored at the ends until it lies between them.

        On a grid the mirrors stand half a step outside, so that the last value is met as often
        as any other.
        """
        low, high = self._to_scale(self.low), self._to_scale(self.high)
        if self.step is not None and not self.log:
            low, high = low - self.step / 2, self._at(self._steps) + self.step / 2
        beyond = (scaled - low) % (2 * (high - low))
        return low + min(beyond, 2 * (high - low) - beyond)

    def _neighbour(self, value: float, *, up: bool) -> int | float:
        """The next value on the grid, inwards at an end; without a grid, where the domain is too
        narrow for another step, the farther end."""
        if self.step is None:
            return self.high if value != self.high else self.low
        index = round((value - self.low) / self.step)
        up = index == 0 or (up and index < self._steps)
        return self._at(index + 1 if up else index - 1)

    def _to_scale(self, value: float) -> float:
        return math.log(value) if self.log else float(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """One of a few values without an order. ``values`` are distinct and at least one."""

    values: tuple[ParameterValue, ...]

    def sample(self, rng: np.random.Generator) -> ParameterValue:
        return self.values[int(rng.integers(len(self.values)))]

    def perturb(
        self, value: ParameterValue, rng: np.random.Generator, strength: float
    ) -> ParameterValue:
        others = [other for other in self.values if other != value]
        return others[int(rng.integers(len(others)))] if others else self.values[0]

    def contains(self, value: ParameterValue) -> bool:
        return any(value == known and type(value) is type(known) for known in self.values)

    def place(self, value: ParameterValue) -> float:
        return float(self.values.index(value))

    @property
    def ordered(self) -> bool:
        return False

    @property
    def size(self) -> float:
        return len(self.values)


def build_domain(config: DomainConfig) -> Domain:
    """The domain that a piece of configuration describes; a single value is a choice of one."""
    if isinstance(config, RangeDomain):
        whole = all(isinstance(part, int) for part in (config.min, config.max, config.step or 0))
        step = config.step if config.step is not None else (1 if whole else None)
        number = int if whole else float
        return Number(
            low=number(config.min),
            high=number(config.max),
            step=step,
            log=config.scale == "log",
            whole=whole,
        )
    values = config if isinstance(config, tuple) else (config,)
    return Choice(values=tuple(dict.fromkeys(values)))


def _number(value: ParameterValue) -> float:
    assert isinstance(value, (int, float))
    return value
