"""All trials of a run as CSV, for spreadsheets and data frames."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mpinas.records import TrialResult, last_line, trial_number
from mpinas.report.run_view import trial_row

SHRINK = ("outcome", "steps", "accuracy_before_cut", "accuracy_after_cut", "cut_error")
PLAIN = (
    "status",
    "failure",
    "fitness",
    "flops",
    "shrunk_flops",
    "parameters",
    "shrunk_parameters",
    "network_hash",
    "shrink_s",
    "rebuild_s",
    "train_s",
    "wall_time_s",
    "host",
    "rank",
    "device",
)
"""As ``show --json`` has them."""
COLUMNS = (
    "trial_id",
    "generation",
    *PLAIN,
    "start_s",
    "cpu_s",
    "ended_at",
    *(f"shrink_{name}" for name in SHRINK),
    "widths",
    "shrunk_widths",
    "error",
)


def trials_csv(results: Iterable[TrialResult]) -> str:
    """A line for each trial under a line of names; what is not known is empty."""
    return csv_text(COLUMNS, map(trial_cells, results))


def csv_text(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """Rows by name under a line of names."""
    file = io.StringIO()
    writer = csv.DictWriter(file, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()


def trial_cells(result: TrialResult) -> dict[str, Any]:
    """One trial by ``COLUMNS``."""
    plain = trial_row(result)
    shrink = plain["shrink"] or {}
    return {
        "trial_id": result.trial_id,
        "generation": trial_number(result.trial_id)[0],
        **{name: plain[name] for name in PLAIN},
        "start_s": result.times.start_s,
        "cpu_s": result.times.cpu_s,
        "ended_at": result.times.ended_at or None,
        **{f"shrink_{name}": shrink.get(name) for name in SHRINK},
        "widths": json.dumps(dict(result.widths)) if result.widths else None,
        "shrunk_widths": json.dumps(shrink["widths"]) if shrink else None,
        "error": last_line(result.error),
    }
