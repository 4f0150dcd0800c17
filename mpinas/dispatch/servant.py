"""A worker rank of an MPI job: takes trials from rank 0, supervises one child, passes on its news.

Comes in: the world, after ``mpi.join``. It imports no MPI itself, forks nothing and never waits
in a call, so that it hears CANCEL and STOP whatever its child does.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time

from mpinas.dispatch.placement import introduction
from mpinas.dispatch.post import (
    LONGEST_SLEEP_S,
    SHORTEST_SLEEP_S,
    SLEEP_GROWTH,
    Cancel,
    Farewell,
    Kind,
    PostOffice,
    Setup,
    Unfit,
    World,
)
from mpinas.errors import MpinasError
from mpinas.records import Event, Progress, Started, TrialSpec, from_json, to_json
from mpinas.trial.child import Supervisor
from mpinas.trial.handle import ForkServer, ForkServerBroken
from mpinas.trial.processes import resident_mb

SIGNALS_OF_RANK_0 = (
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGCONT,
)


def ignore_signals() -> None:
    """Leaves it to rank 0 to decide what a signal to the job means; for workers."""
    for number in SIGNALS_OF_RANK_0:
        signal.signal(number, signal.SIG_IGN)


def serve(world: World) -> None:
    """Runs trials for rank 0 until it says stop. For all other ranks."""
    post = world.post_office()
    hello = introduction(
        os.environ, node=world.node, local_rank=world.local_rank, local_size=world.local_size
    )
    post.send(0, Kind.HELLO, to_json(hello))
    _Servant(post).serve()
    farewell = Farewell(
        tensorflow_loaded="tensorflow" in sys.modules, memory_mb=resident_mb(os.getpid()) or 0.0
    )
    post.send(0, Kind.FAREWELL, to_json(farewell))
    while not post.empty:
        post.push()
        time.sleep(SHORTEST_SLEEP_S)


class _Servant:
    """A worker between hello and farewell."""

    def __init__(self, post: PostOffice) -> None:
        self._post = post
        self._server: ForkServer | None = None
        self._supervisor: Supervisor | None = None
        self._fit = True
        self._stopped = False

    def serve(self) -> None:
        sleep_s = SHORTEST_SLEEP_S
        while not self._stopped:
            message = self._post.receive(0)
            self._stopped = 0 in self._post.gone
            if message is not None:
                self._take(*message)
            reported = self._report()
            self._post.push()
            busy = message is not None or reported
            sleep_s = SHORTEST_SLEEP_S if busy else min(sleep_s * SLEEP_GROWTH, LONGEST_SLEEP_S)
            self._sleep(sleep_s)
        if self._supervisor is not None:
            self._supervisor.close()
        if self._server is not None:
            self._server.close()

    def _take(self, kind: Kind, text: bytes) -> None:
        if kind is Kind.SETUP:
            self._set_up(from_json(Setup, text))
        elif kind is Kind.TASK:
            if self._fit and self._supervisor is not None:
                self._supervisor.start(from_json(TrialSpec, text))
        elif kind is Kind.CANCEL:
            trial_id = from_json(Cancel, text).trial_id
            if self._supervisor is not None and self._supervisor.trial_id == trial_id:
                self._supervisor.cancel()
        elif kind is Kind.STOP:
            self._stopped = True
        else:
            raise MpinasError(f"rank 0 sent {kind.name}, which it may not")

    def _set_up(self, setup: Setup) -> None:
        self._server = ForkServer(
            setup.runner, setup.threads, os.environ, quiet=setup.worker.device == "cpu"
        )
        self._supervisor = Supervisor(self._server, setup.worker, setup.environment)
        try:
            self._server.start()
        except ForkServerBroken as error:
            self._say_unfit(str(error))

    def _report(self) -> bool:
        """Passes on what the child did; tells whether there was anything."""
        if self._supervisor is None:
            return False
        events = self._supervisor.poll()
        for event in events:
            self._post.send(0, _kind(event), to_json(event))
        if self._supervisor.broken and self._fit and not self._supervisor.busy:
            self._say_unfit(self._supervisor.broken)
        return bool(events)

    def _say_unfit(self, reason: str) -> None:
        self._fit = False
        self._post.send(0, Kind.UNFIT, to_json(Unfit(reason=reason)))

    def _sleep(self, seconds: float) -> None:
        """Sleeps; news of the child wake it up."""
        descriptors = self._supervisor.descriptors() if self._supervisor is not None else []
        select.select(descriptors, [], [], seconds)


def _kind(event: Event) -> Kind:
    if isinstance(event, Started):
        return Kind.STARTED
    return Kind.PROGRESS if isinstance(event, Progress) else Kind.RESULT
