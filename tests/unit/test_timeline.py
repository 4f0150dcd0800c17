"""Where workers' time went: every second on duty has one cause, and time between jobs has none."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from mpinas.records import Times, TrialResult, TrialStatus, Worker
from mpinas.report import drawing
from mpinas.report.page import Figure
from mpinas.report.timeline import Cause, Timeline, Trials, job_starts, timeline
from mpinas.report.timeline_figure import Look, timeline_figure

NOON = 1_800_000_000.0


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Figures that are drawn from here on, as matplotlib has them."""
    found: list[Any] = []
    finish = drawing.finish

    def finish_and_keep(one: Any, **words: str) -> Figure:
        found.append(one)
        return finish(one, **words)

    monkeypatch.setattr("mpinas.report.timeline_figure.finish", finish_and_keep)
    return found


def trial(name: str, rank: int, begin_s: float, end_s: float, start_s: float = 0.0) -> TrialResult:
    """A complete trial from begin to end, seconds after noon."""
    times = Times(start_s=start_s, wall_time_s=end_s - begin_s, ended_at=NOON + end_s)
    return TrialResult(
        trial_id=name,
        network_hash="0",
        status=TrialStatus.COMPLETE,
        fitness=0.5,
        times=times,
        worker=Worker(host="a", rank=rank, device="cpu"),
    )


def alone(
    results: Sequence[TrialResult],
    *,
    individuals: int,
    told: int = 0,
    starts: Sequence[float] = (),
) -> Timeline:
    """Of one search that had the workers for itself."""
    return timeline([Trials(results=results, told=told, individuals=individuals)], starts)


def nonzero(found: Timeline) -> dict[Cause, float]:
    return {cause: round(value, 6) for cause, value in found.seconds.items() if value}


def test_every_second_has_a_cause() -> None:
    results = [
        trial("g000-t000", 1, 0, 10, start_s=2),
        trial("g000-t001", 2, 1, 5),
        trial("g000-t002", 2, 6, 7),
        trial("g001-t000", 1, 13, 20),
        trial("g001-t001", 2, 13, 14),
    ]
    found = alone(results, individuals=3, told=2)
    assert nonzero(found) == {
        Cause.TRIALS: 8 + 4 + 1 + 7 + 1,
        Cause.STARTING: 2,
        Cause.BEFORE: 1,
        Cause.BETWEEN: 1,
        Cause.WAITING: 3 + 6,
        Cause.BREEDING: 3 + 3,
    }
    assert found.duty_s == pytest.approx(2 * 20)
    assert found.workers == (("a", 1), ("a", 2))


def test_time_between_jobs_is_nobodys() -> None:
    results = [
        trial("g000-t000", 1, 0, 10),
        trial("g000-t001", 2, 0, 4),
        trial("g000-t002", 1, 1000, 1004),
    ]
    one_job = alone(results, individuals=3)
    two_jobs = alone(results, individuals=3, starts=(NOON - 1, NOON + 999))
    assert one_job.duty_s == pytest.approx(2 * 1004)
    assert nonzero(two_jobs) == {Cause.TRIALS: 18, Cause.CUT_OFF: 6}
    assert [end - begin for begin, end in two_jobs.jobs] == [10, 4]


def test_a_worker_whose_clock_is_behind_is_of_its_job_nevertheless() -> None:
    """Its first trial seems to be from before the job; the one before must not reach that far."""
    results = [trial("g000-t000", 1, 0, 10), trial("g000-t001", 1, 999, 1009)]
    found = alone(results, individuals=2, starts=(NOON - 1, NOON + 1000))
    assert found.duty_s == pytest.approx(20)
    ahead = [trial("g000-t000", 1, 0, 10), trial("g000-t001", 1, 1005, 1015)]
    found = alone(ahead, individuals=2, starts=(NOON - 1, NOON + 8))
    assert found.duty_s == pytest.approx(20)


def test_white_is_not_called_idle_where_a_trial_was_cut_off() -> None:
    results = [trial("g000-t000", 1, 0, 10), trial("g000-t001", 2, 0, 4)]
    whole, part = (
        timeline_figure(alone(results, individuals=individuals)) for individuals in (2, 3)
    )
    assert whole is not None
    assert part is not None
    assert "white is idle." in whole.caption
    assert "white is idle, or a trial that was cut off or still runs." in part.caption


def test_of_many_trials_only_generations_are_told_apart(drawn: list[Any]) -> None:
    results = [trial(f"g000-t{index:03d}", 1, index, index + 1) for index in range(200)]
    found = alone(results, individuals=200)
    arms = [Look(place=place, label=name, fill="#123456") for place, name in enumerate("ab")]
    timeline_figure(found, lambda span: arms[int(span.trial_id[-1]) % 2])
    assert [text.get_text() for text in drawn[-1].axes[0].get_legend().get_texts()] == ["trial"]
    timeline_figure(
        alone(results[:9], individuals=9), lambda span: arms[int(span.trial_id[-1]) % 2]
    )
    assert [text.get_text() for text in drawn[-1].axes[0].get_legend().get_texts()] == ["a", "b"]


def test_a_running_generation_is_not_waited_for() -> None:
    results = [trial("g000-t000", 1, 0, 10), trial("g000-t001", 2, 0, 4)]
    assert nonzero(alone(results, individuals=3))[Cause.CUT_OFF] == 6
    assert nonzero(alone(results, individuals=2))[Cause.WAITING] == 6


def test_a_worker_that_a_generation_has_no_trial_for_waits_for_the_others() -> None:
    results = [
        trial("g000-t000", 1, 0, 10),
        trial("g000-t001", 2, 0, 10),
        trial("g001-t000", 1, 11, 20),
        trial("g002-t000", 1, 21, 30),
        trial("g002-t001", 2, 21, 30),
    ]
    assert nonzero(alone(results, individuals=2, told=3)) == {
        Cause.TRIALS: 10 + 10 + 9 + 9 + 9,
        Cause.BREEDING: 1 + 1 + 1,
        Cause.WAITING: 10,
    }


def test_searches_that_share_workers_do_not_keep_each_other_waiting() -> None:
    """While one search waits for its last trial, the other's trials run: no worker is idle."""
    one = [
        trial("g000-t000", 1, 0, 30),
        trial("g000-t001", 2, 0, 10),
        trial("g001-t000", 1, 32, 40),
        trial("g001-t001", 2, 33, 40),
    ]
    other = [trial("g000-t000", 2, 11, 20), trial("g000-t001", 2, 20, 25)]
    searches = [Trials(results=own, told=0, individuals=2) for own in (one, other)]
    found = timeline(searches, ())
    assert nonzero(found) == {
        Cause.TRIALS: 30 + 10 + 8 + 7 + 9 + 5,
        Cause.BETWEEN: 1,
        Cause.WAITING: 5,  # until 30, when the first search's generation was over
        Cause.BREEDING: 2 + 3,
    }
    assert found.duty_s == pytest.approx(2 * 40)
    halted = timeline([searches[0], Trials(results=other, told=0, individuals=3)], ())
    assert halted.seconds[Cause.WAITING] == 5
    late = [*one[:3], trial("g001-t001", 2, 33, 36)]
    cut_off = timeline([Trials(results=late, told=0, individuals=2), *searches[1:]], ())
    assert cut_off.seconds[Cause.WAITING] == 5 + 4
    cut_off = timeline([Trials(results=late, told=0, individuals=3), *searches[1:]], ())
    assert cut_off.seconds[Cause.CUT_OFF] == 4


def test_trials_without_an_end_are_counted() -> None:
    old = trial("g000-t000", 1, 0, 10)
    old = TrialResult(
        trial_id="g000-t000",
        network_hash="0",
        status=TrialStatus.COMPLETE,
        fitness=0.5,
        worker=old.worker,
    )
    rank_0 = TrialResult(trial_id="g000-t001", network_hash="", status=TrialStatus.INFEASIBLE)
    found = alone([old, rank_0], individuals=2)
    assert (found.untimed, found.spans, found.jobs, found.duty_s) == (1, (), (), 0)


def test_jobs_are_read_from_the_log(tmp_path: Path) -> None:
    log = tmp_path / "run.log"
    assert job_starts(log) == ()
    log.write_bytes(
        b"2027-01-15T08:00:00Z INFO going on from /x/start.h5\n"
        b"2027-01-15T08:00:00Z INFO generation 0: 6 candidates \xff\n"
        b"half a li\n"
        b"2027-01-15T08:16:40.250Z INFO going on from /x/g000.h5\n"
    )
    assert job_starts(log) == (NOON, NOON + 1000.25)
