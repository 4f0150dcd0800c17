"""The section ``comparison``: which searches stand beside each other."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pydantic import Field, field_validator

from mpinas.config_values import Section

ARM_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
EQUAL_IN_ALL_ARMS = ("name", "seed", "problem", "run", "comparison")
"""Sections and keys that no arm may change: a pair has the same data, split and seed."""


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

    @field_validator("arms")
    @classmethod
    def _what_an_arm_may_be(
        cls, arms: Mapping[str, Mapping[str, Any]]
    ) -> Mapping[str, Mapping[str, Any]]:
        for name, keys in arms.items():
            if not ARM_NAME.fullmatch(name):
                raise ValueError(
                    "the name of an arm is that of a folder: letters, digits, '_', '.' and '-'. "
                    f"Received: {name!r}"
                )
            for key in keys:
                if key.split(".")[0] in EQUAL_IN_ALL_ARMS:
                    raise ValueError(
                        f"arms differ in the search only, not in {key.split('.')[0]}. "
                        f"Received: {name}: {key}"
                    )
        return arms
