"""The environment that processes of ours which are no MPI ranks are started with."""

from __future__ import annotations

from collections.abc import Mapping

LAUNCHER_VARIABLES = (
    "PMI",
    "OMPI_",
    "OPAL_",
    "ORTE_",
    "PRTE",
    "HYDRA",
    "HYDI",
    "MPI_LOCAL",
    "SLURM_PMI",
    "SLURM_MPI_TYPE",
    "SLURM_STEP_RESV_PORTS",
)
"""How names begin that tell a process it is an MPI rank; a child that imports MPI would hang."""


def scrubbed(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment without what makes a process believe it is an MPI rank."""
    return {
        name: value
        for name, value in environment.items()
        if not name.startswith(LAUNCHER_VARIABLES)
    }
