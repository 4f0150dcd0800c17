"""The doctor under the real mpiexec of this environment."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import mpi_launcher
import pytest

CONFIG = str(mpi_launcher.TESTS.parent / "configs" / "quickstart.yaml")
WITHOUT_TENSORFLOW = (CONFIG, "--set", "trial.runner=fake")
DOCTOR = ("-m", "mpinas", "doctor", "--json")
PROGRAM = str(mpi_launcher.TESTS / "mpi" / "doctor_program.py")


def view_of(job: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """The one line of JSON that a job prints."""
    lines = [line for line in job.stdout.splitlines() if line.startswith("{")]
    assert len(lines) == 1, job.stdout + job.stderr
    found: dict[str, Any] = json.loads(lines[0])
    return found


def not_fine(view: dict[str, Any]) -> list[str]:
    return [one["message"] for one in view["findings"] if one["level"] != "ok"]


def test_a_healthy_job(tmp_path: Path) -> None:
    """Everything, TensorFlow too; on the environment's own mpiexec, as a user would have it."""
    more = {"PATH": f"{mpi_launcher.SCRIPTS}:/usr/bin:/bin"}
    job = mpi_launcher.run(3, [*DOCTOR, "--out", str(tmp_path / "runs")], more, limit_s=400)
    view = view_of(job)
    assert job.returncode == 0, job.stderr
    assert view["ok"]
    library = "Open MPI" if mpi_launcher.is_open_mpi() else "MPICH"
    assert view["mpi"]["library"].startswith(library)
    assert view["mpi"]["launcher"] == f"mpiexec of {library}"
    assert view["mpi"]["size"] == 3
    assert [row["device"] for row in view["ranks"]] == ["search", "cpu", "cpu"]
    messages = [one["message"] for one in view["findings"]]
    assert any("a convolution on CPU:0" in message for message in messages)
    assert any("long messages arrive whole" in message for message in messages)
    assert list(tmp_path.iterdir()) == []


def test_too_few_gpus_for_the_workers_are_wrong_and_nobody_hangs(tmp_path: Path) -> None:
    arguments = [*DOCTOR, *WITHOUT_TENSORFLOW, "--out", str(tmp_path)]
    job = mpi_launcher.run(3, arguments, {"CUDA_VISIBLE_DEVICES": "0"})
    view = view_of(job)
    assert job.returncode == 2, job.stderr
    assert any("workers=2, gpus=1" in message for message in not_fine(view))
    assert [row["device"] for row in view["ranks"]] == ["search", None, None]


def test_the_table_says_who_runs_where(tmp_path: Path) -> None:
    arguments = ["-m", "mpinas", "doctor", *WITHOUT_TENSORFLOW, "--out", str(tmp_path)]
    job = mpi_launcher.run(3, arguments, {"CUDA_VISIBLE_DEVICES": "4,5"})
    assert job.returncode == 0, job.stdout
    rows = [line.split() for line in job.stdout.splitlines() if not line.startswith(("ok", "warn"))]
    assert [(row[0], row[2]) for row in rows if row] == [
        ("rank", "device"),
        ("0", "search"),
        ("1", "gpu:4"),
        ("2", "gpu:5"),
    ]


@pytest.mark.parametrize(("rank", "moment"), [("1", "at_once"), ("2", "when_asked")])
def test_a_silent_rank_is_a_finding_and_not_a_hang(tmp_path: Path, rank: str, moment: str) -> None:
    options = ["--json", "--time-limit", "60", "--out", str(tmp_path)]
    job = mpi_launcher.run(3, [PROGRAM, rank, moment, *options, *WITHOUT_TENSORFLOW])
    view = view_of(job)
    assert any(f"ranks=[{rank}]" in message for message in not_fine(view)), view
    assert job.returncode != 0
    assert list(tmp_path.iterdir()) == []


def test_singletons_are_wrong_with_the_cure_and_the_rest_is_examined(tmp_path: Path) -> None:
    """What srun without the right --mpi does: MPI sees one process, the variables say four."""
    arguments = [*DOCTOR, *WITHOUT_TENSORFLOW, "--out", str(tmp_path)]
    job = mpi_launcher.run_alone(arguments, {"SLURM_STEP_NUM_TASKS": "4"})
    view = view_of(job)
    assert job.returncode == 2
    (world,) = [one for one in view["findings"] if one["check"] == "world"]
    assert world["level"] == "wrong"
    assert "Use srun --mpi=pmix" in world["message"]
    assert {"run directory", "processors"} <= {one["check"] for one in view["findings"]}


def test_of_singletons_only_the_first_tells(tmp_path: Path) -> None:
    arguments = [*DOCTOR, *WITHOUT_TENSORFLOW, "--out", str(tmp_path)]
    environment = {"SLURM_STEP_NUM_TASKS": "4", "SLURM_PROCID": "2"}
    job = mpi_launcher.run_alone(arguments, environment)
    assert (job.returncode, job.stdout) == (0, "")


def test_an_mpiexec_of_another_mpi_is_told_of(tmp_path: Path) -> None:
    """As Open MPI's mpiexec starts it where mpi4py has loaded an MPICH, and the other way round."""
    variables = {"PMI_SIZE": "3"} if mpi_launcher.is_open_mpi() else {"OMPI_COMM_WORLD_SIZE": "3"}
    arguments = [*DOCTOR, *WITHOUT_TENSORFLOW, "--out", str(tmp_path)]
    job = mpi_launcher.run_alone(arguments, variables)
    assert job.returncode == 2
    wrongs = [one for one in view_of(job)["findings"] if one["level"] == "wrong"]
    (message,) = (one["message"] for one in wrongs)
    assert "Use the mpiexec of the MPI that mpi4py has loaded" in message


@pytest.mark.skipif(not mpi_launcher.is_open_mpi(), reason="MPICH binds no process by itself")
def test_open_mpis_own_binding_is_told_of(tmp_path: Path) -> None:
    command = [str(mpi_launcher.MPIEXEC), "--map-by", ":OVERSUBSCRIBE", "--bind-to", "core"]
    command += ["-n", "2", sys.executable]
    job = subprocess.run(
        [*command, *DOCTOR, *WITHOUT_TENSORFLOW, "--out", str(tmp_path)],
        env=mpi_launcher.environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if job.returncode != 0:
        pytest.skip("this machine has too few cores to bind to")
    assert any("--bind-to none" in message for message in not_fine(view_of(job)))


def test_a_file_in_place_of_the_run_directory_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("")
    arguments = [*DOCTOR, *WITHOUT_TENSORFLOW, "--out", str(tmp_path / "runs" / "a")]
    job = mpi_launcher.run_alone(arguments)
    assert job.returncode == 2
    checks = [one["check"] for one in view_of(job)["findings"] if one["level"] == "wrong"]
    assert checks == ["run directory"]
