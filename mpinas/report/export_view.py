"""What ``python -m mpinas export`` made: a table for people, JSON for scripts. Prints nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.table import Table
from rich.text import Text

from mpinas.export import Plan, files_of, is_there
from mpinas.export_session import Outcome
from mpinas.trial.exported import Exported


def _there(plan: Plan) -> Iterator[Exported]:
    for spec in plan.specs:
        exported = files_of(spec).load_record() if is_there(spec) else None
        if exported is not None:
            yield exported


def export_table(plan: Plan) -> Table:
    """A line for each model that is there."""
    table = Table(box=None, pad_edge=False)
    for name in ("model", "test", "validation", "epochs", "parameters", "MFLOPs"):
        table.add_column(name, justify="left" if name == "model" else "right", no_wrap=True)
    for exported in _there(plan):
        table.add_row(
            Text(f"{exported.name}.keras"),
            f"{exported.test.accuracy:.4f}",
            f"{exported.validation.accuracy:.4f}",
            str(len(exported.curves.training_loss)),
            f"{exported.costs.parameters:,}",
            f"{exported.costs.flops / 1e6:.2f}",
        )
    return table


def to_json_view(plan: Plan, outcome: Outcome) -> Mapping[str, Any]:
    """The machine-readable form of ``export --json``."""
    return {
        "folder": str(plan.folder),
        "stopped": outcome.stopped,
        "failures": dict(outcome.failures),
        "models": [_row(plan, exported) for exported in _there(plan)],
    }


def _row(plan: Plan, exported: Exported) -> Mapping[str, Any]:
    return {
        "trial_id": exported.trial_id,
        "file": str(plan.folder / f"{exported.name}.keras"),
        "test_accuracy": exported.test.accuracy,
        "validation_accuracy": exported.validation.accuracy,
        "epochs": len(exported.curves.training_loss),
        "best_epoch": exported.best_epoch,
        "train_s": exported.train_s,
        "flops": exported.costs.flops,
        "parameters": exported.costs.parameters,
        "network_hash": exported.network.hash,
    }
