"""Makes the directory of a comparison, or recognises one, and finds the data of its searches."""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path

from mpinas.comparison import Comparison, ComparisonDirectory, existing_comparison
from mpinas.config import RunConfig
from mpinas.config_file import dump_config
from mpinas.errors import RunDirectoryFault, fault
from mpinas.opening import aside_of, check_directory
from mpinas.ownership import refuse_if_owned
from mpinas.problems import check_problem, open_prepared, prepare
from mpinas.problems.prepared import PreparedProblem
from mpinas.run_data import (
    are_of_another_path,
    data_file,
    prepare_again,
    refuse_other_data,
    shared_file,
    tell_of_data,
)
from mpinas.run_directory import RunDirectory, create_directory, refuse_if_taken, write_whole

logger = logging.getLogger(__name__)


def check_comparison(comparison: Comparison, *, fresh: bool) -> None:
    """Refuses a directory in which this comparison cannot be made; writes nothing.

    Raises:
        RunDirectoryFault: something else stands there, or a comparison with more in it, or of
            other searches, or one that another job works on, or one that cannot be read.
    """
    directory = comparison.directory
    if not directory.exists() and not directory.searches():
        refuse_if_taken(directory.path, "comparison")
        return
    if fresh:
        for search in directory.searches():
            refuse_if_owned(search)
        return
    _refuse_lost_config(directory)
    _refuse_to_leave_out(comparison, existing_comparison(directory.path))
    for run in comparison.runs:
        check_directory(run.config, run.path, fresh=False)


def _refuse_lost_config(directory: ComparisonDirectory) -> None:
    """Of searches alone nobody can tell whether they are all."""
    if not directory.exists():
        raise RunDirectoryFault(
            fault(
                str(directory.path),
                f"holds searches, and is not a comparison without its {directory.config.name}",
                cure=f"Copy the configuration that it began with to {directory.config}, give "
                "another --out, or --fresh to begin anew",
            )
        )


def _refuse_to_leave_out(comparison: Comparison, stored: Comparison) -> None:
    """A comparison can get more arms and experiments; results that are there are not hidden."""
    gone = [arm for arm in stored.arms if arm not in comparison.arms]
    received = [f"arms={list(comparison.arms)}"] if gone else []
    if stored.experiments > comparison.experiments:
        received.append(f"experiments={comparison.experiments}")
    if received:
        raise RunDirectoryFault(
            fault(
                str(stored.directory.path),
                f"has {stored.experiments} experiments of the arms {', '.join(stored.arms)}",
                ", ".join(received),
                cure="A comparison can be made larger, not smaller: give another --out, or "
                "--fresh to begin anew",
            )
        )


def begin_comparison(comparison: Comparison, *, fresh: bool) -> Path:
    """Makes the directory what this job needs, and gives the file of the prepared data.

    Raises:
        DataFault: an arm cannot use the data.
        RunDirectoryFault: a search began with other data.
    """
    directory, config = comparison.directory, comparison.config
    if fresh or not directory.exists():
        is_old = directory.exists() or bool(directory.searches())
        aside = aside_of(directory.path) if is_old else None
        create_directory(
            directory.path,
            lambda new: _fill(comparison, ComparisonDirectory(new)),
            aside=aside,
            of="comparison",
        )
        if aside is not None:
            logger.warning("the old comparison is kept as %s", aside)
    else:
        if shared_file(config) is None and must_prepare(config, directory):
            for search in directory.searches():
                refuse_if_owned(search)
            prepare_again(config.problem, directory.problem, partial(_refuse_data, comparison))
        _refuse_data(comparison, open_prepared(data_file(config, directory), verify=True))
    return data_file(config, directory)


def _fill(comparison: Comparison, directory: ComparisonDirectory) -> None:
    """What a new directory holds."""
    config = comparison.config
    if shared_file(config) is None:
        prepare(config.problem, directory.problem)
    data = data_file(config, directory)
    _check_arms(comparison, open_prepared(data, verify=True))
    tell_of_data(data)
    write_whole(directory.config, dump_config(config), durable=True)


def _refuse_data(comparison: Comparison, prepared: PreparedProblem) -> None:
    """Raises as :func:`begin_comparison`."""
    _refuse_other_data(comparison, prepared)
    _check_arms(comparison, prepared)


def _check_arms(comparison: Comparison, prepared: PreparedProblem) -> None:
    """Raises DataFault where an arm cannot use the data."""
    for run in comparison.runs[: len(comparison.arms)]:
        check_problem(run.config.problem, prepared, run.config.trial.batch_size)


def data_to_try(comparison: Comparison, folder: Path, *, fresh: bool) -> Path:
    """The file of the prepared data that would be used; where there is none, one in the folder.

    Raises:
        RunDirectoryFault: a search began with other data.
    """
    directory, config = comparison.directory, comparison.config
    is_begun = directory.exists() and not fresh
    data = shared_file(config)
    if data is None and is_begun and not must_prepare(config, directory):
        data = directory.problem
    if data is None:
        data = folder / directory.problem.name
        prepare(config.problem, data)
    if is_begun:
        _refuse_other_data(comparison, open_prepared(data))
    return data


def must_prepare(config: RunConfig, directory: ComparisonDirectory) -> bool:
    """Whether a begun comparison has no prepared data that are still those of its path."""
    stored = existing_comparison(directory.path).config
    return are_of_another_path(config, stored, directory.problem)


def _refuse_other_data(comparison: Comparison, prepared: PreparedProblem) -> None:
    for run in comparison.runs:
        refuse_other_data(RunDirectory(run.path), prepared)


def save_config(comparison: Comparison) -> None:
    """What the comparison is of from now on."""
    write_whole(comparison.directory.config, dump_config(comparison.config), durable=True)
