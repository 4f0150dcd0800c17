"""Arms as the figures of a report take them: of finished experiments, or of what is there so far.

A comparison that has no finished experiment yet has no speed-up, but its trials can be looked at.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from mpinas.records import TrialResult
from mpinas.report.comparison_view import ComparisonView, Measured
from mpinas.results import best_of, better

LONGEST_LABEL = 22
"""Characters for which there is room beside bars and in a legend."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ArmTrials:
    """One arm of a comparison, equal to itself only.

    Attributes:
        label: its name, short enough for a figure and unlike those of all others.
        look: index of its pattern, marker and line, the same in all figures of a page.
    """

    name: str
    label: str
    look: int
    runs: tuple[Measured, ...]

    @property
    def results(self) -> tuple[TrialResult, ...]:
        return tuple(result for run in self.runs for result in run.results)

    @property
    def best(self) -> tuple[Measured, TrialResult] | None:
        """The most accurate trial and its search; None where none is complete."""
        found: tuple[Measured, TrialResult] | None = None
        for run in self.runs:
            result = best_of(run.results)
            if result is not None and better(result, found[1] if found else None):
                found = run, result
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """One comparison of a page.

    Attributes:
        label: tells it from the others of the page.
        slug: begins the names of its files; empty where it is alone.
        arms: over the finished experiments, or over all as long as there is none.
        all_arms: over all experiments, finished or not.
    """

    label: str
    slug: str
    view: ComparisonView
    arms: tuple[ArmTrials, ...]
    all_arms: tuple[ArmTrials, ...]

    @property
    def is_known(self) -> bool:
        """Whether an experiment is finished, so that arms can be compared."""
        return bool(self.view.arms)

    def titled(self, title: str) -> str:
        """A title, with the comparison's own name where there are several."""
        return f"{self.label}: {title}" if self.slug else title

    def file_name(self, name: str) -> str:
        """Of a figure, unique in the page."""
        return f"{self.slug}-{name}" if self.slug else name


def compared(views: Sequence[ComparisonView]) -> tuple[Compared, ...]:
    """The comparisons of a page; an arm of the same name looks the same in all of them."""
    names = list(dict.fromkeys(arm for view in views for arm in view.comparison.arms))
    looks = {name: look for look, name in enumerate(names)}
    short = dict(zip(names, _short(names), strict=True))
    labels = _labels(views)

    def arms(view: ComparisonView, experiments: Sequence[int]) -> tuple[ArmTrials, ...]:
        return tuple(
            ArmTrials(
                name=name,
                label=short[name],
                look=looks[name],
                runs=tuple(
                    one
                    for one in view.runs
                    if one.run.arm == name and one.run.experiment in experiments
                ),
            )
            for name in view.comparison.arms
        )

    return tuple(
        Compared(
            label=label,
            slug="" if len(views) == 1 else f"{number}-{_slug(label)}",
            view=view,
            arms=arms(view, view.experiments or range(view.comparison.experiments)),
            all_arms=arms(view, range(view.comparison.experiments)),
        )
        for number, (view, label) in enumerate(zip(views, labels, strict=True), start=1)
    )


def _labels(views: Sequence[ComparisonView]) -> list[str]:
    """Names of the comparisons; of two with the same name, with their directories or a number."""
    names = [view.comparison.config.name for view in views]
    count = Counter(names)
    told = [
        name if count[name] == 1 else f"{name} ({view.comparison.directory.path.resolve().name})"
        for name, view in zip(names, views, strict=True)
    ]
    return _numbered(told)


def _short(names: Sequence[str]) -> list[str]:
    """Short names, of which no two are equal."""
    short = [shortened(name) for name in names]
    count = Counter(short)
    room = LONGEST_LABEL - len(f" {len(names)}")
    return _numbered(
        [
            one if count[one] == 1 else shortened(name, room)
            for name, one in zip(names, short, strict=True)
        ]
    )


def _numbered(labels: Sequence[str]) -> list[str]:
    """Labels, those that are equal with the number of their place."""
    count = Counter(labels)
    return [
        label if count[label] == 1 else f"{label} {number}"
        for number, label in enumerate(labels, start=1)
    ]


def _slug(label: str) -> str:
    """Of a label what any file system takes."""
    return re.sub("[^a-z0-9]+", "-", label.lower()).strip("-")[:30].strip("-") or "comparison"


def shortened(text: str, longest: int = LONGEST_LABEL) -> str:
    """The text with its middle left out where it is too long: names often differ at the end."""
    if len(text) <= longest:
        return text
    tail = (longest - 1) // 2
    return f"{text[: longest - 1 - tail]}…{text[-tail:]}"
