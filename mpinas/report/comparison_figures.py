"""Figures of what arms came to: time, accuracy (Figure 4 of the paper) and speed-up, with bounds.

Bars lie, so that names of arms and data sets have room. An arm has the same pattern in all figures.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

from mpinas.report.comparison_arms import Compared, shortened
from mpinas.report.comparison_tables import TIME_UNITS_S, in_paper
from mpinas.report.comparison_view import Against, Arm
from mpinas.report.drawing import (
    ACCENT,
    FILLS,
    HATCHES,
    INK,
    LINES,
    MARKERS,
    SOFT,
    canvas,
    few_numbers,
    finish,
    whole_numbers,
)
from mpinas.report.estimates import Estimate
from mpinas.report.page import Figure

BAR_IN = 0.3
LEGEND_ROW_IN = 0.22
GAP_ROWS = 0.7
"""Between groups of bars."""
BOUNDS = (
    "The lines at the bars' ends go from bound to bound: the range or the interval that is named "
    "below Table 1."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """Of one arm. ``look`` is the index of its pattern."""

    label: str
    look: int
    estimate: Estimate | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Bars beside each other. ``mark`` is the paper's own figure."""

    label: str
    bars: tuple[Bar, ...]
    mark: float | None = None


def time_figure(all_compared: Sequence[Compared]) -> Figure:
    """Figure 4 A: mean time of a search by data set and arm."""
    groups = _groups(all_compared, lambda arm: arm.time_s)
    longest_s = max(bar.estimate.value for one in groups for bar in one.bars if bar.estimate)
    size_s, unit = next((one for one in TIME_UNITS_S if longest_s >= one[0]), TIME_UNITS_S[-1])
    scaled = [_scaled(group, 1.0 / size_s) for group in groups]
    return _bar_figure(
        scaled,
        lambda value: f"{value:#.3g}".rstrip("."),
        axis=f"time of a search on its workers ({unit})",
        name="time",
        title="Time of a search (Figure 4 A of the paper)",
        caption="The trials' time on their workers and the search's own, mean over experiments. "
        + BOUNDS,
    )


def accuracy_figure(all_compared: Sequence[Compared]) -> Figure | None:
    """Figure 4 B: mean accuracy of the last generations; None where no arm has any."""
    groups = [_scaled(one, 100.0) for one in _groups(all_compared, lambda arm: arm.accuracy)]
    if not any(bar.estimate for group in groups for bar in group.bars):
        return None
    return _bar_figure(
        groups,
        lambda value: f"{value:.1f}",
        axis="validation accuracy (%)",
        name="accuracy",
        title="Accuracy (Figure 4 B of the paper)",
        caption="Mean over the last generations of all experiments, merged. " + BOUNDS,
    )


def speed_up_by_data_figure(all_compared: Sequence[Compared]) -> Figure:
    """Speed-up in worker time by data set, with the paper's own."""
    groups = [
        _speed_up_group(one, shortened(one.label), lambda against: against.speed_up, paper=True)
        for one in all_compared
        if one.is_known
    ]
    title = "Speed-up by data set (Table 1 of the paper)"
    return _speed_up_figure(groups, name="speed-up", title=title)


def speed_up_figure(one: Compared) -> Figure:
    """Speed-up in worker time, in processor time and in FLOPs."""
    groups = [
        _speed_up_group(one, "worker time", lambda against: against.speed_up, paper=True),
        _speed_up_group(one, "processor time", lambda against: against.processor_speed_up),
        _speed_up_group(one, "FLOPs", lambda against: against.flops_ratio),
    ]
    return _speed_up_figure(
        groups,
        name=one.file_name("speed-up-measures"),
        title=one.titled("Speed-up, measured three ways"),
    )


def _speed_up_group(
    one: Compared, label: str, figure: Callable[[Against], Estimate], *, paper: bool = False
) -> Group:
    """All arms but the one that they are compared with."""
    bars = _bars(one, lambda arm: figure(arm.against) if arm.against else None)
    of_paper = in_paper(one.view) if paper else None
    return Group(label=label, bars=bars[1:], mark=of_paper.speed_up if of_paper else None)


def _speed_up_figure(groups: Sequence[Group], *, name: str, title: str) -> Figure:
    marked = any(group.mark is not None for group in groups)
    return _bar_figure(
        groups,
        lambda value: f"{value:.2f}",
        axis="speed-up against the first arm",
        name=name,
        title=title,
        caption="The first arm's figure over this one's. At 1, the broken line, both are equal. "
        + ("Diamonds: the paper's shrink. " if marked else "")
        + BOUNDS,
        even=1.0,
    )


def _groups(
    all_compared: Sequence[Compared], figure: Callable[[Arm], Estimate | None]
) -> list[Group]:
    """A group of bars for each data set of which something is known."""
    return [
        Group(label=shortened(one.label), bars=_bars(one, figure))
        for one in all_compared
        if one.is_known
    ]


def _bars(one: Compared, figure: Callable[[Arm], Estimate | None]) -> tuple[Bar, ...]:
    return tuple(
        Bar(label=trials.label, look=trials.look, estimate=_finite(figure(arm)))
        for arm, trials in zip(one.view.arms, one.arms, strict=True)
    )


def _finite(estimate: Estimate | None) -> Estimate | None:
    """What can be drawn: a quotient by no time at all has no bar, and bounds no line without an
    end."""
    if estimate is None or not isfinite(estimate.value):
        return None
    if estimate.high is None or isfinite(estimate.high):
        return estimate
    return Estimate(value=estimate.value, low=None, high=None, experiments=estimate.experiments)


def _scaled(group: Group, factor: float) -> Group:
    def scaled(one: Estimate | None) -> Estimate | None:
        if one is None:
            return None
        low, high = (None if bound is None else bound * factor for bound in (one.low, one.high))
        return Estimate(value=one.value * factor, low=low, high=high, experiments=one.experiments)

    bars = tuple(
        Bar(label=bar.label, look=bar.look, estimate=scaled(bar.estimate)) for bar in group.bars
    )
    return Group(label=group.label, bars=bars)


def _bar_figure(
    groups: Sequence[Group],
    words: Callable[[float], str],
    *,
    axis: str,
    name: str,
    title: str,
    caption: str,
    even: float | None = None,
) -> Figure:
    """Groups from top to bottom; of a single group the bars are named instead.

    Args:
        even: where a line is drawn, for a ratio.
    """
    looks = {bar.look: bar.label for group in groups for bar in group.bars}
    rows = sum(_rows(group) + GAP_ROWS for group in groups)
    legend_rows = 0 if len(groups) == 1 else (len(looks) + 1) // 2
    drawing = canvas(0.75 + BAR_IN * rows + LEGEND_ROW_IN * legend_rows)
    axes = drawing.add_subplot()
    if even is not None:
        axes.axvline(even, ls="--", lw=1.2, color=INK)
    _draw_groups(axes, groups, words)
    axes.set_xlabel(axis)
    few_numbers(axes.xaxis)
    if legend_rows:
        legend_outside(drawing, axes)
    alternative = "; ".join(_told(group, words) for group in groups)
    return finish(
        drawing,
        name=name,
        title=title,
        caption=caption,
        alternative=f"{title}, {axis}: {alternative}.",
    )


def _told(group: Group, words: Callable[[float], str]) -> str:
    bars = (f"{bar.label} {words(bar.estimate.value)}" for bar in group.bars if bar.estimate)
    return f"{group.label}: {', '.join(bars)}"


def _rows(group: Group) -> int:
    """Of bars, and one for the paper's figure."""
    return len(group.bars) + (group.mark is not None)


def _draw_groups(axes: Any, groups: Sequence[Group], words: Callable[[float], str]) -> None:
    ticks: list[tuple[float, str]] = []
    marks: list[tuple[float, float]] = []
    ends, top, named = [0.0], 0.0, set[int]()
    for group in groups:
        places = [top + row for row in range(len(group.bars))]
        for bar, place in zip(group.bars, places, strict=True):
            ends.append(_draw_bar(axes, bar, place, words, is_new=bar.look not in named))
            named.add(bar.look)
        if group.mark is not None:
            marks.append((group.mark, top + len(group.bars)))
            ends.append(group.mark)
        if len(groups) == 1:
            ticks += [(place, bar.label) for bar, place in zip(group.bars, places, strict=True)]
        else:
            ticks.append((top + (_rows(group) - 1) / 2, group.label))
        top += _rows(group) + GAP_ROWS
    axes.set_yticks([place for place, _ in ticks], [label for _, label in ticks])
    axes.set_ylim(top - GAP_ROWS - 0.3, -0.7)
    axes.set_xlim(0, 1.2 * max(ends) or 1.0)
    axes.grid(visible=False, axis="y")
    for value, place in marks:
        _draw_mark(axes, value, place, words)


def _draw_mark(axes: Any, value: float, place: float, words: Callable[[float], str]) -> None:
    """The paper's figure, with its words on the side where there is room."""
    axes.plot(value, place, ls="", marker="D", ms=7, mfc="white", mec=INK, mew=1.5)
    _, right = axes.get_xlim()
    is_far = value > right / 2
    axes.annotate(
        f"{words(value)} in the paper",
        (value, place),
        xytext=(-9 if is_far else 9, 0),
        textcoords="offset points",
        va="center",
        ha="right" if is_far else "left",
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
    )


def _draw_bar(
    axes: Any, bar: Bar, place: float, words: Callable[[float], str], *, is_new: bool
) -> float:
    """Gives where it ends, bounds included."""
    estimate = bar.estimate
    if estimate is None:
        axes.annotate("nothing", (0, place), xytext=(4, 0), textcoords="offset points", va="center")
        return 0.0
    axes.barh(
        place,
        estimate.value,
        height=0.8,
        color=FILLS[bar.look % len(FILLS)],
        hatch=HATCHES[bar.look % len(HATCHES)],
        edgecolor=INK,
        linewidth=0.8,
        label=bar.label if is_new else "_",
    )
    end = estimate.value
    if estimate.low is not None and estimate.high is not None:
        _draw_bounds(axes, estimate.low, estimate.high, place)
        end = max(end, estimate.high)
    axes.annotate(
        words(estimate.value), (end, place), xytext=(5, 0), textcoords="offset points", va="center"
    )
    return end


def _draw_bounds(axes: Any, low: float, high: float, place: float) -> None:
    """Black within white, to be seen upon dark bars and patterns."""
    for width, colour, cap in ((4.5, "white", 7.0), (1.6, INK, 6.0)):
        axes.plot([low, high], [place, place], color=colour, lw=width, solid_capstyle="butt")
        axes.plot([low, high], [place, place], ls="", marker="|", ms=cap, mew=width, color=colour)


def generations_figure(one: Compared) -> Figure:
    """Speed-up of each generation by itself."""
    drawing = canvas(3.0 + LEGEND_ROW_IN * (len(one.arms) // 2))
    axes = drawing.add_subplot()
    axes.axhline(1.0, ls="--", lw=1.2, color=INK)
    count, highest = 0, [1.0]
    for turn, (arm, trials) in enumerate(zip(one.view.arms, one.arms, strict=True)):
        if arm.against is None:
            continue
        found = [
            (place, known)
            for place, figure in enumerate(arm.against.generations)
            if (known := _finite(figure)) is not None
        ]
        count = max(count, len(arm.against.generations))
        highest += [figure.high or figure.value for _, figure in found]
        shift = 0.06 * (turn - len(one.arms) / 2)  # bounds upon bounds are not seen
        axes.errorbar(
            [place + shift for place, _ in found],
            [figure.value for _, figure in found],
            yerr=_around([figure for _, figure in found]),
            label=trials.label,
            capsize=4,
            **line_look(trials.look, marks=count),
        )
    axes.set_xlim(-0.5, max(count - 0.5, 0.5))
    axes.set_ylim(0, 1.1 * max(highest))
    axes.set_xlabel("generation")
    axes.set_ylabel("speed-up in worker time")
    whole_numbers(axes.xaxis)
    legend_outside(drawing, axes)
    return finish(
        drawing,
        name=one.file_name("speed-up-by-generation"),
        title=one.titled("Speed-up of each generation"),
        caption="Worker time of the first arm's generation over that of this arm's. At 1, the "
        "broken line, they take equally long. " + BOUNDS.replace("at the bars' ends ", ""),
        alternative=f"Speed-up of {count} generations, by arm.",
    )


def _around(figures: Sequence[Estimate]) -> list[list[float]] | None:
    """Bounds as lengths below and above, as matplotlib takes them."""
    if any(one.low is None or one.high is None for one in figures):
        return None
    below = [max(0.0, one.value - (one.low or 0.0)) for one in figures]
    above = [max(0.0, (one.high or 0.0) - one.value) for one in figures]
    return [below, above]


def line_look(look: int, *, marks: int = 0) -> dict[str, Any]:
    """Line and marker of an arm, told from others without colour.

    Args:
        marks: points of the line; of very many only some are marked.
    """
    return {
        "ls": LINES[look % len(LINES)],
        "marker": MARKERS[look % len(MARKERS)],
        "markevery": max(1, marks // 12),
        "ms": 5,
        "mfc": "white" if look % 2 else None,
        "lw": 1.5,
        "color": (INK, ACCENT, SOFT)[look % 3],
    }


def legend_outside(drawing: Any, axes: Any, *, columns: int = 2) -> None:
    """Above all axes, where no curve is."""
    handles, labels = axes.get_legend_handles_labels()
    drawing.legend(
        handles,
        labels,
        loc="outside upper left",
        ncols=columns,
        columnspacing=1.2,
        handlelength=2.6,
    )
