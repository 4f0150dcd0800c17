"""How many ranks each node of a job has. Pure.

One rank more than workers: rank 0 searches, polls a percent of a core and has no device.
"""

from __future__ import annotations

from dataclasses import dataclass

from mpinas.config import RunSettings
from mpinas.errors import UserMustChange, fault
from mpinas.jobs.request import JobRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """The ranks of a job.

    Attributes:
        workers: of each node, the first node first.
        cpus_per_worker: cores.
    """

    workers: tuple[int, ...]
    cpus_per_worker: int

    @property
    def all_workers(self) -> int:
        """Of all nodes."""
        return sum(self.workers)

    @property
    def ranks(self) -> tuple[int, ...]:
        """Of each node; rank 0 is on the first."""
        first, *others = self.workers
        return (first + 1, *others)

    @property
    def most_ranks(self) -> int:
        """Of a node: room for so many on each, because a scheduler may list any node first."""
        return max(self.workers) + 1

    @property
    def cores_per_node(self) -> int:
        """Where a scheduler counts cores: the workers' and one for rank 0."""
        return max(self.workers) * self.cpus_per_worker + 1


def layout_of(request: JobRequest, settings: RunSettings) -> Layout:
    """Workers by GPU, or spread evenly where there are none.

    Raises:
        UserMustChange: the configuration uses fewer GPUs, or has fewer workers than nodes.
    """
    if request.gpus_per_node:
        if settings.gpus is not None and settings.gpus < request.gpus_per_node:
            raise UserMustChange(_unused_gpus(request.gpus_per_node, settings.gpus))
        workers = (request.gpus_per_node * settings.workers_per_gpu,) * request.nodes
    else:
        wanted = settings.workers if request.workers is None else request.workers
        share, more = divmod(max(wanted, request.nodes), request.nodes)
        workers = tuple(share + (node < more) for node in range(request.nodes))
    return Layout(workers=workers, cpus_per_worker=request.cpus_per_worker)


def _unused_gpus(asked: int, used: int) -> str:
    return fault(
        "--gpus-per-node",
        "the configuration uses fewer",
        f"gpus_per_node={asked}, run.gpus={used}",
        cure="Ask for as many, or leave run.gpus out",
    )
