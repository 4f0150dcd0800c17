"""What the environment promises about the world of processes, against what there is. Pure.

A launcher that MPI does not understand (``srun`` without the right ``--mpi``, the ``mpiexec`` of
another MPI) starts N processes that each believe to be alone, and N searches would run at once.
So the variables of schedulers and launchers are read before MPI is, and compared with it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from mpinas.errors import LaunchFault, fault

LAUNCHER_SIZES: tuple[tuple[str, str], ...] = (
    ("OMPI_COMM_WORLD_SIZE", "Use the mpiexec of the MPI that mpi4py has loaded"),
    ("PMI_SIZE", "Use the mpiexec of the MPI that mpi4py has loaded, or srun --mpi=pmi2"),
    ("MV2_COMM_WORLD_SIZE", "Use the mpiexec of the MPI that mpi4py has loaded"),
    ("JSM_NAMESPACE_SIZE", "Use an mpi4py that was built with the MPI of jsrun"),
    (
        "SLURM_STEP_NUM_TASKS",
        "Use srun --mpi=pmix (Open MPI) or srun --mpi=pmi2 (MPICH); srun --mpi=list shows them",
    ),
)
"""Number of processes as a launcher started them, the surest first; what to do if MPI disagrees.

Open MPI's mpiexec starts its daemons by srun, so that SLURM_STEP_NUM_TASKS may count those."""

ALLOCATION_SIZES: tuple[tuple[str, str], ...] = (
    ("SLURM_NTASKS", "srun"),
    ("LSB_DJOB_NUMPROC", "mpiexec or jsrun"),
)
"""Number of processes that a job has room for; says nothing of who was started."""

LAUNCHERS: tuple[tuple[str, str], ...] = (
    ("OMPI_COMM_WORLD_SIZE", "mpiexec of Open MPI"),
    ("MV2_COMM_WORLD_SIZE", "mpiexec of MVAPICH"),
    ("HYDI_CONTROL_FD", "mpiexec of MPICH"),
    ("MPI_LOCALNRANKS", "mpiexec of MPICH"),
    ("JSM_NAMESPACE_SIZE", "jsrun"),
    ("SLURM_STEP_NUM_TASKS", "srun"),
    ("PMI_SIZE", "a launcher that speaks PMI"),
)
"""Variable -> who sets it, the surest first: an mpiexec starts its daemons by srun."""

LAUNCHER_RANKS = (
    "OMPI_COMM_WORLD_RANK",
    "PMI_RANK",
    "MV2_COMM_WORLD_RANK",
    "PMIX_RANK",
    "JSM_NAMESPACE_RANK",
    "SLURM_PROCID",
)
"""Variables with the rank of a process as its launcher counts, the surest first."""

MPICH_FAMILY = ("MPICH", "Intel(R) MPI", "MVAPICH")


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """What the environment says about the number of processes.

    Attributes:
        processes: how many; 1 where nothing is said.
        variable: that says so; empty where none does.
        launched: a launcher has started this process; else a job only has room for so many.
        cure: what to do where MPI finds another number.
    """

    processes: int = 1
    variable: str = ""
    launched: bool = False
    cure: str = ""


def promised_world(environment: Mapping[str, str]) -> Promise:
    """What a launcher promises, or else what the job has room for.

    One process alone is no launch: ``mpiexec -n 1``, or a launcher that counted wrongly, says
    nothing of the room that the scheduler gave.
    """
    for variable, cure in LAUNCHER_SIZES:
        processes = _number(environment.get(variable))
        if processes is None:
            continue
        if processes > 1:
            return Promise(processes=processes, variable=variable, launched=True, cure=cure)
        break
    return room_for_processes(environment)


def room_for_processes(environment: Mapping[str, str]) -> Promise:
    """What the job has room for, whoever has started how many."""
    for variable, launcher in ALLOCATION_SIZES:
        processes = _number(environment.get(variable))
        if processes is not None:
            cure = (
                f"Start as many with {launcher}, or say with --workers N how many local workers "
                "this one process shall have"
            )
            return Promise(processes=processes, variable=variable, cure=cure)
    return Promise()


def nodes_of_job(environment: Mapping[str, str]) -> int:
    """How many nodes Slurm has given the job; 1 where nobody says so."""
    return _number(environment.get("SLURM_JOB_NUM_NODES")) or 1


def wants_mpi(environment: Mapping[str, str], *, local_workers_asked: bool = False) -> bool:
    """Whether this process is one of several and has to import MPI.

    Args:
        local_workers_asked: the user said ``--workers``: then room for more is no promise.

    Raises:
        LaunchFault: the job has room for several processes, and no launcher has started them.
    """
    promise = promised_world(environment)
    if promise.processes <= 1:
        return False
    if promise.launched:
        return True
    if local_workers_asked:
        return False
    raise LaunchFault(_fault(promise, "the job has room for several processes, this is one alone"))


def check_world(environment: Mapping[str, str], world_size: int, library: str = "") -> None:
    """Refuses a world that is not the one the launcher has started.

    Args:
        library: name and version of the MPI library, for the message.

    Raises:
        LaunchFault: the cure is in it.
    """
    promise = promised_world(environment)
    if promise.launched and promise.processes != world_size:
        sees = "one alone" if world_size == 1 else f"{world_size}"
        rule = f"the launcher started {promise.processes} processes, MPI sees {sees}"
        raise LaunchFault(_fault(promise, rule, library))


def check_family(environment: Mapping[str, str], version: str) -> None:
    """Refuses what would end inside of MPI_Init: an MPICH that Open MPI's mpiexec has started.

    The other way round each process believes to be alone, which :func:`check_world` finds.

    Args:
        version: what MPI_Get_library_version says. An MPICH that was configured with PMIx can be
            started by Open MPI's mpiexec.

    Raises:
        LaunchFault: the cure is in it.
    """
    started_by_open_mpi = "OMPI_COMM_WORLD_SIZE" in environment and "PMI_SIZE" not in environment
    is_mpich = any(name in version for name in MPICH_FAMILY)
    if started_by_open_mpi and is_mpich and "pmix" not in version.lower():
        rule = "the mpiexec of Open MPI cannot start processes of this MPI"
        cure = LAUNCHER_SIZES[0][1]
        size = environment["OMPI_COMM_WORLD_SIZE"]
        found = f"OMPI_COMM_WORLD_SIZE={size}, library={library_name(version)}"
        raise LaunchFault(fault("MPI", rule, found, cure=cure))


def library_name(version: str) -> str:
    """Name and version of an MPI library, of all that MPI_Get_library_version says."""
    first = version.strip("\0 \n").split("\n")[0].split(",")[0]
    return re.sub(r"\s+", " ", first.replace(" Version:", "")).strip()


def launcher_name(environment: Mapping[str, str]) -> str:
    """Who has started this process, for people; empty where nobody says so."""
    return next((name for variable, name in LAUNCHERS if variable in environment), "")


def launcher_rank(environment: Mapping[str, str]) -> int:
    """The rank of this process as its launcher counts, whatever MPI believes; 0 if unknown."""
    ranks = (_number(environment.get(name)) for name in LAUNCHER_RANKS)
    return next((rank for rank in ranks if rank is not None), 0)


def _fault(promise: Promise, rule: str, library: str = "") -> str:
    found = f"{promise.variable}={promise.processes}"
    found += f", library={library}" if library else ""
    return fault("MPI", rule, found, cure=promise.cure)


def _number(text: str | None) -> int | None:
    match = re.fullmatch(r"\s*([0-9]{1,9})\s*", text or "")
    return int(match[1]) if match else None
