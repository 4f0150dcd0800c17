"""The machine-readable form of a trial: what scripts rely on, with and without a shrink."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from mpinas.records import Costs, Shrink, ShrinkOutcome, Times, TrialResult, TrialStatus
from mpinas.report.run_view import trial_row


def result(**changes: Any) -> TrialResult:
    """A trial without a shrink."""
    fields: dict[str, Any] = {
        "trial_id": "g000-t000",
        "network_hash": "0123456789abcdef",
        "status": TrialStatus.COMPLETE,
        "fitness": 0.5,
        "costs": Costs(flops=1000, parameters=100, activations=10),
        "widths": {"convolution_0": 32, "logits": 10},
        "times": Times(shrink_s=1.5, rebuild_s=0.75, train_s=2.0, wall_time_s=5.0),
    }
    return TrialResult(**{**fields, **changes})


def shrink(**changes: Any) -> Shrink:
    fields: dict[str, Any] = {
        "outcome": ShrinkOutcome.SHRUNK,
        "steps": 469,
        "widths": {"convolution_0": 12, "logits": 10},
        "alive_flops_at_start": 990,
        "accuracy_before_cut": 0.75,
        "accuracy_after_cut": 0.7,
        "cut_error": 0.01,
        "warnings": ("first", "second"),
    }
    return Shrink(**{**fields, **changes})


def test_a_trial_without_a_shrink_says_null() -> None:
    row = trial_row(result())
    assert (row["shrink"], row["shrunk_flops"], row["shrunk_parameters"]) == (None, None, None)
    assert (row["shrink_s"], row["rebuild_s"], row["train_s"]) == (1.5, 0.75, 2.0)


def test_a_shrunk_trial_tells_all() -> None:
    row = trial_row(
        result(shrink=shrink(), shrunk_costs=Costs(flops=380, parameters=40, activations=5))
    )
    assert (row["shrunk_flops"], row["shrunk_parameters"]) == (380, 40)
    assert row["shrink"] == {
        "outcome": "shrunk",
        "steps": 469,
        "accuracy_before_cut": 0.75,
        "accuracy_after_cut": 0.7,
        "cut_error": 0.01,
        "flops_at_start": 990,
        "warnings": ["first", "second"],
        "widths_before": {"convolution_0": 32, "logits": 10},
        "widths": {"convolution_0": 12, "logits": 10},
    }


def test_a_broken_shrink_has_no_costs_of_its_own() -> None:
    none = {"accuracy_before_cut": None, "accuracy_after_cut": None, "cut_error": None}
    row = trial_row(result(shrink=shrink(outcome=ShrinkOutcome.BROKEN, widths={}, **none)))
    assert (row["shrunk_flops"], row["shrunk_parameters"]) == (None, None)
    assert (row["shrink"]["outcome"], row["shrink"]["widths"]) == ("broken", {})
    assert row["shrink"]["cut_error"] is None


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_it_is_json_whatever_the_numbers(value: float) -> None:
    row = trial_row(result(shrink=shrink(cut_error=value, accuracy_after_cut=value)))
    assert json.loads(json.dumps(row, allow_nan=False))["shrink"]["cut_error"] is None
