"""Signals that ask a job to end, held back while it starts, then noted, then ignored; and the one
that ends a child with its parent.

Knows nothing else of the package, so that it can be loaded before everything that takes time.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

STOP_SIGNALS = (signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM, signal.SIGINT)
PR_SET_PDEATHSIG = 1
ECHO_S = 0.3
"""A scheduler and a script that passes signals on send the same request twice within this."""


def hold_signals() -> None:
    """Keeps signals waiting until :func:`let_signals_in`; none is lost."""
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)


def let_signals_in() -> None:
    """Delivers what was held back, and what comes from now on."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)


class StopRequest:
    """What signals have asked for so far: nothing, an end in order, or an end at once.

    Args:
        now_s: a clock that never goes back, in seconds.
    """

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        self._now_s = now_s
        self._since_s: float | None = None
        self._urgent = False
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
