"""Nothing that goes wrong on one rank hangs the job."""

from __future__ import annotations

import json
import signal

import mpi_launcher
import pytest
from test_farm import PROGRAM, farm, pick


@pytest.mark.parametrize("rank", [0, 1])
def test_an_uncaught_error_ends_the_job(rank: int) -> None:
    if rank == 0:
        code, _, errors = farm("raise_error")
    else:
        code, _, errors = farm("wait_in_trials", failing_rank=rank)
    assert code not in (0, 75)
    assert f"ValueError: rank {rank} fails on purpose" in errors


@pytest.mark.parametrize("exit_code", [0, 75])
def test_a_worker_that_ignores_stop_does_not_hold_the_job(exit_code: int) -> None:
    code, lines, errors = farm(
        "leave_a_deaf_worker", settings={"grace_s": 1.0}, exit_code=exit_code
    )
    assert pick(lines, "unanswered") == [[2]], errors
    assert code == exit_code, errors


def test_a_signal_to_the_job_is_for_rank_0_alone() -> None:
    """mpiexec hands USR1 to every rank; workers and their trials go on."""
    job = mpi_launcher.start(3, [PROGRAM, "take_a_signal", "{}"])
    try:
        assert job.stdout is not None
        assert json.loads(job.stdout.readline()) == {"ready": True}
        job.send_signal(signal.SIGUSR1)
        output, errors = mpi_launcher.communicate(job)
    finally:
        mpi_launcher.stop(job)
    lines = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
    assert pick(lines, "status") == ["complete"] * 2, errors
    assert pick(lines, "taken") == [[signal.SIGUSR1]]
    assert job.returncode == 0, errors


def test_a_worker_that_cannot_start_children_is_set_aside_and_the_others_go_on() -> None:
    """No trial is lost to it: what failed there is done by the other one."""
    trials = [{"index": index, "seconds": 0.1} for index in range(20)]
    code, lines, errors = farm("run_trials", broken_rank=1, trials=trials)
    assert code == 0, errors
    (lost,) = [line for line in lines if line.get("kind") == "WorkerLost"]
    assert lost["worker"]["rank"] == 1
    results = pick(lines, "result")
    failed = [result for result in results if result["failure"] == "infrastructure"]
    complete = [result for result in results if result["status"] == "complete"]
    assert {result["worker"]["rank"] for result in failed} <= {1}
    assert {result["worker"]["rank"] for result in complete} == {2}
    assert len({result["trial_id"] for result in complete}) == len(complete) == len(trials)
    assert len(failed) <= 3
    assert "the forkserver died" in lost["reason"]
    assert pick(lines, "free") == [1]


def test_a_launcher_that_crashes_itself_is_no_end_of_a_job() -> None:
    """The suite runs such a test again; see ``conftest.py``."""
    job = mpi_launcher.start(3, [PROGRAM, "take_a_signal", "{}"])
    try:
        assert job.stdout is not None
        job.stdout.readline()
        job.send_signal(signal.SIGSEGV)
        with pytest.raises(mpi_launcher.LauncherCrashed):
            mpi_launcher.communicate(job)
    finally:
        mpi_launcher.stop(job)
