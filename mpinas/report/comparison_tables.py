"""The tables of a comparison, for a terminal or a log. Draws, prints nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from math import isfinite

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from mpinas.records import TrialStatus
from mpinas.report.comparison_phases import Phases, phases_of_a_trial, seconds_per_gflop
from mpinas.report.comparison_view import Arm, ComparisonView
from mpinas.report.estimates import FEWEST_FOR_INTERVAL, Estimate
from mpinas.report.shrinks import mean_kept
from mpinas.results import best_of


@dataclass(frozen=True, slots=True, kw_only=True)
class InPaper:
    """A column of Table 1 of the paper: the shrink against plain CoDeepNEAT."""

    speed_up: float
    degradation_points: float


PAPER: Mapping[str, InPaper] = {
    "mnist": InPaper(speed_up=1.48, degradation_points=0.02),
    "cifar10": InPaper(speed_up=1.82, degradation_points=1.61),
    "cifar100": InPaper(speed_up=2.31, degradation_points=-3.16),
    "tiny_imagenet": InPaper(speed_up=2.14, degradation_points=-0.38),
}
"""By the name of the data set; the numbers of classes and images are the paper's own."""

TIME_UNITS_S = ((3600.0, "h"), (60.0, "min"), (1.0, "s"))
FLOPS_UNITS = ((1e12, "TFLOPs"), (1e9, "GFLOPs"), (1e6, "MFLOPs"))

LONGEST_HEAD = 17
"""Characters of a line above a column of a terminal."""

Rows = list[tuple[str, ...]]
"""The first is the heading."""


def render_comparison(view: ComparisonView) -> RenderableType:
    """Where every search is, and what is known of the arms so far."""
    parts: list[RenderableType] = [Text(headline(view))]
    if view.arms:
        for heading, rows in tables(view):
            parts.append(titled(heading, rows))
    if len(view.experiments) < view.comparison.experiments:
        parts += [Text(), drawn(progress_rows(view))]
    parts += [Text(line) for line in remarks(view)]
    return Group(*parts)


def headline(view: ComparisonView) -> str:
    """How far the comparison is."""
    done = sum(one.state == "done" for one in view.runs)
    name = view.comparison.config.name
    return (
        f"{name}: {len(view.comparison.arms)} arms, {len(view.experiments)} of "
        f"{view.comparison.experiments} experiments done, {done} of {len(view.runs)} searches"
    )


def tables(view: ComparisonView) -> Iterator[tuple[str, Rows]]:
    """(heading, rows) of all that is compared."""
    yield "Speed-up and accuracy degradation (Table 1 of the paper)", table_1(view)
    yield "By arm", arm_rows(view)
    yield "Trials by arm", trial_rows(view)
    yield "By generation: speed-up in worker time", generation_rows(view)
    yield "Where a trial's seconds go (means over all trials)", phase_rows(view)


def table_1(view: ComparisonView) -> Rows:
    """Every arm against the first one, and the paper's own figures where it has any."""
    first, *others = view.arms
    heads = ("speed-up", "in processor time", "in FLOPs", "acc. degradation")
    rows: Rows = [(f"against {first.name}", *heads)]
    for arm in others:
        if arm.against is not None:
            against = arm.against
            rows.append(
                (
                    arm.name,
                    ratio_words(against.speed_up),
                    ratio_words(against.processor_speed_up),
                    ratio_words(against.flops_ratio),
                    points_words(against.degradation),
                )
            )
    paper = in_paper(view)
    if paper is not None:
        degradation = f"{paper.degradation_points:+.2f} points"
        rows.append(("the paper's shrink", f"{paper.speed_up:.2f}", "", "", degradation))
    return rows


def data_of_paper(view: ComparisonView) -> str:
    """The name of the data set in the paper; that of the problem where the paper has none."""
    config = view.comparison.config
    return config.comparison.paper or config.problem.name


def in_paper(view: ComparisonView) -> InPaper | None:
    """The paper's own figures, where the data set is one of the paper's."""
    return PAPER.get(data_of_paper(view))


def arm_rows(view: ComparisonView) -> Rows:
    """What every arm came to."""
    heads = ("accuracy", "time", "processor time", "FLOPs an image")
    rows: Rows = [("arm", *heads)]
    for arm in view.arms:
        rows.append(
            (
                arm.name,
                percent_words(arm.accuracy),
                time_words(arm.time_s),
                time_words(arm.cpu_s),
                flops_words(arm.flops),
            )
        )
    return rows


def trial_rows(view: ComparisonView) -> Rows:
    """How the trials of every arm ended, and its best."""
    ends = sorted({end for arm in view.arms for end in arm.ends})
    rows: Rows = [("arm", "best accuracy", "trials", *ends)]
    for arm in view.arms:
        best = arm.best.fitness if arm.best else None
        rows.append(
            (
                arm.name,
                "-" if best is None else f"{best:.2%}",
                str(sum(arm.ends.values())),
                *(str(arm.ends.get(end, 0)) for end in ends),
            )
        )
    return rows


def generation_rows(view: ComparisonView) -> Rows:
    """Speed-up of each generation by itself: a row each, since there may be many."""
    found = {arm.name: arm.against.generations for arm in view.arms if arm.against is not None}
    columns = [list(map(ratio_words, generations)) for generations in found.values()]
    rows: Rows = [("generation", *found)]
    rows += [
        (str(number), *cells) for number, cells in enumerate(zip_longest(*columns, fillvalue=""))
    ]
    return rows


def phase_rows(view: ComparisonView) -> Rows:
    """Why an arm takes the time it takes."""
    heads = (*Phases.names(), "kept", "s/GFLOP")
    rows: Rows = [("arm", *heads)]
    for arm in view.arms:
        rows.append((arm.name, *_phases(arm)))
    return rows


def _phases(arm: Arm) -> tuple[str, ...]:
    results = [result for run in arm.runs for result in run.results]
    phases, kept = phases_of_a_trial(arm.runs), mean_kept(results)
    each_gflop_s = seconds_per_gflop(arm.runs)
    return (
        *(f"{seconds:.1f}" for seconds in (phases.values if phases else ())),
        "-" if kept is None else f"{kept:.0%}",
        "-" if each_gflop_s is None else f"{each_gflop_s:.1f}",
    )


def progress_rows(view: ComparisonView) -> Rows:
    """Where every search is."""
    rows: Rows = [("search", "state", "generations", "trials", "best")]
    for one in view.runs:
        best = best_of(one.results)
        rows.append(
            (
                one.run.name,
                one.state,
                f"{one.generations} of {one.run.config.tuner.generations}",
                str(len(one.results)),
                "-" if best is None else f"{best.fitness:.4f}",
            )
        )
    return rows


def remarks(view: ComparisonView) -> Iterator[str]:
    """What has to be known to read the tables."""
    yield from view.remarks
    count = len(view.experiments)
    if count == 0:
        return
    if count == 1:
        yield "One experiment: nothing tells how far another one would differ."
    elif count < FEWEST_FOR_INTERVAL:
        yield (
            f"In brackets: the least and the greatest of {count} experiments. These are ranges: "
            f"fewer than {FEWEST_FOR_INTERVAL} experiments give no interval."
        )
    else:
        yield (
            f"In brackets: 95 % intervals, by resampling the {count} experiments; trials of one "
            "search are not independent."
        )
    yield from _about_failures(view)
    bare = [one.run.name for arm in view.arms for one in arm.runs if not one.accuracies]
    if bare:
        yield f"Not one trial of the last generation is complete in {', '.join(bare)}."


def _about_failures(view: ComparisonView) -> Iterator[str]:
    harmless = (TrialStatus.COMPLETE.value, TrialStatus.INFEASIBLE.value)
    if any(count and end not in harmless for arm in view.arms for end, count in arm.ends.items()):
        yield "Failed trials took time and have no accuracy."
    if any(arm.ends.get(TrialStatus.INFEASIBLE.value) for arm in view.arms):
        yield "Infeasible networks were not trained and have no accuracy."
    untold = [f"{arm.untold_flops} of {arm.name}" for arm in view.arms if arm.untold_flops]
    if untold:
        yield (
            f"Nobody knows the FLOPs of failed trials ({', '.join(untold)}): they count as none, "
            "which flatters an arm that fails more often than another."
        )


def titled(heading: str, rows: Rows) -> RenderableType:
    """A table below its heading."""
    return Group(Text(), Text(heading, style="bold"), drawn(rows))


def drawn(rows: Rows) -> Table:
    """On a terminal: names are folded where they must be, figures are not."""
    first, *heads = rows[0]
    table = Table(box=None, pad_edge=False)
    width = min(LONGEST_HEAD, max(len(row[0]) for row in rows))
    table.add_column(first, overflow="fold", min_width=width)
    for number, head in enumerate(heads, start=1):
        lines = [line for row in rows[1:] for line in "".join(row[number : number + 1]).split("\n")]
        width = max(map(len, (*lines, head[:LONGEST_HEAD])))
        # Names of arms may be long: a head is folded, and figures are not.
        text = Text(head, no_wrap=False, overflow="fold")
        table.add_column(text, justify="right", no_wrap=True, width=width)
    for row in rows[1:]:
        table.add_row(*row)
    return table


def ratio_words(estimate: Estimate) -> str:
    """Of two times or two costs."""
    return _with_bounds(estimate, "{:.2f}")


def percent_words(estimate: Estimate | None) -> str:
    """Of an accuracy; ``-`` where an arm has none."""
    return "-" if estimate is None else _with_bounds(estimate, "{:.2f}", " %", divisor=0.01)


def points_words(estimate: Estimate | None) -> str:
    """Of a difference of accuracies."""
    return "-" if estimate is None else _with_bounds(estimate, "{:+.2f}", " points", divisor=0.01)


def time_words(estimate: Estimate) -> str:
    """In the unit that suits it."""
    size_s, unit = _suiting(estimate.value, TIME_UNITS_S)
    return _with_bounds(estimate, "{:.4g}", f" {unit}", divisor=size_s)


def flops_words(estimate: Estimate) -> str:
    """In the unit that suits it."""
    size, unit = _suiting(estimate.value, FLOPS_UNITS)
    return _with_bounds(estimate, "{:.4g}", f" {unit}", divisor=size)


def _suiting(value: float, units: Sequence[tuple[float, str]]) -> tuple[float, str]:
    """The largest unit of which there is at least one; the smallest where there is none."""
    return next((one for one in units if value >= one[0]), units[-1])


def _with_bounds(estimate: Estimate, form: str, unit: str = "", *, divisor: float = 1.0) -> str:
    """``1.48``, and ``[1.40, 1.55]`` on a line of its own, so that columns stay narrow."""
    if not isfinite(estimate.value):
        return "-"
    value = form.format(estimate.value / divisor) + unit
    if estimate.low is None or estimate.high is None:
        return value
    low, high = form.format(estimate.low / divisor), form.format(estimate.high / divisor)
    return f"{value}\n[{low}, {high}]"
