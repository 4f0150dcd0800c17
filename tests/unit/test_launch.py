"""What launchers and schedulers promise, and what is made of it."""

from __future__ import annotations

import pytest

from mpinas.dispatch.launch import check_world, promised_world, wants_mpi
from mpinas.errors import LaunchFault

LAUNCHED = [
    {"OMPI_COMM_WORLD_SIZE": "4"},
    {"PMI_SIZE": "4"},
    {"MV2_COMM_WORLD_SIZE": "4"},
    {"JSM_NAMESPACE_SIZE": "4"},
    {"SLURM_STEP_NUM_TASKS": "4", "SLURM_NTASKS": "4", "PMIX_RANK": "0"},
]
ROOM_ONLY = [{"SLURM_NTASKS": "4"}, {"LSB_DJOB_NUMPROC": "4"}]


@pytest.mark.parametrize("environment", [{}, {"SLURM_NTASKS": "1"}, {"PMI_SIZE": "1"}, {"A": "4"}])
def test_no_promise_means_local_workers(environment: dict[str, str]) -> None:
    assert not wants_mpi(environment)
    check_world(environment, 1)


@pytest.mark.parametrize("environment", LAUNCHED)
def test_a_launcher_means_mpi(environment: dict[str, str]) -> None:
    assert wants_mpi(environment)
    assert wants_mpi(environment, local_workers_asked=True)
    check_world(environment, 4)


@pytest.mark.parametrize("environment", LAUNCHED)
def test_one_alone_where_a_launcher_started_several_is_refused(
    environment: dict[str, str],
) -> None:
    with pytest.raises(LaunchFault) as error:
        check_world(environment, 1)
    message = str(error.value)
    assert message.startswith("MPI: the launcher started 4 processes, MPI sees one alone.")
    assert "=4." in message
    assert "Use " in message


def test_the_cure_for_srun_names_its_option() -> None:
    with pytest.raises(LaunchFault, match=r"--mpi=pmix .* --mpi=pmi2"):
        check_world({"SLURM_STEP_NUM_TASKS": "2"}, 1)


@pytest.mark.parametrize("environment", ROOM_ONLY)
def test_room_without_a_launcher_is_refused_unless_local_workers_are_asked_for(
    environment: dict[str, str],
) -> None:
    with pytest.raises(LaunchFault, match="--workers"):
        wants_mpi(environment)
    assert not wants_mpi(environment, local_workers_asked=True)


@pytest.mark.parametrize("launcher", ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS"])
@pytest.mark.parametrize("room", ROOM_ONLY)
def test_one_launched_process_does_not_hide_the_room(launcher: str, room: dict[str, str]) -> None:
    """``mpiexec -n 1``, or an mpiexec that miscounts, in a job with room for four."""
    environment = {launcher: "1", **room}
    with pytest.raises(LaunchFault, match=r"this is one alone\. Received: \w+=4\..*--workers N"):
        wants_mpi(environment)
    assert not wants_mpi(environment, local_workers_asked=True)
    check_world(environment, 1)


@pytest.mark.parametrize("launcher", ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS"])
def test_one_launched_process_where_nothing_else_is_said_is_fine(launcher: str) -> None:
    assert not wants_mpi({launcher: "1"})
    assert not wants_mpi({launcher: "1", "SLURM_NTASKS": "1"})


def test_a_launcher_counts_more_than_the_room() -> None:
    assert promised_world({"SLURM_STEP_NUM_TASKS": "3", "SLURM_NTASKS": "8"}).processes == 3


def test_open_mpi_knows_better_than_the_step_that_started_its_daemons() -> None:
    environment = {"OMPI_COMM_WORLD_SIZE": "1", "SLURM_STEP_NUM_TASKS": "2"}
    assert not wants_mpi(environment)


@pytest.mark.parametrize("text", ["", "many", "-4", "4.0", "\u00b2", "\u0664", "4" * 5_000])
def test_nonsense_promises_nothing(text: str) -> None:
    assert promised_world({"PMI_SIZE": text, "SLURM_NTASKS": text}).processes == 1
