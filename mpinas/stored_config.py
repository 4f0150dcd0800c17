"""The configuration that a run was last driven with: in its ``config.yaml``, or where that is lost
or damaged, in its newest checkpoint.
"""

from __future__ import annotations

from pathlib import Path

from mpinas.checkpoint import DamagedCheckpoint, load_checkpoint
from mpinas.config import RunConfig
from mpinas.config_file import Knowledge, load_config, load_plain
from mpinas.errors import ConfigurationFaults, RunDirectoryFault, fault
from mpinas.run_directory import RunDirectory


def stored_config(directory: RunDirectory, knowledge: Knowledge) -> RunConfig:
    """What the run is, by whatever file still tells.

    Raises:
        RunDirectoryFault: none does.
    """
    try:
        return load_config(directory.config, (), knowledge)
    except ConfigurationFaults as error:
        told = _of_checkpoints(directory, knowledge)
        if told is None:
            raise RunDirectoryFault(*error.faults, _nothing_tells(directory.path)) from error
        return told


def config_fault(directory: RunDirectory, knowledge: Knowledge) -> str:
    """What is wrong with the run's ``config.yaml``, one line; empty where nothing is."""
    try:
        load_config(directory.config, (), knowledge)
    except ConfigurationFaults as error:
        return error.faults[0]
    return ""


def _of_checkpoints(directory: RunDirectory, knowledge: Knowledge) -> RunConfig | None:
    """Of the newest one that can be read."""
    for file in (*reversed(directory.generation_files()), directory.start):
        try:
            about = load_checkpoint(file).about
            return load_plain(about["config"], (), knowledge, str(file))
        except (DamagedCheckpoint, KeyError, ConfigurationFaults):
            continue  # an older file tells the same
    return None


def _nothing_tells(path: Path) -> str:
    return fault(
        str(path),
        "holds a run whose configuration is lost, and no checkpoint tells it",
        cure=f"Copy the configuration that it began with to {path}/config.yaml, or begin a run "
        "anew: another --out, or --fresh",
    )
