"""A comparison: which searches it is of, and where they stand.

Comes in: a configuration with its section ``comparison``. Comes out: the configuration of every
arm's search in every experiment, and its place below one directory. The arms of an experiment have
the same seed, so the same split of the data, and starting populations as far as they have the same
space and tuner.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path

from mpinas.config import RunConfig
from mpinas.config_file import load_config, load_plain
from mpinas.dispatch.settings import worker_settings
from mpinas.errors import ConfigurationFaults, RunDirectoryFault, fault
from mpinas.opening import KNOWLEDGE, RunOptions
from mpinas.run_directory import COMPARISON_CONFIG, RunDirectory, searches_in
from mpinas.streams import experiment_seed


@dataclass(frozen=True, slots=True)
class ComparisonDirectory:
    """Paths of a comparison."""

    path: Path

    @property
    def config(self) -> Path:
        return self.path / COMPARISON_CONFIG

    @property
    def problem(self) -> Path:
        """The data of all its runs, unless the configuration names a prepared file."""
        return self.path / "problem.h5"

    def run(self, experiment: int, arm: str) -> Path:
        return self.path / f"e{experiment}" / arm

    def exists(self) -> bool:
        """Whether a comparison stands here."""
        return self.config.exists()

    def searches(self) -> list[RunDirectory]:
        """Those that are there, whatever the configuration says."""
        return searches_in(self.path)


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedRun:
    """One search of a comparison.

    Attributes:
        experiment: counted from 0.
        config: complete, but for where the data are.
    """

    experiment: int
    arm: str
    path: Path
    config: RunConfig

    @property
    def name(self) -> str:
        """Among the searches on the farm, and in a log."""
        return f"e{self.experiment}/{self.arm}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What is compared.

    Attributes:
        config: what all arms have in common.
        runs: of the first experiment first, in it in the order of the arms.
    """

    directory: ComparisonDirectory
    config: RunConfig
    runs: tuple[ComparedRun, ...]

    @property
    def arms(self) -> tuple[str, ...]:
        """Names; the others are compared with the first."""
        return tuple(self.config.comparison.arms)

    @property
    def experiments(self) -> int:
        return self.config.comparison.experiments


def comparison_path(config: RunConfig, options: RunOptions) -> Path:
    """Where a comparison stands."""
    return options.out if options.out is not None else Path("runs") / f"{config.name}-comparison"


def comparison_of(config: RunConfig, path: Path, where: str) -> Comparison:
    """All searches of a comparison.

    Args:
        where: the configuration comes from, for messages.

    Raises:
        ConfigurationFaults: an arm is none, all that is wrong.
    """
    directory = ComparisonDirectory(path)
    arms = _arms(config, where)
    return Comparison(
        directory=directory,
        config=config,
        runs=tuple(
            ComparedRun(
                experiment=experiment,
                arm=arm,
                path=directory.run(experiment, arm),
                config=_in_experiment(of_arm, arm, experiment),
            )
            for experiment in range(config.comparison.experiments)
            for arm, of_arm in arms.items()
        ),
    )


def existing_comparison(path: Path) -> Comparison:
    """The comparison that stands there.

    Raises:
        RunDirectoryFault: there is none, or what it is of cannot be read.
    """
    directory = ComparisonDirectory(path)
    if not directory.exists():
        cure = "Give the directory that 'python -m mpinas compare' named"
        raise RunDirectoryFault(fault(str(path), "not a comparison", cure=cure))
    try:
        config = load_config(directory.config, (), KNOWLEDGE)
    except ConfigurationFaults as error:
        raise RunDirectoryFault(_damaged(directory, error)) from error
    return comparison_of(config, path, str(directory.config))


def _damaged(directory: ComparisonDirectory, error: ConfigurationFaults) -> str:
    return fault(
        str(directory.path),
        "nobody can tell what it compares",
        "; ".join(error.faults),
        cure=f"Copy the configuration that it began with to {directory.config}",
    )


def is_compared(run: Path) -> bool:
    """Whether a run directory is one of a comparison's."""
    path = run.resolve()
    is_place = re.fullmatch(r"e\d+", path.parent.name) is not None
    return is_place and ComparisonDirectory(path.parent.parent).exists()


def _arms(config: RunConfig, where: str) -> Mapping[str, RunConfig]:
    """The configuration of every arm, of no experiment yet."""
    arms: dict[str, RunConfig] = {}
    faults: list[str] = []
    for arm, keys in config.comparison.arms.items():
        overrides = [f"{key}={json.dumps(value)}" for key, value in keys.items()]
        place = f"{where}: comparison.arms.{arm}"
        try:
            arms[arm] = load_plain(config.model_dump(mode="json"), overrides, KNOWLEDGE, place)
        except ConfigurationFaults as error:
            faults += error.faults
        else:
            faults += _needs_other_workers(config, arms[arm], place)
    if faults:
        raise ConfigurationFaults(*faults)
    return arms


def _needs_other_workers(config: RunConfig, of_arm: RunConfig, place: str) -> Iterator[str]:
    """A line for each key in which an arm would need workers of its own."""
    elsewhere, here = (worker_settings(one.trial, one.run) for one in (config, of_arm))
    for name in (field.name for field in fields(elsewhere)):
        values = getattr(here, name), getattr(elsewhere, name)
        if values[0] != values[1]:
            yield fault(
                place,
                f"all arms share the workers, and with them trial.{name}",
                f"{values[0]!r}, elsewhere {values[1]!r}",
                cure=f"Set trial.{name} for all of them",
            )


def _in_experiment(config: RunConfig, arm: str, experiment: int) -> RunConfig:
    return config.model_copy(
        update={
            "name": f"{config.name}-e{experiment}-{arm}",
            "seed": experiment_seed(config.seed, experiment),
        }
    )
