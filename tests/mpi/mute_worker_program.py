"""The command line as it is, but rank 2 falls silent on its way to its first trial.

Arguments: when (``before_mpi``, ``before_hello``, ``after_hello``); a file that it makes then; then
those of the command line.
"""

from __future__ import annotations

from mpinas.signals import hold_signals

hold_signals()  # before anything is loaded that starts threads, as the program itself does

import sys  # noqa: E402
import time  # noqa: E402
from pathlib import Path  # noqa: E402

from losing import environment_rank  # noqa: E402

from mpinas.dispatch import mpi, servant  # noqa: E402


def fall_silent(*anything: object) -> None:
    Path(marker).touch()
    time.sleep(600)


if __name__ == "__main__":
    moment, marker = sys.argv.pop(1), sys.argv.pop(1)
    if environment_rank() == 2:
        if moment == "before_mpi":
            mpi.join = fall_silent
        elif moment == "before_hello":
            servant.serve = fall_silent
        else:
            servant._Servant.serve = fall_silent
    from mpinas.cli import main  # takes ``serve`` as it is by then

    main()
