"""The run directory of a job: made anew, or found to hold the same search; and what it begins with.

Wires the configuration to the registries of all packages. What is refused here is refused before
anything is written.
"""

from __future__ import annotations

import contextlib
import logging
import math
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from mpinas.config import RunConfig
from mpinas.config_file import Knowledge, differing_keys, dump_config, load_config
from mpinas.config_shrink import drift_warnings
from mpinas.config_values import RangeDomain
from mpinas.errors import RunDirectoryFault, fault
from mpinas.ownership import refuse_if_owned
from mpinas.problems import (
    PROBLEMS,
    PreparedProblem,
    check_problem_section,
    default_path,
    open_prepared,
    parts_of,
    prepare,
)
from mpinas.records import ProblemSpec
from mpinas.run_data import (
    are_of_another_path,
    check_data,
    data_file,
    prepare_again,
    refuse_data,
    shared_file,
    tell_of_data,
    with_data,
)
from mpinas.run_directory import (
    RunDirectory,
    create_run_directory,
    refuse_if_taken,
    write_whole,
)
from mpinas.search import Setting
from mpinas.space.layers import LAYERS
from mpinas.space.presets import SPACES
from mpinas.space.search_space import build_space, check_space
from mpinas.stored_config import config_fault, stored_config
from mpinas.tuners import TUNERS
from mpinas.tuners.base import Tuner

logger = logging.getLogger(__name__)

KNOWLEDGE = Knowledge(
    tuners={name: entry.config for name, entry in TUNERS.items()},
    spaces=SPACES,
    problems=PROBLEMS,
    layers={kind: row.gene for kind, row in LAYERS.items() if row.gene is not None},
    checks={"space": check_space, "problem": check_problem_section},
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """What the command line says beside the configuration.

    Attributes:
        out: the run directory; None for ``runs/<name>`` under the current one.
        overrides: ``key=value``, the command line's own options among them.
        start_from: checkpoint ``start.h5`` of another run, whose populations are taken.
        fresh: set an old run in the directory aside.
    """

    config: Path
    out: Path | None = None
    overrides: Sequence[str] = ()
    start_from: Path | None = None
    fresh: bool = False


def read_config(options: RunOptions) -> RunConfig:
    """The configuration, complete, with the path of the data filled in and made absolute.

    Raises:
        ConfigurationFaults: all that is wrong with it.
    """
    config = load_config(options.config, options.overrides, KNOWLEDGE)
    return with_absolute_path(config)


def with_absolute_path(config: RunConfig) -> RunConfig:
    """The configuration with the place of the data absolute, by default that of its problem."""
    path = config.problem.path or default_path(config.problem.name)
    return config if path is None else with_data(config, Path(path).expanduser())


def run_path(config: RunConfig, options: RunOptions) -> Path:
    """Where the run stands."""
    return options.out if options.out is not None else Path("runs") / config.name


def check_directory(config: RunConfig, path: Path, *, fresh: bool) -> None:
    """Refuses a directory in which this search cannot be run; writes nothing.

    Raises:
        RunDirectoryFault: it holds another search, or more generations than are wanted now, or
            nothing tells which search it holds.
    """
    directory = RunDirectory(path)
    if not directory.exists():
        refuse_if_taken(path, "run")
        return
    if fresh:
        refuse_if_owned(directory)
        return
    stored = stored_config(directory, KNOWLEDGE)
    differing = differing_keys(stored, config)
    if differing:
        raise RunDirectoryFault(
            fault(
                str(path),
                "holds another search",
                "; ".join(differing),
                cure="Use the same configuration, another --out, or --fresh to begin anew",
            )
        )
    lengths = stored.tuner.generations, config.tuner.generations
    is_last_another = stored.trial_of(lengths[0] - 1) != stored.trial
    if is_last_another and lengths[0] != lengths[1]:
        raise RunDirectoryFault(
            fault(
                str(path),
                "its last generation is shrunk, and would be one in the middle",
                f"tuner.generations={lengths[1]}, tuner.postprocess={config.tuner.postprocess}",
                f"It has {lengths[0]} generations",
                "Use another --out, or --fresh to begin anew",
            )
        )
    if directory.told() > config.tuner.generations:
        raise RunDirectoryFault(
            fault(
                str(path),
                f"has {directory.told()} generations already",
                f"tuner.generations={config.tuner.generations}",
                cure="A run can be made longer, not shorter",
            )
        )


def open_directory(
    config: RunConfig, path: Path, *, fresh: bool, is_checked: bool = False
) -> RunDirectory:
    """The directory of a run that :func:`check_directory` found no fault in.

    Args:
        is_checked: the caller has read the data, said what is to be said of them, and found no
            fault; for searches that share them.

    Raises:
        RunDirectoryFault: it cannot be made, or its data are not those of the run any more.
        DataFault: the data cannot be used; nothing is left behind.
    """
    directory = RunDirectory(path)
    if not directory.exists() or fresh:
        aside = aside_of(path) if directory.exists() else None
        made = create_run_directory(
            path, lambda new: fill_directory(config, new, is_checked=is_checked), aside=aside
        )
        if aside is not None:
            logger.warning("the old run is kept as %s", aside)
        return made
    directory.make_folders()
    if shared_file(config) is None and must_prepare(config, directory):
        prepare_again(config.problem, directory.problem, partial(refuse_data, config, directory))
    if not is_checked:
        check_data(config, directory)
    return directory


def with_data_of(config: RunConfig, directory: RunDirectory) -> RunConfig:
    """The configuration with the data that a begun run would go on with; writes nothing.

    Raises:
        RunDirectoryFault, DataFault: see :func:`check_data`.
    """
    if shared_file(config) is None and must_prepare(config, directory):
        return config
    check_data(config, directory)
    return with_data(config, data_file(config, directory))


def must_prepare(config: RunConfig, directory: RunDirectory) -> bool:
    """Whether a begun run has no prepared data of its own that are still those of its path."""
    return are_of_another_path(config, stored_config(directory, KNOWLEDGE), directory.problem)


def aside_of(path: Path) -> Path:
    """Where an old run goes, so that ``--fresh`` destroys nothing."""
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    path = path.resolve()
    return path.with_name(f"{path.name}.{stamp}")


def fill_directory(config: RunConfig, directory: RunDirectory, *, is_checked: bool = False) -> None:
    """Prepares (where need be) and checks the data of a new run, and writes its configuration.

    Args:
        is_checked: as for :func:`open_directory`.

    Raises:
        DataFault: the data cannot be used.
    """
    if shared_file(config) is None:
        prepare(config.problem, directory.problem)
    if not is_checked:
        check_data(config, directory)
        tell_of_data(data_file(config, directory))
    write_whole(directory.config, dump_config(config))


def renew_config(config: RunConfig, directory: RunDirectory) -> None:
    """Writes the configuration of this job; says so where the one of the job before was lost.

    Raises:
        OSError: it cannot be written; the one before stands.
    """
    wrong = config_fault(directory, KNOWLEDGE)
    if wrong:
        logger.warning("%s It is written anew: checkpoints tell of the same search", wrong)
    write_whole(directory.config, dump_config(config), durable=True)


def search_setting(config: RunConfig, directory: RunDirectory) -> Setting:
    """Everything a search has to know, out of its configuration and checked data.

    Logs what is allowed and yet cannot be meant: see :func:`shrink_warnings`.
    """
    prepared_file = data_file(config, directory)
    prepared = open_prepared(prepared_file)
    problem = problem_spec(config, prepared, prepared_file)
    training_images = problem.training_images * config.problem.augment.copies
    for line in shrink_warnings(config, training_images):
        logger.warning("%s", line)
    return Setting(
        config=config,
        tuner=build_tuner(config),
        space=build_space(config.space, config.trial),
        problem=problem,
        data=prepared.checksum,
        image_shape=prepared.image_shape,
        classes=prepared.classes,
        training_images=training_images,
    )


def shrink_warnings(config: RunConfig, training_images: int) -> tuple[str, ...]:
    """A line where the shrink of no trial can remove what is to be removed.

    Args:
        training_images: that a trial sees in an epoch, all copies counted.
    """
    trial = config.trial_of(config.tuner.generations - 1)  # the one that is shrunk if any is
    rates = trial.learning_rate
    highest = rates.max if isinstance(rates, RangeDomain) else rates
    return drift_warnings(
        trial.shrink,
        batch_norm=config.space.batch_norm,
        learning_rate=max(highest) if isinstance(highest, tuple) else highest,
        optimizer=trial.optimizer,
        steps_per_epoch=math.ceil(training_images / trial.batch_size),
    )


def problem_spec(config: RunConfig, prepared: PreparedProblem, prepared_file: Path) -> ProblemSpec:
    """The problem as every trial of a run gets it."""
    training_images, validation_images = parts_of(config.problem, len(prepared.y_train))
    return ProblemSpec(
        name=config.problem.name,
        path=str(prepared_file.absolute()),
        data=prepared.checksum,
        training_images=training_images,
        validation_images=validation_images,
        split_seed=config.seed,
        augment=config.problem.augment.model_dump(mode="json"),
        stage=config.problem.stage,
    )


@contextlib.contextmanager
def problem_of(config: RunConfig) -> Iterator[ProblemSpec]:
    """The problem by itself, checked; prepared, where need be, into a file that goes afterwards.

    Raises:
        DataFault: the data cannot be used.
    """
    with tempfile.TemporaryDirectory(prefix="mpinas-") as folder:
        directory = create_run_directory(
            Path(folder) / config.name, lambda new: fill_directory(config, new)
        )
        file = data_file(config, directory)
        yield problem_spec(config, open_prepared(file), file)


def build_tuner(config: RunConfig) -> Tuner:
    """The tuner that the configuration names."""
    space = build_space(config.space, config.trial)
    return TUNERS[config.tuner.name].build(config.tuner, space)
