"""Figures of the trials of a comparison, by arm: their seconds, what a shrink kept, their ends.

Figures 5 to 8 of the paper, the training of the best network of each arm, are among them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from mpinas.records import TrialResult
from mpinas.report.accuracy_figures import (
    ACCURACY,
    accuracy_curve,
    curve,
    curves_caption,
    epochs_label,
)
from mpinas.report.comparison_arms import ArmTrials, Compared
from mpinas.report.comparison_figures import BAR_IN, LEGEND_ROW_IN, legend_outside, line_look
from mpinas.report.comparison_phases import Phases, phases_of_a_trial
from mpinas.report.drawing import (
    FILLS,
    HATCHES,
    INK,
    MARKERS,
    SOFT,
    canvas,
    few_numbers,
    finish,
    log_scale,
    whole_numbers,
)
from mpinas.report.page import Figure
from mpinas.report.run_figures import outcome_counts
from mpinas.report.shrinks import kept_shares
from mpinas.report.training_flops import shrink_epochs

WIDE_IN = 8.6
"""Of two panels beside each other."""
FEW_TRIALS = 300
"""Beyond, marks are small."""


def phases_figure(one: Compared) -> Figure | None:
    """Where a trial's seconds go; None as long as no trial has ended."""
    found = {arm: phases for arm in one.arms if (phases := phases_of_a_trial(arm.runs))}
    if not found or not any(phases.whole > 0 for phases in found.values()):
        return None
    bars = {arm.label: phases.values for arm, phases in found.items()}
    drawing, axes = _stacked(bars, Phases.names(), lambda whole: f"{whole:.3g} s")
    axes.set_xlabel("seconds of a trial on its worker (mean)")
    few_numbers(axes.xaxis)
    told = "; ".join(_phases_told(arm, phases) for arm, phases in found.items())
    return finish(
        drawing,
        name=one.file_name("phases"),
        title=one.titled("Where a trial's time goes"),
        caption=f"Mean over {_whose(one)}. Cut: the narrower network is built and gets its "
        "weights. Rest: evaluation, and what no phase is named for. Search: a trial's share of the "
        "search's own processor time. The first step of a network is compiled in its training.",
        alternative=f"Mean seconds of a trial by phase. {told}.",
    )


def _whose(one: Compared) -> str:
    if one.is_known:
        return "all trials of the finished experiments"
    return "the trials so far, which need not be the same in all arms"


def _phases_told(arm: ArmTrials, phases: Phases) -> str:
    pairs = zip(Phases.names(), phases.values, strict=True)
    return f"{arm.label}: " + ", ".join(f"{name} {seconds:.3g}" for name, seconds in pairs)


def _stacked(
    bars: Mapping[str, Sequence[float]], parts: Sequence[str], words: Any
) -> tuple[Any, Any]:
    """A bar for each name, of parts that have the same pattern in all of them."""
    shown = [place for place in range(len(parts)) if any(one[place] > 0 for one in bars.values())]
    drawing = canvas(0.75 + BAR_IN * 1.25 * len(bars) + LEGEND_ROW_IN * ((len(shown) + 2) // 3))
    axes = drawing.add_subplot()
    places = list(range(len(bars)))
    ends = [0.0] * len(bars)
    for part in shown:
        widths = [one[part] for one in bars.values()]
        axes.barh(
            places,
            widths,
            left=ends,
            height=0.7,
            color=FILLS[part % len(FILLS)],
            hatch=HATCHES[part % len(HATCHES)],
            edgecolor=INK,
            linewidth=0.8,
            label=parts[part],
        )
        ends = [end + width for end, width in zip(ends, widths, strict=True)]
    for place, end in zip(places, ends, strict=True):
        axes.annotate(
            words(end), (end, place), xytext=(4, 0), textcoords="offset points", va="center"
        )
    axes.set_yticks(places, list(bars))
    axes.set_ylim(len(bars) - 0.4, -0.6)
    axes.set_xlim(0, 1.2 * max(ends) or 1.0)
    axes.grid(visible=False, axis="y")
    legend_outside(drawing, axes, columns=3)
    return drawing, axes


def kept_figure(one: Compared) -> Figure | None:
    """FLOPs that the shrink left, trial by trial; None where no complete trial had one."""
    found = {arm: shares for arm in one.arms if (shares := kept_shares(arm.results))}
    if not found:
        return None
    drawing = canvas(0.85 + 0.5 * len(found))
    axes = drawing.add_subplot()
    for place, (arm, shares) in enumerate(found.items()):
        percents = sorted(100.0 * share for share in shares)
        count = len(percents)
        # Neighbours stand at different heights, so that equal shares can be counted.
        heights = [place + 0.22 * ((index * 0.618) % 1.0 - 0.5) * 2 for index in range(count)]
        size = 5.0 if count <= FEW_TRIALS else 2.5
        axes.plot(
            percents,
            heights,
            ls="",
            marker=MARKERS[arm.look % len(MARKERS)],
            ms=size,
            mfc="none",
            mec=SOFT,
        )
        mean = sum(percents) / count
        axes.plot([mean, mean], [place - 0.36, place + 0.36], color=INK, lw=2.5)
    axes.set_yticks(range(len(found)), [arm.label for arm in found])
    axes.set_ylim(len(found) - 0.4, -0.6)
    axes.set_xlim(-3, 103)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("FLOPs kept by the shrink (% of the network's)")
    means = ", ".join(f"{arm.label} {sum(one) / len(one):.0%}" for arm, one in found.items())
    return finish(
        drawing,
        name=one.file_name("flops-kept"),
        title=one.titled("FLOPs kept by the shrink"),
        caption="A mark is a trial, the thick stroke their mean. Height within a row means "
        "nothing. Trials whose shrink broke were trained unshrunk and stand at 100 %.",
        alternative=f"FLOPs kept by the shrink, means: {means}.",
    )


def training_figure(one: Compared, number: str) -> Figure | None:
    """Figures 5 to 8: validation loss and accuracy of the best network of each arm.

    Args:
        number: what the figure is called in the title.
    """
    best = {arm: arm.best for arm in one.arms}
    having = {arm: found for arm, found in best.items() if found and _has_curves(found[1])}
    if not having:
        return None
    rows = (len(having) + 3) // 4
    drawing = canvas(3.1 + LEGEND_ROW_IN * rows, WIDE_IN)
    loss, accuracy = drawing.subplots(1, 2)
    trials = [(result, shrink_epochs(run.run.config, result)) for run, result in having.values()]
    for arm, (result, before) in zip(having, trials, strict=True):
        look = line_look(arm.look, marks=len(result.curves.validation_loss))
        loss.plot(*curve(result.curves.validation_loss, before), label=arm.label, **look)
        accuracy.plot(*accuracy_curve(result, before), label=arm.label, **look)
    loss.set_ylabel("validation loss (nats)")
    accuracy.set_ylabel(ACCURACY)
    for axes in (loss, accuracy):
        axes.set_xlabel(epochs_label(shrinks=any(before for _, before in trials)))
        axes.set_xlim(left=0)
        whole_numbers(axes.xaxis)
    legend_outside(drawing, loss, columns=4)
    told = ", ".join(
        f"{arm.label} {result.trial_id} {result.fitness:.4f}"
        for arm, (_, result) in having.items()
        if result.fitness is not None
    )
    return finish(
        drawing,
        name=one.file_name("training"),
        title=one.titled(f"Training of the best network of each arm {number}"),
        caption=f"Left: loss, right: accuracy. {curves_caption(trials)}",
        alternative=f"Validation loss and accuracy by epoch. Fitness: {told}.",
    )


def _has_curves(result: TrialResult) -> bool:
    return bool(result.curves.validation_loss or result.curves.validation_accuracy)


def accuracy_against_time(one: Compared) -> Figure | None:
    """The individuals of the last generations, by arm; None where none has an accuracy."""
    points = {arm: [_point(result) for run in arm.runs for result in run.last] for arm in one.arms}
    known = {arm: [pair for pair in pairs if pair is not None] for arm, pairs in points.items()}
    having = {arm: pairs for arm, pairs in known.items() if pairs}
    if not having:
        return None
    drawing = canvas(3.1 + LEGEND_ROW_IN * ((len(having) + 1) // 2))
    axes = drawing.add_subplot()
    total = sum(map(len, having.values()))
    log_scale(axes, [seconds for pairs in having.values() for seconds, _ in pairs])
    for arm, pairs in having.items():
        look = line_look(arm.look)
        axes.plot(
            [seconds for seconds, _ in pairs],
            [accuracy for _, accuracy in pairs],
            ls="",
            marker=look["marker"],
            ms=6 if total <= FEW_TRIALS else 3,
            mfc=look["color"] if arm.look % 2 == 0 else "none",
            mec=look["color"],
            label=arm.label,
        )
    axes.set_xlabel("seconds of the trial on its worker (log scale)")
    axes.set_ylabel(ACCURACY)
    legend_outside(drawing, axes)
    missing = sum(map(len, points.values())) - total
    return finish(
        drawing,
        name=one.file_name("accuracy-against-time"),
        title=one.titled("Accuracy against time of a trial"),
        caption="Individuals of the last generations. The upper left is better. "
        + (f"{missing} trials without an accuracy are left out." if missing else ""),
        alternative=f"{total} trials by seconds and accuracy, of {len(having)} arms.",
    )


def _point(result: TrialResult) -> tuple[float, float] | None:
    seconds = result.times.on_worker_s
    return (seconds, result.fitness) if result.fitness is not None and seconds > 0 else None


def failures_by_arm_figure(one: Compared) -> Figure | None:
    """How many trials of each arm failed, by class; None where none did."""
    counts = {arm: Counter(outcome_counts(arm.results)) for arm in one.all_arms}
    kinds = sorted({kind for found in counts.values() for kind in found})
    if not kinds:
        return None
    bars = {arm.label: [found[kind] for kind in kinds] for arm, found in counts.items()}
    drawing, axes = _stacked(bars, kinds, lambda count: f"{count:.0f}")
    axes.set_xlabel("trials without an accuracy")
    whole_numbers(axes.xaxis)
    told = "; ".join(
        f"{arm.label}: {', '.join(f'{found[kind]} {kind}' for kind in found) or 'none'}"
        for arm, found in counts.items()
    )
    return finish(
        drawing,
        name=one.file_name("failures"),
        title=one.titled("Failures by class and arm"),
        caption="Of all trials so far. Infeasible networks are refused before they are built; "
        "infrastructure is no fault of the network.",
        alternative=f"Trials without an accuracy, by class. {told}.",
    )
