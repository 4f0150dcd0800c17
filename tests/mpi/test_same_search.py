"""Same seed, same search: alone, with local workers, over MPI with two and with four workers.

The whole suite runs once under each MPI, and every run is compared with the same serial one, so
the two MPIs are compared as well. Real networks: once per executor.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mpi_launcher
import pytest
from searching import config_file

from mpinas.config_fake import FAILURE_KINDS

QUICKSTART = Path(__file__).parents[2] / "configs" / "quickstart.yaml"

Trial = tuple[str, str, float | None]


def search(config: Path, out: Path, ranks: int, *options: str) -> list[Trial]:
    """Runs a search with so many ranks, or with local workers (given as an option), to its end."""
    program = ["-m", "mpinas", "run", str(config), "--out", str(out), *options]
    run = (
        mpi_launcher.run(ranks, program, limit_s=300)
        if ranks
        else mpi_launcher.run_alone(program, limit_s=300)
    )
    assert run.returncode == 0, run.stdout + run.stderr
    return trials(shown(out))


def shown(out: Path) -> dict[str, Any]:
    """What ``show --json`` says."""
    run = mpi_launcher.run_alone(["-m", "mpinas", "show", str(out), "--json"])
    assert run.returncode == 0, run.stderr
    view: dict[str, Any] = json.loads(run.stdout)
    assert view["status"] == "done"
    return view


def trials(view: dict[str, Any]) -> list[Trial]:
    return [(one["trial_id"], one["network_hash"], one["fitness"]) for one in view["trials"]]


def shrinks(out: Path) -> list[tuple[int | None, dict[str, Any] | None]]:
    """FLOPs after the shrink, and all else that is told of it, of each trial."""
    return [(one["shrunk_flops"], one["shrink"]) for one in shown(out)["trials"]]


@pytest.fixture(scope="module")
def serial(tmp_path_factory: pytest.TempPathFactory) -> list[Trial]:
    folder = tmp_path_factory.mktemp("serial")
    found = search(config_file(folder), folder / "run", 0, "--workers", "1")
    assert len(found) == 18
    return found


@pytest.mark.parametrize(("ranks", "workers"), [(0, 2), (3, 2), (5, 4)])
def test_fake_trials_give_the_serial_search(
    tmp_path: Path, serial: list[Trial], ranks: int, workers: int
) -> None:
    options = ("--workers", str(workers)) if not ranks else ()
    seconds = ("--set", "trial.fake.seconds={mean: 0.02, sigma: 1.0}")
    config = config_file(tmp_path)
    assert search(config, tmp_path / "run", ranks, *options) == serial
    slow = search(config, tmp_path / "slow", ranks, *options, *seconds)
    assert slow == serial, "the order in which results return matters"
    ranks_used = {one["rank"] for one in shown(tmp_path / "slow")["trials"]} - {None}
    assert ranks_used == set(range(1, workers + 1))


@pytest.mark.keras
def test_real_networks_are_identical_with_local_workers_and_over_mpi(tmp_path: Path) -> None:
    # The second generation is bred from what the first came to.
    short = ("--set=tuner.generations=2", "--set=tuner.individuals=4")
    local = search(QUICKSTART, tmp_path / "local", 0, "--workers", "2", *short)
    over_mpi = search(QUICKSTART, tmp_path / "mpi", 3, *short)
    assert over_mpi == local
    assert len(local) == 8
    assert max(fitness or 0.0 for _, _, fitness in local) > 0.9
    by_local = shrinks(tmp_path / "local")
    assert shrinks(tmp_path / "mpi") == by_local
    outcomes = {shrink["outcome"] for _, shrink in by_local if shrink is not None}
    assert "shrunk" in outcomes, "these trials cannot tell whether shrinks are identical"


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("--set=trial.epohcs=3", "unknown key 'epohcs'"),
        ("--set=trial.batch_size=5000", "fewer training images"),
        ("--set=run.gpus=9", "GPUs"),
    ],
)
def test_what_the_user_must_change_ends_the_whole_job_with_code_2(
    tmp_path: Path, option: str, words: str
) -> None:
    program = ["-m", "mpinas", "run", str(config_file(tmp_path)), "--out", str(tmp_path / "run")]
    run = mpi_launcher.run(3, [*program, option], limit_s=60)
    assert run.returncode == 2, run.stderr
    assert run.stderr.count(words) == 1
    assert "Traceback" not in run.stderr
    assert not (tmp_path / "run").exists()


def test_every_kind_of_failure_is_a_classified_trial_of_a_finished_run(tmp_path: Path) -> None:
    odds = ", ".join(f"{kind}: 0.1" for kind in FAILURE_KINDS)
    options = (
        f"trial.fake.failures={{{odds}}}",
        "tuner={name: random_search, generations: 2, individuals: 30}",
        "trial.time_limit_s=1",
        "trial.memory_limit_mb=400",
    )
    config = config_file(tmp_path)
    found = search(config, tmp_path / "run", 3, *(f"--set={option}" for option in options))
    assert len(found) == 60
    failures = [one["failure"] for one in shown(tmp_path / "run")["trials"]]
    assert set(failures) == {None, "error", "crash", "oom", "timeout", "nan"}
    texts = "".join(
        file.read_text() for file in sorted((tmp_path / "run" / "journal").glob("*.jsonl"))
    )
    for words in (
        "a failure on purpose",
        "SystemExit",
        "exit code 3",
        "SIGSEGV",
        "SIGKILL",
        "memory limit",
        "time limit",
        "nan",
        "serialize",
    ):
        assert words in texts


def test_no_process_of_the_job_has_tensorflow_loaded(tmp_path: Path) -> None:
    """Rank 0 and the workers only; it is loaded in the forkservers below them."""
    hook = tmp_path / "sitecustomize.py"
    hook.write_text(
        "import atexit, os, sys, pathlib\n"
        "def tell():\n"
        "    if 'mpi4py.MPI' in sys.modules:\n"
        f"        file = pathlib.Path({str(tmp_path)!r}, f'{{os.getpid()}}.told')\n"
        "        file.write_text(str('tensorflow' in sys.modules))\n"
        "atexit.register(tell)\n"
    )
    options = ("tuner.generations=1", "tuner.individuals=2", "trial.epochs=2", "trial.fake={}")
    program = ["-m", "mpinas", "run", str(QUICKSTART), "--out", str(tmp_path / "run")]
    run = mpi_launcher.run(
        3,
        [*program, *(f"--set={option}" for option in options)],
        {"PYTHONPATH": str(tmp_path)},
    )
    assert run.returncode == 0, run.stderr
    told = [file.read_text() for file in tmp_path.glob("*.told")]
    assert told == ["False"] * 3
