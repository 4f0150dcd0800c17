"""The prepared data of a run or a comparison: which file, and whether it began with them."""

from __future__ import annotations

import contextlib
import logging
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from mpinas.checkpoint import DamagedCheckpoint, load_checkpoint
from mpinas.config import ProblemConfig, RunConfig
from mpinas.errors import DataFault, RunDirectoryFault, fault
from mpinas.problems import (
    PreparedProblem,
    check_problem,
    is_prepared,
    open_prepared,
    prepare,
)
from mpinas.run_directory import RunDirectory

logger = logging.getLogger(__name__)


class HasData(Protocol):
    """A directory with prepared data of its own: that of a run, or of a comparison."""

    @property
    def problem(self) -> Path:
        """The file."""


def shared_file(config: RunConfig) -> Path | None:
    """The prepared file that the configuration names; None where it names other data or none."""
    path = config.problem.path
    return Path(path) if path is not None and is_prepared(Path(path)) else None


def data_file(config: RunConfig, directory: HasData) -> Path:
    """The prepared file that trials map: the one the configuration names, or the directory's."""
    return shared_file(config) or directory.problem


def with_data(config: RunConfig, data: Path) -> RunConfig:
    """The configuration of a run that takes its data from there."""
    problem = config.problem.model_copy(update={"path": str(data.absolute())})
    return config.model_copy(update={"problem": problem})


def can_be_mapped(file: Path) -> bool:
    """Whether there is a prepared file of this version; another is made anew."""
    try:
        open_prepared(file)
    except DataFault:
        return False
    return True


def are_of_another_path(config: RunConfig, stored: RunConfig, prepared_file: Path) -> bool:
    """Whether prepared data are not those of the path that the configuration names now, or lost.

    Args:
        stored: the configuration that they were prepared by.
    """
    is_another = stored.problem.path != config.problem.path
    return is_another or not can_be_mapped(prepared_file)


def prepare_again(
    problem: ProblemConfig, file: Path, refuse: Callable[[PreparedProblem], None]
) -> None:
    """Puts data that are prepared anew in the place of a file, unless they are refused.

    Args:
        refuse: all that could be wrong with them: in place they count as the right ones.
    """
    with tempfile.TemporaryDirectory(dir=file.parent) as folder:
        new = Path(folder) / file.name
        prepare(problem, new)
        refuse(open_prepared(new))
        new.replace(file)


def check_data(config: RunConfig, directory: RunDirectory) -> None:
    """Reads the prepared data of a run once, and refuses what it cannot go on with.

    Raises:
        RunDirectoryFault: the run began with other data.
        DataFault: the data are damaged, or not those that the configuration means.
    """
    refuse_data(config, directory, open_prepared(data_file(config, directory), verify=True))


def refuse_data(config: RunConfig, directory: RunDirectory, prepared: PreparedProblem) -> None:
    """Refuses data that a run cannot go on with. Raises as :func:`check_data`."""
    refuse_other_data(directory, prepared)
    check_problem(config.problem, prepared, config.trial.batch_size)


def refuse_other_data(directory: RunDirectory, prepared: PreparedProblem) -> None:
    """Refuses data that differ from those the run began with, as far as anything tells."""
    begun_with = _data_begun_with(directory)
    if begun_with is not None and prepared.checksum != begun_with:
        raise RunDirectoryFault(
            fault(
                str(directory.path),
                "began with other data",
                f"data={prepared.source}",
                cure="Give the data it began with, or begin a run with these: another --out, or "
                "--fresh",
            )
        )


def _data_begun_with(directory: RunDirectory) -> str | None:
    """The checksum of the data, of the first checkpoint that is intact."""
    for file in (directory.start, *directory.generation_files()):
        with contextlib.suppress(DamagedCheckpoint):
            return str(load_checkpoint(file).about["data"])
    return None


def tell_of_data(file: Path) -> None:
    """Logs what there is to know of prepared data."""
    for remark in open_prepared(file).remarks:
        logger.info("data: %s", remark)
