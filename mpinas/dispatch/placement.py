"""Where every worker of a job runs its trials: device, processors, and what to say about them.

Comes in: how the workers introduced themselves. Comes out: the environment of each one's trials.
Pure but for :func:`introduction`, with which a worker looks at its own place.
"""

from __future__ import annotations

import os
import socket
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mpinas.dispatch.devices import (
    READ_VARIABLES,
    Binding,
    Share,
    bind,
    count_gpus,
    share_processors,
)
from mpinas.dispatch.post import Hello
from mpinas.dispatch.settings import WorkerSettings
from mpinas.errors import LaunchFault, fault
from mpinas.trial.processes import core_of, usable_processors
from mpinas.trial.visible_devices import VISIBLE


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where one worker runs its trials."""

    binding: Binding
    share: Share

    @property
    def environment(self) -> Mapping[str, str]:
        """Variables to set in a child."""
        return {**self.binding.environment, **self.share.environment}


def introduction(
    environment: Mapping[str, str], *, node: int, local_rank: int, local_size: int
) -> Hello:
    """What this process has to say of itself as a worker. Looks at the machine."""
    processors = usable_processors()
    return Hello(
        host=socket.gethostname(),
        process_id=os.getpid(),
        node=node,
        local_rank=local_rank,
        local_size=local_size,
        environment={name: environment[name] for name in READ_VARIABLES if name in environment},
        gpus_present=count_gpus(),
        processors=processors,
        cores=len({core_of(processor) for processor in processors}),
        processors_online=os.cpu_count() or len(processors),
    )


def local_introductions(workers: int, environment: Mapping[str, str]) -> dict[int, Hello]:
    """The same of workers inside this process, by the ranks that they would have in a job."""
    return {
        index + 1: introduction(environment, node=0, local_rank=index, local_size=workers)
        for index in range(workers)
    }


def place_all(hellos: Mapping[int, Hello], settings: WorkerSettings) -> dict[int, Place]:
    """Every worker's place by its rank.

    Workers of a node are counted as they are here: some that were started may be lost.

    Raises:
        LaunchFault: there are not enough devices; all that is wrong, each thing once.
    """
    places: dict[int, Place] = {}
    faults: dict[str, None] = {}
    for rank, hello in hellos.items():
        node = _node_of(hello, hellos)
        try:
            binding = _bind(hello, node, settings)
        except LaunchFault as error:
            faults.update(dict.fromkeys(error.faults))
            continue
        share = _share(hello, node)
        places[rank] = Place(binding=binding, share=share)
    if faults:
        raise LaunchFault(*faults)
    return places


def processor_warnings(hellos: Mapping[int, Hello], threads: int) -> tuple[str, ...]:
    """What is wrong with the processors of workers, one line for each kind of mistake and host.

    Args:
        threads: of a trial; they define the search and are not ours to change.
    """
    lines: Counter[str] = Counter()
    for hello in hellos.values():
        node = _node_of(hello, hellos)
        share = _share(hello, node)
        if _is_bound_to_a_core(hello):
            lines[_bound_to_a_core(hello)] += 1
        elif share.each < threads:
            lines[_too_few_processors(hello, threads, node)] += 1
    return tuple(
        f"{line} ({count} workers)" if count > 1 else line for line, count in lines.items()
    )


def _node_of(hello: Hello, hellos: Mapping[int, Hello]) -> list[Hello]:
    """The workers of the same node by local rank."""
    node = [other for other in hellos.values() if other.node == hello.node]
    return sorted(node, key=lambda other: other.local_rank)


def _share(hello: Hello, node: Sequence[Hello]) -> Share:
    return share_processors(node.index(hello), [other.processors for other in node])


def _bind(hello: Hello, node: Sequence[Hello], settings: WorkerSettings) -> Binding:
    return bind(
        node.index(hello),
        len(node),
        hello.environment,
        gpus_present=hello.gpus_present,
        gpu_binding=settings.gpu_binding,
        gpus=settings.gpus,
        workers_per_gpu=settings.workers_per_gpu,
        neighbours=[other.environment.get(VISIBLE) for other in node],
    )


def _is_bound_to_a_core(hello: Hello) -> bool:
    return hello.cores == 1 and hello.processors_online > len(hello.processors)


def _bound_to_a_core(hello: Hello) -> str:
    return fault(
        "processors",
        f"a worker on {hello.host} is bound to one core, which the trial, its data and the worker "
        "have to share",
        f"cores=1, processors of the machine={hello.processors_online}",
        cure="Start it with mpiexec --bind-to none (Open MPI binds to one core by itself), or with "
        "srun --cpus-per-task=N",
    )


def _too_few_processors(hello: Hello, threads: int, node: Sequence[Hello]) -> str:
    sharers = sum(1 for other in node if set(other.processors) == set(hello.processors))
    return fault(
        "trial.threads",
        f"a worker on {hello.host} has fewer processors than a trial has threads",
        f"threads={threads}, processors={len(hello.processors)}, workers on them={sharers}",
        cure="Start fewer workers on a node, or give each more (srun --cpus-per-task=N); "
        "trial.threads stays as it is, because it is part of what is searched",
    )
