"""What every verb of the command line has in common: exit codes, and how errors are told."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import click

from mpinas.errors import MpinasError, UserMustChange
from mpinas.signals import (
    STOP_SIGNALS,
    STOPPED_CODE,
    STOPPED_WORDS,
    StoppedEarly,
    let_signals_in,
)

EXIT_DONE = 0
EXIT_FAILED = 1
EXIT_USER_MUST_CHANGE = 2
EXIT_STOPPED = STOPPED_CODE
EXIT_INTERRUPTED = 130


def guarded(function: Callable[[], Any]) -> Any:
    """The function's value; where the user must change something, its lines and exit code 2."""
    try:
        return function()
    except UserMustChange as error:
        _complain(error)
        sys.exit(EXIT_USER_MUST_CHANGE)


def exit_code(function: Callable[[], int]) -> int:
    """The function's exit code, or that of the error it ends with. Bugs are not caught."""
    try:
        return function()
    except UserMustChange as error:
        _complain(error)
        return EXIT_USER_MUST_CHANGE
    except (MpinasError, OSError) as error:
        _complain(error)
        return EXIT_FAILED
    except StoppedEarly as reason:
        _complain(f"{reason}: {STOPPED_WORDS}")
        return EXIT_STOPPED
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED


def _complain(error: Exception | str) -> None:
    with suppress(OSError):
        click.echo(str(error), err=True)


def end_orderly() -> None:
    """Every end is that of Ctrl-C from here on, so that no half-written file is left."""
    for number in (signal.SIGHUP, *STOP_SIGNALS):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup has it
            signal.signal(number, signal.default_int_handler)
    let_signals_in()
