"""The section ``comparison``: which searches stand beside each other."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal

from pydantic import Field, field_validator

from mpinas.config_values import Section

ARM_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
ARM_KEY = re.compile(r"\w+(\.\w+)*")
EQUAL_IN_ALL_ARMS = ("name", "seed", "problem", "run", "comparison")
"""Sections and keys that no arm may change: a pair has the same data, split and seed."""
SECTIONS = ("trial", "trial.shrink", "tuner.modules", "tuner.blueprints")

DataOfPaper = Literal["mnist", "cifar10", "cifar100", "tiny_imagenet"]


class ComparisonConfig(Section):
    """Many runs beside each other. Nothing here changes what one run finds."""

    experiments: int = Field(
        default=5,
        gt=0,
        description="each is a search per arm, all from the same starting populations",
    )
    arms: dict[str, dict[str, Any]] = Field(
        default={
            "plain": {"trial.shrink.enabled": False},
            "shrink": {"trial.shrink.enabled": True},
        },
        min_length=2,
        description="what is compared with the first of them: a name, and the keys that this arm "
        "sets, as `--set` would, but for `name`, `seed`, `problem`, `run` and `comparison`",
    )
    paper: DataOfPaper | None = Field(
        default=None,
        description="the data set of the paper whose figures stand beside; null: that of "
        "`problem.name`, if it is one of them",
    )

    @field_validator("arms")
    @classmethod
    def _what_an_arm_may_be(
        cls, arms: Mapping[str, Mapping[str, Any]]
    ) -> Mapping[str, Mapping[str, Any]]:
        faults = [line for name, keys in arms.items() for line in _arm_faults(name, keys)]
        if faults:
            raise ValueError(". ".join(faults))
        return arms


def _arm_faults(name: str, keys: Iterable[str]) -> Iterator[str]:
    if not ARM_NAME.fullmatch(name):
        yield (
            "the name of an arm is that of a folder: at most 100 letters, digits, '_', '.' and "
            f"'-'. Received: {name[:120]!r}"
        )
    for key in keys:
        rule = _key_fault(key)
        if rule:
            yield f"{rule}. Received: {name}: {key!r}"


def _key_fault(key: str) -> str:
    """Why no arm may set this key; empty where one may."""
    if not ARM_KEY.fullmatch(key):
        return "the keys of an arm are names with dots between them, as trial.epochs"
    section = key.split(".")[0]
    if section in EQUAL_IN_ALL_ARMS:
        return f"arms differ in the search only, not in {section}"
    if key in SECTIONS:  # one would be read as if it set only what it names
        return "a whole section sets its other keys to their defaults: name keys, as trial.epochs"
    return ""
