"""Which device and which processors a worker's trials see: the child's environment, from the
worker's own. Pure.

A device is taken by its *index into the inherited list* ``CUDA_VISIBLE_DEVICES``, never by a
number of our own: launchers have often narrowed that list before (``--gpus-per-task=1``), and it
may hold UUIDs or MIG instances. Processors are divided among the workers that inherited the same
ones. How many threads a trial has is no matter of this file: it defines the search. Only
:func:`count_gpus` looks at the machine.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from mpinas.errors import LaunchFault, fault
from mpinas.trial.gpu_memory import SHARERS
from mpinas.trial.processes import PROCESSORS
from mpinas.trial.visible_devices import VISIBLE, named_devices

MULTI_PROCESS_SERVICE = "CUDA_MPS_PIPE_DIRECTORY"
"""Set for clients of NVIDIA's MPS. Their ``CUDA_VISIBLE_DEVICES`` counts among the devices of its
daemon, or holds UUIDs, so that an entry of the inherited list means by itself what it meant in the
list. Where there is one device nothing is set. Source: docs.nvidia.com/deploy/mps, "Environment
Variables"."""
DEVICE_PER_TASK = {
    "SLURM_GPUS_PER_TASK": "",
    "SLURM_TRES_PER_TASK": "gpu",
    "JSM_NAMESPACE_SIZE": "",
}
"""Variable -> pattern of its value, of launchers that give each task devices of its own; all of
those may be called ``0``."""

TASKS_PER_DEVICE = "SLURM_NTASKS_PER_GPU"
BOUND_TASKS = {
    "SLURM_GPU_BIND": r"^(?:v\w*,)?(\w+)(?::(\d+))?",
    "SLURM_TRES_BIND": r"gpu:(?:v\w*,)?(\w+)(?::(\d+))?",
}
"""Variable -> pattern of how tasks were bound to GPUs and of a number, as in ``single:2`` or
``gres/gpu:single:2``. Source: srun(1), ``--gpu-bind``, ``--tres-bind``."""

ALLOW_GROWTH = "TF_FORCE_GPU_ALLOW_GROWTH"
"""TensorFlow takes the whole of a limited memory at once, unless this variable is ``true``."""

READ_VARIABLES = (
    VISIBLE,
    MULTI_PROCESS_SERVICE,
    TASKS_PER_DEVICE,
    *DEVICE_PER_TASK,
    *BOUND_TASKS,
)
"""All that :func:`bind` looks at, for callers that send a worker's environment elsewhere."""

GpuBinding = Literal["auto", "env", "none"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Binding:
    """What a worker's trials run on.

    Attributes:
        device: ``cpu``, ``gpu:2``, ``gpu:GPU-5d0a...``, ``gpu:shared`` (the one of MPS), ...
        environment: variables to set in the child; none where the inherited ones are right.
    """

    device: str
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """The processors of one worker.

    Attributes:
        processors: that its trials may run on, by number.
        sharers: how many workers these are for: 1, or all that inherited the same ones where
            there are fewer processors than workers, and none is pinned.
        environment: variables that have a child keep to them; none where it inherits them.
    """

    processors: tuple[int, ...]
    sharers: int = 1
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def each(self) -> int:
        """Whole processors for one worker."""
        return len(self.processors) // self.sharers


def bind(
    local_rank: int,
    local_size: int,
    environment: Mapping[str, str],
    *,
    gpus_present: int = 0,
    gpu_binding: GpuBinding = "auto",
    gpus: int | None = None,
    workers_per_gpu: int = 1,
    neighbours: Sequence[str | None] = (),
) -> Binding:
    """The device of one worker.

    Args:
        local_rank: of the worker among the workers of its node, from 0.
        local_size: how many workers the node has.
        environment: the worker's own; at least ``READ_VARIABLES``.
        gpus_present: of the node; read only where ``CUDA_VISIBLE_DEVICES`` is unset.
        gpu_binding: ``auto`` gives each worker a device of the list; ``env`` keeps what the
            launcher has set and insists on it; ``none`` changes and checks nothing.
        gpus: how many devices of the list to use; 0 for none, None for all.
        workers_per_gpu: how many workers may share one.
        neighbours: ``CUDA_VISIBLE_DEVICES`` of all workers of the node by local rank; workers
            share devices only with those that inherited the same list. Empty: all the same.

    Raises:
        LaunchFault: more workers than devices, or more devices asked for than exist.
    """
    inherited = environment.get(VISIBLE)
    visible = _visible(inherited, gpus_present)
    if gpu_binding == "none":
        return Binding(device=_device(visible))
    if gpus == 0:
        return Binding(device="cpu", environment={VISIBLE: ""})
    if gpus is not None and gpus > len(visible):
        raise LaunchFault(_too_few_devices(gpus, visible))
    memory = _memory_share(workers_per_gpu)
    lists = [_visible(one, gpus_present) for one in neighbours] or [visible] * local_size
    sharing = _sharing(visible, lists)
    if gpu_binding == "env":
        if len(visible) > 1 and len(sharing) > 1:
            raise LaunchFault(_shared_list(len(sharing), visible))
        return _launchers_choice(inherited, visible, memory)
    if not visible:
        return Binding(device="cpu")
    if MULTI_PROCESS_SERVICE in environment and len(visible) == 1:
        return Binding(device="gpu:shared", environment=memory)
    usable = lists[sharing[0]][:gpus]  # another worker may have them in another order
    if len(sharing) <= len(usable) * workers_per_gpu:
        device = usable[sharing.index(local_rank) % len(usable)]
        return Binding(device=f"gpu:{device}", environment={VISIBLE: device, **memory})
    if len(visible) == 1 and 0 < _tasks_per_device(environment) <= workers_per_gpu:
        return Binding(device=f"gpu:{visible[0]}", environment=memory)
    raise LaunchFault(_too_many_workers(len(sharing), usable, workers_per_gpu))


def share_processors(local_rank: int, inherited: Sequence[Sequence[int]]) -> Share:
    """The processors of one worker: an equal share of those that several have in common.

    What the launcher has bound to different processors stays as it is. Where there are fewer
    processors than workers nobody is pinned: the kernel divides time better than we do places.

    Args:
        local_rank: of the worker among the workers of its node, from 0.
        inherited: of all workers of the node by local rank, neighbours in the machine side by side
            (``trial.processes.usable_processors``).
    """
    own = tuple(inherited[local_rank])
    sharing = [rank for rank, other in enumerate(inherited) if set(other) == set(own)]
    if len(sharing) == 1:
        return Share(processors=own)
    if len(own) < len(sharing):
        return Share(processors=own, sharers=len(sharing))
    place = sharing.index(local_rank)
    first, beyond = (len(own) * edge // len(sharing) for edge in (place, place + 1))
    mine = own[first:beyond]
    return Share(processors=mine, environment={PROCESSORS: ",".join(map(str, mine))})


def count_gpus(root: Path = Path("/")) -> int:
    """NVIDIA devices of this machine, from its file system; loads no driver. Impure.

    Args:
        root: of the file system.
    """
    listed = root / "proc/driver/nvidia/gpus"
    if listed.is_dir():
        return len(list(listed.iterdir()))
    nodes = (root / "dev").glob("nvidia[0-9]*")
    return sum(1 for node in nodes if re.fullmatch(r"nvidia\d+", node.name))


def _visible(inherited: str | None, gpus_present: int) -> tuple[str, ...]:
    if inherited is None:
        return tuple(str(index) for index in range(gpus_present))
    return named_devices(inherited)


def _device(visible: Sequence[str]) -> str:
    return f"gpu:{','.join(visible)}" if visible else "cpu"


def _sharing(visible: Sequence[str], lists: Sequence[Sequence[str]]) -> list[int]:
    """The workers of the node, by local rank, that inherited the same devices.

    Raises:
        LaunchFault: one has some of them and not all, or others beside.
    """
    for other in lists:
        if set(other) != set(visible) and not set(other).isdisjoint(visible):
            raise LaunchFault(_crossed_lists(visible, other))
    return [rank for rank, other in enumerate(lists) if set(other) == set(visible)]


def _tasks_per_device(environment: Mapping[str, str]) -> int:
    """How many tasks share each device that the launcher has given to tasks; 0 where it has given
    none to tasks. A binding to ``closest`` devices or by a map is the user's own, and taken for 1.
    """
    for name, pattern in BOUND_TASKS.items():
        bound = re.search(pattern, environment.get(name, ""))
        if bound and bound[1] == "none":
            return 0
        if bound:
            return int(bound[2] or 1) if bound[1] == "single" else 1
    if environment.get(TASKS_PER_DEVICE, "").isdecimal():
        return int(environment[TASKS_PER_DEVICE])
    given = (
        name in environment and re.search(pattern, environment[name])
        for name, pattern in DEVICE_PER_TASK.items()
    )
    return 1 if any(given) else 0


def _memory_share(workers_per_gpu: int) -> Mapping[str, str]:
    """Has each of several trials on a device keep to its part of the memory."""
    if workers_per_gpu == 1:
        return {}
    return {SHARERS: str(workers_per_gpu), ALLOW_GROWTH: "true"}


def _launchers_choice(
    inherited: str | None, visible: Sequence[str], memory: Mapping[str, str]
) -> Binding:
    if inherited is None:
        raise LaunchFault(
            fault(
                "run.gpu_binding",
                f"the launcher has not set {VISIBLE}",
                "gpu_binding=env",
                cure="Use gpu_binding=auto, or have the launcher bind devices",
            )
        )
    return Binding(device=_device(visible), environment=memory if visible else {})


def _crossed_lists(one: Sequence[str], other: Sequence[str]) -> str:
    return fault(
        VISIBLE,
        "two workers of a node have some devices in common and not all",
        f"{','.join(one)} and {','.join(other)}",
        "The same devices, or different ones, are allowed",
        "Have the launcher bind devices to ranks, or leave all devices to all",
    )


def _shared_list(workers: int, visible: Sequence[str]) -> str:
    return fault(
        "run.gpu_binding",
        "several workers would use the first of the same devices",
        f"gpu_binding=env, workers={workers}, {VISIBLE}={','.join(visible)}",
        cure="Use gpu_binding=auto, or have the launcher give each worker a device of its own",
    )


def _too_few_devices(gpus: int, visible: Sequence[str]) -> str:
    return fault(
        "run.gpus",
        "more GPUs asked for than exist",
        f"gpus={gpus}",
        f"Visible here: {len(visible)} ({', '.join(visible) or 'none'})",
        "Lower run.gpus or leave it out",
    )


def _too_many_workers(workers: int, usable: Sequence[str], workers_per_gpu: int) -> str:
    return fault(
        "run.workers_per_gpu",
        "more workers than GPUs",
        f"workers={workers}, gpus={len(usable)}, workers_per_gpu={workers_per_gpu}",
        f"At most {len(usable) * workers_per_gpu} workers on this node",
        "Start fewer workers, or raise run.workers_per_gpu, or set run.gpu_binding=env where the "
        "launcher gives each worker its own GPU",
    )
