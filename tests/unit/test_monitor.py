"""The account of a job: who works, for how long, and who does no more."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from handmade import fake_spec

from mpinas import monitor
from mpinas.monitor import Monitor
from mpinas.ownership import claim, release
from mpinas.records import Finished, Started, Times, TrialResult, TrialStatus, Worker, WorkerLost
from mpinas.run_directory import (
    LostWorker,
    RunDirectory,
    Status,
    create_run_directory,
    load_status,
)


class Account:
    """A monitor of three workers, and the clock it sees."""

    def __init__(self, directory: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
        self.directory = directory
        self.now_s = 100.0
        monkeypatch.setattr(monitor.time, "monotonic", lambda: self.now_s)
        self.owner = claim(directory, 1e6)
        self.monitor = Monitor(directory, self.owner, workers=3)
        self.left = 3

    def wait(self, seconds: float) -> None:
        self.now_s += seconds

    def lose(self, rank: int, trial_id: str | None = None) -> None:
        self.left -= 1
        event = WorkerLost(worker=worker(rank), trial_id=trial_id, reason="its process died")
        self.monitor.take(event)
        self.monitor.lost(event, left=self.left)

    def end_trial(self, busy_s: float) -> None:
        result = TrialResult(
            trial_id="g000-t000",
            network_hash="x",
            status=TrialStatus.COMPLETE,
            fitness=0.5,
            times=Times(wall_time_s=busy_s),
        )
        self.monitor.take(Finished(result=result))

    def status(self) -> Status:
        self.monitor.write(now=True)
        status = load_status(self.directory)
        assert status is not None
        return status


def worker(rank: int) -> Worker:
    return Worker(host="n1", rank=rank, device="gpu:0")


@pytest.fixture
def account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Account]:
    directory = create_run_directory(tmp_path / "run", lambda new: new.config.write_text(""))
    made = Account(directory, monkeypatch)
    yield made
    release(directory, made.owner)


def test_without_a_loss_all_workers_are_on_duty_from_the_first_trial_to_the_last_result(
    account: Account,
) -> None:
    account.wait(7)
    account.monitor.submitted(fake_spec(0))
    account.wait(10)
    account.end_trial(9)
    account.wait(50)
    assert (account.status().worker_time_s, account.status().busy_time_s) == (30.0, 9.0)


def test_a_lost_worker_is_on_duty_until_it_is_lost(account: Account) -> None:
    account.monitor.submitted(fake_spec(0))
    account.wait(4)
    account.lose(2)
    account.wait(6)
    account.end_trial(9)
    assert account.status().worker_time_s == 2 * 10.0 + 4.0
    account.wait(3)
    account.lose(1)
    assert account.status().worker_time_s == 2 * 10.0 + 4.0


def test_a_worker_that_is_lost_before_the_first_trial_was_never_on_duty(account: Account) -> None:
    account.lose(2)
    account.wait(5)
    account.monitor.submitted(fake_spec(0))
    account.wait(10)
    account.end_trial(9)
    assert account.status().worker_time_s == 20.0


def test_who_is_lost_stands_in_the_status_at_once_with_the_reason(account: Account) -> None:
    account.monitor.take(Started(trial_id="g000-t001", worker=worker(2)))
    account.monitor.write(now=True)
    account.lose(2, trial_id="g000-t001")
    status = load_status(account.directory)
    assert status is not None
    (lost,) = status.lost
    assert isinstance(lost, LostWorker)
    assert (lost.host, lost.rank, lost.device) == ("n1", 2, "gpu:0")
    assert lost.reason == "its process died"
    assert (status.workers, status.running) == (2, ())


def test_the_next_job_has_lost_nobody_yet(account: Account) -> None:
    account.lose(2)
    again = Monitor(account.directory, account.owner, workers=2)
    again.write(now=True)
    status = load_status(account.directory)
    assert status is not None
    assert status.lost == ()


def test_a_status_of_an_earlier_version_knows_of_no_loss(account: Account) -> None:
    account.directory.status.write_text('{"workers":2,"wall_time_s":1.0}')
    assert load_status(account.directory) == Status(workers=2, wall_time_s=1.0)
