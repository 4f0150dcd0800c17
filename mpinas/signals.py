"""Signals that ask a job to end, held back while it starts, then noted, then ignored; and the one
that ends a child with its parent.

Knows nothing else of the package, so that it can be loaded before everything that takes time.
"""

from __future__ import annotations

import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

STOP_SIGNALS = (signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM, signal.SIGINT)
PR_SET_PDEATHSIG = 1
STOPPED_CODE = 75
"""Exit code of a job that is to be submitted again."""
STOPPED_WORDS = "stopped before a trial was begun; the same command goes on"
SHORTEST_ALARM_S = 0.001
WATCH_S = 0.2
ECHO_S = 0.3
"""A scheduler and a script that passes signals on send the same request twice within this."""


def hold_signals() -> None:
    """Keeps signals waiting until :func:`let_signals_in`; none is lost."""
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)


def let_signals_in() -> None:
    """Delivers what was held back, and what comes from now on."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)


class StoppedEarly(BaseException):
    """The job was asked to end where there is nothing to save yet: exit code 75.

    No ``Exception``, so that nobody who reads data takes it for a fault of theirs.
    """


@contextmanager
def held() -> Iterator[None]:
    """While inside, signals wait: what runs there must not meet an exception from nowhere.

    By handlers and not by the mask of this thread: a thread of some library takes the signal then,
    and Python's handler runs here all the same. Outside the main thread none ever does.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    handlers = {number: signal.getsignal(number) for number in (*STOP_SIGNALS, signal.SIGALRM)}
    ours = {number: one for number, one in handlers.items() if one is not None}
    for number in ours:
        signal.signal(number, lambda number, frame: came.append(number))
    try:
        yield
    finally:
        for number, handler in ours.items():
            signal.signal(number, handler)
        if came:
            signal.raise_signal(came[0])


class StopRequest:
    """What signals have asked for so far: nothing, an end in order, or an end at once.

    Args:
        now_s: a clock that never goes back, in seconds.
    """

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        self._now_s = now_s
        self._since_s: float | None = None
        self._urgent = False
        self._at_once = False
        self.name = ""
        """Of the first signal; empty while there is none."""

    def __call__(self) -> bool:
        """Whether the job was asked to end."""
        return self._since_s is not None

    def urgent(self) -> bool:
        """Whether it was asked again, later than an echo comes: then nothing is waited for."""
        return self._urgent

    def note(self, number: int, frame: FrameType | None = None) -> None:
        """Takes a signal in; is a signal handler."""
        now_s = self._now_s()
        if self._since_s is None:
            self._since_s, self.name = now_s, signal.Signals(number).name
        elif now_s - self._since_s >= ECHO_S:
            self._urgent = True
        self._interrupt(self.name)

    @contextmanager
    def at_once(self, left_s: float | None) -> Iterator[None]:
        """While inside, a request is not only noted but ends what runs there: for work that takes
        long, can be done again and leaves nothing behind when it is broken off.

        Args:
            left_s: when to end it by the clock; None for never.

        Raises:
            StoppedEarly: a signal has come, before or inside, or the time is over.
        """

        def ring(number: int, frame: FrameType | None) -> None:
            self._interrupt("the walltime is near")

        before = signal.signal(signal.SIGALRM, ring)
        self._at_once = True
        try:
            if self():
                self._interrupt(self.name)
            if left_s is not None:
                signal.setitimer(signal.ITIMER_REAL, max(left_s, SHORTEST_ALARM_S))
            yield
        finally:
            self._at_once = False
            signal.setitimer(signal.ITIMER_REAL, 0.0)
            signal.signal(signal.SIGALRM, before)
        if self():  # where it came up, somebody may have dropped it
            raise StoppedEarly(self.name)

    def _interrupt(self, reason: str) -> None:
        """Raises once; what is cleaned up meanwhile is not broken off."""
        if self._at_once:
            self._at_once = False
            raise StoppedEarly(reason)


@contextmanager
def stop_signals() -> Iterator[StopRequest]:
    """While inside, signals that ask for an end are only noted; gives what tells of them.

    Where one has come the process is about to end in order, and another one must not change its
    exit code: from then on they are ignored.
    """
    request = StopRequest()
    before = {number: signal.signal(number, request.note) for number in STOP_SIGNALS}
    let_signals_in()
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_IGN if request() else handler)


def die_with_parent(parent_pid: int) -> None:
    """Has the kernel kill this process when its parent ends; leaves at once if it is gone."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != parent_pid:
        os._exit(1)


@contextmanager
def leaving_what_hangs(limit_s: float, say: Callable[[str], None]) -> Iterator[None]:
    """Lets held signals end the process while no Python runs in its main thread, as in MPI_Init
    where a rank never comes: some time after the first one, or at once when it is repeated.

    What came and did not have to end it is held back again. Where signals are let in, nothing is
    watched.

    Args:
        limit_s: after the first signal.
        say: gets the name of the signal before the process leaves with ``STOPPED_CODE``.
    """
    if not signal.pthread_sigmask(signal.SIG_BLOCK, ()).issuperset(STOP_SIGNALS):
        yield
        return
    over, request = threading.Event(), StopRequest()
    watcher = threading.Thread(target=_watch, args=(over, request, limit_s, say), daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()
        if request():
            os.kill(os.getpid(), signal.Signals[request.name])


def _watch(
    over: threading.Event, request: StopRequest, limit_s: float, say: Callable[[str], None]
) -> None:
    leave_at_s = math.inf
    while not over.is_set():
        came = signal.sigtimedwait(STOP_SIGNALS, WATCH_S)
        now_s = time.monotonic()
        if came is not None:
            request.note(came.si_signo)
            leave_at_s = min(leave_at_s, now_s + limit_s)
        if now_s >= leave_at_s or request.urgent():
            say(request.name)
            os._exit(STOPPED_CODE)
