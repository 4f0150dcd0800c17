"""What the doctor found, for a terminal, a log or a program. Draws, prints nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.table import Table

from mpinas.dispatch.launch import launcher_name, library_name
from mpinas.doctor.examination import Report
from mpinas.doctor.findings import is_wrong

SEARCHES = "search"


def finding_lines(report: Report) -> Iterator[str]:
    """A line for each finding: its level, then what was found."""
    for finding in report.findings:
        yield f"{finding.level.value:<6}{finding.message}"


def rank_table(report: Report) -> Table:
    """Who runs where: rank, host, device and processors."""
    table = Table(box=None, pad_edge=False)
    for name in ("rank", "host", "device", "processors", "cores"):
        table.add_column(
            name, no_wrap=name != "host", justify="right" if name == "rank" else "left"
        )
    for row in rank_rows(report):
        table.add_row(
            str(row["rank"]),
            row["host"],
            row["device"] or "?",
            number_ranges(row["processors"]) or "?",
            str(row["cores"]),
        )
    return table


def rank_rows(report: Report) -> list[Mapping[str, Any]]:
    """The same as plain data. ``processors`` are those of its trials; rank 0 has none."""
    rows: list[Mapping[str, Any]] = []
    for rank, one in report.facts.items():
        place = report.places.get(rank)
        device = SEARCHES if rank == 0 else place.binding.device if place else None
        processors = place.share.processors if place else one.hello.processors
        rows.append(
            {
                "rank": rank,
                "host": one.hello.host,
                "device": device,
                "processors": sorted(processors),
                "cores": one.hello.cores,
            }
        )
    return rows


def number_ranges(numbers: Sequence[int]) -> str:
    """``0-3,8`` of 0, 1, 2, 3 and 8."""
    parts: list[list[int]] = []
    for number in sorted(numbers):
        if parts and number == parts[-1][-1] + 1:
            parts[-1] = [parts[-1][0], number]
        else:
            parts.append([number])
    return ",".join("-".join(map(str, part)) for part in parts)


def to_json_view(report: Report) -> Mapping[str, Any]:
    """The machine-readable form of ``doctor --json``."""
    launch = report.launch
    return {
        "ok": not is_wrong(report.findings),
        "mpi": {
            "library": library_name(launch.library),
            "launcher": launcher_name(launch.environment),
            "size": launch.size,
        },
        "ranks": rank_rows(report),
        "findings": [
            {"check": one.check, "level": one.level.value, "message": one.message}
            for one in report.findings
        ],
    }
