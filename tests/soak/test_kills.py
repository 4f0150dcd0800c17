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
from searching import FAKE_SEARCH, config_file, found, with_key

from mpinas.report.comparison_view import load_comparison
from mpinas.run_directory import RunDirectory

QUICKSTART = Path(__file__).parents[2] / "configs" / "quickstart.yaml"

FAKE_ROUNDS, FAKE_SAMPLE = 20, 4
REAL_ROUNDS, REAL_SAMPLE = 3, 1
KILLS_OF_A_COMPARISON, KILLS_SAMPLE = 10, 3
FAKE_OPTIONS = ("--set", "trial.fake.seconds={mean: 0.1, sigma: 0.5}")


def start(
    config: Path, out: Path, ranks: int, *options: str, verb: str = "run"
) -> subprocess.Popen[str]:
    """The job with so many ranks; with 0, the process alone with two local workers."""
    program = ["-m", "mpinas", verb, str(config), "--out", str(out), *options]
    if ranks:
        return mpi_launcher.start(ranks, program)
    return mpi_launcher.start_alone([*program, "--workers", "2"])


def finish(config: Path, out: Path, ranks: int, *options: str, verb: str = "run") -> None:
    job = start(config, out, ranks, *options, verb=verb)
    try:
        output, errors = mpi_launcher.communicate(job, limit_s=300)
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
    kills = sum(kill_once(config, out, draw, seconds, *options) for _ in range(2))
    finish(config, out, draw.choice([0, 2, 3, 5]), *options)
    return kills


def kill_once(
    config: Path, out: Path, draw: random.Random, seconds: float, *options: str, verb: str = "run"
) -> bool:
    """Kills a job at a random moment within so many seconds; False where it had ended by then."""
    job = start(config, out, draw.choice([0, 2, 3, 4]), *options, verb=verb)
    time.sleep(draw.uniform(0.0, seconds))
    if job.poll() is not None:
        return False
    kill_everything(job)
    return True


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


def test_a_comparison_survives_being_killed_ten_times(tmp_path: Path, whole_soak: bool) -> None:
    """In all but times, which are those of the trials that came to an end."""
    arms = {"plain": {}, "longer": {"trial.epochs": 4}}
    text = with_key(FAKE_SEARCH, "comparison", experiments=2, arms=arms)
    config = config_file(tmp_path, text)
    options = ("--set", "trial.fake.seconds={mean: 0.6, sigma: 0.5}")
    finish(config, tmp_path / "never", 0, *options, verb="compare")
    out, draw = tmp_path / "often", random.Random("comparison")
    for kills in range(KILLS_OF_A_COMPARISON if whole_soak else KILLS_SAMPLE):
        killed = kill_once(config, out, draw, 4.0, *options, verb="compare")
        assert killed, f"it was done after {kills} kills"
    finish(config, out, 3, *options, verb="compare")
    assert table_of(out) == table_of(tmp_path / "never")


def table_of(path: Path) -> list[object]:
    """What a comparison tells, but for how long anything took."""
    view = load_comparison(path)
    arms = [
        (arm.name, arm.accuracy, arm.flops, arm.ends, arm.against and arm.against.degradation)
        for arm in view.arms
    ]
    runs = [found(RunDirectory(one.run.path)) for one in view.runs]
    return [view.experiments, arms, runs]
