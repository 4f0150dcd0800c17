"""Populations to start with: of another run, by ``--start-from``.

Comes in: that run's ``start.h5``. Comes out: the state that a new search begins with.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from mpinas.checkpoint import START, Checkpoint, DamagedCheckpoint, load_checkpoint
from mpinas.config import RunConfig
from mpinas.errors import RunDirectoryFault, fault
from mpinas.opening import build_tuner
from mpinas.run_directory import RunDirectory

logger = logging.getLogger(__name__)


def load_start(config: RunConfig, path: Path, directory: RunDirectory | None) -> Any | None:
    """Starting populations for a new run out of another one's file; None for a begun run.

    A job that is submitted again has the option again, and by then the file may be gone.

    Args:
        path: a run's ``start.h5``.
        directory: of the run that may have begun already; None for one that is begun anew.

    Raises:
        RunDirectoryFault: no such file, damaged, of another space or tuner, or the run in the
            directory began with other populations.
    """
    begun = _read_start(directory.start) if directory else None
    start = _read_start(path)
    if start is None and begun is None:
        raise RunDirectoryFault(
            fault(
                "--start-from",
                "no starting populations there",
                str(path),
                "Allowed: checkpoints/start.h5 of a run",
            )
        )
    if begun is not None or start is None:
        _refuse_other_start(path, begun, start)
        return None
    here = {
        "space": config.space.model_dump(mode="json"),
        "tuner": config.tuner.of_populations(),
    }
    differing = [key for key, value in here.items() if start.about.get(key) != value]
    if differing:
        rule = f"its populations were made with another {' and '.join(differing)}"
        raise RunDirectoryFault(fault("--start-from", rule, str(path)))
    try:
        return build_tuner(config).state_from_plain(start.state, start.history)
    except ValueError as error:
        raise RunDirectoryFault(fault("--start-from", str(error), str(path))) from error


def _read_start(path: Path) -> Checkpoint | None:
    try:
        start = load_checkpoint(path)
    except DamagedCheckpoint:
        return None
    return start if start.generation == START else None


def _refuse_other_start(path: Path, begun: Checkpoint | None, start: Checkpoint | None) -> None:
    if begun is None or start is None:
        logger.warning("--start-from: %s is not there any more; the run has its populations", path)
    elif (begun.state, begun.history) != (start.state, start.history):
        raise RunDirectoryFault(
            fault(
                "--start-from",
                "the run began with other populations",
                str(path),
                cure="Give another --out, or --fresh to begin anew",
            )
        )
