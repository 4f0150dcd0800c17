"""The leaderboard and what stands around it, for a terminal or a log. Draws, prints nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from rich.console import Group, JustifyMethod, RenderableType
from rich.table import Table
from rich.text import Text

from mpinas.records import TrialResult, TrialStatus, last_line, trial_number
from mpinas.report.run_view import RunView
from mpinas.report.shrinks import shrink_cell, shrink_lines
from mpinas.results import ending

LEADERS = 10
WIDE = 60
"""Columns of a terminal from which on everything is told; a narrower one gets what matters."""


def render(view: RunView, leaders: int = LEADERS, *, wide: bool = True) -> RenderableType:
    """Headline, leaderboard, shrinks, failures and running trials of a run."""
    parts: list[RenderableType] = [*map(Text, headline(view))]
    parts.append(leaderboard(view, leaders, wide=wide))
    parts += map(Text, shrink_lines(view.results))
    failures = failure_line(view)
    if failures:
        parts.append(failures)
    if view.running:
        parts.append(running_table(view, wide=wide))
    return Group(*parts)


def headline(view: RunView) -> Iterator[str]:
    """Where the run is and how busy its workers were, in a line or two; a line a lost worker."""
    trials = f"{len(view.results)} of {view.generations * view.individuals} trials"
    told = min(view.generation, view.generations)
    yield (
        f"{view.name}: {view.status}, {told} of {view.generations} generations, {trials}, "
        f"{duration(view.wall_time_s)}, {workers_words(view)}"
    )
    if view.utilisation is not None and view.is_shared:
        yield (
            f"its trials had {view.utilisation:.0%} of the workers' time, which the searches of a "
            "comparison share"
        )
    elif view.utilisation is not None:
        yield f"workers were training for {view.utilisation:.0%} of the time"
    yield from lost_lines(view)


def workers_words(view: RunView) -> str:
    """How many there are, and how many are there no more."""
    lost = f" and {len(view.lost)} lost" if view.lost else ""
    return f"{counted(view.workers, 'worker')}{lost}"


def counted(count: int, noun: str) -> str:
    """As "1 worker", "2 workers"."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def lost_lines(view: RunView) -> Iterator[str]:
    """A line for each worker that is gone or was set aside, the last one first."""
    for one in reversed(view.lost):
        yield f"lost: worker {one.rank} on {one.host} ({one.device}): {last_line(one.reason)}"


def leaderboard(view: RunView, leaders: int, *, wide: bool = True) -> Table:
    """The best trials, highest fitness first; with what is left of them in a run with shrinks."""
    has_shrinks = any(result.shrink is not None for result in view.results)
    shrunk_to = ("shrunk to",) if has_shrinks else ()
    names = ("", "trial", "accuracy", "parameters", "MFLOPs", *shrunk_to, "seconds", "host")
    if not wide:
        names = ("trial", "accuracy", *(shrunk_to or ("MFLOPs",)))
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0) if has_shrinks else (0, 1))
    for name in names:
        justify: JustifyMethod = "left" if name in ("trial", "host") else "right"
        table.add_column(name, justify=justify, no_wrap=has_shrinks and name != "host")
    for rank, result in enumerate(ranked(view)[:leaders], start=1):
        cells = _cells(rank, result)
        table.add_row(*(cells[name] for name in names))
    return table


def _cells(rank: int, result: TrialResult) -> Mapping[str, str]:
    """A row of the leaderboard, by the names of its columns."""
    costs = result.costs
    return {
        "": str(rank),
        "trial": result.trial_id,
        "accuracy": f"{result.fitness:.4f}",
        "parameters": f"{costs.parameters:,}" if costs else "",
        "MFLOPs": f"{costs.flops / 1e6:.2f}" if costs else "",
        "shrunk to": shrink_cell(result),
        "seconds": f"{result.times.wall_time_s:.1f}",
        "host": result.worker.host if result.worker else "",
    }


def ranked(view: RunView) -> list[TrialResult]:
    """The complete trials, highest fitness first; of equal ones the earlier first."""
    complete = [result for result in view.results if result.fitness is not None]
    return sorted(complete, key=lambda one: (-(one.fitness or 0.0), trial_number(one.trial_id)))


def failure_line(view: RunView) -> str:
    """How many trials failed, by class; empty where none did."""
    kinds = Counter(
        ending(result) for result in view.results if result.status is not TrialStatus.COMPLETE
    )
    return ", ".join(f"{count} x {kind}" for kind, count in sorted(kinds.items()))


def running_table(view: RunView, lines: int | None = None, *, wide: bool = True) -> Table:
    """The trials on workers now, by worker.

    Args:
        lines: that there is room for, heading included; trials without room are counted.
    """
    running = sorted(view.running, key=lambda one: one.rank)
    room = len(running) if lines is None else lines - 1
    shown = running if len(running) <= room else running[: room - 1]
    table = Table(box=None, pad_edge=False)
    for name in ("running", "worker", *(("host",) if wide else ()), "epoch", "accuracy"):
        table.add_column(name, no_wrap=lines is not None, overflow="ellipsis")
    for trial in shown:
        table.add_row(
            trial.trial_id,
            str(trial.rank),
            *((trial.host,) if wide else ()),
            f"{trial.epoch}/{trial.epochs}" if trial.epochs else "-",
            "-" if trial.accuracy is None else f"{trial.accuracy:.4f}",
        )
    if len(shown) < len(running):
        table.add_row(f"and {len(running) - len(shown)} more")
    return table


def duration(seconds: float) -> str:
    """``1 h 02 min``, ``3 min 20 s`` or ``45 s``."""
    whole = round(seconds)
    if whole >= 3600:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    if whole >= 60:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole} s"
