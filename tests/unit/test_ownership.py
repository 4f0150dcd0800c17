"""One run, one job: living owners elsewhere keep out, dead ones never do, and no clock is trusted.

What can be told from the process itself is in ``test_run_directory.py``.
"""

import dataclasses
import os
import threading
import time

import pytest

from mpinas import ownership
from mpinas.errors import RunDirectoryFault
from mpinas.monitor import Monitor
from mpinas.ownership import (
    STALE_AFTER_HEARTBEATS,
    Owner,
    beat,
    claim,
    is_alive,
    release,
    watch_owner,
)
from mpinas.records import Worker, WorkerLost, from_json, to_json
from mpinas.run_directory import create_run_directory

HEARTBEAT_S = 0.1
JOB = {"SLURM_JOB_ID": "77", "SLURM_RESTART_COUNT": "1"}


@pytest.fixture
def directory(tmp_path):
    return create_run_directory(tmp_path / "run", lambda new: new.config.write_text("name: x\n"))


def never():
    return False


def owned_elsewhere(directory, *, heartbeat_s=HEARTBEAT_S, age_s=0.0, **changes):
    """An owner file as a job on another host left it so long ago."""
    owner = Owner(host="elsewhere", pid=4711, process_start=1, job_id="76", heartbeat_s=heartbeat_s)
    owner = dataclasses.replace(owner, **changes)
    directory.owner.write_bytes(to_json(owner))
    at = time.time() - age_s
    os.utime(directory.owner, (at, at))
    return owner


class Beating(threading.Thread):
    """Another host's heartbeat."""

    def __init__(self, file):
        super().__init__(daemon=True)
        self.file = file
        self.over = threading.Event()

    def run(self):
        while not self.over.wait(HEARTBEAT_S):
            os.utime(self.file)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.join()


def test_a_living_job_elsewhere_is_refused_with_host_job_and_last_heartbeat(directory):
    owned_elsewhere(directory, heartbeat_s=10.0, age_s=7.0)
    with pytest.raises(RunDirectoryFault) as caught:
        claim(directory, HEARTBEAT_S)
    line = str(caught.value)
    assert "host=elsewhere, pid=4711, job=76, last heartbeat=7 s ago" in line
    assert "--out" in line
    assert "\n" not in line


def test_a_heartbeat_that_is_renewed_while_one_waits_is_a_living_job(directory):
    owned_elsewhere(directory, heartbeat_s=10 * HEARTBEAT_S)
    with Beating(directory.owner), pytest.raises(RunDirectoryFault, match="host=elsewhere"):
        watch_owner(directory, never)


def test_a_job_that_died_elsewhere_just_now_is_waited_for_and_then_taken_over_from(directory):
    """It was refused, and the next job of the chain did not start."""
    owned_elsewhere(directory)
    dead = watch_owner(directory, never)
    assert dead is not None
    assert claim(directory, HEARTBEAT_S, dead=dead).pid == os.getpid()


@pytest.mark.parametrize("skew_s", [-3600.0, 3600.0])
def test_a_dead_job_does_not_block_for_the_skew_of_its_clock(directory, skew_s):
    owned_elsewhere(directory, age_s=skew_s)
    claim(directory, HEARTBEAT_S, dead=watch_owner(directory, never))


def test_a_living_job_is_seen_although_this_host_has_another_time(directory, monkeypatch):
    """Age is taken by the clock of the file system, which stamps the heartbeat too."""
    owned_elsewhere(directory, heartbeat_s=10.0)
    monkeypatch.setattr(ownership.time, "time", lambda: 0.0)
    assert is_alive(directory)
    with pytest.raises(RunDirectoryFault, match="last heartbeat=0 s ago"):
        claim(directory, HEARTBEAT_S)


def test_where_no_file_can_be_made_the_own_clock_tells(directory, monkeypatch):
    def fail(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(ownership.Path, "touch", fail)
    owned_elsewhere(directory, heartbeat_s=10.0)
    assert is_alive(directory)
    owned_elsewhere(directory, heartbeat_s=10.0, age_s=10.0 * STALE_AFTER_HEARTBEATS + 1)
    assert not is_alive(directory)


def test_the_earlier_life_of_a_requeued_job_blocks_nothing(directory):
    owned_elsewhere(directory, heartbeat_s=10.0, job_id="77", restarts="0")
    begun_s = time.monotonic()
    dead = watch_owner(directory, never, JOB)
    assert claim(directory, 10.0, dead=dead, environment=JOB).restarts == "1"
    assert time.monotonic() - begun_s < 10.0 * STALE_AFTER_HEARTBEATS


def test_the_same_life_of_the_same_job_on_another_node_is_another_process(directory):
    """Two steps of one job on one run directory."""
    owned_elsewhere(directory, heartbeat_s=10.0, job_id="77", restarts="1")
    with pytest.raises(RunDirectoryFault, match="job=77"):
        claim(directory, 10.0, environment=JOB)


def test_another_container_on_this_host_is_judged_by_its_heartbeat(directory):
    """Its process number means another process here, or none."""
    mine = claim(directory, 10.0)
    other = dataclasses.replace(mine, process_space="pid:[1]", pid=1, process_start=1)
    directory.owner.write_bytes(to_json(other))
    assert is_alive(directory)
    old = time.time() - 10.0 * STALE_AFTER_HEARTBEATS - 1
    os.utime(directory.owner, (old, old))
    assert not is_alive(directory)


def test_a_request_to_stop_ends_the_waiting(directory):
    owned_elsewhere(directory, heartbeat_s=1000.0)
    calls = iter([False, True])
    watch_owner(directory, lambda: next(calls))


def test_no_job_and_an_old_claim_are_not_waited_for(directory):
    assert watch_owner(directory, never) is None
    owned_elsewhere(directory, heartbeat_s=100.0, age_s=100.0 * STALE_AFTER_HEARTBEATS + 1)
    assert watch_owner(directory, never) is not None


def test_a_claim_that_came_while_one_judged_the_dead_one_is_put_back(directory, monkeypatch):
    """On another host, where no lock of this one is seen."""
    owned_elsewhere(directory, age_s=1000.0)
    judge = ownership._lives

    def judge_late(*arguments):
        verdict = judge(*arguments)
        owned_elsewhere(directory, heartbeat_s=10.0, host="third")
        return verdict

    monkeypatch.setattr(ownership, "_lives", judge_late)
    with pytest.raises(RunDirectoryFault, match="host=third"):
        claim(directory, HEARTBEAT_S)
    assert from_json(Owner, directory.owner.read_bytes()).host == "third"


def test_nothing_is_left_beside_the_owner_file(directory):
    owned_elsewhere(directory, age_s=1000.0)
    owner = claim(directory, HEARTBEAT_S)
    beat(directory, owner)
    assert sorted(file.name for file in directory.path.iterdir() if file.is_file()) == [
        "config.yaml",
        "owner.json",
    ]
    release(directory, owner)
    assert not directory.owner.exists()


def test_an_owner_file_of_an_earlier_version_is_read(directory):
    directory.owner.write_text(
        '{"host":"elsewhere","pid":1,"process_start":1,"job_id":"5","heartbeat_s":10.0}'
    )
    with pytest.raises(RunDirectoryFault, match="job=5,"):
        claim(directory, 10.0)


def test_a_job_that_was_suspended_looks_whose_the_directory_is_before_it_takes_an_event(directory):
    """Its next result would have been written into the run of another job."""
    owner = claim(directory, HEARTBEAT_S)
    monitor = Monitor(directory, owner, workers=1)
    owned_elsewhere(directory, heartbeat_s=10.0)
    time.sleep(HEARTBEAT_S)
    lost = WorkerLost(worker=Worker(host="h", rank=1, device="cpu"), trial_id=None, reason="gone")
    with pytest.raises(RunDirectoryFault, match="host=elsewhere"):
        monitor.take(lost)
    with pytest.raises(RunDirectoryFault, match="host=elsewhere"):
        monitor.write(now=True)
    assert not directory.status.exists()
    release(directory, owner)
    assert from_json(Owner, directory.owner.read_bytes()).host == "elsewhere"


def test_a_status_that_cannot_be_written_ends_nothing_and_is_said_once(
    directory, monkeypatch, caplog
):
    def fail(*_):
        raise OSError(28, "No space left on device")

    monitor = Monitor(directory, claim(directory, 10.0), workers=1)
    monkeypatch.setattr("mpinas.monitor.save_status", fail)
    for _ in range(3):
        monitor.write(now=True)
    assert caplog.text.count("status.json cannot be written: No space left on device") == 1
