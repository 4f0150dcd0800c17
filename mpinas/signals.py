"""Signals that ask a job to end, held back while it starts, then a flag, then ignored; and the
one that ends a child with its parent.

Knows nothing else of the package, so that it can be loaded before everything that takes time.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

STOP_SIGNALS = (signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM, signal.SIGINT)
PR_SET_PDEATHSIG = 1


def hold_signals() -> None:
    """Keeps signals waiting until :func:`let_signals_in`; none is lost."""
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)


def let_signals_in() -> None:
    """Delivers what was held back, and what comes from now on."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)


@contextmanager
def stop_signals() -> Iterator[Callable[[], bool]]:
    """While inside, signals that ask for an end only set a flag; gives what reads it.

    Where one has come the process is about to end in order, and a second one must not change its
    exit code: from then on they are ignored.
    """
    received: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        received.append(number)

    before = {number: signal.signal(number, note) for number in STOP_SIGNALS}
    let_signals_in()
    try:
        yield lambda: bool(received)
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_IGN if received else handler)


def die_with_parent(parent_pid: int) -> None:
    """Has the kernel kill this process when its parent ends; leaves at once if it is gone."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != parent_pid:
        os._exit(1)
