"""A worker that dies costs its trial and not the job, where Open MPI is asked for that (ULFM)."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import losing
import mpi_launcher
import psutil
import pytest
from losing import TOLERANT, WITH_ULFM, finish, ranks_of, start_search, wait_for_results
from searching import config_file, found
from test_farm import PROGRAM, Line, pick
from test_same_search import Trial, search, shown, trials

from mpinas.run_directory import RunDirectory

ulfm = pytest.mark.skipif(not mpi_launcher.is_open_mpi(), reason=losing.NOT_HERE)
SLOW = ("--set", "trial.fake.seconds={mean: 0.4, sigma: 0.3}")
BROKEN_WORKERS = str(mpi_launcher.TESTS / "mpi" / "broken_workers_program.py")


def farm(scenario: str, ranks: int = 3, **options: Any) -> tuple[int, list[Line], str]:
    """Exit code, JSON lines of rank 0, standard error of a job that outlives its workers."""
    program = [PROGRAM, scenario, json.dumps(options)]
    job = mpi_launcher.run(ranks, program, launcher_options=WITH_ULFM)
    lines = [json.loads(line) for line in job.stdout.splitlines() if line.startswith("{")]
    return job.returncode, lines, job.stderr


@pytest.fixture(scope="module")
def serial(tmp_path_factory: pytest.TempPathFactory) -> list[Trial]:
    """The search as it is found where nothing is killed."""
    folder = tmp_path_factory.mktemp("serial")
    return search(config_file(folder), folder / "run", 0, "--workers", "1")


@pytest.fixture
def job(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A search with three workers, of which some trials have ended."""
    started = start_search(config_file(tmp_path), tmp_path / "run", 4, *SLOW)
    try:
        wait_for_results(tmp_path / "run", 3)
        yield started
    finally:
        mpi_launcher.stop(started)


def test_what_this_job_cannot_do_is_refused_with_the_cure(tmp_path: Path) -> None:
    """Under MPICH, and under an mpiexec of Open MPI that was not asked."""
    program = ["-m", "mpinas", "run", str(config_file(tmp_path)), *TOLERANT]
    refused = mpi_launcher.run(3, [*program, "--out", str(tmp_path / "run")])
    assert refused.returncode == 2, refused.stderr
    (line,) = [line for line in refused.stderr.splitlines() if "run.fault_tolerance" in line]
    assert "mpiexec --with-ft ulfm" in line
    assert "library=" + ("Open MPI" if mpi_launcher.is_open_mpi() else "MPICH") in line
    assert not (tmp_path / "run").exists()


def test_without_mpi_nobody_has_to_be_survived(tmp_path: Path) -> None:
    assert len(search(config_file(tmp_path), tmp_path / "run", 0, *TOLERANT)) == 18


@ulfm
@pytest.mark.parametrize("victims", [(2,), (1, 3)])
def test_killed_workers_change_nothing_of_what_is_found(
    tmp_path: Path, job: subprocess.Popen[str], serial: list[Trial], victims: tuple[int, ...]
) -> None:
    ranks = ranks_of(job)
    for rank in victims:
        below = ranks[rank].children(recursive=True)
        assert below, "a forkserver"
        ranks[rank].kill()
        _, alive = psutil.wait_procs(below, timeout=10)
        assert alive == []
    code, output = finish(job)
    assert code == 0, output
    assert trials(shown(tmp_path / "run")) == serial
    assert losing.journal_lines(tmp_path / "run") == [6, 6, 6]
    log = (tmp_path / "run" / "run.log").read_text()
    for rank in victims:
        assert f"worker {rank} on " in log
        assert log.count(f"ERROR worker {rank} ") == 1
    assert "lost: its process died" in log
    seen = shown(tmp_path / "run")
    assert seen["workers"] == 3 - len(victims)
    assert sorted(one["rank"] for one in seen["lost_workers"]) == list(victims)


@ulfm
def test_the_last_worker_ends_the_run_which_can_go_on(
    tmp_path: Path, job: subprocess.Popen[str], serial: list[Trial]
) -> None:
    ranks = ranks_of(job)
    for rank in (1, 2, 3):
        ranks[rank].kill()
    code, output = finish(job)
    assert code == 1, output
    assert "no worker is left that can run a trial" in output
    assert "Traceback" not in output
    assert 3 <= len(found(RunDirectory(tmp_path / "run"))) < 18
    assert search(config_file(tmp_path), tmp_path / "run", 3, *SLOW) == serial


@ulfm
def test_a_job_that_has_lost_a_worker_stops_in_order(
    tmp_path: Path, job: subprocess.Popen[str]
) -> None:
    before = len(found(RunDirectory(tmp_path / "run")))
    ranks_of(job)[1].kill()
    wait_for_results(tmp_path / "run", before + 1)
    job.send_signal(signal.SIGUSR1)
    code, output = finish(job)
    assert code == 75, output


@ulfm
def test_without_rank_0_everybody_leaves(job: subprocess.Popen[str]) -> None:
    """And the exit code is not that of a job that is done."""
    everything = psutil.Process(job.pid).children(recursive=True)
    ranks_of(job)[0].kill()
    _, alive = psutil.wait_procs(everything, timeout=60)
    assert alive == []
    assert finish(job)[0] not in (0, 75)


@ulfm
@pytest.mark.parametrize("exit_code", [0, 75])
@pytest.mark.parametrize("moment", ["training", "idle", "sending"])
def test_a_worker_may_die_at_any_moment(moment: str, exit_code: int) -> None:
    code, lines, errors = farm("lose_a_worker", **{"while": moment}, exit_code=exit_code)
    (lost,) = [line for line in lines if line.get("kind") == "WorkerLost"]
    assert lost["worker"]["rank"] == 1
    assert lost["trial_id"] == (None if moment == "idle" else "g000-t000"), errors
    assert pick(lines, "ended") == ["g000-t001", "g000-t002"]
    assert pick(lines, "alive") == [0]
    assert (pick(lines, "unanswered"), pick(lines, "farewells")) == ([[]], [[2]])
    assert code == exit_code, errors


@ulfm
def test_nobody_lost_is_an_end_like_any_other() -> None:
    code, lines, errors = farm("run_trials", trials=[{"index": 0}], exit_code=75)
    assert pick(lines, "unanswered") == [[]]
    assert pick(lines, "tensorflow_loaded") == [False, False]
    assert code == 75, errors


@ulfm
def test_who_dies_before_its_first_message_is_left_out() -> None:
    code, lines, errors = farm(
        "run_trials", 4, die_before_hello=[2], trials=[{"index": index} for index in range(4)]
    )
    assert code == 0, errors
    assert pick(lines, "workers") == [2]
    (lost,) = [line for line in lines if line.get("kind") == "WorkerLost"]
    assert (lost["worker"]["rank"], lost["trial_id"]) == (2, None)
    assert {one["worker"]["rank"] for one in pick(lines, "result")} <= {1, 3}


@ulfm
def test_a_farm_whose_workers_all_die_at_the_start_says_so() -> None:
    code, lines, errors = farm("run_trials", die_before_hello=[1, 2], trials=[])
    assert code == 1, errors
    assert "no worker is left" in pick(lines, "fault")[0]


@ulfm
def test_who_dies_before_mpi_is_initialised_holds_nobody_for_ever() -> None:
    """The others wait for it inside of MPI_Init, where no Python runs."""
    code, _, errors = farm("run_trials", dies_before_init=1, init_limit_s=10.0, trials=[])
    assert code == 1
    assert "Init_thread" in errors or "join" in errors


@ulfm
@pytest.mark.parametrize("exit_code", [0, 75])
def test_a_worker_that_hears_nothing_does_not_hold_the_job(exit_code: int) -> None:
    code, lines, errors = farm(
        "leave_a_deaf_worker", settings={"grace_s": 1.0}, exit_code=exit_code
    )
    assert pick(lines, "unanswered") == [[]]
    assert code == exit_code, errors


@ulfm
def test_an_error_on_rank_0_ends_the_job() -> None:
    code, _, errors = farm("raise_error")
    assert code == 1
    assert "ValueError: rank 0 fails on purpose" in errors


@ulfm
def test_an_error_on_a_worker_costs_that_worker() -> None:
    code, lines, errors = farm("run_trials", failing_rank=1, trials=[{"index": 0}])
    assert code == 0, errors
    assert "ValueError: rank 1 fails on purpose" in errors
    assert [one["worker"]["rank"] for one in pick(lines, "result")] == [2]


def test_a_worker_that_fails_for_reasons_of_its_own_is_set_aside_and_named(
    tmp_path: Path, serial: list[Trial]
) -> None:
    out = tmp_path / "run"
    arguments = [BROKEN_WORKERS, "2", "run", str(config_file(tmp_path)), "--out", str(out)]
    job = mpi_launcher.run(4, [*arguments, *SLOW])
    assert job.returncode == 0, job.stderr
    assert trials(shown(out)) == serial
    log = (out / "run.log").read_text()
    (line,) = [line for line in log.splitlines() if " ERROR worker 2 on " in line]
    assert "the forkserver died" in line
    assert " ERROR worker 1 " not in log
    seen = shown(out)
    assert seen["workers"] == 2
    (lost,) = seen["lost_workers"]
    assert (lost["rank"], "the forkserver died" in lost["reason"]) == (2, True)


def test_the_last_worker_set_aside_stops_the_run_with_a_clear_message(tmp_path: Path) -> None:
    out = tmp_path / "run"
    arguments = [BROKEN_WORKERS, "1,2", "run", str(config_file(tmp_path)), "--out", str(out)]
    job = mpi_launcher.run(3, arguments)
    assert job.returncode == 1, job.stderr
    assert "no worker is left that can run a trial; the log says why" in job.stderr
    assert "Traceback" not in job.stderr
    log = (out / "run.log").read_text()
    assert log.count(" ERROR worker 1 on ") == log.count(" ERROR worker 2 on ") == 1
