"""The command line as it is, but rank 2 falls silent on its way to its first trial.

Arguments: when (``before_mpi``, ``before_hello``, ``after_hello``); a file that is made then; then
those of the command line. ``before_hello`` the file is made as soon as rank 0 waits for rank 2
alone, so that nobody takes the slow start of another rank for silence.
"""

from __future__ import annotations

from mpinas.signals import hold_signals

hold_signals()  # before anything is loaded that starts threads, as the program itself does

import sys  # noqa: E402
import time  # noqa: E402
from collections.abc import Callable  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

from losing import environment_rank  # noqa: E402

from mpinas.dispatch import mpi, servant  # noqa: E402

Silent = Callable[..., list[int]]


def fall_silent(*anything: object) -> None:
    if moment != "before_hello":
        Path(marker).touch()
    time.sleep(600)


def told(silent: Silent) -> Silent:
    """As it is; makes the file when rank 2 is the only one that has not said hello."""

    def look(*farm_and_hellos: Any) -> list[int]:
        ranks = silent(*farm_and_hellos)
        if ranks == [2]:
            Path(marker).touch()
        return ranks

    return look


if __name__ == "__main__":
    moment, marker = sys.argv.pop(1), sys.argv.pop(1)
    if environment_rank() == 2:
        if moment == "before_mpi":
            mpi.join = fall_silent
        elif moment == "before_hello":
            servant.serve = fall_silent
        else:
            servant._Servant.serve = fall_silent
    elif moment == "before_hello":
        mpi.MpiExecutor._silent = told(mpi.MpiExecutor._silent)
    from mpinas.cli import main  # takes ``serve`` as it is by then

    main()
