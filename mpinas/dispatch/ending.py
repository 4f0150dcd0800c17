"""How the ranks of an MPI job end, in order or not, so that none is left behind.

Rank 0 says STOP, each worker answers FAREWELL, and rank 0's exit code is the job's. Without fault
tolerance all meet in ``MPI_Finalize``, and ``MPI_Abort`` ends what does not answer. Where MPI lets
a job outlive its ranks (Open MPI's ULFM) neither can be relied on: ``MPI_Finalize`` waited for
ever in 7 of 43 jobs that had lost a rank in the middle of a large message, ``MPI_Abort`` in a
job that had lost none. There a worker dies by SIGKILL, which the launcher takes for a loss it was
told to bear, and rank 0 leaves last, by ``os._exit``. It must not know what a trial is.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
import traceback
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import NoReturn

from mpinas.dispatch.launch import library_name
from mpinas.dispatch.post import SHORTEST_SLEEP_S, Farewell, Kind, PostOffice, World
from mpinas.errors import LaunchFault, fault
from mpinas.records import from_json

logger = logging.getLogger(__name__)

TOLERANCE = "OMPI_MCA_mpi_ft_enable"
"""``mpiexec --with-ft ulfm`` sets it to 1, and nothing else that it sets tells of it."""
LAUNCHED = "PRTE_LAUNCHED"
"""Set by Open MPI's own launcher; under others a lost rank is nowhere said to be survived."""
OUTPUT_S = 0.5
"""Between the last line and an abort: MPICH's launcher drops what it has not yet passed on (2 of 81
jobs lost their last line without this)."""
SHORTEST_GRACE_S = 5.0
"""For farewells: a worker needs a moment to end its child, whatever ``run.grace_s`` says."""
RELEASE_LIMIT_S = 10.0
"""For the last message, after the farewell."""
EXIT_FAILED = 1


def tolerates_losses(environment: Mapping[str, str], version: str) -> bool:
    """Whether this job outlives the death of a rank. Pure.

    Args:
        version: what MPI_Get_library_version says.
    """
    asked = environment.get(TOLERANCE) == "1" and LAUNCHED in environment
    return asked and "Open MPI" in version


def check_tolerance(world: World, asked: str) -> None:
    """Refuses a job that is to outlive its workers and would not.

    Args:
        asked: ``run.fault_tolerance``.

    Raises:
        LaunchFault: the cure is in it.
    """
    if asked == "none" or world.fault_tolerant:
        return
    library = library_name(world.mpi.Get_library_version())
    raise LaunchFault(
        fault(
            "run.fault_tolerance",
            "a rank that dies would end this job",
            f"fault_tolerance={asked}, library={library}",
            cure="Start it with 'mpiexec --with-ft ulfm' of Open MPI 5, not with srun; or set it "
            "to none",
        )
    )


def abort_on_error(world: World) -> None:
    """Has an uncaught exception end the whole job, with its traceback and exit code 1.

    Without this the other ranks would wait for a dead one until the walltime. Of a job that
    outlives its workers it ends only the worker it comes up in.
    """

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        sys.stderr.write(f"rank {world.rank} of {world.size} fails:\n")
        traceback.print_exception(kind, error, trace)
        if not world.fault_tolerant:
            _abort(world, EXIT_FAILED)
        elif world.rank == 0:
            leave(world, dismiss(world, SHORTEST_GRACE_S), EXIT_FAILED)
        else:
            vanish(world)

    sys.excepthook = hook


def say_stop(post: PostOffice, ranks: Iterable[int], limit_s: float) -> dict[int, Farewell]:
    """Sends STOP and collects the last words; what else arrives is dropped. For rank 0."""
    left = {rank for rank in ranks if rank not in post.gone}
    for rank in left:
        post.send(rank, Kind.STOP, b"{}")
    farewells: dict[int, Farewell] = {}
    deadline = time.monotonic() + limit_s
    while left and time.monotonic() < deadline:
        post.push()
        for rank in sorted(left):
            message = post.receive(rank)
            if message is not None and message[0] is Kind.FAREWELL:
                farewells[rank] = from_json(Farewell, message[1])
        left -= farewells.keys() | post.gone.keys()
        time.sleep(SHORTEST_SLEEP_S)
    return farewells


def dismiss(world: World, grace_s: float) -> tuple[int, ...]:
    """Sends all workers home where no executor was made; for rank 0.

    Args:
        grace_s: how long their answers are waited for.

    Returns:
        Ranks that did not answer in time.
    """
    post = world.post_office()
    return missing(world, post, say_stop(post, world.workers, grace_s))


def missing(world: World, post: PostOffice, farewells: Iterable[int]) -> tuple[int, ...]:
    """The ranks that may still live and have not said farewell."""
    over = {*farewells, *(post.gone if world.fault_tolerant else ())}
    return tuple(rank for rank in world.workers if rank not in over)


def leave(world: World, unanswered: Sequence[int], exit_code: int) -> NoReturn:
    """Ends rank 0, and with it the job. The last thing to be called there.

    Args:
        unanswered: workers that ``MpiExecutor.close`` or :func:`dismiss` got no answer from;
            MPI's orderly end would wait for them for ever.
    """
    if unanswered:
        logger.warning(_unanswered(unanswered))
    if world.fault_tolerant:
        _release(world, exit_code, set(world.workers).difference(unanswered))
    if unanswered:
        _abort(world, exit_code)
    sys.exit(exit_code)


def _unanswered(ranks: Sequence[int]) -> str:
    return fault(
        "MPI",
        "workers did not answer that the job is over, so it was aborted; all that they had done is "
        "saved",
        f"ranks={list(ranks)}",
        cure="Where it happens again: raise run.grace_s, or look at the nodes of these ranks",
    )


def kill_deaf(deaf: Mapping[int, int | None]) -> tuple[int, ...]:
    """Kills workers that answer nothing, where the launcher would wait for them for ever.

    Args:
        deaf: process ids by rank, None where it is not known.

    Returns:
        Ranks that are out of reach: not of this node.
    """
    left = []
    for rank, pid in deaf.items():
        if pid is not None and _is_sibling(pid):
            os.kill(pid, signal.SIGKILL)
        else:
            left.append(rank)
    return tuple(left)


def _is_sibling(pid: int) -> bool:
    """Whether the launcher that has started this process has started that one, on this node."""
    with suppress(OSError, IndexError, ValueError):
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
        return int(fields[1]) == os.getppid()
    return False


def leave_as_worker(world: World, exit_code: int) -> NoReturn:
    """Ends a worker that has said farewell, or that rank 0 has left alone."""
    if world.fault_tolerant:
        _await_release(world)
        vanish(world)
    sys.exit(exit_code)


def _abort(world: World, exit_code: int) -> None:
    """Ends every rank at once, after what was printed is through."""
    _flush()
    time.sleep(OUTPUT_S)
    world.mpi.COMM_WORLD.Abort(exit_code)


def _flush() -> None:
    sys.stdout.flush()
    sys.stderr.flush()


def _release(world: World, exit_code: int, answered: set[int]) -> NoReturn:
    """Lets the workers go, whose farewells have been read, and leaves when they are gone."""
    _flush()
    post = world.post_office()
    for rank in world.workers:
        post.send(rank, Kind.STOP, b"{}")
    deadline = time.monotonic() + RELEASE_LIMIT_S
    while answered - post.gone.keys() and time.monotonic() < deadline:
        post.push()
        for rank in answered:
            post.receive(rank)
        time.sleep(SHORTEST_SLEEP_S)
    os._exit(exit_code)


def _await_release(world: World) -> None:
    """Waits until rank 0 has read the farewell: of a rank that MPI knows to be dead nothing is."""
    post = world.post_office()
    deadline = time.monotonic() + RELEASE_LIMIT_S
    while 0 not in post.gone and time.monotonic() < deadline and post.receive(0) is None:
        time.sleep(SHORTEST_SLEEP_S)


def vanish(world: World) -> NoReturn:
    """Ends a worker so that the job outlives it; but without rank 0 there is no job."""
    _flush()
    if _is_rank_0_dead(world):
        os._exit(EXIT_FAILED)
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("outlived SIGKILL")


def _is_rank_0_dead(world: World) -> bool:
    """Whether MPI knows it to be; where all others die by a signal, the job's exit code is 0."""
    everyone = world.mpi.COMM_WORLD
    failed = everyone.Get_failed()
    ranks: list[int] = failed.Translate_ranks(None, everyone.group)
    return 0 in ranks
