"""Who worked when, and why a worker did not. Pure but for the reading of ``run.log``.

Comes in: results with their times and workers, and when the jobs of the run began. Comes out: what
each worker did, and its time on duty divided by cause. Time between jobs is nobody's.
"""

from __future__ import annotations

import enum
import re
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from itertools import pairwise
from pathlib import Path

from mpinas.records import TrialResult, trial_number

WorkerName = tuple[str, int]
"""(host, rank); as it sorts."""

_JOB_BEGAN = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d+)?Z \w+ going on from ")


class Cause(str, enum.Enum):
    """What a worker's time on duty goes to, in the words of the report."""

    TRIALS = "building, shrinking, training, validating"
    STARTING = "starting a trial's process"
    WAITING = "waiting for a generation's last trials"
    BREEDING = "between two generations"
    BETWEEN = "between two trials of a generation"
    BEFORE = "before its first trial"
    CUT_OFF = "trials that were cut off, or still run"


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A trial on a worker. Seconds since the epoch; ``began_at`` is the child's first line."""

    trial_id: str
    worker: WorkerName
    job: int
    ordered_at: float
    began_at: float
    ended_at: float
    is_complete: bool

    @property
    def generation(self) -> int:
        """Of the trial."""
        return trial_number(self.trial_id)[0]


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


def timeline(
    results: Sequence[TrialResult], starts: Sequence[float], sizes: Mapping[int, int]
) -> Timeline:
    """Puts the trials of a run in order.

    Args:
        starts: of its jobs, sorted; none: all is one job.
        sizes: trials of each generation; one that has as many results has no more to come.
    """
    on_workers = [result for result in results if result.worker is not None]
    spans = [_span(result, starts) for result in on_workers if result.times.ended_at > 0]
    spans.sort(key=lambda span: span.ended_at)
    seconds: dict[Cause, float] = dict.fromkeys(Cause, 0.0)
    counts: dict[int, int] = defaultdict(int)
    for result in results:
        counts[trial_number(result.trial_id)[0]] += 1
    last_job = {span.generation: span.job for span in spans}
    whole = {one for one, count in counts.items() if count >= sizes.get(one, count + 1)}
    for job in sorted({span.job for span in spans}):
        told = {one for one in whole if last_job.get(one) == job}
        _account([span for span in spans if span.job == job], told, seconds)
    return Timeline(
        spans=tuple(spans),
        workers=tuple(sorted({span.worker for span in spans})),
        seconds=seconds,
        untimed=len(on_workers) - len(spans),
    )


def _span(result: TrialResult, starts: Sequence[float]) -> Span:
    assert result.worker is not None
    times = result.times
    ordered_at = times.ended_at - times.wall_time_s
    return Span(
        trial_id=result.trial_id,
        worker=(result.worker.host, result.worker.rank),
        job=max(0, bisect_right(starts, ordered_at) - 1),
        ordered_at=ordered_at,
        began_at=min(times.ended_at, ordered_at + times.start_s),
        ended_at=times.ended_at,
        is_complete=result.fitness is not None,
    )


def _extent(spans: Sequence[Span]) -> tuple[float, float]:
    return min(span.ordered_at for span in spans), max(span.ended_at for span in spans)


def _account(spans: Sequence[Span], told: set[int], seconds: dict[Cause, float]) -> None:
    """Adds the worker time of one job.

    Args:
        told: generations that got their last result in it.
        seconds: what is added to.
    """
    first_at, last_at = _extent(spans)
    told_at: dict[int, float] = {}
    by_worker: dict[WorkerName, list[Span]] = defaultdict(list)
    for span in spans:
        told_at[span.generation] = max(span.ended_at, told_at.get(span.generation, 0.0))
        by_worker[span.worker].append(span)
    for own in by_worker.values():
        own.sort(key=lambda span: span.ordered_at)
        seconds[Cause.BEFORE] += own[0].ordered_at - first_at
        for span in own:
            seconds[Cause.STARTING] += span.began_at - span.ordered_at
            seconds[Cause.TRIALS] += span.ended_at - span.began_at
        for before, after in pairwise(own):
            _account_gap(before, after, told_at, seconds)
        rest = Cause.WAITING if max(told_at) in told else Cause.CUT_OFF
        seconds[rest] += last_at - own[-1].ended_at


def _account_gap(
    before: Span, after: Span, told_at: Mapping[int, float], seconds: dict[Cause, float]
) -> None:
    gap_s = max(0.0, after.ordered_at - before.ended_at)
    if before.generation == after.generation:
        seconds[Cause.BETWEEN] += gap_s
        return
    waited_s = min(gap_s, max(0.0, told_at[before.generation] - before.ended_at))
    seconds[Cause.WAITING] += waited_s
    seconds[Cause.BREEDING] += gap_s - waited_s
