"""The data of a final training: those of the search, and which of them it may validate with."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mpinas.config import RunConfig
from mpinas.errors import DataFault, UserMustChange, fault
from mpinas.opening import problem_spec
from mpinas.problems import open_prepared
from mpinas.problems.prepared import PreparedProblem
from mpinas.problems.splits import split
from mpinas.records import ProblemSpec
from mpinas.run_data import check_data, data_file, shared_file
from mpinas.run_directory import RunDirectory

GIVE_DATA = "Give them with --set problem.path=FILE, as 'python -m mpinas prepare' writes it"


def final_problem(
    config: RunConfig, searched: RunConfig, directory: RunDirectory, *, inherit: bool
) -> ProblemSpec:
    """The problem as final trainings get it.

    Args:
        config: of the final trainings.
        searched: of the run.
        inherit: they begin with weights that the search has saved.

    Raises:
        DataFault: the data are not there, damaged, or not those that the configuration means.
        RunDirectoryFault: the run began with other data.
        UserMustChange: inherited weights have learned from images that would validate.
    """
    file = data_file(config, directory)
    _refuse_other_file(config, searched)
    _refuse_lost_data(file, config.problem.path)
    check_data(config, directory)
    prepared = open_prepared(file)
    problem = problem_spec(config, prepared, file)
    if inherit:
        _refuse_known_images(problem, problem_spec(searched, prepared, file), prepared)
    return problem


def _refuse_other_file(config: RunConfig, searched: RunConfig) -> None:
    """Raises DataFault where data are named that are no prepared file: nothing is prepared here."""
    path = config.problem.path
    if path != searched.problem.path and shared_file(config) is None:
        raise DataFault(
            fault("problem.path", "no such prepared file", f"problem.path={path}", cure=GIVE_DATA)
        )


def _refuse_lost_data(file: Path, named: str | None) -> None:
    """Raises DataFault where the prepared data of the run were moved or removed.

    Args:
        named: by the configuration: a prepared file that is shared, or what was prepared.
    """
    if not file.is_file():
        lost = named if named is not None and Path(named).suffix == file.suffix else str(file)
        raise DataFault(
            fault(lost, "no such prepared file: the run's data are gone", cure=GIVE_DATA)
        )


def _refuse_known_images(
    final: ProblemSpec, searched: ProblemSpec, prepared: PreparedProblem
) -> None:
    """Raises UserMustChange where inherited weights have learned from images that would validate.

    The parts are drawn alike, but a larger validation part reaches into what was learned from.
    """
    learned, validating = (
        split(
            prepared.y_train,
            training_images=one.training_images,
            validation_images=one.validation_images,
            seed=one.split_seed,
        )[place]
        for one, place in ((searched, 0), (final, 1))
    )
    known = len(np.intersect1d(learned, validating))
    if known:
        raise UserMustChange(
            fault(
                "--inherit",
                "the saved weights have learned from images that would validate now",
                f"{known} of {len(validating)} validation images",
                cure=f"Leave it out, or keep the parts of the search: "
                f"--set problem.train_images={searched.training_images}, and its "
                "problem.validation",
            )
        )
