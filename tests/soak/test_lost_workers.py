"""``kill -9`` of a random worker at a random moment of each run, under Open MPI with ULFM.

A seeded sample runs always, all rounds with ``--soak``.
"""

from __future__ import annotations

import random
import time
from pathlib import Path

import losing
import mpi_launcher
import pytest
from losing import finish, ranks_of, start_search, wait_for_results
from searching import config_file
from test_same_search import search, shown, trials

pytestmark = pytest.mark.skipif(not mpi_launcher.is_open_mpi(), reason=losing.NOT_HERE)

ROUNDS, SAMPLE = 20, 2
WORKERS = 3
OPTIONS = ("--set", "trial.fake.seconds={mean: 0.3, sigma: 0.5}")
LATEST_S = 2.0
"""After the first result; of trials that take three workers two seconds and more."""


def test_each_run_loses_a_worker_and_no_trial(tmp_path: Path, whole_soak: bool) -> None:
    config = config_file(tmp_path)
    expected = search(config, tmp_path / "never", 0, "--workers", "1")
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
        assert trials(shown(out)) == expected
        assert losing.journal_lines(out) == [6, 6, 6]
        assert f"ERROR worker {victim} on " in (out / "run.log").read_text()
