"""The farm over the real mpiexec of this environment."""

from __future__ import annotations

import json
from typing import Any

import mpi_launcher
import pytest
from executor_contract import (
    BROKEN_DEVICE,
    CLASS_OF_FAILURE,
    GOOD_DEVICE,
    WITH_TWO_DEVICES,
    Check,
)

PROGRAM = str(mpi_launcher.TESTS / "mpi" / "farm_program.py")
Line = dict[str, Any]


def farm(
    scenario: str, ranks: int = 3, more: dict[str, str] | None = None, **options: Any
) -> tuple[int, list[Line], str]:
    """Exit code of the job, the JSON lines of rank 0, and what stands on standard error."""
    job = mpi_launcher.run(ranks, [PROGRAM, scenario, json.dumps(options)], more)
    lines = [json.loads(line) for line in job.stdout.splitlines() if line.startswith("{")]
    return job.returncode, lines, job.stderr


def pick(lines: list[Line], key: str) -> list[Any]:
    return [line[key] for line in lines if key in line]


def test_the_contract_of_executors() -> None:
    """One farm for all checks: it has to stay usable from one to the next."""
    code, lines, errors = farm("contract")
    faults = {line["check"]: line["fault"] for line in lines if line.get("fault")}
    assert faults == {}
    assert len(pick(lines, "check")) >= 9 + len(CLASS_OF_FAILURE)
    assert code == 0, errors


@pytest.mark.parametrize("check", WITH_TWO_DEVICES)
def test_the_contract_of_broken_workers(check: Check) -> None:
    code, _, errors = farm(
        "check_broken_workers",
        more={"CUDA_VISIBLE_DEVICES": f"{BROKEN_DEVICE},{GOOD_DEVICE}"},
        check=check.__name__,
    )
    assert code == 0, errors


def test_all_workers_work_and_none_loads_tensorflow() -> None:
    trials = [{"index": index, "seconds": 0.1} for index in range(12)]
    code, lines, errors = farm("run_trials", ranks=4, trials=trials)
    assert code == 0, errors
    ranks = {result["worker"]["rank"] for result in pick(lines, "result")}
    assert ranks == {1, 2, 3}
    assert pick(lines, "tensorflow_loaded") == [False] * 3
    assert pick(lines, "tensorflow_on_rank_0") == [False]
    assert pick(lines, "unanswered") == [[]]


def test_exit_code_of_rank_0_is_that_of_the_job() -> None:
    code, _, errors = farm("run_trials", trials=[{"index": 0}], exit_code=75)
    assert code == 75, errors


def test_no_grace_is_still_enough_for_farewells() -> None:
    """Else every good run would end as if its workers were deaf."""
    code, lines, errors = farm("run_trials", settings={"grace_s": 0.0}, trials=[{"index": 0}])
    assert pick(lines, "unanswered") == [[]]
    assert code == 0, errors


def test_local_ranks_count_workers_and_rank_0_takes_no_device() -> None:
    trials = [{"index": index, "seconds": 0.2} for index in range(4)]
    code, lines, errors = farm(
        "run_trials", ranks=3, more={"CUDA_VISIBLE_DEVICES": "4,5"}, trials=trials
    )
    assert code == 0, errors
    found = {
        (result["worker"]["rank"], result["worker"]["device"]) for result in pick(lines, "result")
    }
    assert found == {(1, "gpu:4"), (2, "gpu:5")}


def test_too_many_workers_for_the_devices_are_refused_once() -> None:
    code, lines, errors = farm("refuse_launch", ranks=4, more={"CUDA_VISIBLE_DEVICES": "0"})
    assert code == 2, errors
    (fault,) = pick(lines, "fault")
    assert fault.count("\n") == 0
    assert "Received: workers=3, gpus=1" in fault


def test_a_job_that_never_makes_an_executor_ends_in_order() -> None:
    code, _, errors = farm("stop_at_once")
    assert code == 2, errors


def test_singletons_are_refused_with_the_cure() -> None:
    """What srun without the right --mpi does: MPI sees one process, the variables say four."""
    environment = {"SLURM_STEP_NUM_TASKS": "4", "SLURM_NTASKS": "4"}
    job = mpi_launcher.run_alone([PROGRAM, "stop_at_once", "{}"], environment)
    assert job.returncode == 2, job.stderr
    assert "--mpi=pmix" in json.loads(job.stdout)["fault"]


@pytest.mark.parametrize("growth_allowed_mb", [5.0])
def test_no_process_grows_with_the_number_of_trials(growth_allowed_mb: float) -> None:
    """1,000 trials on two workers: rank 0, workers and their forkservers, after the first 100."""
    code, lines, errors = farm("watch_memory", trials=1000, first=100)
    assert code == 0, errors
    (grown,) = pick(lines, "grown_mb")
    assert len(grown) == 5
    assert max(grown.values()) < growth_allowed_mb, grown
