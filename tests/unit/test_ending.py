"""Whether a job outlives its ranks, as far as it can be told without one."""

from __future__ import annotations

import subprocess

import pytest

from mpinas.dispatch.ending import check_tolerance, kill_deaf, tolerates_losses
from mpinas.dispatch.post import World
from mpinas.errors import LaunchFault

OPEN_MPI = "Open MPI v5.0.11, package: Open MPI user@localhost Distribution"
MPICH = "MPICH Version:      5.0.2\nMPICH Release date: ..."
ASKED = {"OMPI_MCA_mpi_ft_enable": "1", "PRTE_LAUNCHED": "1"}


class Library:
    """Of ``mpi4py.MPI`` what is asked for its name."""

    def __init__(self, version: str) -> None:
        self._version = version

    def Get_library_version(self) -> str:
        return self._version


def world(version: str, *, fault_tolerant: bool) -> World:
    return World(
        mpi=Library(version),
        rank=0,
        size=3,
        node=0,
        local_rank=0,
        local_size=1,
        fault_tolerant=fault_tolerant,
    )


def test_open_mpi_tolerates_losses_where_its_launcher_was_asked() -> None:
    assert tolerates_losses(ASKED, OPEN_MPI)


@pytest.mark.parametrize(
    ("environment", "version"),
    [
        ({}, OPEN_MPI),
        ({"PRTE_LAUNCHED": "1"}, OPEN_MPI),
        ({**ASKED, "OMPI_MCA_mpi_ft_enable": "0"}, OPEN_MPI),
        ({"OMPI_MCA_mpi_ft_enable": "1"}, OPEN_MPI),
        (ASKED, MPICH),
    ],
)
def test_no_other_does(environment: dict[str, str], version: str) -> None:
    """Of these, the one without the launcher's mark was started by srun."""
    assert not tolerates_losses(environment, version)


def test_what_was_asked_and_is_there_is_taken() -> None:
    check_tolerance(world(OPEN_MPI, fault_tolerant=True), "ulfm")
    check_tolerance(world(MPICH, fault_tolerant=False), "none")


def test_what_was_asked_and_is_not_there_is_refused_in_one_line() -> None:
    with pytest.raises(LaunchFault) as caught:
        check_tolerance(world(MPICH, fault_tolerant=False), "ulfm")
    (line,) = caught.value.faults
    assert "\n" not in line
    assert "Received: fault_tolerance=ulfm, library=MPICH 5.0.2." in line
    assert "mpiexec --with-ft ulfm" in line


def test_only_processes_of_the_same_launcher_are_killed() -> None:
    """A number that another node told may be anybody's here."""
    stranger = subprocess.Popen(["sleep", "60"])
    try:
        assert kill_deaf({1: stranger.pid, 2: None, 3: 2**22 + 1}) == (1, 2, 3)
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()
