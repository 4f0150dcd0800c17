"""Figures of a timeline: who worked when, and where the workers' time went."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mpinas.report.drawing import FILLS, INK, PALE, SOFT, bars, canvas, finish
from mpinas.report.page import Figure
from mpinas.report.tables import duration
from mpinas.report.timeline import Cause, Span, Timeline, WorkerName

ROWS = 40
"""Workers that are drawn; those beyond are in the shares only."""
WIDTH_IN = 10.0
LEGEND_COLUMNS = 5
FEW_TRIALS = 60
"""Up to so many a worker, each can be seen; beyond, only when a worker was busy."""
PIXELS = 1600
"""Of the axis, about; smaller gaps would be shades of grey."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """How a trial is drawn, and what the legend calls it there, and where."""

    place: int
    label: str
    fill: str
    hatch: str = ""


STARTING = Look(place=0, label="starting", fill=INK)
GENERATIONS = (
    Look(place=1, label="trial, even generation", fill=PALE),
    Look(place=2, label="trial, odd generation", fill=SOFT),
)
BUSY = Look(place=1, label="trial", fill=PALE)
FAILED = Look(place=3, label="failed", fill=FILLS[1], hatch="////")


def no_times(found: Timeline) -> str:
    """Why there is nothing to draw."""
    if found.untimed:
        return "The trials were run by a version that did not write down when they ended."
    return "No worker has ended a trial yet."


LookOf = Callable[[Span], Look]


def _look_of(own: LookOf | None, *, are_few: bool) -> LookOf:
    """Generations can be told apart always, arms and failures only where single trials can."""
    if own is not None:
        return own if are_few else lambda _: BUSY
    return _in_detail if are_few else _by_generation


def _in_detail(span: Span) -> Look:
    return _by_generation(span) if span.is_complete else FAILED


def _by_generation(span: Span) -> Look:
    """Two greys in turn."""
    return GENERATIONS[span.generation[1] % 2]


def timeline_figure(
    found: Timeline,
    look: LookOf | None = None,
    *,
    name: str = "workers",
    title: str = "Who worked when",
    white: str = "idle",
) -> Figure | None:
    """A row for each worker, the jobs one behind the other; None where nothing is known.

    Args:
        look: of a trial among those of several searches, where there are few enough to tell them
            apart; None shows the generations of one search, and starts and failures among few.
        white: what a worker was where nothing is drawn.
    """
    if not found.spans:
        return None
    shown = found.workers[:ROWS]
    rows = {worker: row for row, worker in enumerate(shown)}
    ahead = _ahead(found)
    end_s = ahead[-1] + found.jobs[-1][1] - found.jobs[-1][0]
    scale, unit = _unit(end_s)
    drawing = canvas(1.5 + 0.26 * len(shown), WIDTH_IN)
    axes = drawing.add_subplot()
    jobs = sorted({span.job for span in found.spans})
    begin = {job: (at, extent[0]) for job, at, extent in zip(jobs, ahead, found.jobs, strict=True)}
    spans = [span for span in found.spans if span.worker in rows]
    are_few = _are_few(spans)
    has_details = are_few and look is None
    looks = [_look_of(look, are_few=are_few)(span) for span in spans]
    pieces = _pieces(spans, looks, rows, begin, scale, starts=has_details)
    _draw_pieces(axes, pieces, are_few=are_few)
    for at in ahead[1:]:
        axes.axvline(at / scale, color=INK, ls="--", lw=1.2)
    axes.set_yticks(range(len(shown)), _labels(shown))
    axes.set_ylim(len(shown) - 0.4, -0.6)
    axes.set_xlim(0, end_s / scale * 1.005)
    axes.set_xlabel(f"time on duty ({unit})")
    axes.set_ylabel("worker")
    axes.grid(visible=False, axis="y")
    _legend(axes, [STARTING, *looks] if has_details else looks, several_jobs=len(ahead) > 1)
    return finish(
        drawing,
        name=name,
        title=title,
        caption=_caption(found, len(shown), white),
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


Piece = tuple[float, float]
"""(begin, length) on the axis."""


def _pieces(
    spans: Sequence[Span],
    looks: Sequence[Look],
    rows: Mapping[WorkerName, int],
    begin: Mapping[int, tuple[float, float]],
    scale: float,
    *,
    starts: bool,
) -> Mapping[tuple[int, Look], list[Piece]]:
    """What is drawn of each worker, by its row and how it looks.

    Args:
        begin: of each job, its place on the axis and when that was, in seconds.
        scale: seconds in a unit of the axis.
        starts: whether the start of a trial's process is drawn apart from the trial.
    """
    pieces: dict[tuple[int, Look], list[Piece]] = defaultdict(list)
    for span, look in zip(spans, looks, strict=True):
        at, job_began_at = begin[span.job]
        row, begins_at = rows[span.worker], span.ordered_at
        if starts:
            length = (span.began_at - begins_at) / scale
            pieces[row, STARTING].append(((at + begins_at - job_began_at) / scale, length))
            begins_at = span.began_at
        length = (span.ended_at - begins_at) / scale
        pieces[row, look].append(((at + begins_at - job_began_at) / scale, length))
    return pieces


def _draw_pieces(
    axes: Any, pieces: Mapping[tuple[int, Look], list[Piece]], *, are_few: bool
) -> None:
    end = max(begins + length for own in pieces.values() for begins, length in own)
    for (row, look), own in pieces.items():
        edge = 0.6 if are_few else 0.0
        drawn = own if are_few else _joined(own, end / PIXELS)
        where = (row - 0.38, 0.76)
        axes.broken_barh(drawn, where, fc=look.fill, ec=INK, hatch=look.hatch, lw=edge)


def _joined(pieces: Sequence[Piece], gap: float) -> list[Piece]:
    """The pieces, those with no larger gap between them made one."""
    joined: list[Piece] = []
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


def _legend(axes: Any, looks: Sequence[Look], *, several_jobs: bool) -> None:
    """Of what is drawn."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Any] = [
        Patch(fc=look.fill, ec=INK, hatch=look.hatch, label=look.label)
        for look in sorted(set(looks), key=lambda look: look.place)
    ]
    if several_jobs:
        handles.append(Line2D([], [], color=INK, ls="--", label="a new job"))
    axes.legend(
        handles=handles,
        loc="lower left",
        bbox_to_anchor=(-0.02, 1.0),
        ncols=min(len(handles), LEGEND_COLUMNS),
        columnspacing=1.2,
    )


def _caption(found: Timeline, shown: int, white: str) -> str:
    if found.seconds[Cause.CUT_OFF] > 0:
        white += ", or a trial that was cut off or still runs"
    words = [f"From each job's first order to its last result; white is {white}."]
    if len(found.jobs) > 1:
        words.append(f"{len(found.jobs)} jobs; the time between them is left out.")
    if shown < len(found.workers):
        words.append(f"The first {shown} of {len(found.workers)} workers are drawn.")
    if found.untimed:
        words.append(f"{found.untimed} trials of an older version have no times.")
    return " ".join(words)


def shares_figure(
    found: Timeline, *, name: str = "worker-time", title: str = "Where the workers' time went"
) -> Figure | None:
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
        name=name,
        title=f"{title}: {shares[Cause.TRIALS]:.0f} % into trials",
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
