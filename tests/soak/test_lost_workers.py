"""``kill -9`` of a random worker at a random moment of each run, under Open MPI with ULFM.

A seeded sample runs always, all rounds with ``--soak``.
"""

from __future__ import annotations

import json
import random
import time
from pathlib import Path

import losing
import mpi_launcher
import pytest
from losing import finish, ranks_of, start_search, wait_for_results
from searching import config_file, found

from mpinas.run_directory import RunDirectory

pytestmark = pytest.mark.skipif(not mpi_launcher.is_open_mpi(), reason=losing.NOT_HERE)

ROUNDS, SAMPLE = 20, 2
WORKERS = 3
OPTIONS = ("--set", "trial.fake.seconds={mean: 0.5, sigma: 0.5}")
LATEST_S = 1.5
"""After the first result; the trials take three workers at least twice as long."""


def shown_status(out: Path) -> str:
    """What ``show --json`` says of a run."""
    shown = mpi_launcher.run_alone(["-m", "mpinas", "show", str(out), "--json"])
    assert shown.returncode == 0, shown.stderr
    status: str = json.loads(shown.stdout)["status"]
    return status


def test_each_run_loses_a_worker_and_no_trial(tmp_path: Path, whole_soak: bool) -> None:
    config = config_file(tmp_path)
    never = ["-m", "mpinas", "run", str(config), "--out", str(tmp_path / "never")]
    assert mpi_launcher.run_alone(never, limit_s=300).returncode == 0
    expected = found(RunDirectory(tmp_path / "never"))
    for number in range(ROUNDS if whole_soak else SAMPLE):
        draw, out = random.Random(f"lost worker {number}"), tmp_path / f"round{number}"
        job = start_search(config, out, WORKERS + 1, *OPTIONS)
        try:
            wait_for_results(out, 1)
            time.sleep(draw.uniform(0.0, LATEST_S))
            victim = draw.randint(1, WORKERS)
            ranks_of(job)[victim].kill()
        except BaseException:
            mpi_launcher.stop(job)
            raise
        code, output = finish(job)
        assert code == 0, output
        assert shown_status(out) == "done"
        assert found(RunDirectory(out)) == expected
        assert losing.journal_lines(out) == [6, 6, 6]
        assert f"ERROR worker {victim} on " in (out / "run.log").read_text()
