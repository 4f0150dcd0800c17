"""How long a job takes from a signal to its exit: in order, with a worker that hangs, asked twice.

Run by hand: ``python tests/benchmarks/drain.py [GRACE_S]``; jobs alone with two local workers, and
with three ranks under the mpiexec of the Python environment. Nothing here is a test of time.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).parents[1]))

import mpi_launcher
from searching import config_file

from mpinas.signals import ECHO_S

RANKS = 3
REPEATS = 3
START_LIMIT_S = 120.0
Job = subprocess.Popen[str]


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def start(folder: Path, ranks: int, grace_s: float) -> Job:
    """A job whose two trials run and would not end by themselves."""
    out = folder / "run"
    seconds, grace = "trial.fake.seconds={mean: 600, sigma: 0}", f"run.grace_s={grace_s}"
    program = ["-m", "mpinas", "run", str(config_file(folder)), "--out", str(out)]
    program += ["--set", seconds, "--set", grace]
    if ranks:
        job = mpi_launcher.start(ranks, program)
    else:
        job = mpi_launcher.start_alone([*program, "--workers", "2"])
    deadline = time.monotonic() + START_LIMIT_S
    log = out / "run.log"
    while not log.exists() or log.read_text().count("started on") < 2:
        if time.monotonic() > deadline or job.poll() is not None:
            raise RuntimeError("the trials did not start")
        time.sleep(0.02)
    return job


def in_order(job: Job) -> float:
    begun_s = time.monotonic()
    job.send_signal(signal.SIGUSR1)
    return begun_s


def with_a_worker_that_hangs(job: Job) -> float:
    _hang(job)
    return in_order(job)


def asked_twice(job: Job) -> float:
    """From the second signal."""
    with_a_worker_that_hangs(job)
    time.sleep(ECHO_S + 0.2)
    return in_order(job)


def _hang(job: Job) -> None:
    """Stops a worker rank, or the forkserver of local workers."""
    family = psutil.Process(job.pid).children(recursive=True)
    servers = [one for one in family if "mpinas.trial.forkserver" in " ".join(one.cmdline())]
    server = min(servers, key=lambda one: one.pid)
    parent = server.parent()
    (server if parent is None or parent.pid == job.pid else parent).suspend()


def measure(ranks: int, grace_s: float, ask: Callable[[Job], float]) -> float:
    with tempfile.TemporaryDirectory() as folder:
        job = start(Path(folder), ranks, grace_s)
        try:
            begun_s = ask(job)
            job.wait(timeout=grace_s + 60)
            passed_s = time.monotonic() - begun_s
        finally:
            mpi_launcher.stop(job)
        if job.returncode != 75:
            raise RuntimeError(f"exit code {job.returncode}")
        return passed_s


def main() -> int:
    grace_s = float(sys.argv[1]) if sys.argv[1:] else 5.0
    launcher = "Open MPI" if mpi_launcher.is_open_mpi() else "MPICH"
    say(f"grace {grace_s:g} s; seconds from the signal to the exit, {REPEATS} jobs each")
    for ranks in (0, RANKS):
        for ask in (in_order, with_a_worker_that_hangs, asked_twice):
            passed_s = sorted(measure(ranks, grace_s, ask) for _ in range(REPEATS))
            title = f"{launcher}, {ranks} ranks" if ranks else "2 local workers"
            words = ", ".join(f"{one_s:.2f}" for one_s in passed_s)
            say(f"{title}, {ask.__name__.replace('_', ' ')}: {words}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
