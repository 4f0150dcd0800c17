"""A job that is asked to stop saves what it has, ends with 75, and goes on where it was.

USR1 is the one signal that the launchers of both MPIs pass on (MPICH's dies of USR2). Time
limits here are loose; ``tests/benchmarks/drain.py`` measures.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import mpi_launcher
import psutil
import pytest
from searching import config_file, found
from test_same_search import search, shown

from mpinas.run_directory import RunDirectory
from mpinas.signals import ECHO_S

SLOW = ("--set", "trial.fake.seconds={mean: 0.3, sigma: 0.3}")


ENDLESS = ("--set", "trial.fake.seconds={mean: 300, sigma: 0}")


def start(
    config: Path,
    out: Path,
    ranks: int,
    *options: str,
    environment: Mapping[str, str] | None = None,
) -> subprocess.Popen[str]:
    program = ["-m", "mpinas", "run", str(config), "--out", str(out), *(options or SLOW)]
    if ranks:
        return mpi_launcher.start(ranks, program, environment)
    return mpi_launcher.start_alone([*program, "--workers", "2"], environment)


def wait_for_trials(out: Path, count: int, limit_s: float = 120.0) -> None:
    deadline = time.monotonic() + limit_s
    while len(found(RunDirectory(out))) < count:
        assert time.monotonic() < deadline, "no trial ended"
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("ranks", "number"), [(0, signal.SIGUSR1), (0, signal.SIGUSR2), (3, signal.SIGUSR1)]
)
def test_a_signal_stops_the_job_in_order_and_it_goes_on_later(
    tmp_path: Path, ranks: int, number: signal.Signals
) -> None:
    config, out = config_file(tmp_path), tmp_path / "run"
    job = start(config, out, ranks)
    try:
        wait_for_trials(out, 3)
        for one in (signal.SIGCONT, number, signal.SIGCONT):  # as Slurm does
            job.send_signal(one)
        output, errors = mpi_launcher.communicate(job)
    finally:
        mpi_launcher.stop(job)
    assert job.returncode == 75, output + errors
    before = found(RunDirectory(out))
    assert 3 <= len(before) < 18
    never = search(config, tmp_path / "never", 0, "--workers", "1")
    assert search(config, out, 0 if ranks else 3, *SLOW) == never
    assert set(before) <= set(never)
    assert shown(out)["wall_time_s"] > 0


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A job without a launcher, just started; it has to end with 75."""
    job = start(config_file(tmp_path), tmp_path / "run", 0)
    try:
        yield job
        _, errors = mpi_launcher.communicate(job)
    finally:
        mpi_launcher.stop(job)
    assert job.returncode == 75, errors


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_term_and_interrupt_stop_a_job_without_a_launcher_alike(
    tmp_path: Path, alone: subprocess.Popen[str], number: signal.Signals
) -> None:
    wait_for_trials(tmp_path / "run", 1)
    alone.send_signal(number)


def test_a_signal_while_the_program_is_loaded_is_not_lost(alone: subprocess.Popen[str]) -> None:
    time.sleep(0.3)
    alone.send_signal(signal.SIGUSR1)


def test_more_signals_do_not_change_the_exit_code(
    tmp_path: Path, alone: subprocess.Popen[str]
) -> None:
    wait_for_trials(tmp_path / "run", 1)
    deadline = time.monotonic() + 60
    while alone.poll() is None and time.monotonic() < deadline:
        alone.send_signal(signal.SIGTERM)
        time.sleep(0.02)


def wait_for_log(out: Path, words: str, count: int = 1, limit_s: float = 120.0) -> None:
    deadline = time.monotonic() + limit_s
    while not (out / "run.log").exists() or (out / "run.log").read_text().count(words) < count:
        assert time.monotonic() < deadline, f"nothing is logged of {words!r}"
        time.sleep(0.05)


def forkservers(job: subprocess.Popen[str]) -> list[psutil.Process]:
    family = psutil.Process(job.pid).children(recursive=True)
    return [one for one in family if "mpinas.trial.forkserver" in " ".join(one.cmdline())]


def hang_one_worker(job: subprocess.Popen[str], ranks: int) -> psutil.Process:
    """Stops what a worker depends on, so that its trial cannot be ended in order.

    Local workers share a forkserver; under MPI the rank above one forkserver is stopped.
    """
    server = min(forkservers(job), key=lambda one: one.pid)
    stopped = server.parent() if ranks else server
    assert stopped is not None
    stopped.suspend()
    return stopped


@pytest.mark.parametrize("ranks", [0, 3])
def test_a_second_signal_ends_at_once_what_the_first_one_waits_for(
    tmp_path: Path, ranks: int
) -> None:
    config, out = config_file(tmp_path), tmp_path / "run"
    job = start(config, out, ranks, *ENDLESS, "--set", "run.grace_s=300")
    try:
        wait_for_log(out, "started on", 2)
        hang_one_worker(job, ranks)
        job.send_signal(signal.SIGUSR1)
        wait_for_log(out, "SIGUSR1: 2 running trials are cancelled")
        time.sleep(ECHO_S + 0.5)
        assert job.poll() is None, "there was nothing to wait for"
        job.send_signal(signal.SIGUSR1)
        output, errors = mpi_launcher.communicate(job)
    finally:
        mpi_launcher.stop(job)
    assert job.returncode == 75, output + errors
    assert "Traceback" not in errors
    assert "not waited for" in errors
    assert "the same command goes on" in output
    assert not RunDirectory(out).owner.exists()


def test_a_worker_that_hangs_is_not_waited_for_beyond_the_grace_time(tmp_path: Path) -> None:
    config, out = config_file(tmp_path), tmp_path / "run"
    job = start(config, out, 3, *ENDLESS, "--set", "run.grace_s=2")
    try:
        wait_for_log(out, "started on", 2)
        family = [one.pid for one in psutil.Process(job.pid).children(recursive=True)]
        hang_one_worker(job, 3)
        job.send_signal(signal.SIGUSR1)
        output, errors = mpi_launcher.communicate(job)
    finally:
        mpi_launcher.stop(job)
    assert job.returncode == 75, output + errors
    _, alive = psutil.wait_procs([psutil.Process(p) for p in family if psutil.pid_exists(p)], 20)
    assert alive == []


MUTE_WORKER = str(mpi_launcher.TESTS / "mpi" / "mute_worker_program.py")
SLOW_DATA = """
import pathlib, time
import numpy as np

def load():
    here = pathlib.Path(__file__).parent
    (here / "reading").touch()
    while not (here / "go").exists():
        time.sleep(0.05)
    images = np.arange(40 * 64, dtype="uint8").reshape(40, 8, 8, 1)
    labels = np.arange(40) % 4
    return (images, labels), (images, labels)
"""


def wait_for_file(file: Path, job: subprocess.Popen[str], limit_s: float = 120.0) -> None:
    deadline = time.monotonic() + limit_s
    while not file.exists():
        assert job.poll() is None, "the job ended before"
        assert time.monotonic() < deadline, f"nobody made {file.name}"
        time.sleep(0.05)


def check_end_before_a_trial(
    job: subprocess.Popen[str], out: Path, codes: Sequence[int] = (75,)
) -> str:
    """Long before the function of the user, or the limit for first words, would let it."""
    try:
        output, errors = mpi_launcher.communicate(job)
    finally:
        mpi_launcher.stop(job)
    assert job.returncode in codes, output + errors
    assert "Traceback" not in errors
    assert "stopped before a trial was begun; the same command goes on" in errors
    assert not out.exists()
    assert not list(out.parent.glob(".*")), "nothing half made is left"
    return errors


@pytest.mark.parametrize("ranks", [0, 3])
@pytest.mark.parametrize("by_the_clock", [False, True])
def test_data_that_are_being_prepared_hold_nobody(
    tmp_path: Path, ranks: int, by_the_clock: bool
) -> None:
    config, out, script = config_file(tmp_path), tmp_path / "run", tmp_path / "slow_data.py"
    script.write_text(SLOW_DATA)
    data = ("--set", f"problem={{name: python, path: '{script}:load'}}")
    limit = ("--walltime", "00:00:30", "--set", "run.grace_s=1") if by_the_clock else ()
    job = start(config, out, ranks, *data, *limit, "--set", "trial.batch_size=8")
    if not by_the_clock:
        wait_for_file(tmp_path / "reading", job)
        job.send_signal(signal.SIGUSR1)
    errors = check_end_before_a_trial(job, out)
    assert ("the walltime is near" if by_the_clock else "SIGUSR1") in errors
    (tmp_path / "go").touch()
    again = start(config, out, 0, *data, "--set", "trial.batch_size=8")
    output, errors = mpi_launcher.communicate(again)
    mpi_launcher.stop(again)
    assert again.returncode == 0, output + errors


def silent_job(
    moment: str, tmp_path: Path, *options: str, launcher_options: Sequence[str] = ()
) -> subprocess.Popen[str]:
    """A job of which rank 2 has fallen silent, on its way to a run directory ``run``."""
    marker, out = tmp_path / "mute", tmp_path / "run"
    marker.unlink(missing_ok=True)
    search = ["run", str(config_file(tmp_path)), "--out", str(out), *options]
    program = [MUTE_WORKER, moment, str(marker), *search]
    job = mpi_launcher.start(3, program, launcher_options=launcher_options)
    wait_for_file(marker, job)
    return job


def test_a_rank_that_does_not_come_to_mpi_holds_nobody(tmp_path: Path) -> None:
    """MPICH's launcher kills the rank that stays, and may end with the number of that signal."""
    job = silent_job("before_mpi", tmp_path)
    job.send_signal(signal.SIGUSR1)
    codes = (75,) if mpi_launcher.is_open_mpi() else (75, signal.SIGKILL)
    errors = check_end_before_a_trial(job, tmp_path / "run", codes)
    assert errors.count("SIGUSR1, and not all ranks had come up: stopped before a trial") == 1


def test_workers_that_do_not_say_hello_hold_nobody(tmp_path: Path) -> None:
    job = silent_job("before_hello", tmp_path)
    job.send_signal(signal.SIGUSR1)
    assert "ranks [2] had not said yet" in check_end_before_a_trial(job, tmp_path / "run")


def test_workers_that_do_not_say_hello_before_the_walltime_hold_nobody(tmp_path: Path) -> None:
    limit = ("--walltime", "00:00:30", "--set", "run.grace_s=1")
    job = silent_job("before_hello", tmp_path, *limit)
    assert "ranks [2] had not said yet" in check_end_before_a_trial(job, tmp_path / "run")


def test_a_worker_that_hangs_while_data_are_prepared_gets_no_grace(tmp_path: Path) -> None:
    script = tmp_path / "slow_data.py"
    script.write_text(SLOW_DATA)
    data = ("--set", f"problem={{name: python, path: '{script}:load'}}")
    options = (*data, "--set", "trial.batch_size=8", "--set", "run.grace_s=300")
    job = silent_job("after_hello", tmp_path, *options)
    wait_for_file(tmp_path / "reading", job)
    job.send_signal(signal.SIGUSR1)
    assert "SIGUSR1" in check_end_before_a_trial(job, tmp_path / "run")


def asking(program: str, answer: str, folder: Path) -> dict[str, str]:
    """A scheduler's program of that name that gives this answer, in front of all others."""
    file = folder / program
    file.write_text(f"#!/bin/sh\necho '{answer}'\n")
    file.chmod(0o755)
    return {"PATH": os.pathsep.join([str(folder), os.environ["PATH"]])}


@pytest.mark.parametrize(
    ("ranks", "job", "program", "answer"),
    [(0, "SLURM_JOB_ID", "squeue", "0:20"), (3, "LSB_JOBID", "bjobs", "-|1.0|40 second(s)")],
)
def test_the_end_that_a_scheduler_tells_stops_the_job_before_it(
    tmp_path: Path, ranks: int, job: str, program: str, answer: str
) -> None:
    config, out = config_file(tmp_path), tmp_path / "run"
    environment = {job: "7", **asking(program, answer, tmp_path)}
    process = start(config, out, ranks, *ENDLESS, environment=environment)
    try:
        output, errors = mpi_launcher.communicate(process)
    finally:
        mpi_launcher.stop(process)
    assert process.returncode == 75, output + errors
    assert f"the job ends in 20 s ({program})" in errors
    assert "the walltime is near" in errors


def test_a_job_that_is_over_already_is_refused_with_the_cure_and_writes_nothing(
    tmp_path: Path,
) -> None:
    config, out = config_file(tmp_path), tmp_path / "run"
    environment = {"LSB_JOBID": "7", **asking("bjobs", "-|1.0|90 second(s)", tmp_path)}
    job = start(config, out, 3, environment=environment)
    try:
        output, errors = mpi_launcher.communicate(job)
    finally:
        mpi_launcher.stop(job)
    assert job.returncode == 2, output + errors
    (line,) = [line for line in errors.splitlines() if "over before a trial" in line]
    assert "--walltime" in line
    assert not out.exists()
