"""``kill -9`` of one rank: no child and no forkserver of the job lives on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator

import mpi_launcher
import psutil
import pytest
from test_farm import PROGRAM

OUTLIVED_S = 3.0
"""By what is below a killed rank, at most; the kernel kills it within a second."""


@pytest.fixture
def job() -> Iterator[subprocess.Popen[str]]:
    """Two workers, each with a child in an endless loop that ignores SIGTERM."""
    started = mpi_launcher.start(3, [PROGRAM, "wait_in_trials", "{}"])
    yield started
    mpi_launcher.stop(started)


@pytest.mark.parametrize("victim", ["rank 0", "a worker"])
def test_nothing_outlives_a_killed_rank(job: subprocess.Popen[str], victim: str) -> None:
    assert job.stdout is not None
    told = json.loads(job.stdout.readline())
    workers = [psutil.Process(pid) for pid in told["workers"].values()]
    below = [worker.children(recursive=True) for worker in workers]
    assert [len(processes) for processes in below] == [2, 2], "a forkserver with a child each"
    os.kill(told["rank_0"] if victim == "rank 0" else workers[0].pid, signal.SIGKILL)
    if victim == "a worker":
        _, alive = psutil.wait_procs(below[0], timeout=OUTLIVED_S)
        assert alive == []
    _, alive = psutil.wait_procs([*below[0], *below[1]], timeout=20)
    assert alive == []
    assert job.wait(timeout=60) != 0
    _, alive = psutil.wait_procs(workers, timeout=20)
    assert alive == []


def test_orphans_are_really_orphans(job: subprocess.Popen[str]) -> None:
    """The same for the whole job at once, launcher included."""
    assert job.stdout is not None
    told = json.loads(job.stdout.readline())
    workers = [psutil.Process(pid) for pid in told["workers"].values()]
    everything = [*workers, *psutil.Process(job.pid).children(recursive=True)]
    everything += [process for worker in workers for process in worker.children(recursive=True)]
    for process in (*workers, psutil.Process(job.pid), psutil.Process(told["rank_0"])):
        process.kill()
    _, alive = psutil.wait_procs(set(everything), timeout=20)
    assert alive == []
