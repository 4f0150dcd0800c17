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
    ("OMPI_COMM_WORLD_SIZE", "Use the mpiexec of the MPI that mpi4py was built with"),
    ("PMI_SIZE", "Use the mpiexec of the MPI that mpi4py was built with, or srun --mpi=pmi2"),
    ("MV2_COMM_WORLD_SIZE", "Use the mpiexec of the MPI that mpi4py was built with"),
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
    for variable, launcher in ALLOCATION_SIZES:
        processes = _number(environment.get(variable))
        if processes is not None:
            cure = (
                f"Start as many with {launcher}, or say with --workers N how many local workers "
                "this one process shall have"
            )
            return Promise(processes=processes, variable=variable, cure=cure)
    return Promise()


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


def check_world(environment: Mapping[str, str], world_size: int) -> None:
    """Refuses a process that MPI believes to be alone although it is not.

    Raises:
        LaunchFault: the cure is in it.
    """
    promise = promised_world(environment)
    if world_size == 1 and promise.launched and promise.processes > 1:
        rule = f"the launcher started {promise.processes} processes, MPI sees one alone"
        raise LaunchFault(_fault(promise, rule))


def _fault(promise: Promise, rule: str) -> str:
    return fault("MPI", rule, f"{promise.variable}={promise.processes}", cure=promise.cure)


def _number(text: str | None) -> int | None:
    match = re.fullmatch(r"\s*([0-9]{1,9})\s*", text or "")
    return int(match[1]) if match else None
