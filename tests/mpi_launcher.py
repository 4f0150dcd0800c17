"""Starts programs under the mpiexec of this Python environment, never without a time limit."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

TESTS = Path(__file__).parent
SCRIPTS = Path(sysconfig.get_path("scripts"))
MPIEXEC = SCRIPTS / "mpiexec"


class LauncherCrashed(Exception):
    """``mpiexec`` itself, no rank, died of a segmentation fault; such a test is run again.

    Open MPI's 5.0.11 did in 2 of 26 and in 2 of 60 jobs that ended by MPI_Abort. Neither its exit
    code nor what it passed on says anything of ours then.
    """


@cache
def is_open_mpi() -> bool:
    """Whether the environment's mpiexec is Open MPI's; else it is MPICH's."""
    version = subprocess.run(
        [str(MPIEXEC), "--version"], capture_output=True, text=True, check=True, timeout=60
    )
    return "Open MPI" in version.stdout or "open-mpi" in version.stdout


def command(ranks: int, program: Sequence[str], launcher_options: Sequence[str] = ()) -> list[str]:
    """The command line that runs a Python program on so many ranks of this machine."""
    options = ["--map-by", ":OVERSUBSCRIBE", "--bind-to", "none"] if is_open_mpi() else []
    options += launcher_options
    return [str(MPIEXEC), *options, "-n", str(ranks), sys.executable, *program]


def environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """Of a job: this one's, without what would make it part of another MPI job."""
    return {
        **os.environ,
        "OMPI_ALLOW_RUN_AS_ROOT": "1",
        "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
        "PYTHONPATH": os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")]),
        **(more or {}),
    }


def start(
    ranks: int,
    program: Sequence[str],
    more: Mapping[str, str] | None = None,
    launcher_options: Sequence[str] = (),
) -> subprocess.Popen[str]:
    """Starts a job in a process group of its own; end it with :func:`stop`."""
    return _start(command(ranks, program, launcher_options), more)


def start_alone(
    program: Sequence[str], more: Mapping[str, str] | None = None
) -> subprocess.Popen[str]:
    """The same for a program without a launcher."""
    return _start([sys.executable, *program], more)


def _start(arguments: Sequence[str], more: Mapping[str, str] | None) -> subprocess.Popen[str]:
    return subprocess.Popen(
        arguments,
        env=environment(more),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def communicate(job: subprocess.Popen[str], limit_s: float = 120.0) -> tuple[str, str]:
    """Waits for the end of a job: standard output and standard error.

    A rank that is killed by a signal makes a positive exit code of the launcher.

    Raises:
        LauncherCrashed: the launcher is not what was to be tested.
        subprocess.TimeoutExpired: it goes on; end it with :func:`stop`.
    """
    output, errors = job.communicate(timeout=limit_s)
    assert isinstance(job.args, list)
    if job.args[0] == str(MPIEXEC) and job.returncode == -signal.SIGSEGV:
        raise LauncherCrashed(errors)
    return output, errors


def stop(job: subprocess.Popen[str]) -> None:
    """Kills what is left of a job."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(job.pid, signal.SIGKILL)
    for stream in (job.stdout, job.stderr):
        if stream is not None:
            stream.close()
    job.wait()


def run(
    ranks: int,
    program: Sequence[str],
    more: Mapping[str, str] | None = None,
    limit_s: float = 120.0,
    launcher_options: Sequence[str] = (),
) -> subprocess.CompletedProcess[str]:
    """Runs a job to its end, and prints how it ended, for reports of failed tests.

    Raises:
        LauncherCrashed: see :func:`communicate`.
        subprocess.TimeoutExpired: it was killed for its time; its output is in the error.
    """
    job = start(ranks, program, more, launcher_options)
    try:
        output, errors = communicate(job, limit_s)
    finally:
        stop(job)
    print(f"{ranks} ranks of {program}: exit code {job.returncode}\n{output}\n{errors}")
    return subprocess.CompletedProcess(job.args, job.returncode, output, errors)


def run_alone(
    program: Sequence[str], more: Mapping[str, str] | None = None, limit_s: float = 120.0
) -> subprocess.CompletedProcess[str]:
    """Runs a Python program without a launcher, to its end."""
    return subprocess.run(
        [sys.executable, *program],
        env=environment(more),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=limit_s,
        check=False,
    )
