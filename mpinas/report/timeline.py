"""Who worked when, and why a worker did not. Pure but for the reading of ``run.log``.

Comes in: results with their times and workers, and when the jobs of the run began; of one search,
or of several that shared the workers. Comes out: what each worker did, and its time on duty divided
by cause. Time between jobs is nobody's.
"""

from __future__ import annotations

import enum
import re
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from itertools import pairwise
from pathlib import Path

from mpinas.records import TrialResult, trial_number

WorkerName = tuple[str, int]
"""(host, rank); as it sorts."""

Generation = tuple[int, int]
"""(index of the search, generation)."""

_JOB_BEGAN = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d+)?Z \w+ (going on|beginning) from ")


class Cause(str, enum.Enum):
    """What a worker's time on duty goes to, in the words of the report."""

    TRIALS = "building, shrinking, training, validating"
    STARTING = "starting a trial's process"
    WAITING = "waiting for a generation's last trials"
    BREEDING = "between two generations"
    BETWEEN = "between two trials"
    BEFORE = "before its first trial"
    CUT_OFF = "trials that were cut off, or still run"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trials:
    """What is known of one search.

    Attributes:
        told: generations of which no more is to come.
        individuals: so many trials has a generation.
    """

    results: Sequence[TrialResult]
    told: int
    individuals: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A trial on a worker. Seconds since the epoch; ``began_at`` is the child's first line."""

    search: int
    trial_id: str
    worker: WorkerName
    job: int
    ordered_at: float
    began_at: float
    ended_at: float
    is_complete: bool

    @property
    def generation(self) -> Generation:
        """Of the trial."""
        return self.search, trial_number(self.trial_id)[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """All that is known of when workers worked.

    Attributes:
        spans: in the order in which trials ended.
        workers: those that had a trial in any job, sorted.
        seconds: worker time by cause; their sum is the time on duty: from a job's first order to
            its last result, for every worker that had a trial in it.
        untimed: trials of which no end is known (an older version ran them).
    """

    spans: tuple[Span, ...]
    workers: tuple[WorkerName, ...]
    seconds: Mapping[Cause, float]
    untimed: int

    @property
    def duty_s(self) -> float:
        """Worker seconds in all."""
        return sum(self.seconds.values())

    @property
    def jobs(self) -> tuple[tuple[float, float], ...]:
        """(first order, last result) of each job that had a result."""
        spans: dict[int, list[Span]] = defaultdict(list)
        for span in self.spans:
            spans[span.job].append(span)
        return tuple(_extent(own) for _, own in sorted(spans.items()))


def job_starts(log: Path) -> tuple[float, ...]:
    """When the jobs of a run began, as far as its log tells; seconds since the epoch, sorted."""
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ()
    found = (_JOB_BEGAN.match(line) for line in lines)
    return tuple(sorted(_seconds(match[1] + (match[2] or "")) for match in found if match))


def _seconds(text: str) -> float:
    form = "%Y-%m-%dT%H:%M:%S.%f" if "." in text else "%Y-%m-%dT%H:%M:%S"
    return datetime.strptime(text, form).replace(tzinfo=timezone.utc).timestamp()


def timeline(searches: Sequence[Trials], starts: Sequence[float]) -> Timeline:
    """Puts the trials of a run in order, or those of runs that shared their workers.

    Args:
        starts: of the jobs, sorted; none: all is one job.
    """
    spans = [
        _span(search, result, starts)
        for search, own in enumerate(searches)
        for result in own.results
        if result.worker is not None and result.times.ended_at > 0
    ]
    spans.sort(key=lambda span: span.ended_at)
    seconds: dict[Cause, float] = dict.fromkeys(Cause, 0.0)
    last_job = {span.generation: span.job for span in spans}
    whole = set(_whole_generations(searches))
    for job in sorted({span.job for span in spans}):
        told = {one for one in whole if last_job.get(one) == job}
        _account([span for span in spans if span.job == job], told, seconds)
    on_workers = sum(one.worker is not None for own in searches for one in own.results)
    return Timeline(
        spans=tuple(spans),
        workers=tuple(sorted({span.worker for span in spans})),
        seconds=seconds,
        untimed=on_workers - len(spans),
    )


def _whole_generations(searches: Sequence[Trials]) -> Iterator[Generation]:
    """Those of which every trial has ended."""
    for search, own in enumerate(searches):
        counts = Counter(trial_number(result.trial_id)[0] for result in own.results)
        yield from (
            (search, generation)
            for generation, count in counts.items()
            if generation < own.told or count >= own.individuals
        )


def _span(search: int, result: TrialResult, starts: Sequence[float]) -> Span:
    assert result.worker is not None
    times = result.times
    ordered_at = times.ended_at - times.wall_time_s
    middle_at = ordered_at + times.wall_time_s / 2  # hosts' clocks differ a little
    return Span(
        search=search,
        trial_id=result.trial_id,
        worker=(result.worker.host, result.worker.rank),
        job=max(0, bisect_right(starts, middle_at) - 1),
        ordered_at=ordered_at,
        began_at=min(times.ended_at, ordered_at + times.start_s),
        ended_at=times.ended_at,
        is_complete=result.fitness is not None,
    )


def _extent(spans: Sequence[Span]) -> tuple[float, float]:
    return min(span.ordered_at for span in spans), max(span.ended_at for span in spans)


def _account(spans: Sequence[Span], told: set[Generation], seconds: dict[Cause, float]) -> None:
    """Adds the worker time of one job.

    Args:
        told: generations that got their last result in it.
        seconds: what is added to.
    """
    first_at, last_at = _extent(spans)
    told_at: dict[Generation, float] = {}
    by_worker: dict[WorkerName, list[Span]] = defaultdict(list)
    for span in spans:
        told_at[span.generation] = max(span.ended_at, told_at.get(span.generation, 0.0))
        by_worker[span.worker].append(span)
    newest = dict(sorted(told_at))  # of each search
    is_over = all((search, generation) in told for search, generation in newest.items())
    rest = Cause.WAITING if is_over else Cause.CUT_OFF
    for own in by_worker.values():
        own.sort(key=lambda span: span.ordered_at)
        seconds[Cause.BEFORE] += own[0].ordered_at - first_at
        for span in own:
            seconds[Cause.STARTING] += span.began_at - span.ordered_at
            seconds[Cause.TRIALS] += span.ended_at - span.began_at
        for before, after in pairwise(own):
            _account_gap(before, after, told_at, seconds)
        seconds[rest] += last_at - own[-1].ended_at


def _account_gap(
    before: Span,
    after: Span,
    told_at: Mapping[Generation, float],
    seconds: dict[Cause, float],
) -> None:
    """Of a worker between two trials: it waits until the generation before the next trial's is
    told, and then for the breeding of that trial."""
    gap_s = max(0.0, after.ordered_at - before.ended_at)
    search, generation = after.generation
    waited_s = told_at.get((search, generation - 1), 0.0) - before.ended_at
    of_another = before.search != search
    if before.generation == after.generation or (of_another and waited_s <= 0):
        seconds[Cause.BETWEEN] += gap_s
        return
    waited_s = min(gap_s, max(0.0, waited_s))
    seconds[Cause.WAITING] += waited_s
    seconds[Cause.BREEDING] += gap_s - waited_s
