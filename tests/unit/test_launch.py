"""What launchers and schedulers promise, and what is made of it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import mpinas
from mpinas.dispatch.launch import (
    check_family,
    check_world,
    launcher_name,
    launcher_rank,
    library_name,
    promised_world,
    wants_mpi,
)
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


@pytest.mark.parametrize("environment", LAUNCHED)
@pytest.mark.parametrize("size", [2, 8])
def test_a_world_of_another_size_than_the_launchers_is_refused(
    environment: dict[str, str], size: int
) -> None:
    with pytest.raises(LaunchFault, match=f"started 4 processes, MPI sees {size}"):
        check_world(environment, size)


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


OPEN_MPI = "Open MPI v5.0.11, package: Open MPI user@localhost Distribution, ident: 5.0.11\0"
MPICH = "MPICH Version:      5.0.2\nMPICH configure:    --with-pm=hydra:gforker\n"
MPICH_WITH_PMIX = "MPICH Version:      4.2.1\nMPICH configure:    --with-pmix=/usr\n"


def test_an_mpich_under_open_mpis_mpiexec_is_refused_before_it_ends_the_process() -> None:
    with pytest.raises(LaunchFault) as error:
        check_family({"OMPI_COMM_WORLD_SIZE": "3"}, MPICH)
    message = str(error.value)
    assert "OMPI_COMM_WORLD_SIZE=3, library=MPICH 5.0.2" in message
    assert "Use the mpiexec of the MPI that mpi4py has loaded" in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("environment", "version"),
    [
        ({"OMPI_COMM_WORLD_SIZE": "3"}, OPEN_MPI),
        ({"OMPI_COMM_WORLD_SIZE": "3"}, MPICH_WITH_PMIX),
        ({"OMPI_COMM_WORLD_SIZE": "3", "PMI_SIZE": "3"}, MPICH),
        ({"PMI_SIZE": "3"}, MPICH),
        ({}, MPICH),
    ],
)
def test_what_may_work_is_left_to_mpi(environment: dict[str, str], version: str) -> None:
    check_family(environment, version)


def test_the_library_stands_in_the_refusal_of_singletons() -> None:
    with pytest.raises(LaunchFault, match=r"PMI_SIZE=4, library=Open MPI v5\.0\.11\. Use "):
        check_world({"PMI_SIZE": "4"}, 1, library_name(OPEN_MPI))


def test_libraries_by_name_and_version() -> None:
    assert library_name(OPEN_MPI) == "Open MPI v5.0.11"
    assert library_name(MPICH) == "MPICH 5.0.2"
    assert library_name("") == ""


@pytest.mark.parametrize(
    ("environment", "name"),
    [
        ({}, ""),
        ({"SLURM_NTASKS": "4"}, ""),
        ({"SLURM_STEP_NUM_TASKS": "4"}, "srun"),
        ({"SLURM_STEP_NUM_TASKS": "2", "OMPI_COMM_WORLD_SIZE": "4"}, "mpiexec of Open MPI"),
        ({"SLURM_STEP_NUM_TASKS": "2", "HYDI_CONTROL_FD": "7"}, "mpiexec of MPICH"),
        ({"SLURM_STEP_NUM_TASKS": "4", "PMI_SIZE": "4"}, "srun"),
        ({"JSM_NAMESPACE_SIZE": "4"}, "jsrun"),
    ],
)
def test_launchers_by_what_they_set(environment: dict[str, str], name: str) -> None:
    assert launcher_name(environment) == name


def test_ranks_as_the_launcher_counts() -> None:
    assert launcher_rank({}) == 0
    assert launcher_rank({"SLURM_PROCID": "3"}) == 3
    assert launcher_rank({"SLURM_PROCID": "0", "OMPI_COMM_WORLD_RANK": "2"}) == 2
    assert launcher_rank({"PMI_RANK": "nonsense", "SLURM_PROCID": "1"}) == 1


FORK_ALLOWED = {
    "trial/forkserver.py": "an interpreter of its own, which no MPI process is",
    "doctor/tensorflow_probe.py": "a child's program",
}


def test_no_module_forks_in_an_mpi_process() -> None:
    """Fabrics break when a process forks after MPI_Init; ``subprocess`` alone does it safely."""
    package = Path(mpinas.__file__).parent
    forking = {
        file.relative_to(package).as_posix()
        for file in package.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if _forks(node)
    }
    assert forking == FORK_ALLOWED.keys()


def test_no_test_runs_python_between_fork_and_exec():
    """With TensorFlow's threads in pytest, one such test held a whole suite."""
    for file in Path(__file__).parents[1].rglob("*.py"):
        calls = (
            node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Call)
        )
        names = {keyword.arg for call in calls for keyword in call.keywords}
        assert "preexec_fn" not in names, file


def _forks(node: ast.AST) -> bool:
    if isinstance(node, ast.Attribute):
        owner = node.value.id if isinstance(node.value, ast.Name) else ""
        return owner in ("os", "pty") and node.attr in ("fork", "forkpty", "spawn")
    if isinstance(node, ast.keyword):
        return node.arg == "preexec_fn"
    if isinstance(node, ast.Import):
        return any(alias.name.split(".")[0] == "multiprocessing" for alias in node.names)
    return isinstance(node, ast.ImportFrom) and (node.module or "").startswith("multiprocessing")
