"""The process that forks trials: loads the runner once, then forks a child in 10 ms per trial.

The supervisor (``child.py``) starts it with :func:`main` in a fresh interpreter and talks to it
through one socket, whose messages are small JSON texts. It is no MPI process, so that no MPI
process ever forks (hpc: fork after MPI_Init breaks some fabrics); it runs no TensorFlow op, so
that its children may. Both it and every child ask the kernel to be killed with their parent:
a killed rank leaves neither behind.

Messages in: ``{"order": n, "environment": {...}}`` with three descriptors (the trial spec, the
pipe for reports, a place for notes of a crash), ``{"kill": n, "signal": s}``.
Messages out: ``{"ready": true}`` or ``{"broken": text}``, ``{"order": n, "pid": p}``,
``{"order": n, "refused": text}``, ``{"order": n, "exit": code}``.

It does not use ``multiprocessing``'s forkserver: that one makes its client wait, for the whole
TensorFlow import and without a limit, whenever it starts a process, pickles what it starts, runs
the main script again in each child and cannot be stopped except by the end of its client.
"""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import importlib
import json
import os
import resource
import select
import signal
import socket
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from mpinas.records import NetworkSpec, Progress, TrialResult, TrialSpec, from_json, to_json
from mpinas.signals import die_with_parent
from mpinas.trial import folders, outcome
from mpinas.trial.processes import die_before_others, keep_to_processors

RUNNERS: Mapping[str, str] = {
    "keras": "mpinas.trial.run",
    "fake": "mpinas.trial.fake",
    "final": "mpinas.trial.final",
}
"""Modules with a ``run_trial(spec, report)``; loading one must start no thread and touch no
device, since children are forked afterwards."""

MESSAGE_BYTES = 65536
DESCRIPTORS_IN_ORDER = 3
BROKEN_CHARACTERS = 8000
IGNORED_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP)

FIRST_LINE = b"S"
PROGRESS = b"P"
RESULT = b"R"
ERROR = b"E"


@dataclass(frozen=True, slots=True, kw_only=True)
class Raised:
    """What an ``ERROR`` line holds: the exception's class by name, and the traceback."""

    name: str
    text: str


def main(parent_pid: int, socket_fd: int, runner: str, quiet: bool) -> None:
    """Serves until the supervisor closes the socket or dies.

    Args:
        quiet: what is written to standard error while the runner is loaded is dropped.
    """
    die_with_parent(parent_pid)
    folders.sweep()
    for number in IGNORED_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    with socket.socket(fileno=socket_fd) as control:
        server = _Server(control, runner)
        try:
            with silence() if quiet else contextlib.nullcontext():
                importlib.import_module(RUNNERS[runner])
        except Exception:
            server.send({"broken": traceback.format_exc()[-BROKEN_CHARACTERS:]})
            return
        _warm_up()
        server.send({"ready": True})
        server.serve()


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """Leads standard error into nothing, for libraries that write to it from C++."""
    try:
        kept = os.dup(2)
    except OSError:  # it is closed
        yield
        return
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nothing)


def _warm_up() -> None:
    """Does once what every child would do again: readers of records, a tidy memory."""
    for record_type in (TrialSpec, TrialResult, Progress, NetworkSpec):
        with contextlib.suppress(ValueError):
            from_json(record_type, b"{}")
    gc.collect()
    gc.freeze()


class _Server:
    """The loop of the forkserver.

    Attributes:
        children: pid of a living child -> its order.
        folders: pid of a living child -> its folder for temporary files. TensorFlow writes the
            code it generates there and removes it only at an orderly end, which a child that is
            killed or leaves by ``os._exit`` does not have.
    """

    def __init__(self, control: socket.socket, runner: str) -> None:
        self.control = control
        self.runner = runner
        self.children: dict[int, int] = {}
        self.folders: dict[int, str] = {}
        self.wake_read, self.wake_write = os.pipe()
        for descriptor in (self.wake_read, self.wake_write):
            os.set_blocking(descriptor, False)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        signal.set_wakeup_fd(self.wake_write, warn_on_full_buffer=False)

    def send(self, message: Mapping[str, Any]) -> None:
        self.control.send(json.dumps(message).encode())

    def serve(self) -> None:
        try:
            while True:
                ready, _, _ = select.select([self.control.fileno(), self.wake_read], [], [])
                if self.wake_read in ready:
                    os.read(self.wake_read, MESSAGE_BYTES)
                    self._reap()
                if self.control.fileno() in ready and not self._take_message():
                    return
        except ConnectionError:
            return
        finally:
            self._end_children()

    def _end_children(self) -> None:
        """Kills all, and waits for each so that none writes into a folder being removed."""
        for pid in self.children:
            _kill_group(pid, signal.SIGKILL)
        for pid in self.children:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)
            folders.remove(self.folders[pid])

    def _take_message(self) -> bool:
        text, descriptors, _, _ = socket.recv_fds(self.control, MESSAGE_BYTES, DESCRIPTORS_IN_ORDER)
        if not text:
            return False
        message = json.loads(text)
        if "kill" in message:
            for pid, order in self.children.items():
                if order == message["kill"]:
                    _kill_group(pid, message["signal"])
            return True
        try:
            self._fork(message, descriptors)
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        return True

    def _fork(self, message: Mapping[str, Any], descriptors: list[int]) -> None:
        server_pid, folder = os.getpid(), None
        try:
            folder = folders.make()
            pid = os.fork()
        except OSError as error:
            folders.remove(folder)
            self.send({"order": message["order"], "refused": f"no child can be started: {error}"})
            return
        if pid == 0:
            environment = {**message["environment"], "TMPDIR": folder}
            self._become_child(server_pid, environment, descriptors)
        with contextlib.suppress(OSError):
            os.setpgid(pid, pid)
        self.children[pid] = message["order"]
        self.folders[pid] = folder
        self.send({"order": message["order"], "pid": pid})

    def _become_child(
        self, server_pid: int, environment: Mapping[str, str], descriptors: list[int]
    ) -> NoReturn:
        code = 1
        try:
            os.setpgid(0, 0)
            die_with_parent(server_pid)
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGCHLD, signal.SIGTERM):
                signal.signal(number, signal.SIG_DFL)
            self.control.close()
            os.close(self.wake_read)
            os.close(self.wake_write)
            os.environ.update(environment)
            keep_to_processors(environment)
            die_before_others()
            tempfile.tempdir = None
            code = run_child(self.runner, *descriptors)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)

    def _reap(self) -> None:
        """Reports every child that has ended; what it started in its group ends with it.

        The group is killed while the dead child still holds its number, so that no stranger can
        have it.
        """
        while True:
            try:
                ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if ended is None:
                return
            _kill_group(ended.si_pid, signal.SIGKILL)
            _, status = os.waitpid(ended.si_pid, 0)
            order = self.children.pop(ended.si_pid, None)
            if order is not None:
                folders.remove(self.folders.pop(ended.si_pid))
                self.send({"order": order, "exit": os.waitstatus_to_exitcode(status)})


def _kill_group(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


def run_child(runner: str, spec_fd: int, report_fd: int, notes_fd: int) -> int:
    """Runs one trial in this process and writes what happens to the pipe, a line a message.

    A crash leaves the Python stack in the notes; so does SIGTERM, which tells where a trial was
    that ran out of time.

    Returns:
        The exit code of the process.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    faulthandler.enable(file=notes_fd)
    faulthandler.register(signal.SIGTERM, file=notes_fd, chain=True)
    tell = _Tell(report_fd)
    tell(FIRST_LINE, b"")
    try:
        with open(spec_fd, "rb", closefd=False) as text:
            spec = from_json(TrialSpec, text.read())
        run_trial: Callable[..., TrialResult] = importlib.import_module(RUNNERS[runner]).run_trial
        result = run_trial(spec, tell.progress)
        if not isinstance(result, TrialResult):
            raise TypeError(f"run_trial gave no TrialResult. Received: {type(result).__name__}.")
        tell(RESULT, to_json(result))
    except BaseException as error:
        tell(ERROR, to_json(Raised(name=type(error).__name__, text=outcome.traceback_of(error))))
        return _exit_code(error)
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
    return 0


def _exit_code(error: BaseException) -> int:
    if not isinstance(error, SystemExit):
        return 1
    if error.code is None:
        return 0
    return error.code & 0xFF if isinstance(error.code, int) else 1


class _Tell:
    """Writes messages to the supervisor: a kind byte, JSON on one line, a line feed."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def __call__(self, kind: bytes, text: bytes) -> None:
        left = memoryview(kind + text + b"\n")
        while left:
            left = left[os.write(self.descriptor, left) :]

    def progress(self, progress: Progress) -> None:
        self(PROGRESS, to_json(progress))
