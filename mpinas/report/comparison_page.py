"""The page of a comparison, or of several: Table 1 and Figures 4 to 8 of the paper, and why.

It is drawn from what the directories hold, while searches go on, after a kill, or at the end. What
is not known yet leaves a sentence in its place.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from urllib.parse import quote

from mpinas.records import TrialResult, last_line
from mpinas.report.comparison_arms import ArmTrials, Compared, compared
from mpinas.report.comparison_figures import (
    accuracy_figure,
    generations_figure,
    speed_up_by_data_figure,
    speed_up_figure,
    time_figure,
)
from mpinas.report.comparison_summary import cost_table, data_table, rows_table
from mpinas.report.comparison_tables import (
    arm_rows,
    data_of_paper,
    generation_rows,
    headline,
    phase_rows,
    progress_rows,
    remarks,
    table_1,
    trial_rows,
)
from mpinas.report.comparison_trials import (
    accuracy_against_time,
    failures_by_arm_figure,
    kept_figure,
    phases_figure,
    training_figure,
)
from mpinas.report.comparison_view import ComparisonView
from mpinas.report.comparison_workers import worker_blocks
from mpinas.report.drawing import style
from mpinas.report.page import INDEX, Block, Link, Note, Page, Section, Table
from mpinas.report.shrinks import shrink_cell
from mpinas.report.trial_csv import COLUMNS, csv_text, trial_cells
from mpinas.results import ending

FIGURES_OF_THE_PAPER = {"mnist": 5, "cifar10": 6, "cifar100": 7, "tiny_imagenet": 8}
"""Where the training of the best networks is shown, by the name of the data set."""
NO_EXPERIMENT = (
    "No experiment is finished yet: in none are all arms at their end. There is no speed-up to be "
    "told; figures below are of the trials so far."
)


def comparison_page(
    views: Sequence[ComparisonView], folder: Path, *, files: tuple[str, ...]
) -> Page:
    """Draws the page.

    Args:
        views: one, or several that are set beside each other, as the paper does with data sets.
        folder: the page is going to be in, to which its links are relative.
        files: beside the page, that it links to.
    """
    all_compared = compared(views)
    with style():
        sections = tuple(_sections(all_compared, folder))
    return Page(
        title=_title(all_compared),
        lead=tuple(line for one in all_compared for line in _lead(one)),
        facts=(
            *(_facts(all_compared[0]) if len(all_compared) == 1 else ()),
            ("this report", time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())),
        ),
        sections=sections,
        files=files,
    )


def comparison_csv(views: Sequence[ComparisonView]) -> str:
    """All trials of all searches, with the experiment and the arm of each."""
    which = ("comparison",) if len(views) > 1 else ()
    return csv_text(
        (*which, "experiment", "arm", *COLUMNS),
        (
            {
                **dict.fromkeys(which, one.label),
                "experiment": run.run.experiment,
                "arm": run.run.arm,
                **trial_cells(result),
            }
            for one in compared(views)
            for run in one.view.runs
            for result in run.results
        ),
    )


def _title(all_compared: Sequence[Compared]) -> str:
    names = ", ".join(one.label for one in all_compared)
    return f"{names}: {'a comparison' if len(all_compared) == 1 else 'comparisons'}"


def _lead(one: Compared) -> Iterator[str]:
    yield headline(one.view)
    states = [run.state for run in one.view.runs]
    if "running" in states:
        yield "It is going on; this page shows it as it was when it was drawn."
    elif any(state != "done" for state in states):
        yield "It was stopped or has not begun; the same command goes on with it."


def _facts(one: Compared) -> Iterator[tuple[str, str]]:
    comparison = one.view.comparison
    config = comparison.config
    tuner = config.tuner
    yield "directory", str(comparison.directory.path.resolve())
    yield "data", ", ".join(filter(None, (config.problem.name, config.problem.path)))
    for arm in comparison.arms:
        keys = config.comparison.arms[arm]
        words = ", ".join(f"{key} = {value}" for key, value in keys.items())
        yield f"arm {arm}", words or "nothing changed"
    yield (
        "each search",
        f"{tuner.name}, {tuner.generations} generations of {tuner.individuals}, "
        f"{config.trial.epochs} epochs unless the arm says otherwise",
    )
    results = [result for run in one.view.runs for result in run.results]
    hosts = sorted({result.worker.host for result in results if result.worker})
    if hosts:
        more = f" and {len(hosts) - 4} more" if len(hosts) > 4 else ""
        yield "hosts", ", ".join(hosts[:4]) + more
    versions = next((result.versions for result in results if result.versions), {})
    if versions:
        yield "versions", ", ".join(f"{name} {of}" for name, of in versions.items())


def _set_up(one: Compared) -> Iterator[Block | None]:
    """What stands at the head of a page where the comparison is alone."""
    yield Table(title=one.label, head=("", ""), rows=tuple(_facts(one)))


def _sections(all_compared: Sequence[Compared], folder: Path) -> Iterator[Section]:
    parts: tuple[tuple[str, str, Callable[[Compared], Iterator[Block | None]]], ...] = (
        ("time", "Where the time goes", _time),
        ("training", "The best networks", _training),
        ("trials", "Trials", _trials),
        ("failures", "Failures", _failures),
        ("workers", "Workers", worker_blocks),
        ("searches", "Searches", lambda one: _searches(one, folder)),
    )
    yield Section(
        name="results", title="Speed-up and accuracy", blocks=_drawn(_results(all_compared))
    )
    for name, title, blocks in parts:
        found = (block for one in all_compared for block in blocks(one))
        yield Section(name=name, title=title, blocks=_drawn(found))
    if len(all_compared) > 1:
        tables = (block for one in all_compared for block in _set_up(one))
        yield Section(name="set-up", title="What was compared", blocks=_drawn(tables))


def _drawn(blocks: Iterator[Block | None]) -> tuple[Block, ...]:
    return tuple(block for block in blocks if block is not None)


def _results(all_compared: Sequence[Compared]) -> Iterator[Block | None]:
    known = [one for one in all_compared if one.is_known]
    for one in all_compared:
        if not one.is_known:
            yield Note(text=one.titled(NO_EXPERIMENT))
    if len(all_compared) > 1 and known:
        yield data_table(known)
    elif known:
        yield rows_table(
            "Speed-up and accuracy degradation (Table 1 of the paper)", table_1(known[0].view)
        )
    for one in all_compared:
        lines = list(remarks(one.view))
        yield Note(text=one.titled(" ".join(lines))) if lines else None
    if known:
        yield time_figure(all_compared)
        yield accuracy_figure(all_compared)
    if len(known) > 1:
        yield speed_up_by_data_figure(all_compared)
    for one in known:
        yield speed_up_figure(one)
        yield generations_figure(one)
    for one in known:
        yield rows_table(one.titled("By arm"), arm_rows(one.view))
        yield rows_table(
            one.titled("Speed-up in worker time by generation"), generation_rows(one.view)
        )


def _time(one: Compared) -> Iterator[Block | None]:
    drawn = phases_figure(one)
    if drawn is None:
        yield Note(text=one.titled("No trial has taken any time yet."))
        return
    yield drawn
    yield kept_figure(one)
    if one.is_known:
        yield cost_table(one)
        yield rows_table(
            one.titled("Seconds of a trial"),
            phase_rows(one.view),
            "Means over all trials. Kept: FLOPs that the shrink left. s/GFLOP: training seconds of "
            "an epoch for each GFLOP of the trained network's forward pass; where it is higher in "
            "an arm, its networks use the machine less well.",
        )


def _training(one: Compared) -> Iterator[Block | None]:
    number = FIGURES_OF_THE_PAPER.get(data_of_paper(one.view))
    words = f"(Figure {number} of the paper)" if number else "(as Figures 5 to 8 of the paper)"
    drawn = training_figure(one, words)
    best = [_best_row(arm) for arm in one.arms if arm.best is not None]
    if not best:
        yield Note(text=one.titled("No trial has completed yet."))
        return
    yield drawn
    yield Table(
        title=one.titled("The best of each arm"),
        head=("arm", "search", "trial", "accuracy", "MFLOPs", "shrunk to", "parameters", "seconds"),
        rows=tuple(best),
        numbers=frozenset({3, 4, 5, 6, 7}),
        caption="MFLOPs and parameters are those before the shrink. The best of many is higher "
        "than what it would reach again: arms are compared by their means.",
    )


def _best_row(arm: ArmTrials) -> tuple[str, ...]:
    if arm.best is None:
        return (arm.name,)
    run, result = arm.best
    costs = result.costs
    return (
        arm.name,
        run.run.name,
        result.trial_id,
        f"{result.fitness:.4f}",
        f"{costs.flops / 1e6:.2f}" if costs else "",
        shrink_cell(result),
        f"{costs.parameters:,}" if costs else "",
        f"{result.times.on_worker_s:.1f}",
    )


def _trials(one: Compared) -> Iterator[Block | None]:
    drawn = accuracy_against_time(one)
    yield drawn or Note(text=one.titled("No trial of a last generation has completed yet."))
    if one.is_known:
        yield rows_table(one.titled("How trials ended"), trial_rows(one.view))


def _failures(one: Compared) -> Iterator[Block | None]:
    drawn = failures_by_arm_figure(one)
    if drawn is None:
        ended = any(arm.results for arm in one.all_arms)
        words = "No trial failed." if ended else "No trial has ended yet."
        yield Note(text=one.titled(words))
        return
    yield drawn
    yield Table(
        title=one.titled("The first of each class"),
        head=("arm", "class", "trials", "first", "in its words"),
        rows=tuple(row for arm in one.all_arms for row in _failure_rows(arm)),
        numbers=frozenset({2}),
    )


def _failure_rows(arm: ArmTrials) -> Iterator[tuple[str, ...]]:
    found: dict[str, list[tuple[str, TrialResult]]] = {}
    for run in arm.runs:
        for result in run.results:
            if result.fitness is None:
                kind = ending(result)
                found.setdefault(kind, []).append((run.run.name, result))
    for kind, failed in sorted(found.items()):
        name, first = failed[0]
        where = f"{name} {first.trial_id}"
        yield arm.name, kind, str(len(failed)), where, last_line(first.error)


def _searches(one: Compared, folder: Path) -> Iterator[Block | None]:
    head, *rows = progress_rows(one.view)
    reports = [run.run.path / "report" / INDEX for run in one.view.runs]
    yield Table(
        title=one.titled("Where each search is"),
        head=(*head, "its own report"),
        rows=tuple(
            (*row, _report_cell(report, folder)) for row, report in zip(rows, reports, strict=True)
        ),
        numbers=frozenset({3, 4}),
        caption="A search is a run of its own: 'python -m mpinas report' draws its directory, with "
        "genomes, lineage, species and workers.",
    )


def _report_cell(report: Path, folder: Path) -> str | Link:
    if not report.is_file():
        return "-"
    relative = os.path.relpath(report.resolve(), folder.resolve())
    return Link(text="report", address=quote(os.fsencode(relative)))
