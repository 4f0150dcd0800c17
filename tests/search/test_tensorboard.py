"""``trial.tensorboard``: where trials are to write, and that it does not define a search."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner
from searching import config_file, config_of, found, new_run, search_in

from mpinas.cli import main
from mpinas.config_file import differing_keys, load_config
from mpinas.opening import KNOWLEDGE
from mpinas.run_directory import RunDirectory


def test_each_trial_gets_a_folder_of_its_own_in_the_run(tmp_path: Path) -> None:
    directory = new_run(tmp_path, "run", "trial.tensorboard=true")
    specs = search_in(directory).next_specs(3)
    assert len(specs) == 3
    for spec in specs:
        assert spec.events_path == str(directory.path / "tensorboard" / spec.trial_id)


def test_nobody_is_asked_to_write_unless_it_is_wanted(tmp_path: Path) -> None:
    directory = new_run(tmp_path, "run")
    assert [spec.events_path for spec in search_in(directory).next_specs(2)] == [None, None]


def test_it_defines_no_search(tmp_path: Path) -> None:
    with_it, without = config_of(tmp_path, "trial.tensorboard=true"), config_of(tmp_path)
    assert differing_keys(with_it, without) == []


def test_it_can_be_switched_on_and_off_in_a_run(tmp_path: Path) -> None:
    config = config_file(tmp_path)
    runs = {}
    for name, switches in (("never", ("false",) * 3), ("between", ("false", "true", "false"))):
        directory = RunDirectory(tmp_path / name)
        for generations, switch in enumerate(switches, start=1):
            length = ("--set", f"tuner.generations={generations}")
            arguments = ["run", str(config), "--out", str(directory.path), *length]
            arguments += ["--set", f"trial.tensorboard={switch}"]
            result = CliRunner().invoke(main, arguments)
            assert result.exit_code == 0, result.output
            stored = load_config(directory.config, (), KNOWLEDGE)
            assert stored.trial.tensorboard == (switch == "true")
        runs[name] = found(directory)
    assert runs["never"] == runs["between"]
    assert len(runs["never"]) == 18
