"""The screen of a living run: it fits every terminal and says what is going on."""

from __future__ import annotations

import dataclasses
import io
from typing import Any

import pytest
from rich.console import Console
from rich.screen import Screen

from mpinas.records import Costs, Failure, Times, TrialResult, TrialStatus, Worker, trial_id
from mpinas.report.live_view import LiveScreen, change_line, progress_of
from mpinas.report.run_view import RunView
from mpinas.report.time_left import time_left
from mpinas.results import best_of
from mpinas.run_directory import LostWorker, RunningTrial

COSTS = Costs(flops=12_300_000, parameters=50_000, activations=1)


def complete(index: int, generation: int = 0, seconds: float = 10.0) -> TrialResult:
    return TrialResult(
        trial_id=trial_id(generation, index),
        network_hash="",
        status=TrialStatus.COMPLETE,
        fitness=0.5 + 0.01 * index,
        costs=COSTS,
        times=Times(start_s=2.0, wall_time_s=2.0 + seconds),
        worker=Worker(host="node-with-a-long-name.cluster.example.org", rank=1, device="cpu"),
    )


def failed(index: int, generation: int = 0) -> TrialResult:
    ended = {"status": TrialStatus.FAILED, "failure": Failure.NOT_A_NUMBER, "fitness": None}
    return dataclasses.replace(complete(index, generation), **ended)


def infeasible(index: int, generation: int = 0) -> TrialResult:
    return TrialResult(
        trial_id=trial_id(generation, index), network_hash="", status=TrialStatus.INFEASIBLE
    )


def running(rank: int, epoch: int = 0, epochs: int = 0, generation: int = 1) -> RunningTrial:
    return RunningTrial(
        trial_id=trial_id(generation, 100 + rank),
        host="node-with-a-long-name.cluster.example.org",
        rank=rank,
        epoch=epoch,
        epochs=epochs,
        accuracy=0.75 if epoch else None,
    )


def view(*results: TrialResult, **changes: Any) -> RunView:
    """In the second of three generations of four trials, with two workers."""
    fields: dict[str, Any] = {
        "name": "small",
        "status": "running",
        "generation": 1,
        "generations": 3,
        "individuals": 4,
        "workers": 2,
        "wall_time_s": 75.0,
        "utilisation": 0.8,
        "results": results,
        "best": best_of(results),
        "running": (),
    }
    return RunView(**{**fields, **changes})


BUSY = view(
    *(complete(index) for index in range(3)),
    failed(3),
    complete(0, 1),
    running=(running(2, 1, 5), running(1, 3, 5)),
)


def screen(seen: RunView, width: int = 80, height: int = 24, encoding: str = "utf-8") -> list[str]:
    """The lines that a terminal of that size shows, without the empty ones at its end."""
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="replace")
    console = Console(
        file=file, force_terminal=True, width=width, height=height, highlight=False, no_color=True
    )
    segments = console.render_lines(Screen(LiveScreen(view=seen)), console.options)
    lines = ["".join(segment.text for segment in line).rstrip() for line in segments]
    assert len(lines) == height
    return "\n".join(lines).rstrip().split("\n")


def test_it_says_where_the_run_is() -> None:
    lines = screen(BUSY)
    assert lines[0] == "small: running for 1 min 15 s, 2 workers, 80% busy"
    assert lines[1] == "generation 2 of 3: 1 of 4 trials"
    assert lines[2].endswith("5 of 12 trials in all")
    assert lines[3].startswith("about ")
    assert lines[4] == "best 0.5200, g000-t002, 12.30 MFLOPs"
    assert lines[5] == "failed: 1 x nan"
    assert any("Ctrl-C" in line for line in lines)


def test_each_worker_has_a_line_in_the_order_of_their_numbers() -> None:
    lines = screen(BUSY)
    start = next(place for place, line in enumerate(lines) if line.startswith("running"))
    assert lines[start + 1].split()[:2] == ["g001-t101", "1"]
    assert lines[start + 1].split()[-2:] == ["3/5", "0.7500"]
    assert lines[start + 2].split()[:2] == ["g001-t102", "2"]


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
@pytest.mark.parametrize("width", [1, 20, 40, 80, 200])
@pytest.mark.parametrize("height", [1, 3, 8, 24, 60])
def test_it_fits_whatever_the_terminal(width: int, height: int, encoding: str) -> None:
    crowded = dataclasses.replace(
        BUSY,
        results=tuple(complete(index) for index in range(300)),
        running=tuple(running(rank, 1, 5) for rank in range(1, 200)),
        workers=200,
    )
    for seen in (BUSY, crowded, view(best=None), view(failed(0), infeasible(1))):
        lines = screen(seen, width, height, encoding)
        assert lines[0]
        assert max(map(len, lines)) <= width


def test_at_40_columns_the_numbers_are_still_there() -> None:
    lines = screen(BUSY, 40)
    assert any(line.split() == ["g001-t101", "1", "3/5", "0.7500"] for line in lines)
    assert any(line.split() == ["g000-t002", "0.5200", "12.30"] for line in lines)


def test_workers_without_room_are_counted_and_leaders_keep_some_lines() -> None:
    crowded = dataclasses.replace(
        BUSY, running=tuple(running(rank, 1, 5) for rank in range(1, 201)), workers=200
    )
    lines = screen(crowded)
    shown = sum(line.startswith("g001-t") for line in lines)
    assert f"and {200 - shown} more" in lines
    assert any("g000-t002" in line and "0.5200" in line for line in lines[6:])
    assert lines[-1].startswith("Ctrl-C")


def test_the_time_left_is_that_of_the_trials_left() -> None:
    seen = view(*(complete(index) for index in range(4)), utilisation=0.75)
    left = time_left(seen)
    assert left is not None
    assert (left.trials, left.trial_s, left.at_once) == (8, 10.0, 1.5)
    assert left.seconds == pytest.approx(8 * 10 / 1.5)


def test_epochs_that_are_over_are_not_left() -> None:
    seen = view(*(complete(index) for index in range(4)), running=(running(1, 2, 5), running(2)))
    left = time_left(seen)
    assert left is not None
    assert left.trials == pytest.approx(8 - 0.4)


def test_the_latest_trials_tell_how_long_one_takes() -> None:
    early = (complete(index, seconds=10.0) for index in range(4))
    late = (complete(index, 1, seconds=30.0) for index in range(4))
    left = time_left(view(*early, *late, generation=2))
    assert left is not None
    assert left.trial_s == pytest.approx(30.0)


def test_infeasible_ones_take_no_time_and_come_again() -> None:
    left = time_left(view(complete(0), infeasible(1), complete(2), infeasible(3)))
    assert left is not None
    assert left.trial_s == pytest.approx(5.0)


def test_before_the_first_generation_is_told_all_workers_count() -> None:
    """The share of their time is that of finished trials, which is nothing at first."""
    left = time_left(view(complete(0), generation=0, utilisation=0.1))
    assert left is not None
    assert left.at_once == 2


def test_no_more_work_side_by_side_than_a_generation_has_trials() -> None:
    left = time_left(view(complete(0), generation=0, workers=100))
    assert left is not None
    assert left.at_once == 4


@pytest.mark.parametrize("seen", [view(), view(complete(0), workers=0)])
def test_nothing_is_promised_of_nothing(seen: RunView) -> None:
    assert time_left(seen) is None
    assert any("not known" in line for line in screen(seen))


def test_a_line_in_a_log_says_it_all_and_only_news_are_news() -> None:
    line = change_line(BUSY)
    assert line.isascii()
    assert "\n" not in line
    for words in ("generation 2 of 3: 1 of 4 trials", "best 0.5200, g000-t002", "1 x nan", "left"):
        assert words in line
    later = dataclasses.replace(BUSY, wall_time_s=99.0, running=(running(1, 4, 5),))
    assert progress_of(later) == progress_of(BUSY)
    more = dataclasses.replace(BUSY, results=(*BUSY.results, complete(1, 1)))
    assert progress_of(more) != progress_of(BUSY)


def lost_worker(rank: int) -> LostWorker:
    reason = "its process died\nof SIGKILL"
    return LostWorker(host="n1", rank=rank, device="gpu:0", reason=reason, lost_at=1.0)


def test_lost_workers_are_named_with_the_reason_the_last_one_first() -> None:
    text = "\n".join(screen(dataclasses.replace(BUSY, lost=(lost_worker(3), lost_worker(4)))))
    assert "2 workers and 2 lost" in text
    assert "lost: worker 4 on n1 (gpu:0): of SIGKILL" in text
    assert text.index("worker 4 on n1") < text.index("worker 3 on n1")


def test_of_many_lost_workers_some_are_counted() -> None:
    text = "\n".join(screen(dataclasses.replace(BUSY, lost=tuple(map(lost_worker, range(20))))))
    assert text.count("lost: worker") == 3
    assert "and 17 lost before" in text


def test_a_lost_worker_is_worth_a_line_in_a_log() -> None:
    poorer = dataclasses.replace(BUSY, lost=(lost_worker(3),))
    assert progress_of(poorer) != progress_of(BUSY)
    assert "2 workers and 1 lost" in change_line(poorer)
    assert "lost" not in change_line(BUSY)
