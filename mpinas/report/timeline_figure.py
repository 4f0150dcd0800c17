"""Figures of a timeline: who worked when, and where the workers' time went."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from mpinas.report.drawing import FILLS, INK, PALE, SOFT, bars, canvas, finish
from mpinas.report.page import Figure
from mpinas.report.tables import duration
from mpinas.report.timeline import Cause, Span, Timeline, WorkerName

ROWS = 40
"""Workers that are drawn; those beyond are in the shares only."""
WIDTH_IN = 10.0
GENERATIONS = PALE, SOFT
"""Of trials, in turn."""
FEW_TRIALS = 60
"""Up to so many a worker, each can be seen; beyond, only when a worker was busy."""
PIXELS = 1600
"""Of the axis, about; smaller gaps would be shades of grey."""


def timeline_figure(found: Timeline) -> Figure | None:
    """A row for each worker, the jobs one behind the other; None where nothing is known."""
    if not found.spans:
        return None
    shown = found.workers[:ROWS]
    rows = {worker: row for row, worker in enumerate(shown)}
    ahead = _ahead(found)
    end_s = ahead[-1] + found.jobs[-1][1] - found.jobs[-1][0]
    scale, unit = _unit(end_s)
    drawing = canvas(1.3 + 0.26 * len(shown), WIDTH_IN)
    axes = drawing.add_subplot()
    jobs = sorted({span.job for span in found.spans})
    begin = {job: (at, extent[0]) for job, at, extent in zip(jobs, ahead, found.jobs, strict=True)}
    spans = [span for span in found.spans if span.worker in rows]
    _draw_spans(axes, spans, rows, begin, scale)
    for at in ahead[1:]:
        axes.axvline(at / scale, color=INK, ls="--", lw=1.2)
    axes.set_yticks(range(len(shown)), _labels(shown))
    axes.set_ylim(len(shown) - 0.4, -0.6)
    axes.set_xlim(0, end_s / scale * 1.005)
    axes.set_xlabel(f"time on duty ({unit})")
    axes.set_ylabel("worker")
    axes.grid(visible=False, axis="y")
    _legend(axes, spans, several_jobs=len(ahead) > 1)
    return finish(
        drawing,
        name="workers",
        title="Who worked when",
        caption=_caption(found, len(shown)),
        alternative=f"Trials of {len(shown)} workers over {end_s / scale:.3g} {unit}.",
    )


def _ahead(found: Timeline) -> list[float]:
    """Where each job begins on the axis, in seconds: gaps between jobs are left out."""
    places = [0.0]
    for begin, end in found.jobs:
        places.append(places[-1] + end - begin)
    return places[:-1]


def _unit(seconds: float) -> tuple[float, str]:
    if seconds >= 3 * 3600:
        return 3600.0, "hours"
    return (60.0, "minutes") if seconds >= 180 else (1.0, "seconds")


def _labels(workers: Sequence[WorkerName]) -> list[str]:
    """Ranks; with the host in front of the first of each where there are several."""
    several = len({host for host, _ in workers}) > 1
    labels, before = [], ""
    for host, rank in workers:
        short = host.split(".")[0][:16]
        labels.append(f"{short}  {rank}" if several and host != before else str(rank))
        before = host
    return labels


def _draw_spans(
    axes: Any,
    spans: Sequence[Span],
    rows: Mapping[WorkerName, int],
    begin: Mapping[int, tuple[float, float]],
    scale: float,
) -> None:
    """Bars of all workers, by what they are: two greys in turn for generations.

    Args:
        begin: of each job, its place on the axis and when that was, in seconds.
        scale: seconds in a unit of the axis.
    """
    are_few = _are_few(spans)
    pieces: dict[tuple[int, str, str], list[tuple[float, float]]] = defaultdict(list)
    for span in spans:
        at, job_began_at = begin[span.job]
        row, begins = rows[span.worker], at - job_began_at + span.began_at
        starts, fails = at - job_began_at + span.ordered_at, are_few and not span.is_complete
        if are_few:
            pieces[row, INK, ""].append((starts / scale, (begins - starts) / scale))
        fill = FILLS[1] if fails else GENERATIONS[span.generation % 2]
        length = (span.ended_at - span.began_at) / scale
        pieces[row, fill, "////" if fails else ""].append((begins / scale, length))
    end = max(begins + length for own in pieces.values() for begins, length in own)
    for (row, fill, hatch), own in pieces.items():
        edge = 0.6 if are_few else 0.0
        drawn = own if are_few else _joined(own, end / PIXELS)
        axes.broken_barh(drawn, (row - 0.38, 0.76), fc=fill, ec=INK, hatch=hatch, lw=edge)


def _joined(pieces: Sequence[tuple[float, float]], gap: float) -> list[tuple[float, float]]:
    """(begin, length) of pieces, those with no larger gap between them made one."""
    joined: list[tuple[float, float]] = []
    for begin, length in sorted(pieces):
        before = joined[-1] if joined else None
        if before is not None and begin - (before[0] + before[1]) <= gap:
            end = max(before[0] + before[1], begin + length)
            joined[-1] = (before[0], end - before[0])
        else:
            joined.append((begin, length))
    return joined


def _are_few(spans: Sequence[Span]) -> bool:
    return len(spans) <= FEW_TRIALS * len({span.worker for span in spans})


def _legend(axes: Any, spans: Sequence[Span], *, several_jobs: bool) -> None:
    """Of what is drawn."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    are_few = _are_few(spans)
    parities = {span.generation % 2 for span in spans if span.is_complete or not are_few}
    names = "trial, even generation", "trial, odd generation"
    handles: list[Any] = [Patch(fc=INK, ec=INK, label="starting")] if are_few else []
    handles += [Patch(fc=GENERATIONS[one], ec=INK, label=names[one]) for one in sorted(parities)]
    if are_few and not all(span.is_complete for span in spans):
        handles.append(Patch(fc=FILLS[1], ec=INK, hatch="////", label="failed"))
    if several_jobs:
        handles.append(Line2D([], [], color=INK, ls="--", label="a new job"))
    axes.legend(
        handles=handles,
        loc="lower left",
        bbox_to_anchor=(-0.02, 1.0),
        ncols=len(handles),
        columnspacing=1.2,
    )


def _caption(found: Timeline, shown: int) -> str:
    words = ["From each job's first order to its last result; white is idle."]
    if len(found.jobs) > 1:
        words.append(f"{len(found.jobs)} jobs; the time between them is left out.")
    if shown < len(found.workers):
        words.append(f"The first {shown} of {len(found.workers)} workers are drawn.")
    if found.untimed:
        words.append(f"{found.untimed} trials of an older version have no times.")
    return " ".join(words)


def shares_figure(found: Timeline) -> Figure | None:
    """The workers' time by cause, in per cent; None where nothing is known."""
    if found.duty_s <= 0:
        return None
    drawing = canvas(3.3)
    axes = drawing.add_subplot()
    shares = {cause: 100 * seconds / found.duty_s for cause, seconds in found.seconds.items()}
    labels = [_two_lines(cause.value) for cause in Cause]
    bars(axes, labels, [shares[cause] for cause in Cause], lambda share: f"{share:.1f} %")
    axes.set_xlim(0, 118)
    axes.set_xticks(range(0, 101, 25))
    axes.set_xlabel("share of the workers' time (%)")
    idle = {cause: share for cause, share in shares.items() if cause is not Cause.TRIALS}
    largest = max(idle, key=lambda cause: idle[cause])
    return finish(
        drawing,
        name="worker-time",
        title=f"Where the workers' time went: {shares[Cause.TRIALS]:.0f} % into trials",
        caption=f"In all {duration(found.duty_s)} of workers' time, from each job's first order to "
        "its last result, of every worker that had a trial in it.",
        alternative=f"{shares[Cause.TRIALS]:.1f} % of the workers' time went into trials; the "
        f"largest other share is {largest.value}, {idle[largest]:.1f} %.",
    )


def _two_lines(text: str) -> str:
    """The text broken near its middle."""
    words, lines = text.split(), [""]
    for word in words:
        if len(lines) == 1 and len(lines[0]) + len(word) > max(14, len(text) // 2 + 2):
            lines.append("")
        lines[-1] += (" " if lines[-1] else "") + word
    return "\n".join(lines)
