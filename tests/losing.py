"""Jobs of Open MPI that are to outlive their workers, and ways to kill these."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import mpi_launcher
import psutil
from searching import found

from mpinas.run_directory import RunDirectory

WITH_ULFM = ("--with-ft", "ulfm")
TOLERANT = ("--set", "run.fault_tolerance=ulfm")
NOT_HERE = "MPICH ends the job with a rank"
RANK = "OMPI_COMM_WORLD_RANK"


def start_search(config: Path, out: Path, ranks: int, *options: str) -> subprocess.Popen[str]:
    """The search as a job that outlives its workers; end it with ``mpi_launcher.stop``."""
    program = ["-m", "mpinas", "run", str(config), "--out", str(out), *TOLERANT, *options]
    return mpi_launcher.start(ranks, program, launcher_options=WITH_ULFM)


def ranks_of(job: subprocess.Popen[str]) -> dict[int, psutil.Process]:
    """The living processes of a job by rank: those that the launcher has given one."""
    ranks: dict[int, psutil.Process] = {}
    for process in psutil.Process(job.pid).children(recursive=True):
        try:
            rank = process.environ().get(RANK)
        except psutil.Error:
            continue
        if rank is not None:
            ranks.setdefault(int(rank), process)
    return ranks


def wait_for_results(out: Path, count: int, limit_s: float = 180.0) -> None:
    """Returns when so many trials stand in the journals."""
    deadline = time.monotonic() + limit_s
    while len(found(RunDirectory(out))) < count:
        assert time.monotonic() < deadline, "no trial ended"
        time.sleep(0.02)


def finish(job: subprocess.Popen[str], limit_s: float = 240.0) -> tuple[int, str]:
    """Exit code of the job and what it wrote."""
    try:
        output, errors = mpi_launcher.communicate(job, limit_s)
    finally:
        mpi_launcher.stop(job)
    return job.returncode, output + errors


def journal_lines(out: Path) -> list[int]:
    """Lines of each generation's journal."""
    return [len(file.read_bytes().splitlines()) for file in RunDirectory(out).journals()]


def environment_rank() -> int:
    """Of this process, as the launcher of either MPI counts."""
    return int(os.environ.get(RANK) or os.environ["PMI_RANK"])
