"""Figures of how a run went: species over generations, and how trials failed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from mpinas.records import TrialResult
from mpinas.report.drawing import (
    FILLS,
    HATCHES,
    INK,
    bars,
    canvas,
    finish,
    whole_numbers,
)
from mpinas.report.page import Figure
from mpinas.report.species_sizes import SpeciesSizes
from mpinas.results import ending

FEW_SPECIES = 16
"""Up to so many, each is named in the legend."""
FEW_GENERATIONS = 40
"""Beyond, bars are drawn without edges."""


def species_figure(populations: Mapping[str, SpeciesSizes]) -> Figure | None:
    """Members of each species, generation by generation; None where there is none.

    Args:
        populations: by name.
    """
    having = {name: sizes for name, sizes in populations.items() if sizes}
    if not having:
        return None
    drawing = canvas(0.6 + 2.3 * len(having))
    panels = drawing.subplots(len(having), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (name, sizes) in zip(panels, having.items(), strict=True):
        _draw_species(axes, sizes)
        axes.set_ylabel(f"{name} (genomes)")
    panels[-1].set_xlabel("generation")
    whole_numbers(panels[-1].xaxis)
    counts = "; ".join(f"{name}: {_species_count(sizes)}" for name, sizes in having.items())
    return finish(
        drawing,
        name="species",
        title="Species over generations",
        caption="Members of each species after the breeding of the generation, the oldest species "
        "at the bottom; the same species has the same pattern from bar to bar.",
        alternative=f"Members of species by generation; species that ever lived: {counts}.",
    )


def _species_count(sizes: SpeciesSizes) -> int:
    return len({species for members in sizes.values() for species in members})


def _draw_species(axes: Any, sizes: SpeciesSizes) -> None:
    generations = sorted(sizes)
    species = sorted({one for members in sizes.values() for one in members})
    bottoms = [0] * len(generations)
    edge = 0.8 if len(generations) <= FEW_GENERATIONS else 0.0
    for index, one in enumerate(species):
        heights = [sizes[generation].get(one, 0) for generation in generations]
        axes.bar(
            generations,
            heights,
            bottom=bottoms,
            width=0.7 if edge else 1.0,
            color=FILLS[index % len(FILLS)],
            hatch=HATCHES[index % len(HATCHES)],
            edgecolor=INK,
            linewidth=edge,
            label=str(one),
        )
        bottoms = [bottom + height for bottom, height in zip(bottoms, heights, strict=True)]
    axes.margins(x=0.05 if len(generations) > 1 else 0.6)
    whole_numbers(axes.yaxis)
    axes.grid(visible=False, axis="x")
    if len(species) <= FEW_SPECIES:
        handles, labels = axes.get_legend_handles_labels()
        axes.legend(
            handles[::-1],
            labels[::-1],
            title="species",
            loc="upper left",
            bbox_to_anchor=(1.0, 1.03),
            ncols=1 if len(species) <= 8 else 2,
        )


def outcome_counts(results: Sequence[TrialResult]) -> Mapping[str, int]:
    """Trials by class of failure, the most frequent first; complete ones are not among them."""
    counts = Counter(ending(result) for result in results if result.fitness is None)
    return dict(sorted(counts.items(), key=lambda one: (-one[1], one[0])))


def failures_figure(results: Sequence[TrialResult]) -> Figure | None:
    """How many trials failed, by class; None where none did."""
    counts = outcome_counts(results)
    if not counts:
        return None
    drawing = canvas(1.0 + 0.32 * len(counts))
    axes = drawing.add_subplot()
    share = 100 / len(results)
    bars(
        axes,
        list(counts),
        list(counts.values()),
        lambda count: f"{count:g} ({share * count:.3g} %)",
    )
    axes.set_xlabel("trials")
    axes.set_xlim(0, 1.4 * max(counts.values()))
    whole_numbers(axes.xaxis)
    words = ", ".join(f"{count} {kind}" for kind, count in counts.items())
    return finish(
        drawing,
        name="failures",
        title="Failures by class",
        caption=f"Of {len(results)} trials {sum(counts.values())} have no accuracy. Infeasible "
        "networks are refused before they are built; infrastructure is no fault of the network.",
        alternative=f"Trials that failed, by class: {words}.",
    )
