"""A job that is asked to stop saves what it has, ends with 75, and goes on where it was.

USR1 is the one signal that the launchers of both MPIs pass on (MPICH's dies of USR2).
"""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import mpi_launcher
import pytest
from searching import config_file, found
from test_same_search import search, shown

from mpinas.run_directory import RunDirectory

SLOW = ("--set", "trial.fake.seconds={mean: 0.3, sigma: 0.3}")


def start(config: Path, out: Path, ranks: int) -> subprocess.Popen[str]:
    program = ["-m", "mpinas", "run", str(config), "--out", str(out), *SLOW]
    if ranks:
        return mpi_launcher.start(ranks, program)
    return mpi_launcher.start_alone([*program, "--workers", "2"])


def wait_for_trials(out: Path, count: int, limit_s: float = 60.0) -> None:
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
        job.send_signal(number)
        output, errors = job.communicate(timeout=60)
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
        _, errors = job.communicate(timeout=60)
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
