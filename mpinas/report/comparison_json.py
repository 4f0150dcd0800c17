"""The stable machine-readable form of a comparison."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import Any

from mpinas.report.comparison_view import Arm, ComparisonView
from mpinas.report.estimates import Estimate


def to_json_view(view: ComparisonView) -> Mapping[str, Any]:
    """The stable machine-readable form of ``show --json`` for a comparison."""
    return {
        "comparison": view.comparison.config.name,
        "experiments": view.comparison.experiments,
        "experiments_done": list(view.experiments),
        "arms": {arm.name: _arm_row(arm) for arm in view.arms},
        "searches": [
            {
                "experiment": one.run.experiment,
                "arm": one.run.arm,
                "path": str(one.run.path),
                "state": one.state,
                "generation": one.generations,
                "generations": one.run.config.tuner.generations,
                "time_s": one.time_s,
                "cpu_s": one.cpu_s,
                "flops_per_image": one.flops,
            }
            for one in view.runs
        ],
        "remarks": list(view.remarks),
    }


def _arm_row(arm: Arm) -> Mapping[str, Any]:
    against = arm.against
    row = {
        "accuracy": _figure(arm.accuracy),
        "time_s": _figure(arm.time_s),
        "cpu_s": _figure(arm.cpu_s),
        "flops_per_image": _figure(arm.flops),
        "trials": dict(arm.ends),
        "best": None if arm.best is None else arm.best.fitness,
    }
    if against is None:
        return row
    return {
        **row,
        "speed_up": _figure(against.speed_up),
        "processor_speed_up": _figure(against.processor_speed_up),
        "flops_ratio": _figure(against.flops_ratio),
        "degradation": _figure(against.degradation),
        "speed_up_by_generation": [_figure(one) for one in against.generations],
    }


def _figure(estimate: Estimate | None) -> Mapping[str, float | None] | None:
    """What is no number, as a quotient by no time at all, is null."""
    if estimate is None:
        return None
    figures = {"value": estimate.value, "low": estimate.low, "high": estimate.high}
    return {
        name: figure if figure is not None and isfinite(figure) else None
        for name, figure in figures.items()
    }
