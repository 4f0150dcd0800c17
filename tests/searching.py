"""A small fake search for tests: its configuration, its setting, and ways to drive it."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import yaml

from mpinas.config import RunConfig
from mpinas.config_file import load_config
from mpinas.journal import read_results
from mpinas.opening import KNOWLEDGE, fill_directory, search_setting
from mpinas.records import Finished, TrialResult, TrialSpec
from mpinas.run_directory import RunDirectory, create_run_directory
from mpinas.search import Search
from mpinas.trial.fake import run_trial

FAKE_SEARCH = """
name: small
seed: 5
problem: {name: digits}
space:
  layers:
    conv2d: {filters: {min: 4, max: 32}, kernel_size: [1, 3], follow: [none, max_pool]}
    dense: {units: {min: 4, max: 32}}
  max_parameters: 20000
tuner:
  name: codeepneat
  generations: 3
  individuals: 6
  modules: {population: 10, species: 2}
  blueprints: {population: 6, species: 2}
trial:
  runner: fake
  epochs: 2
  fake: {failures: {nan: 0.3}}
"""


def config_file(folder: Path, text: str = FAKE_SEARCH) -> Path:
    """The configuration as a file."""
    file = folder / "search.yaml"
    file.write_text(text)
    return file


def config_of(folder: Path, *overrides: str) -> RunConfig:
    """The small search with some keys changed."""
    return load_config(config_file(folder), overrides, KNOWLEDGE)


def new_run(folder: Path, name: str, *overrides: str) -> RunDirectory:
    """A run directory with its data prepared."""
    config = config_of(folder, *overrides)
    return create_run_directory(folder / name, lambda new: fill_directory(config, new))


def search_in(directory: RunDirectory, *overrides: str, start_state: object = None) -> Search:
    """The search as it goes on from what stands in its directory."""
    config = load_config(directory.config, overrides, KNOWLEDGE)
    return Search(search_setting(config, directory), directory, start_state)


def no_report(progress: object) -> None:
    """Progress is of no interest."""


def fake_result(spec: TrialSpec) -> TrialResult:
    """What the fake runner makes of a trial."""
    return run_trial(spec, no_report)


def drive(
    search: Search,
    *,
    stop_after: int | None = None,
    slots: int = 1,
    shuffle: random.Random | None = None,
    evaluate: Callable[[TrialSpec], TrialResult] = fake_result,
) -> int:
    """Runs trials until the search is done or so many have ended; returns how many ran.

    Args:
        slots: how many trials are out at once.
        shuffle: draws which of them ends next; None for the oldest.
    """
    out: list[TrialSpec] = []
    ran = 0
    while not search.done and (stop_after is None or ran < stop_after):
        out += search.next_specs(slots - len(out))
        if search.done:
            break
        spec = out.pop(shuffle.randrange(len(out)) if shuffle else 0)
        search.take(Finished(result=evaluate(spec)))
        ran += 1
    return ran


def found(directory: RunDirectory) -> list[tuple[str, str, float | None]]:
    """(trial id, network hash, fitness) of all trials: what must be identical."""
    results = [result for file in directory.journals() for result in read_results(file)]
    return sorted((one.trial_id, one.network_hash, one.fitness) for one in results)


def with_key(text: str, section: str, **values: object) -> str:
    """The configuration text with keys of one section changed."""
    raw = yaml.safe_load(text)
    raw[section] = {**raw.get(section, {}), **values}
    return yaml.safe_dump(raw, sort_keys=False)


ARMS: dict[str, dict[str, object]] = {"plain": {}, "longer": {"trial.epochs": 4}}
COMPARED = with_key(
    with_key(FAKE_SEARCH, "comparison", experiments=2, arms=ARMS),
    "tuner",
    generations=2,
    individuals=4,
)
"""Two experiments of the small search and one with longer trials, for ``compare``."""
