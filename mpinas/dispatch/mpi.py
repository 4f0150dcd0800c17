"""The farm over MPI: rank 0 hands out trials, the other ranks supervise one child each.

The only file that imports mpi4py, and only when :func:`join` is called. Point-to-point messages
(``post.py``), one probe per source, a capped sleep between looks; no dynamic processes, no
collective after the start. No MPI process forks or imports TensorFlow.
"""

from __future__ import annotations

import array
import logging
import sys
import time
import traceback
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, NoReturn

from mpinas.dispatch.launch import check_family, check_world, library_name
from mpinas.dispatch.placement import place_all, processor_warnings
from mpinas.dispatch.post import (
    LONGEST_SLEEP_S,
    SHORTEST_SLEEP_S,
    SLEEP_GROWTH,
    Cancel,
    Farewell,
    Hello,
    Kind,
    PostOffice,
    Setup,
    Unfit,
    World,
)
from mpinas.dispatch.settings import WorkerSettings
from mpinas.dispatch.standing import Standing
from mpinas.errors import LaunchFault, MpinasError, fault
from mpinas.records import (
    Event,
    Finished,
    Progress,
    Started,
    TrialSpec,
    Worker,
    WorkerLost,
    from_json,
    to_json,
)

logger = logging.getLogger(__name__)

SLEEP_PER_SWEEP = 10.0
HELLO_LIMIT_S = 300.0
OUTPUT_S = 0.5
"""Between the last line and an abort: MPICH's launcher drops what it has not yet passed on (2 of 81
jobs lost their last line without this)."""
SHORTEST_GRACE_S = 5.0
"""For farewells: a worker needs a moment to end its child, whatever ``run.grace_s`` says."""
QUICK_FAREWELL_S = 0.5
"""For farewells where the grace time is over; who has said none by then is aborted."""


def load() -> Any:
    """The module ``mpi4py.MPI``; MPI itself is not initialised yet.

    Raises:
        ImportError, RuntimeError: mpi4py or its MPI library cannot be loaded.
    """
    import mpi4py

    mpi4py.rc.recv_mprobe = False
    mpi4py.rc.initialize = False
    mpi4py.rc.finalize = True
    from mpi4py import MPI

    return MPI


def library_version() -> str:
    """What the MPI library says of itself; needs no initialised MPI.

    Raises:
        ImportError, RuntimeError: as :func:`load`.
    """
    version: str = load().Get_library_version()
    return version


def join(environment: Mapping[str, str], *, insist: bool = True) -> World:
    """Initialises MPI and finds this process's place. Collective: every rank calls it first.

    Args:
        insist: refuses a world that is not what the launcher promised.

    Raises:
        LaunchFault: MPI believes to be alone and the environment says otherwise, or MPI would end
            the process while it is initialised.
    """
    MPI = load()
    version = MPI.Get_library_version()
    check_family(environment, version)
    if not MPI.Is_initialized():
        MPI.Init_thread(MPI.THREAD_FUNNELED)
    world = MPI.COMM_WORLD
    if insist:
        check_world(environment, world.size, library_name(version))
    peers = world.Split(color=min(world.rank, 1), key=world.rank)
    node = peers.Split_type(MPI.COMM_TYPE_SHARED, key=world.rank)
    leader = array.array("i", [world.rank])
    node.Bcast([leader, MPI.INT], root=0)
    place = World(
        mpi=MPI,
        rank=world.rank,
        size=world.size,
        node=leader[0],
        local_rank=node.rank,
        local_size=node.size,
    )
    node.Free()
    peers.Free()
    return place


def abort_on_error(world: World) -> None:
    """Has an uncaught exception end the whole job, with its traceback and exit code 1.

    Without this the other ranks would wait for a dead one until the walltime.
    """

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        sys.stderr.write(f"rank {world.rank} of {world.size} fails:\n")
        traceback.print_exception(kind, error, trace)
        _abort(world, 1)

    sys.excepthook = hook


def _abort(world: World, exit_code: int) -> None:
    """Ends every rank at once, after what was printed is through."""
    sys.stdout.flush()
    sys.stderr.flush()
    time.sleep(OUTPUT_S)
    world.mpi.COMM_WORLD.Abort(exit_code)


def leave(world: World, unanswered: Sequence[int], exit_code: int) -> NoReturn:
    """Ends rank 0, and with it the job. The last thing to be called there.

    Args:
        unanswered: workers that :meth:`MpiExecutor.close` or :func:`dismiss` got no answer from;
            MPI's orderly end would wait for them for ever.
    """
    if unanswered:
        logger.warning(_unanswered(unanswered))
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


def dismiss(world: World, grace_s: float) -> tuple[int, ...]:
    """Sends all workers home where no executor was made; for rank 0.

    Returns:
        Ranks that did not answer in time.
    """
    post = world.post_office()
    farewells = _say_stop(post, world.workers, max(grace_s, SHORTEST_GRACE_S))
    return tuple(rank for rank in world.workers if rank not in farewells)


def _say_stop(post: PostOffice, ranks: Iterable[int], limit_s: float) -> dict[int, Farewell]:
    """Sends STOP and collects the last words; what else arrives is dropped."""
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


@dataclass(slots=True, kw_only=True)
class _Member:
    """What rank 0 knows of a worker. ``trial_id`` is of the trial it has; unfit ones get none."""

    rank: int
    worker: Worker
    process_id: int
    trial_id: str | None = None
    fit: bool = True


class MpiExecutor:
    """Runs trials on the other ranks, which must be in ``servant.serve``. For rank 0.

    Args:
        world: from :func:`join`.
        settings: how workers run trials.

    Attributes:
        farewells: last words of the workers by rank, after :meth:`close`.
        unanswered: ranks that said none; see :func:`leave`.

    Raises:
        LaunchFault: there is no worker, or not enough devices; call :func:`dismiss` then.
        MpinasError: a worker does not say hello.
    """

    def __init__(self, world: World, settings: WorkerSettings) -> None:
        self.farewells: dict[int, Farewell] = {}
        self.unanswered: tuple[int, ...] = ()
        self._world = world
        self._grace_s = settings.grace_s
        self._post = world.post_office()
        self._events: deque[Event] = deque()
        self._members: dict[int, _Member] = {}
        self._standing = Standing()
        self._closed = False
        self._set_up(settings)

    def workers(self) -> int:
        return sum(1 for member in self._members.values() if member.fit)

    def free(self) -> int:
        return sum(1 for member in self._members.values() if _is_free(member))

    def submit(self, spec: TrialSpec) -> None:
        free = (rank for rank, member in self._members.items() if _is_free(member))
        rank = self._standing.choose(spec.trial_id, free)
        if rank is None or self._closed:
            raise RuntimeError(f"no worker is free for {spec.trial_id}")
        self._members[rank].trial_id = spec.trial_id
        self._post.send(rank, Kind.TASK, to_json(spec))

    def events(self, timeout_s: float) -> Iterator[Event]:
        begun_at = time.monotonic()
        deadline = begun_at + timeout_s
        sleep_s = SHORTEST_SLEEP_S
        while True:
            self._sweep()
            now = time.monotonic()
            if self._events or now >= deadline:
                break
            rest_s = max(sleep_s, SLEEP_PER_SWEEP * (now - begun_at))
            time.sleep(min(rest_s, LONGEST_SLEEP_S, deadline - now))
            sleep_s *= SLEEP_GROWTH
            begun_at = time.monotonic()
        while self._events:
            yield self._events.popleft()

    def cancel(self, trial_id: str) -> None:
        for member in self._members.values():
            if member.trial_id == trial_id:
                self._post.send(member.rank, Kind.CANCEL, to_json(Cancel(trial_id=trial_id)))

    def close(self, grace_s: float | None = None) -> None:
        if self._closed:
            return
        self._closed = True
        limit_s = max(self._grace_s, SHORTEST_GRACE_S) if grace_s is None else grace_s
        limit_s = max(limit_s, QUICK_FAREWELL_S)
        self.farewells = _say_stop(self._post, self._world.workers, limit_s)
        self.unanswered = tuple(rank for rank in self._world.workers if rank not in self.farewells)
        self._members.clear()
        self._events.clear()

    def process_ids(self) -> dict[int, int]:
        """Of the workers' MPI processes, by rank."""
        return {rank: member.process_id for rank, member in self._members.items()}

    def _set_up(self, settings: WorkerSettings) -> None:
        if not self._world.workers:
            raise LaunchFault(
                fault("MPI", "no worker", "world size=1", cure="Start it with mpiexec -n 3")
            )
        hellos = self._collect_hellos()
        places = place_all(hellos, settings)
        for line in processor_warnings(hellos, settings.threads):
            logger.warning(line)
        for rank, hello in hellos.items():
            worker = Worker(host=hello.host, rank=rank, device=places[rank].binding.device)
            self._members[rank] = _Member(rank=rank, worker=worker, process_id=hello.process_id)
            setup = Setup(
                worker=worker,
                environment=places[rank].environment,
                runner=settings.runner,
                threads=settings.threads,
            )
            self._post.send(rank, Kind.SETUP, to_json(setup))

    def _collect_hellos(self) -> dict[int, Hello]:
        hellos: dict[int, Hello] = {}
        deadline = time.monotonic() + HELLO_LIMIT_S
        while len(hellos) < len(self._world.workers):
            for rank in self._world.workers:
                message = self._post.receive(rank) if rank not in hellos else None
                if message is not None:
                    hellos[rank] = from_json(Hello, message[1])
            if time.monotonic() > deadline or self._post.gone:
                silent = [rank for rank in self._world.workers if rank not in hellos]
                raise MpinasError(_silent(silent))
            time.sleep(SHORTEST_SLEEP_S)
        return dict(sorted(hellos.items()))

    def _sweep(self) -> None:
        """Reads all messages that are there."""
        self._post.push()
        for member in self._members.values():
            while (message := self._post.receive(member.rank)) is not None:
                self._take(member, *message)
            if member.fit and member.rank in self._post.gone:
                self._lose(member, f"MPI lost it: {self._post.gone[member.rank]}")

    def _take(self, member: _Member, kind: Kind, text: bytes) -> None:
        if kind is Kind.STARTED:
            self._events.append(from_json(Started, text))
        elif kind is Kind.PROGRESS:
            self._events.append(from_json(Progress, text))
        elif kind is Kind.RESULT:
            self._take_result(member, from_json(Finished, text))
        elif kind is Kind.UNFIT:
            self._lose(member, from_json(Unfit, text).reason)
        else:
            raise MpinasError(f"rank {member.rank} sent {kind.name}, which no worker may send now")

    def _take_result(self, member: _Member, finished: Finished) -> None:
        member.trial_id = None
        self._events.append(finished)
        reason = self._standing.take(member.rank, finished.result)
        if reason:
            self._lose(member, reason)

    def _lose(self, member: _Member, reason: str) -> None:
        if not member.fit:
            return
        member.fit = False
        self._events.append(
            WorkerLost(worker=member.worker, trial_id=member.trial_id, reason=reason)
        )
        member.trial_id = None


def _silent(ranks: Sequence[int]) -> str:
    return fault(
        "MPI",
        "workers do not say that they are there",
        f"ranks={list(ranks)}",
        cure="See on which nodes they are with 'python -m mpinas doctor' under the same launcher; "
        "where messages are lost between nodes, try FI_PROVIDER=tcp (MPICH) or OMPI_MCA_pml=ob1 "
        "(Open MPI)",
    )


def _is_free(member: _Member) -> bool:
    return member.fit and member.trial_id is None
