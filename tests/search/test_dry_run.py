"""What a dry run tries, and what it warns of."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
from searching import config_file, config_of

from mpinas.config import TrialConfig
from mpinas.dispatch.inline import InlineExecutor
from mpinas.dry_run import TRIED_EPOCHS, dry_run
from mpinas.opening import RunOptions
from mpinas.records import TrialSpec, canonical_json
from mpinas.trial.fake import run_trial

ENDING_WELL = ("trial.fake.failures={}", "trial.epochs=6")
TOO_SLOW = (*ENDING_WELL, "trial.shrink={enabled: true, scale_learning_rate: 0.0001}")


def tried(tmp_path: Path, *overrides: str) -> TrialSpec:
    """The one trial that a dry run has run."""
    specs: list[TrialSpec] = []

    def run(spec, report):
        specs.append(spec)
        return run_trial(spec, report)

    config = config_of(tmp_path, *overrides)
    options = RunOptions(config=config_file(tmp_path), out=tmp_path / "run")
    dry_run(config, options, InlineExecutor(run))
    (spec,) = specs
    return spec


@pytest.mark.parametrize("epochs", [1, 4])
def test_the_candidate_is_trained_for_two_epochs_and_not_shrunk(tmp_path, epochs):
    """Two epochs are none after a shrink of two; and a shrink would be taken for an epoch."""
    shrink = f"trial.shrink={{enabled: true, epochs: {epochs}, source: gate, round_to: 4}}"
    bare = "space.batch_norm=false"
    spec = tried(tmp_path, *ENDING_WELL, bare, shrink)
    settings = TrialConfig.model_validate_json(canonical_json(spec.settings))
    meant = config_of(tmp_path, *ENDING_WELL, bare, shrink).trial
    assert meant.shrink.enabled
    assert settings.epochs == TRIED_EPOCHS
    assert settings.shrink == meant.shrink.model_copy(update={"enabled": False})
    assert settings.model_copy(update={"epochs": 6, "shrink": meant.shrink}) == meant


@pytest.mark.parametrize(("copies", "steps"), [(1, 10), (3, 29)])
def test_a_shrink_that_can_remove_nothing_is_told_once(tmp_path, caplog, copies, steps):
    """Of 1,438 digits 1,222 are trained on, in batches of 128."""
    with caplog.at_level(logging.WARNING, "mpinas"):
        tried(tmp_path, *TOO_SLOW, f"problem.augment.copies={copies}")
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith("trial.shrink.scale_learning_rate: no channel can be removed")
    assert f"steps={steps}, product={steps / 10_000:g}." in line


def test_a_shrink_that_can_is_not(tmp_path, caplog):
    with caplog.at_level(logging.WARNING, "mpinas"):
        tried(tmp_path, *ENDING_WELL, "trial.shrink.enabled=true")
    assert caplog.records == []


@pytest.mark.parametrize("dry", [("--dry-run",), ()])
def test_the_command_line_shows_it(tmp_path, dry):
    """In a process of its own: how warnings get out is set up there."""
    settings = [part for one in TOO_SLOW for part in ("--set", one)]
    command = [sys.executable, "-m", "mpinas", "run", config_file(tmp_path), *settings, *dry]
    environment = {name: value for name, value in os.environ.items() if "SLURM" not in name}
    ended = subprocess.run(
        [*map(str, command), "--out", tmp_path / "run", "--set", "tuner.generations=1"],
        capture_output=True,
        text=True,
        env=environment,
        cwd=tmp_path,
        check=True,
    )
    assert ended.stderr.count("no channel can be removed") == 1
    if not dry:
        assert (tmp_path / "run/run.log").read_text().count("no channel can be removed") == 1
