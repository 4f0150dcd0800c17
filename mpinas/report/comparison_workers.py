"""Who worked when in a comparison: the trials of all searches, on the workers that they shared.

One search of a comparison says little of that: while it waits, its workers have trials of others.
"""

from __future__ import annotations

from collections.abc import Iterator

from mpinas.report.comparison_arms import Compared
from mpinas.report.drawing import FILLS, HATCHES
from mpinas.report.page import Block, Note
from mpinas.report.timeline import Span, Timeline, Trials, job_starts, timeline
from mpinas.report.timeline_figure import Look, no_times, shares_figure, timeline_figure
from mpinas.run_directory import RunDirectory


def worker_blocks(one: Compared) -> Iterator[Block | None]:
    """The timeline of all workers and the causes of their idle time, or why there are none."""
    found = _timeline(one)
    if not found.spans:
        yield Note(text=one.titled(no_times(found)))
        return
    looks = {arm.name: arm.look for arm in one.all_arms}
    arms = [run.run.arm for run in one.view.runs]
    labels = {arm.name: arm.label for arm in one.all_arms}

    def by_arm(span: Span) -> Look:
        name = arms[span.search]
        return Look(
            place=looks[name],
            label=labels[name],
            fill=FILLS[looks[name] % len(FILLS)],
            hatch=HATCHES[looks[name] % len(HATCHES)],
        )

    yield timeline_figure(
        found, by_arm, name=one.file_name("workers"), title=one.titled("Who worked when")
    )
    yield shares_figure(
        found,
        name=one.file_name("worker-time"),
        title=one.titled("Where the workers' time went"),
    )


def _timeline(one: Compared) -> Timeline:
    """Of all searches together; jobs open all of theirs before the first trial is ordered."""
    runs = one.view.runs
    starts = sorted({at for run in runs for at in job_starts(RunDirectory(run.run.path).log)})
    return timeline(
        [
            Trials(
                results=run.results,
                told=run.generations,
                individuals=run.run.config.tuner.individuals,
            )
            for run in runs
        ],
        starts,
    )
