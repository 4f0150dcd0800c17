"""Signals that ask a job to end. Held back while it starts, then a flag, then ignored.

Knows nothing else of the package, so that it can be loaded before everything that takes time.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

STOP_SIGNALS = (signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM, signal.SIGINT)


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
