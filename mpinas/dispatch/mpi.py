"""The farm over MPI: rank 0 hands out trials, the other ranks supervise one child each.

The only file that imports mpi4py, and only when :func:`join` is called. Point-to-point messages
(``post.py``), one probe per source, a capped sleep between looks; no dynamic processes, no
collective after the start. No MPI process forks or imports TensorFlow.
"""

from __future__ import annotations

import array
import ctypes
import faulthandler
import logging
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from mpinas.dispatch.ending import (
    OUTPUT_S,
    SHORTEST_GRACE_S,
    kill_deaf,
    missing,
    say_stop,
    tolerates_losses,
    vanish,
)
from mpinas.dispatch.launch import check_family, check_world, launcher_rank, library_name
from mpinas.dispatch.placement import place_all, processor_warnings
from mpinas.dispatch.post import (
    LONGEST_SLEEP_S,
    SHORTEST_SLEEP_S,
    SLEEP_GROWTH,
    Cancel,
    Farewell,
    Hello,
    Kind,
    Setup,
    Unfit,
    World,
)
from mpinas.dispatch.settings import WorkerSettings
from mpinas.dispatch.standing import Standing
from mpinas.errors import LaunchFault, MpinasError, NoWorkerLeft, fault
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
from mpinas.signals import STOPPED_WORDS, StoppedEarly, leaving_what_hangs

logger = logging.getLogger(__name__)

SLEEP_PER_SWEEP = 10.0
HELLO_LIMIT_S = 300.0
INIT_LIMIT_S = 300.0
"""For MPI_Init where a rank may die before it: the others would wait for it for ever."""
STUCK_LIMIT_S = 5.0
"""For MPI_Init after a signal; where all ranks come up meanwhile, the job ends in order."""
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
        LaunchFault: the world is not what the launcher has started, or MPI would end the process
            while it is initialised.
    """
    MPI = load()
    version = MPI.Get_library_version()
    check_family(environment, version)
    tolerant = tolerates_losses(environment, version)
    if tolerant:
        faulthandler.dump_traceback_later(INIT_LIMIT_S, exit=True)
    if not MPI.Is_initialized():
        with leaving_what_hangs(STUCK_LIMIT_S, partial(_say_stuck, environment)):
            _initialise(MPI)
    world = MPI.COMM_WORLD
    if insist:
        check_world(environment, world.size, library_name(version))
    place = _place(MPI, fault_tolerant=tolerant)
    if tolerant:
        faulthandler.cancel_dump_traceback_later()
    return place


def _initialise(mpi: Any) -> None:
    """MPI_Init_thread, called past mpi4py, which keeps Python's lock: no thread could run, and
    nothing could end this process, while it waits for a rank that does not come.

    Errors become exceptions, as mpi4py has it. Where the function is not found among what mpi4py is
    linked with, mpi4py calls it.
    """
    try:
        begin = ctypes.CDLL(mpi.__file__).MPI_Init_thread
    except (OSError, AttributeError):
        mpi.Init_thread(mpi.THREAD_FUNNELED)
        return
    provided = ctypes.c_int()
    code = begin(None, None, mpi.THREAD_FUNNELED, ctypes.byref(provided))
    if code != mpi.SUCCESS:
        raise mpi.Exception(code)
    for communicator in (mpi.COMM_WORLD, mpi.COMM_SELF):
        communicator.Set_errhandler(mpi.ERRORS_RETURN)


def _say_stuck(environment: Mapping[str, str], cause: str) -> None:
    """One line for the job, although no rank knows yet which one it is to MPI. All ranks stay until
    it is through: the first that leaves has the launcher end the others."""
    if launcher_rank(environment) == 0:
        line = f"{cause}, and not all ranks had come up: {STOPPED_WORDS}\n"
        os.write(sys.stderr.fileno(), line.encode())
    time.sleep(OUTPUT_S)


def _place(mpi: Any, *, fault_tolerant: bool) -> World:
    """This process in the world. Where a neighbour dies meanwhile, a worker leaves with it."""
    world = mpi.COMM_WORLD
    place = World(
        mpi=mpi,
        rank=world.rank,
        size=world.size,
        node=world.rank,
        local_rank=0,
        local_size=1,
        fault_tolerant=fault_tolerant,
    )
    try:
        peers = world.Split(color=min(world.rank, 1), key=world.rank)
        node = peers.Split_type(mpi.COMM_TYPE_SHARED, key=world.rank)
        leader = array.array("i", [world.rank])
        node.Bcast([leader, mpi.INT], root=0)
        place = replace(place, node=leader[0], local_rank=node.rank, local_size=node.size)
        node.Free()
        peers.Free()
    except mpi.Exception:
        if not fault_tolerant:
            raise
        if world.rank > 0:
            vanish(place)
    return place


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
        asked_to_end: whether to wait no longer for workers that say nothing.

    Attributes:
        farewells: last words of the workers by rank, after :meth:`close`.
        unanswered: ranks that said none and may live; see ``ending.leave``.

    Raises:
        LaunchFault: there is no worker, or not enough devices; call ``ending.dismiss`` then.
        MpinasError: a worker does not say hello.
        NoWorkerLeft: all have died meanwhile.
        StoppedEarly: the job was asked to end meanwhile; call ``ending.dismiss`` then.
    """

    def __init__(
        self,
        world: World,
        settings: WorkerSettings,
        asked_to_end: Callable[[], bool] = lambda: False,
    ) -> None:
        self.farewells: dict[int, Farewell] = {}
        self.unanswered: tuple[int, ...] = ()
        self._world = world
        self._grace_s = settings.grace_s
        self._post = world.post_office()
        self._events: deque[Event] = deque()
        self._members: dict[int, _Member] = {}
        self._standing = Standing()
        self._closed = False
        self._asked_to_end = asked_to_end
        self._set_up(settings)

    def workers(self) -> int:
        return sum(1 for member in self._members.values() if member.fit)

    def free(self) -> int:
        return sum(1 for member in self._members.values() if _is_free(member))

    def submit(self, spec: TrialSpec) -> None:
        free = (member.worker for member in self._members.values() if _is_free(member))
        rank = self._standing.choose(spec, free)
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
        limit_s = max(self._patience_s() if grace_s is None else grace_s, QUICK_FAREWELL_S)
        self.farewells = say_stop(self._post, self._world.workers, limit_s)
        self.unanswered = missing(self._world, self._post, self.farewells)
        if self._world.fault_tolerant:
            processes = self.process_ids()
            deaf = {rank: processes.get(rank) for rank in self.unanswered}
            self.unanswered = kill_deaf(deaf)
        self._members.clear()
        self._events.clear()

    def _patience_s(self) -> float:
        """For farewells. Where the job was asked to end, workers without a trial get no grace."""
        idle = all(member.trial_id is None for member in self._members.values())
        hurried = idle and self._asked_to_end()
        return SHORTEST_GRACE_S if hurried else max(self._grace_s, SHORTEST_GRACE_S)

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
        """All that say hello; of those that cannot any more there is an event."""
        hellos: dict[int, Hello] = {}
        deadline = time.monotonic() + HELLO_LIMIT_S
        while silent := self._silent(hellos):
            if self._asked_to_end():
                raise StoppedEarly(f"ranks {silent} had not said yet that they are there")
            for rank in silent:
                message = self._post.receive(rank)
                if message is not None:
                    hellos[rank] = from_json(Hello, message[1])
            lost = bool(self._post.gone) and not self._world.fault_tolerant
            if lost or time.monotonic() > deadline:
                raise MpinasError(_silence(self._silent(hellos)))
            time.sleep(SHORTEST_SLEEP_S)
        for rank in sorted(self._post.gone.keys() - hellos.keys()):
            worker = Worker(host="unknown host", rank=rank, device="none")
            reason = "its process died before its first message"
            self._events.append(WorkerLost(worker=worker, trial_id=None, reason=reason))
        if not hellos:
            raise NoWorkerLeft("no worker is left: all died before their first message")
        return dict(sorted(hellos.items()))

    def _silent(self, hellos: Mapping[int, Hello]) -> list[int]:
        """Ranks that may still say hello."""
        gone = self._post.gone if self._world.fault_tolerant else ()
        return [rank for rank in self._world.workers if rank not in hellos and rank not in gone]

    def _sweep(self) -> None:
        """Reads all messages that are there."""
        self._post.push()
        for member in self._members.values():
            while (message := self._post.receive(member.rank)) is not None:
                self._take(member, *message)
            if member.fit and member.rank in self._post.gone:
                self._lose(member, f"its process died ({self._post.gone[member.rank]})")

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
        alone = self.workers() == 1
        verdict = self._standing.take(member.worker, finished.result, alone=alone)
        self._events.append(Finished(result=verdict.result))
        if verdict.reason:
            self._lose(member, verdict.reason)

    def _lose(self, member: _Member, reason: str) -> None:
        if not member.fit:
            return
        member.fit = False
        self._events.append(
            WorkerLost(worker=member.worker, trial_id=member.trial_id, reason=reason)
        )
        member.trial_id = None


def _silence(ranks: Sequence[int]) -> str:
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
