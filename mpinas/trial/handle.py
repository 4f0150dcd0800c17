"""The supervisor's handle on a forkserver: starts it, orders forks, learns of their ends.

Nothing here waits: every call returns at once, so that a worker goes on answering rank 0 while
TensorFlow is being imported. It must not know what a trial is.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mpinas.environment import scrubbed
from mpinas.errors import MpinasError
from mpinas.trial.forkserver import MESSAGE_BYTES

THREAD_VARIABLES = ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")

PROGRAM = """\
import json, sys
path, *arguments = json.loads(sys.argv[1])
sys.path[:] = path
from mpinas.errors import MpinasError
from mpinas.trial.forkserver import main
main(*arguments)
"""

LOG_LEVEL, QUIET_LOG_LEVEL = "1", "3"
DEATHS_ALLOWED = 3
LOAD_LIMIT_S = 600.0
STOP_GRACE_S = 1.0


class ForkServerBroken(MpinasError):
    """The forkserver cannot be started, or died too often."""


@dataclass(slots=True, kw_only=True)
class Fork:
    """What is known of one ordered child. Changed by :meth:`ForkServer.poll`.

    Attributes:
        pid: None until it is forked.
        exit_code: None while it lives; negative for the signal that killed it.
        lost: why there is and will be no child, or nothing more to learn of it; else empty.
    """

    order: int
    pid: int | None = None
    exit_code: int | None = None
    lost: str = ""

    @property
    def ended(self) -> bool:
        return self.exit_code is not None or bool(self.lost)


def thread_environment(threads: int) -> dict[str, str]:
    """The variables that keep a trial to its threads."""
    return dict.fromkeys(THREAD_VARIABLES, str(threads))


class ForkServer:
    """One forkserver process, started when it is first needed and again when it has died.

    Args:
        runner: key of ``RUNNERS``.
        threads: of a trial; numerical libraries read it when they are loaded.
        environment: of this process; the server gets it scrubbed.
        quiet: drops what TensorFlow writes while it is loaded, and its error about a missing GPU
            in every trial; for workers without one. What goes wrong comes as an exception.
    """

    def __init__(
        self, runner: str, threads: int, environment: Mapping[str, str], *, quiet: bool = False
    ) -> None:
        self._runner = runner
        self._quiet = quiet
        self._environment = {
            "TF_CPP_MIN_LOG_LEVEL": QUIET_LOG_LEVEL if quiet else LOG_LEVEL,
            **scrubbed(environment),
            "KERAS_BACKEND": "tensorflow",
            **thread_environment(threads),
        }
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._forks: dict[int, Fork] = {}
        self._orders = 0
        self._deaths = 0
        self._started_at = 0.0
        self._ready_at: float | None = None

    @property
    def pid(self) -> int | None:
        """Of the process, None while there is none."""
        return self._process.pid if self._process else None

    @property
    def ready_at(self) -> float | None:
        """When it had loaded the runner (``time.monotonic``); None before."""
        return self._ready_at

    def descriptor(self) -> int | None:
        """Readable when :meth:`poll` has news."""
        return self._control.fileno() if self._control else None

    def start(self) -> None:
        """Starts the process where there is none, so that the runner is loaded early.

        Raises:
            ForkServerBroken: it cannot be started, or has died too often.
        """
        if self._process is not None:
            return
        if self._deaths >= DEATHS_ALLOWED:
            raise ForkServerBroken(f"the forkserver died {self._deaths} times in a row")
        here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        arguments = [sys.path, os.getpid(), there.fileno(), self._runner, self._quiet]
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-c", PROGRAM, json.dumps(arguments)],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=2,
                pass_fds=(there.fileno(),),
                start_new_session=True,
            )
        except OSError as error:
            here.close()
            self._deaths += 1
            raise ForkServerBroken(f"the forkserver does not start: {error}") from error
        finally:
            there.close()
        here.setblocking(False)
        self._control = here
        self._started_at, self._ready_at = time.monotonic(), None

    def order(self, descriptors: Sequence[int], environment: Mapping[str, str]) -> Fork:
        """Orders a child that inherits the descriptors; they may be closed afterwards.

        Raises:
            ForkServerBroken: as :meth:`start`.
        """
        self.poll()
        self.start()
        assert self._control is not None
        self._orders += 1
        text = json.dumps({"order": self._orders, "environment": dict(environment)}).encode()
        try:
            socket.send_fds(self._control, [text], list(descriptors))
        except OSError as error:
            self.give_up(f"the forkserver takes no orders: {error}")
            return Fork(order=self._orders, lost=f"the forkserver takes no orders: {error}")
        fork = Fork(order=self._orders)
        self._forks[fork.order] = fork
        return fork

    def kill(self, fork: Fork, number: int) -> None:
        """Sends a signal to the child and to what it started in its group."""
        if self._control is not None and not fork.ended:
            try:
                self._control.send(json.dumps({"kill": fork.order, "signal": number}).encode())
            except OSError as error:
                self.give_up(f"the forkserver takes no orders: {error}")

    def poll(self) -> None:
        """Brings all forks up to date."""
        while self._control is not None:
            try:
                text = self._control.recv(MESSAGE_BYTES)
            except BlockingIOError:
                break
            except ConnectionResetError:
                continue  # it left with orders unread; its last words come after this error
            if not text:
                self.give_up("the forkserver died")
                return
            self._take(json.loads(text))
        late = self._ready_at is None and time.monotonic() - self._started_at > LOAD_LIMIT_S
        if self._process is not None and late:
            self.give_up(f"the forkserver had not loaded its modules after {LOAD_LIMIT_S:g} s")

    def close(self) -> None:
        """Ends the process and all its children; returns when it is gone."""
        self._end(grace_s=STOP_GRACE_S if self._ready_at is not None else 0.0)
        for fork in self._forks.values():
            fork.lost = "the forkserver was closed"
        self._forks.clear()

    def _take(self, message: Mapping[str, Any]) -> None:
        if "ready" in message:
            self._ready_at = time.monotonic()
            return
        if "broken" in message:
            self.give_up(f"the runner cannot be loaded\n{message['broken']}")
            return
        fork = self._forks.get(message["order"])
        if fork is None:
            return
        fork.pid = message.get("pid", fork.pid)
        fork.exit_code = message.get("exit")
        fork.lost = message.get("refused", "")
        if fork.exit_code is not None:
            self.forget_deaths()
        if fork.ended:
            del self._forks[fork.order]

    def forget_deaths(self) -> None:
        """It has got a child going: deaths before that are in no row with the next."""
        self._deaths = 0

    def give_up(self, reason: str) -> None:
        """Kills a server that is of no more use, and its children; an order starts a new one."""
        code = self._end(grace_s=0.0)
        self._deaths += 1
        ending = f"; it ended with {code}" if code is not None else ""
        for fork in self._forks.values():
            fork.lost = reason + ending
        self._forks.clear()

    def _end(self, *, grace_s: float) -> int | None:
        """Closes the socket, whereupon the server kills its children and leaves; then kills it."""
        if self._control is not None:
            self._control.close()
        process, self._process, self._control = self._process, None, None
        if process is None:
            return None
        code = process.poll()
        try:
            process.wait(grace_s)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
        return code
