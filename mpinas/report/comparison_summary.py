"""Tables that only a comparison's page has: by data set, and shares of time and FLOPs."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from math import isfinite
from statistics import fmean

from mpinas.report.comparison_arms import Compared
from mpinas.report.comparison_phases import (
    Phases,
    summed_flops,
    summed_phases,
)
from mpinas.report.comparison_tables import Rows, in_paper, points_words, ratio_words
from mpinas.report.comparison_view import Against
from mpinas.report.estimates import Estimate
from mpinas.report.page import Table
from mpinas.report.shrinks import mean_kept

Measure = tuple[str, Callable[[Against], Estimate | None], Callable[[Estimate], str], str]
MEASURES: tuple[Measure, ...] = (
    ("speed-up", lambda one: one.speed_up, ratio_words, "{:.2f}"),
    ("speed-up in processor time", lambda one: one.processor_speed_up, ratio_words, "{:.2f}"),
    ("speed-up in FLOPs", lambda one: one.flops_ratio, ratio_words, "{:.2f}"),
    ("accuracy degradation", lambda one: one.degradation, points_words, "{:+.2f} points"),
)
"""(name, which figure, its words, those of a mean)."""


def rows_table(title: str, rows: Rows, caption: str = "") -> Table:
    """A table of a terminal on the page."""
    head, *body = rows
    return Table(
        title=title,
        head=head,
        rows=tuple(body),
        numbers=frozenset(range(1, len(head))),
        caption=caption,
    )


def data_table(known: Sequence[Compared]) -> Table:
    """Table 1 as the paper has it: a column for each data set, and their mean."""
    pairs = list(dict.fromkeys(pair for one in known for pair in _pairs(one)))
    firsts = {first for _, first in pairs}
    names = {(arm, first): _pair_words(arm, first, firsts) for arm, first in pairs}
    rows = [_data_row(known, pair, names[pair], measure) for measure in MEASURES for pair in pairs]
    against = f" against {next(iter(firsts))}" if len(firsts) == 1 else ""
    return Table(
        title=f"Speed-up and accuracy degradation{against} (Table 1 of the paper)",
        head=("", *(one.label for one in known), "mean"),
        rows=(*rows, *_paper_rows(known)),
        numbers=frozenset(range(1, len(known) + 2)),
        caption="Means are over the data sets of the table, where all of them have the figure.",
    )


def _pairs(one: Compared) -> Iterator[tuple[str, str]]:
    """(arm, the one it is compared with)."""
    first, *others = one.view.arms
    yield from ((arm.name, first.name) for arm in others)


def _pair_words(arm: str, first: str, firsts: Collection[str]) -> str:
    return arm if len(firsts) == 1 else f"{arm} against {first}"


def _data_row(
    known: Sequence[Compared], pair: tuple[str, str], pair_words: str, measure: Measure
) -> tuple[str, ...]:
    name, figure, words, mean = measure
    found = [_figure(one, pair, figure) for one in known]
    factor = 100.0 if "points" in mean else 1.0
    values = [factor * one.value for one in found if one is not None and isfinite(one.value)]
    return (
        f"{name}\n{pair_words}",
        *("-" if one is None else words(one) for one in found),
        mean.format(fmean(values)) if len(values) == len(known) else "-",
    )


def _figure(
    one: Compared, pair: tuple[str, str], figure: Callable[[Against], Estimate | None]
) -> Estimate | None:
    first, *others = one.view.arms
    against = next((arm.against for arm in others if (arm.name, first.name) == pair), None)
    return None if against is None else figure(against)


def _paper_rows(known: Sequence[Compared]) -> Iterator[tuple[str, ...]]:
    """The paper's own figures, where a data set is one of the paper's."""
    of_paper = [in_paper(one.view) for one in known]
    if not any(of_paper):
        return
    speed_ups = [None if one is None else one.speed_up for one in of_paper]
    points = [None if one is None else one.degradation_points for one in of_paper]
    yield _paper_row("speed-up", speed_ups, "{:.2f}")
    yield _paper_row("accuracy degradation", points, "{:+.2f} points")


def _paper_row(name: str, values: Sequence[float | None], form: str) -> tuple[str, ...]:
    numbers = [value for value in values if value is not None]
    return (
        f"{name}\nthe paper's shrink",
        *("-" if value is None else form.format(value) for value in values),
        form.format(fmean(numbers)) if len(numbers) == len(values) else "-",
    )


def cost_table(one: Compared) -> Table:
    """Each phase of each arm as a share of the first arm's time, and FLOPs likewise."""
    first = one.arms[0]
    whole_s = summed_phases(first.runs).whole
    flops = summed_flops(first.runs)
    whole_flops = flops.training + flops.shrink
    rows = []
    for arm in one.arms:
        phases, spent = summed_phases(arm.runs), summed_flops(arm.runs)
        kept = mean_kept(arm.results)
        rows.append(
            (
                arm.name,
                *(_share(seconds, whole_s) for seconds in (phases.whole, *phases.values)),
                _share(spent.training, whole_flops),
                _share(spent.shrink, whole_flops),
                "-" if kept is None else f"{kept:.0%}",
            )
        )
    names = ("all time", *Phases.names(), "FLOPs of training", "FLOPs of the shrink", "kept")
    return Table(
        title=one.titled(f"Why: shares of what {first.name} takes"),
        head=("arm", *names),
        rows=tuple(rows),
        numbers=frozenset(range(1, len(names) + 1)),
        caption=f"Of all searches of an arm, in percent of the time of {first.name}; 100 % over "
        "all time is the speed-up. FLOPs are in percent of its FLOPs: where training has a larger "
        "share of the time than of the FLOPs, the time does not follow them, as with layers too "
        "small for the machine; shrink, cut, build and rest are what the saved training has to "
        "pay for. Kept: FLOPs that the shrink left of a network, mean; all of "
        "them where it broke.",
    )


def _share(value: float, whole: float) -> str:
    return f"{100.0 * value / whole:.1f} %" if whole > 0 else "-"
