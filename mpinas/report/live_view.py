"""A living run for people: a screen that fits the terminal, and a line for a log. Draws only."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from mpinas.records import trial_number
from mpinas.report.run_view import RunView
from mpinas.report.shrinks import shrink_cell
from mpinas.report.tables import (
    WIDE,
    duration,
    failure_line,
    leaderboard,
    lost_lines,
    running_table,
    workers_words,
)
from mpinas.report.time_left import time_left

FOOTNOTE = "Ctrl-C leaves this view; the run goes on."
LONGEST_BAR = 40
LEAST_LEADERS = 3
MOST_LOST = 3
"""Lines on workers that were lost; the others are counted."""
SHARE_OF_RUNNING = 0.6
"""Of the lines that both tables share, where there is not room for all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveScreen:
    """A run on a terminal of any size: what does not fit is counted or left out, never wrapped."""

    view: RunView

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = options.max_width
        height = options.height or console.height
        summary = Group(*_summary(self.view, width))
        used = len(console.render_lines(summary, options.update(height=None), pad=False))
        left = height - used - 1
        yield summary
        running, leaders = _shared(left, len(self.view.running), len(self.view.results))
        if running:
            yield Text()
            yield running_table(self.view, running, wide=width >= WIDE)
        if leaders:
            yield Text()
            yield leaderboard(self.view, leaders - 1, wide=width >= WIDE)
        if left > 1:
            yield Text(FOOTNOTE, style="dim", no_wrap=True, overflow="crop")


def _summary(view: RunView, width: int) -> Iterator[RenderableType]:
    busy = "" if view.utilisation is None else f", {busy_words(view, view.utilisation)}"
    head = f": {view.status} for {duration(view.wall_time_s)}, {workers_words(view)}{busy}"
    yield Text.assemble((view.name, "bold"), head)
    yield Text(generation_words(view))
    yield _bar(view, width)
    yield Text(left_words(view))
    yield Text(best_words(view))
    failures = failure_line(view)
    if failures:
        yield Text(f"failed: {failures}")
    lost = [*lost_lines(view)]
    for line in lost[:MOST_LOST]:
        yield Text(line, no_wrap=True, overflow="ellipsis")
    if len(lost) > MOST_LOST:
        yield Text(f"and {len(lost) - MOST_LOST} lost before")


def busy_words(view: RunView, share: float) -> str:
    """How much of the workers' time trials of this run had."""
    return f"{share:.0%} busy{' with it' if view.is_shared else ''}"


def _bar(view: RunView, width: int) -> RenderableType:
    """How far the whole run is."""
    done, planned = len(view.results), view.generations * view.individuals
    words = f"{done} of {planned} trials in all"
    room = max(1, min(LONGEST_BAR, width - len(words) - 1))
    line = Table.grid(padding=(0, 1, 0, 0))
    line.add_row(ProgressBar(total=planned, completed=done, width=room), Text(words, no_wrap=True))
    return line


def generation_words(view: RunView) -> str:
    """How far the generation is that is being worked on; people count generations from 1."""
    done = sum(trial_number(one.trial_id)[0] == view.generation for one in view.results)
    number = min(view.generation + 1, view.generations)
    return f"generation {number} of {view.generations}: {done} of {view.individuals} trials"


def best_words(view: RunView) -> str:
    """The best trial so far and what it costs."""
    best = view.best
    if best is None or best.fitness is None:
        return "no trial is complete yet"
    costs = "" if best.costs is None else f", {best.costs.flops / 1e6:.2f} MFLOPs"
    shrunk = "" if best.shrink is None or not costs else f", shrunk: {shrink_cell(best)}"
    return f"best {best.fitness:.4f}, {best.trial_id}{costs}{shrunk}"


def left_words(view: RunView) -> str:
    """The time left and what it was told from."""
    left = time_left(view)
    if left is None:
        return "time left: not known before the first trial has ended"
    told_from = f"{left.trials:.1f} trials of {left.trial_s:.1f} s, {left.at_once:.1f} at once"
    return f"about {duration(left.seconds)} left ({told_from})"


def _shared(lines: int, running: int, results: int) -> tuple[int, int]:
    """How many lines the tables of running trials and of leaders get, their headings included."""
    wanted = running + 1 if running else 0
    blanks = 2
    room = max(0, lines - blanks)
    for_running = min(wanted, max(room - LEAST_LEADERS - 1, round(SHARE_OF_RUNNING * room)))
    for_running = for_running if for_running > 1 else 0
    for_leaders = min(results + 1, room - for_running)
    return for_running, for_leaders if for_leaders > 1 else 0


def change_line(view: RunView) -> str:
    """A run in one line of a log."""
    parts = [f"{view.name}: {view.status}, {generation_words(view)}", best_words(view)]
    failures = failure_line(view)
    parts += [failures] if failures else []
    parts += [f"{len(view.running)} running"] if view.running else []
    parts += [workers_words(view)] if view.lost else []
    if view.utilisation is not None:
        parts.append(f"workers {busy_words(view, view.utilisation)}")
    left = time_left(view)
    parts += [f"about {duration(left.seconds)} left"] if left is not None else []
    return "; ".join(parts)


def progress_of(view: RunView) -> tuple[str, int, int, int]:
    """What has to differ for a line in a log to be worth it."""
    return view.status, view.generation, len(view.results), len(view.lost)
