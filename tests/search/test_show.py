"""``show``: a run that is followed, whatever happens to its files, and one trial of it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from searching import drive, fake_result, new_run, search_in

from mpinas.assembly.narrow import narrow
from mpinas.assembly.shapes import network_costs
from mpinas.cli import main
from mpinas.errors import RunDirectoryFault
from mpinas.journal import append_result, read_results
from mpinas.opening import KNOWLEDGE
from mpinas.ownership import claim, release
from mpinas.records import Shrink, ShrinkOutcome, TrialResult, TrialSpec
from mpinas.report import kept
from mpinas.report.following import PATIENCE_LOOKS, Watch
from mpinas.report.trial_view import TrialView, load_trial
from mpinas.run_directory import RunDirectory, RunningTrial, Status, save_status

LIMIT_S = 120


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["show", *map(str, arguments)])


@pytest.fixture
def directory(tmp_path: Path) -> RunDirectory:
    """A run in its second generation of three; the trial g001-t000 has not ended."""
    directory = new_run(tmp_path, "run")
    drive(search_in(directory), stop_after=8)
    return directory


@pytest.fixture
def living(directory: RunDirectory) -> Iterator[RunDirectory]:
    """The same, with this process for its job."""
    owner = claim(directory, 10.0)
    running = (RunningTrial(trial_id="g001-t000", host="node7", rank=2, epoch=1, epochs=2),)
    save_status(directory, Status(workers=2, wall_time_s=60.0, running=running))
    yield directory
    if directory.path.exists():
        release(directory, owner)


class Follower:
    """``show --follow`` in a process of its own, its output in a pipe."""

    def __init__(self, directory: RunDirectory) -> None:
        command = [sys.executable, "-m", "mpinas", "show", str(directory.path), "--follow"]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def line(self) -> str:
        """The next one; empty at the end."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().rstrip()

    def rest(self) -> tuple[int, str, str]:
        output, errors = self.process.communicate(timeout=LIMIT_S)
        return self.process.returncode, output, errors


def another_result(directory: RunDirectory) -> None:
    """The search goes on by one trial."""
    search = search_in(directory)
    drive(search, stop_after=1)


def test_a_pipe_gets_a_living_run_once(living: RunDirectory) -> None:
    result = invoke(living.path)
    assert result.exit_code == 0, result.output
    assert "small: running" in result.stdout
    assert "g001-t000" in result.stdout


def test_a_followed_run_is_told_by_lines_for_what_has_changed(living: RunDirectory) -> None:
    follower = Follower(living)
    first = follower.line()
    assert first.startswith("small: running, generation 2 of 3: ")
    save_status(living, Status(workers=2, wall_time_s=61.0))
    another_result(living)
    second = follower.line()
    assert second != first
    assert second.startswith("small: running, generation 2 of 3: ")
    living.owner.unlink()
    code, output, errors = follower.rest()
    assert (code, errors) == (0, "")
    assert output.startswith("small: stopped")
    assert "accuracy" in output


def test_a_run_that_is_removed_ends_the_view_with_a_line(living: RunDirectory) -> None:
    follower = Follower(living)
    assert follower.line()
    shutil.rmtree(living.path)
    code, output, errors = follower.rest()
    assert (code, output) == (2, "")
    assert errors.strip() == f"{living.path}: the run was removed while it was followed."


@pytest.mark.parametrize("options", [("--follow", "--json"), ("g001-t000", "--follow")])
def test_only_a_whole_run_is_followed(living: RunDirectory, options: tuple[str, ...]) -> None:
    assert invoke(living.path, *options).exit_code == 2


def test_a_run_that_is_over_is_printed_once(directory: RunDirectory) -> None:
    for options in ((), ("--follow",), ("--once",)):
        assert "small: stopped" in invoke(directory.path, *options).stdout


def damage_status(directory: RunDirectory) -> None:
    directory.status.write_bytes(directory.status.read_bytes()[:20])


def tear_journal(directory: RunDirectory) -> None:
    file = directory.journals()[-1]
    file.write_bytes(file.read_bytes()[:-30])


def lose_journals(directory: RunDirectory) -> None:
    shutil.rmtree(directory.path / "journal")


def lose_config(directory: RunDirectory) -> None:
    directory.config.write_text("name: sma")


@pytest.mark.parametrize("harm", [damage_status, tear_journal, lose_journals, lose_config])
def test_no_half_written_file_ends_a_view(
    living: RunDirectory, harm: Callable[[RunDirectory], None]
) -> None:
    watch = Watch(living.path, KNOWLEDGE)
    harm(living)
    for _ in range(PATIENCE_LOOKS + 2):
        seen = watch.look()
        assert (seen.status, seen.workers, seen.wall_time_s) == ("running", 2, 60.0)
        assert [one.trial_id for one in seen.running] == ["g001-t000"]


def test_a_run_that_is_away_for_a_moment_is_seen_as_it_was(living: RunDirectory) -> None:
    watch = Watch(living.path, KNOWLEDGE)
    seen = watch.view
    away = living.path.with_name("away")
    living.path.rename(away)
    for _ in range(PATIENCE_LOOKS):
        assert watch.look() == seen
    away.rename(living.path)
    assert watch.look() == seen
    living.path.rename(away)
    for _ in range(PATIENCE_LOOKS):
        watch.look()
    with pytest.raises(RunDirectoryFault, match="was removed"):
        watch.look()
    away.rename(living.path)


def test_a_look_reads_only_journals_that_have_changed(
    living: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []

    def reading(file: Path) -> list[TrialResult]:
        read.append(file.name)
        return read_results(file)

    monkeypatch.setattr(kept, "read_results", reading)
    watch = Watch(living.path, KNOWLEDGE)
    before = len(watch.view.results)
    watch.look()
    assert read == ["g000.jsonl", "g001.jsonl"]
    another_result(living)
    assert len(watch.look().results) > before
    assert read == ["g000.jsonl", "g001.jsonl", "g001.jsonl"]


def trial(directory: RunDirectory, name: str) -> TrialView:
    return load_trial(directory.path, name, KNOWLEDGE)


def all_trials(directory: RunDirectory) -> dict[str, TrialResult]:
    return {one.trial_id: one for file in directory.journals() for one in read_results(file)}


def test_every_trial_of_a_run_is_printed_whatever_came_of_it(tmp_path: Path) -> None:
    directory = new_run(
        tmp_path, "run", "space.max_parameters=8000", "trial.fake.failures={nan: 0.4}"
    )
    drive(search_in(directory))
    results = all_trials(directory)
    assert {one.status.value for one in results.values()} == {"complete", "failed", "infeasible"}
    for name, result in results.items():
        shown, told = invoke(directory.path, name), invoke(directory.path, name, "--json")
        assert (shown.exit_code, told.exit_code) == (0, 0), shown.output
        assert shown.stdout.startswith(f"{name} of small: {result.status.value}")
        assert shown.stdout.isascii()
        assert result.error in shown.stdout
        plain = json.loads(told.stdout)
        assert (plain["status"], plain["result"]["trial_id"]) == (result.status.value, name)
        assert (plain["candidate"] is not None, plain["remark"]) == (True, "")


def test_the_costs_of_the_layers_are_those_of_the_network(directory: RunDirectory) -> None:
    for name, result in all_trials(directory).items():
        seen = trial(directory, name)
        assert result.costs is None or seen.layers
        if result.costs is not None:
            flops = sum(row.before.flops for row in seen.layers)
            parameters = sum(row.before.parameters for row in seen.layers)
            assert (flops, parameters) == (result.costs.flops, result.costs.parameters)


def shrunk(directory: RunDirectory, outcome: ShrinkOutcome) -> tuple[str, TrialResult]:
    """A complete trial made one of a shrink that halved every layer but the last."""
    result = next(one for one in all_trials(directory).values() if one.fitness is not None)
    widths = {name: max(1, width // 2) for name, width in result.widths.items()}
    last = list(widths)[-1]
    record = Shrink(
        outcome=outcome,
        steps=12,
        widths={} if outcome is ShrinkOutcome.BROKEN else {**widths, last: result.widths[last]},
        alive_flops_at_start=1,
        accuracy_before_cut=0.75,
        cut_error=float("nan"),
        warnings=("odd [bold]",),
    )
    result = replace(result, shrink=record)
    append_result(directory.journals()[0], result)
    return result.trial_id, result


def test_a_shrunk_network_tells_its_widths_before_and_after(directory: RunDirectory) -> None:
    name, result = shrunk(directory, ShrinkOutcome.SHRUNK)
    seen = trial(directory, name)
    assert seen.proposal is not None
    assert seen.proposal.network is not None
    assert result.shrink is not None
    costs = network_costs(narrow(seen.proposal.network, result.shrink.widths))
    assert sum(row.after.flops for row in seen.layers if row.after) == costs.flops
    text = invoke(directory.path, name).stdout
    for layer, width in result.widths.items():
        line = next(line for line in text.splitlines() if line.startswith(layer))
        after = result.shrink.widths[layer]
        assert line.rstrip().endswith(f"{width} -> {after}" if after != width else f" {width}")
    assert "warning   odd [bold]" in text
    assert "0.7500 before the cut" in text


def test_a_broken_shrink_left_the_network_as_it_was(directory: RunDirectory) -> None:
    name, _ = shrunk(directory, ShrinkOutcome.BROKEN)
    text = invoke(directory.path, name).stdout
    assert "broken after 12 steps" in text
    assert " -> " not in text
    layers = json.loads(invoke(directory.path, name, "--json").stdout)["layers"]
    assert {layer["after"] for layer in layers} == {None}


def test_what_a_merge_reads_is_said(tmp_path: Path) -> None:
    directory = new_run(tmp_path, "run", "space.max_parameters=null")
    search = search_in(directory)
    specs: dict[str, TrialSpec] = {}
    while not search.done:
        for spec in search.next_specs(1):
            specs[spec.trial_id] = spec
            search.take(following_result(spec))
    merges = {
        name: layer
        for name, spec in specs.items()
        for layer in spec.network.layers
        if layer.kind in ("add", "concatenate")
    }
    name, merge = next(iter(merges.items()))
    text = invoke(directory.path, name).stdout
    rows = text[text.index("\nnetwork\n") :].split("\n")
    place = next(index for index, row in enumerate(rows) if row.startswith(merge.name))
    assert " of " in rows[place]
    assert merge.inputs[0] in " ".join(rows[place : place + 2])


def following_result(spec: TrialSpec) -> Any:
    from mpinas.records import Finished

    return Finished(result=fake_result(spec))


def test_a_trial_that_runs_or_waits_tells_its_genome(living: RunDirectory) -> None:
    waiting = next(
        f"g001-t{index:03d}"
        for index in range(1, 6)
        if f"g001-t{index:03d}" not in all_trials(living)
    )
    text = invoke(living.path, "g001-t000").stdout
    assert text.startswith("g001-t000 of small: running on node7, worker 2, epoch 1 of 2 over")
    assert "blueprint b" in text
    text = invoke(living.path, waiting).stdout
    assert text.startswith(f"{waiting} of small: waiting\n")
    assert "\nnetwork\n" in text


def test_names_may_be_short(directory: RunDirectory) -> None:
    assert trial(directory, "g0-t3").trial_id == "g000-t003"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("g001-t006", "Near it: g001-t005, g001-t004"),
        ("g002-t000", "later generations are not bred yet"),
        ("g000_t003", "Near it: g000-t003,"),
        ("best", "It has 12, g000-t000 to g001-t005"),
    ],
)
def test_an_unknown_trial_is_a_line_with_the_nearest_ones(
    directory: RunDirectory, name: str, words: str
) -> None:
    result = invoke(directory.path, name)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"{directory.path}: no such trial. Received: TRIAL={name}. ")
    assert words in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_an_empty_run_has_no_trials_yet(tmp_path: Path) -> None:
    directory = new_run(tmp_path, "run")
    result = invoke(directory.path, "g000-t000")
    assert result.exit_code == 2
    assert "It has none so far" in result.stderr


def test_a_lost_checkpoint_hides_the_genome_and_nothing_else(directory: RunDirectory) -> None:
    name = next(one for one in all_trials(directory) if one.startswith("g001"))
    directory.checkpoint(0).unlink()
    result = invoke(directory.path, name)
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith(f"{name} of small: ")
    assert "g000.h5" in result.stdout
    plain = json.loads(invoke(directory.path, name, "--json").stdout)
    assert (plain["candidate"], plain["layers"]) == (None, [])
    assert "g000.h5" in plain["remark"]
