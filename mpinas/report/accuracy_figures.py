"""Figures of what trials reached: by generation, against what networks cost, against epochs.

Comes in: results of trials. What did not complete has no accuracy and is counted in the caption.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from statistics import fmean, quantiles
from typing import Any

from mpinas.records import Costs, TrialResult, trial_number
from mpinas.report.drawing import (
    ACCENT,
    INK,
    LINES,
    MARKERS,
    PALE,
    SOFT,
    canvas,
    finish,
    log_scale,
    whole_numbers,
)
from mpinas.report.page import Figure

ACCURACY = "validation accuracy (0 to 1)"
FEW_GENERATIONS = 30
"""Up to so many, all trials are drawn, and the spread as bars; beyond, as a band."""
FEW_TRIALS = 600
"""Beyond, marks are small."""


def trained_costs(result: TrialResult) -> Costs | None:
    """Of the network that was trained: after the shrink, if there was one that held."""
    return result.shrunk_costs or result.costs


def accuracy_by_generation(results: Sequence[TrialResult]) -> Figure | None:
    """Best so far, best and mean of each generation with its middle half; None without any."""
    found = _by_generation(results)
    if not found:
        return None
    generations = sorted(found)
    best = [max(found[one]) for one in generations]
    means = [fmean(found[one]) for one in generations]
    drawing = canvas(3.4)
    axes = drawing.add_subplot()
    are_few = len(generations) <= FEW_GENERATIONS
    for one in generations if are_few else ():
        own = found[one]
        axes.plot([one] * len(own), own, ls="", marker="_", ms=9, mew=0.8, color=SOFT, zorder=1)
    _draw_spread(axes, generations, means, [_middle_half(found[one]) for one in generations])
    so_far = list(accumulate(best, max))
    axes.plot(generations, so_far, lw=2, color=ACCENT, label="best so far")
    look = {"ls": LINES[2], "marker": "^" if are_few else "", "ms": 6, "color": INK}
    axes.plot(generations, best, label="best of the generation", **look)
    axes.set_xlabel("generation")
    axes.set_ylabel(ACCURACY)
    axes.margins(x=0.08 if len(generations) > 1 else 0.5)
    whole_numbers(axes.xaxis)
    _legend_above(axes, columns=3)
    missing = len(results) - sum(map(len, found.values()))
    return finish(
        drawing,
        name="accuracy-by-generation",
        title="Accuracy by generation",
        caption=f"{'Short grey strokes are trials. ' if are_few else ''}The spread around the mean "
        "is the middle half of the trials (first to third quartile). " + _left_out(missing),
        alternative=f"Accuracy over {len(generations)} generations; the best is {max(best):.4f}, "
        f"the mean went from {means[0]:.4f} to {means[-1]:.4f}.",
    )


def _draw_spread(
    axes: Any,
    generations: Sequence[int],
    means: Sequence[float],
    halves: Sequence[tuple[float, float]],
) -> None:
    """The means with the quartiles around them."""
    low, high = ([half[side] for half in halves] for side in (0, 1))
    if len(generations) > FEW_GENERATIONS:
        axes.fill_between(generations, low, high, color=PALE, alpha=0.6, lw=0)
        axes.plot(generations, means, ls=LINES[1], color=INK, label="mean, middle half")
        return
    errors = [
        [max(0.0, mean - value) for mean, value in zip(means, low, strict=True)],
        [max(0.0, value - mean) for mean, value in zip(means, high, strict=True)],
    ]
    axes.errorbar(
        generations,
        means,
        yerr=errors,
        ls=LINES[1],
        marker="o",
        ms=5,
        mfc="white",
        color=INK,
        capsize=4,
        lw=1.3,
        label="mean, middle half",
    )


def _by_generation(results: Iterable[TrialResult]) -> Mapping[int, list[float]]:
    found: dict[int, list[float]] = defaultdict(list)
    for result in results:
        if result.fitness is not None:
            found[trial_number(result.trial_id)[0]].append(result.fitness)
    return found


def _middle_half(values: Sequence[float]) -> tuple[float, float]:
    if len(values) == 1:
        return values[0], values[0]
    low, _, high = quantiles(values, n=4, method="inclusive")
    return low, high


def _left_out(count: int, or_else: str = "") -> str:
    without = f"an accuracy {or_else}".strip()
    return f"{count} trials without {without} are left out." if count else ""


def _legend_above(axes: Any, columns: int) -> None:
    axes.legend(
        loc="lower left",
        bbox_to_anchor=(-0.16, 1.0),
        ncols=columns,
        columnspacing=0.9,
        handlelength=2.2,
        borderaxespad=0.2,
    )


def pareto_front(results: Iterable[TrialResult]) -> tuple[TrialResult, ...]:
    """Trials than which none is more accurate at no more FLOPs, the cheapest first."""
    known = [(costs.flops, result) for result in results if (costs := _known_costs(result))]
    known.sort(key=lambda one: (one[0], -(one[1].fitness or 0.0), trial_number(one[1].trial_id)))
    front: list[TrialResult] = []
    for _, result in known:
        if not front or (result.fitness or 0.0) > (front[-1].fitness or 0.0):
            front.append(result)
    return tuple(front)


def _known_costs(result: TrialResult) -> Costs | None:
    """Of a trial that has a place in the figure; without FLOPs there is none on its axis."""
    costs = trained_costs(result)
    return costs if result.fitness is not None and costs is not None and costs.flops else None


def accuracy_against_flops(results: Sequence[TrialResult]) -> Figure | None:
    """All trials with the Pareto front; None where none has both."""
    shown = [result for result in results if _known_costs(result)]
    front = pareto_front(shown)
    if not front:
        return None
    drawing = canvas(3.4)
    axes = drawing.add_subplot()
    mflops, accuracies = _points(shown)
    log_scale(axes, mflops)
    axes.plot(
        mflops,
        accuracies,
        ls="",
        marker="o",
        ms=5 if len(shown) <= FEW_TRIALS else 2.5,
        mfc="none",
        mec=SOFT,
        label="trial",
    )
    front_mflops, front_accuracies = _points(front)
    axes.step(front_mflops, front_accuracies, where="post", color=ACCENT, lw=1.5)
    axes.plot(
        front_mflops, front_accuracies, ls="", marker="D", ms=5, color=ACCENT, label="Pareto front"
    )
    axes.set_xlabel("MFLOPs of one image's forward pass, as trained (log scale)")
    axes.set_ylabel(ACCURACY)
    _legend_above(axes, columns=2)
    return finish(
        drawing,
        name="accuracy-against-flops",
        title="Accuracy against FLOPs",
        caption="FLOPs are 2 x multiply-adds of the network that was trained, after its shrink if "
        "it had one. No trial is more accurate than one of the front at no more FLOPs. "
        + _left_out(len(results) - len(shown), "or FLOPs"),
        alternative=f"{len(shown)} trials; the Pareto front has {len(front)}, from "
        f"{front_accuracies[0]:.4f} at {front_mflops[0]:.4g} MFLOPs to "
        f"{front_accuracies[-1]:.4f} at {front_mflops[-1]:.4g} MFLOPs.",
    )


def _points(results: Iterable[TrialResult]) -> tuple[list[float], list[float]]:
    """MFLOPs and accuracies."""
    pairs = [
        (costs.flops / 1e6, result.fitness or 0.0)
        for result in results
        if (costs := _known_costs(result))
    ]
    return [pair[0] for pair in pairs], [pair[1] for pair in pairs]


def learning_curves(result: TrialResult, before: float, *, name: str, title: str) -> Figure | None:
    """Loss and accuracy of a trial on the validation images by epoch; None where it has neither.

    Args:
        before: regularised epochs before those of the curves.
    """
    curves = result.curves
    if not curves.validation_loss and not curves.validation_accuracy:
        return None
    drawing = canvas(5.2)
    loss, accuracy = drawing.subplots(2, 1, sharex=True)
    look = {"marker": MARKERS[0], "ms": 4, "color": INK}
    loss.plot(*curve(curves.validation_loss, before), **look)
    accuracy.plot(*accuracy_curve(result, before), **look)
    loss.set_ylabel("validation loss (nats)")
    accuracy.set_ylabel(ACCURACY)
    accuracy.set_xlabel(epochs_label(shrinks=before > 0))
    accuracy.set_xlim(left=0)
    whole_numbers(accuracy.xaxis)
    last = "" if result.fitness is None else f" Fitness {result.fitness:.4f}."
    return finish(
        drawing,
        name=name,
        title=title,
        caption=curves_caption([(result, before)]),
        alternative=f"Validation loss and accuracy by epoch.{last}",
    )


def epochs_label(*, shrinks: bool) -> str:
    """Of the axis below curves."""
    return "epochs over, those of the shrink included" if shrinks else "epochs over"


def curves_caption(trials: Sequence[tuple[TrialResult, float]]) -> str:
    """What has to be known of curves of these trials, each with its regularised epochs."""
    words = "On the validation images, after each epoch."
    if any(before for _, before in trials):
        words += (
            " The epochs of a shrink train the whole network: they are counted on the axis, and "
            "the curve begins behind them."
        )
    if any(_cut(result) for result, _ in trials):
        words += (
            " The upright stroke at its beginning is the cut: accuracy just before and just after "
            "it."
        )
    return words


def curve(values: Sequence[float], before: float) -> tuple[list[float], list[float]]:
    """(epochs over, values); what is no number leaves a gap."""
    finite = [value if math.isfinite(value) else math.nan for value in values]
    return [before + epoch for epoch in range(1, len(finite) + 1)], finite


def accuracy_curve(result: TrialResult, before: float) -> tuple[list[float], list[float]]:
    """(epochs over, validation accuracies), those on either side of a cut first."""
    cut = _cut(result)
    epochs, accuracies = curve(result.curves.validation_accuracy, before)
    return [before] * len(cut) + epochs, [*cut, *accuracies]


def _cut(result: TrialResult) -> tuple[float, ...]:
    """Accuracies just before and just after the cut of a network that went on with its weights."""
    shrink = result.shrink
    if shrink is None or shrink.accuracy_before_cut is None or shrink.accuracy_after_cut is None:
        return ()
    return shrink.accuracy_before_cut, shrink.accuracy_after_cut
