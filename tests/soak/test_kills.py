"""``kill -9`` of the whole job at random moments: resumed, it is the search that was never killed.

A seeded sample runs always, all rounds with ``--soak``.
"""

from __future__ import annotations

import random
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import mpi_launcher
import psutil
import pytest
from searching import config_file, found

from mpinas.run_directory import RunDirectory

QUICKSTART = Path(__file__).parents[2] / "configs" / "quickstart.yaml"

FAKE_ROUNDS, FAKE_SAMPLE = 20, 4
REAL_ROUNDS, REAL_SAMPLE = 3, 1
FAKE_OPTIONS = ("--set", "trial.fake.seconds={mean: 0.1, sigma: 0.5}")


def start(config: Path, out: Path, ranks: int, *options: str) -> subprocess.Popen[str]:
    """The job with so many ranks; with 0, the process alone with two local workers."""
    program = ["-m", "mpinas", "run", str(config), "--out", str(out), *options]
    if ranks:
        return mpi_launcher.start(ranks, program)
    return mpi_launcher.start_alone([*program, "--workers", "2"])


def finish(config: Path, out: Path, ranks: int, *options: str) -> None:
    job = start(config, out, ranks, *options)
    try:
        output, errors = job.communicate(timeout=300)
        assert job.returncode == 0, output + errors
    finally:
        mpi_launcher.stop(job)


def kill_everything(job: subprocess.Popen[str]) -> None:
    """Launcher, ranks, forkservers and children, all at once; nothing of them lives on."""
    family = [psutil.Process(job.pid), *psutil.Process(job.pid).children(recursive=True)]
    for process in family:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    job.wait()
    _, alive = psutil.wait_procs(family, timeout=10)
    assert alive == []


def rounds(whole: int, sample: int, whole_soak: bool) -> Iterator[random.Random]:
    for number in range(whole if whole_soak else sample):
        yield random.Random(f"soak {number}")


def kill_until_done(
    config: Path, out: Path, draw: random.Random, seconds: float, *options: str
) -> int:
    """Kills two jobs at random moments within so many seconds, then lets one end."""
    kills = 0
    for _ in range(2):
        job = start(config, out, draw.choice([0, 2, 3, 4]), *options)
        time.sleep(draw.uniform(0.0, seconds))
        kills += job.poll() is None
        if job.poll() is None:
            kill_everything(job)
    finish(config, out, draw.choice([0, 2, 3, 5]), *options)
    return kills


def test_fake_searches_survive_being_killed(tmp_path: Path, whole_soak: bool) -> None:
    config = config_file(tmp_path)
    finish(config, tmp_path / "never", 0, *FAKE_OPTIONS)
    expected = found(RunDirectory(tmp_path / "never"))
    kills = 0
    for number, draw in enumerate(rounds(FAKE_ROUNDS, FAKE_SAMPLE, whole_soak)):
        out = tmp_path / f"round{number}"
        kills += kill_until_done(config, out, draw, 4.0, *FAKE_OPTIONS)
        assert found(RunDirectory(out)) == expected
    assert kills >= FAKE_SAMPLE, "the jobs ended before they were killed"


@pytest.mark.keras
def test_a_real_search_survives_being_killed(tmp_path: Path, whole_soak: bool) -> None:
    options = ("--set", "tuner.generations=2", "--set", "tuner.individuals=4")
    finish(QUICKSTART, tmp_path / "never", 3, *options)
    expected = found(RunDirectory(tmp_path / "never"))
    assert len(expected) == 8
    for number, draw in enumerate(rounds(REAL_ROUNDS, REAL_SAMPLE, whole_soak)):
        out = tmp_path / f"round{number}"
        kill_until_done(QUICKSTART, out, draw, 15.0, *options)
        assert found(RunDirectory(out)) == expected
