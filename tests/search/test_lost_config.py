"""A run whose ``config.yaml`` is lost or damaged: its checkpoints tell which search it is."""

import shutil

import pytest
from click.testing import CliRunner
from searching import config_of, drive, found, new_run, search_in

from mpinas.cli import main
from mpinas.errors import RunDirectoryFault
from mpinas.export import ExportWish, plan_export
from mpinas.opening import KNOWLEDGE, check_directory, open_directory, renew_config
from mpinas.proposals import Proposals
from mpinas.report.run_view import load_run
from mpinas.results import results_of
from mpinas.run_directory import RunDirectory
from mpinas.stored_config import config_fault, stored_config

DAMAGES = {
    "missing": lambda file: file.unlink(),
    "empty": lambda file: file.write_bytes(b""),
    "torn": lambda file: file.write_bytes(file.read_bytes()[:40]),
    "zeros": lambda file: file.write_bytes(b"\0" * file.stat().st_size),
}


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """A run in the middle of its second generation."""
    directory = new_run(tmp_path_factory.mktemp("begun"), "run")
    drive(search_in(directory), stop_after=9)
    return directory


@pytest.fixture(params=DAMAGES)
def run(request, begun, tmp_path):
    directory = RunDirectory(shutil.copytree(begun.path, tmp_path / "run"))
    DAMAGES[request.param](directory.config)
    return directory


def test_it_goes_on_with_the_configuration_given(run, begun, tmp_path, caplog):
    config = config_of(tmp_path)
    check_directory(config, run.path, fresh=False)
    assert open_directory(config, run.path, fresh=False).path == run.path
    renew_config(config, run)
    assert str(run.config) in caplog.text
    assert config_fault(run, KNOWLEDGE) == ""
    assert stored_config(run, KNOWLEDGE) == config
    whole = new_run(tmp_path, "whole")
    drive(search_in(whole))
    drive(search_in(run))
    assert found(run) == found(whole)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("seed=9", "seed (5 there, 9 here)"),
        ("trial.epochs=7", "trial.epochs (2 there, 7 here)"),
        ("problem.validation=0.4", "problem.validation"),
    ],
)
def test_another_search_is_refused_all_the_same(run, tmp_path, change, words):
    with pytest.raises(RunDirectoryFault) as refused:
        check_directory(config_of(tmp_path, change), run.path, fresh=False)
    assert words in str(refused.value)


def test_what_is_kept_is_shown(run, begun):
    shown, kept = (load_run(one.path, KNOWLEDGE) for one in (run, begun))
    assert (shown.name, shown.generations, shown.best) == (kept.name, kept.generations, kept.best)
    assert len(shown.results) == len(kept.results) >= 9


def test_an_older_checkpoint_tells_where_the_newest_is_damaged(run, tmp_path):
    for file in run.generation_files():
        file.write_bytes(b"")
    check_directory(config_of(tmp_path), run.path, fresh=False)


def test_where_nothing_tells_the_cure_is_named(run, tmp_path):
    shutil.rmtree(run.checkpoints)
    with pytest.raises(RunDirectoryFault) as refused:
        check_directory(config_of(tmp_path), run.path, fresh=False)
    assert all("\n" not in line for line in refused.value.faults)
    assert f"Copy the configuration that it began with to {run.config}" in str(refused.value)
    renewed = config_of(tmp_path)
    shutil.copy(tmp_path / "search.yaml", run.config)
    check_directory(renewed, run.path, fresh=False)


def test_it_can_be_set_aside(run, tmp_path):
    shutil.rmtree(run.checkpoints)
    config = config_of(tmp_path)
    check_directory(config, run.path, fresh=True)
    made = open_directory(config, run.path, fresh=True)
    assert found(made) == []
    (aside,) = (path for path in tmp_path.iterdir() if path.name.startswith("run."))
    assert found(RunDirectory(aside))


def test_the_same_command_goes_on(begun, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(begun.path, tmp_path / "run")
    directory = RunDirectory(tmp_path / "run")
    directory.config.unlink()
    config_of(tmp_path)
    shown = CliRunner().invoke(main, ["run", "search.yaml", "--out", "run", "--workers", "1"])
    assert shown.exit_code == 0, shown.output
    assert "written anew" in directory.log.read_text()
    assert set(found(begun)) <= set(found(directory))


def test_what_its_trials_tried_can_still_be_told(run, begun):
    result = next(iter(results_of(begun)))
    assert Proposals(run).of(result) == Proposals(begun).of(result)


def test_its_winner_can_still_be_exported(run, begun):
    def plan(directory):
        return plan_export(ExportWish(run=directory.path, epochs=3, patience=2))

    assert [one.network for one in plan(run).specs] == [one.network for one in plan(begun).specs]
