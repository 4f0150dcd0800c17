"""What an executor has to know of the configuration to start workers."""

from __future__ import annotations

from dataclasses import dataclass

from mpinas.config import RunSettings, TrialConfig
from mpinas.dispatch.devices import GpuBinding


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSettings:
    """How workers run trials. Travels to the workers of an MPI job as JSON.

    Attributes:
        runner: key of ``trial.forkserver.RUNNERS``.
        threads: of one trial.
        gpu_binding, gpus, workers_per_gpu: see ``dispatch.devices.bind``.
        grace_s: how long workers may take to end.
    """

    runner: str
    threads: int = 1
    gpu_binding: GpuBinding = "auto"
    gpus: int | None = None
    workers_per_gpu: int = 1
    grace_s: float = 30.0


def worker_settings(trial: TrialConfig, run: RunSettings) -> WorkerSettings:
    """The part of a configuration that workers need."""
    return WorkerSettings(
        runner=trial.runner,
        threads=trial.threads,
        gpu_binding=run.gpu_binding,
        gpus=run.gpus,
        workers_per_gpu=run.workers_per_gpu,
        grace_s=run.grace_s,
    )
