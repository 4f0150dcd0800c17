"""Comparisons: searches that differ in their arm only, on one farm, and what is told of them."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from invoking import compare, invoke
from searching import ARMS, COMPARED, FAKE_SEARCH, config_file, found, new_run, with_key

from mpinas import comparison_opening, run_data
from mpinas.checkpoint import load_checkpoint
from mpinas.comparison import Comparison, comparison_of
from mpinas.errors import ConfigurationFaults
from mpinas.opening import RunOptions, read_config
from mpinas.ownership import claim, release
from mpinas.problems import open_prepared
from mpinas.problems.prepared import PreparedProblem
from mpinas.run_directory import RunDirectory


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_scheduler: None) -> Path:
    """An empty current directory with the small comparison in it and no scheduler around."""
    monkeypatch.chdir(tmp_path)
    config_file(tmp_path, COMPARED)
    return tmp_path


def comparison(text: str, folder: Path) -> Comparison:
    file = config_file(folder, text)
    return comparison_of(read_config(RunOptions(config=file)), folder / "here", str(file))


def test_a_comparison_from_its_start_to_its_table(place: Path) -> None:
    result = compare("--workers", "2")
    assert result.exit_code == 0, result.output
    assert "longer" in result.stdout
    assert "Table 1" in result.stdout
    assert result.stdout.endswith("done: here\n")
    assert invoke("show", "here").stdout in result.stdout
    told = json.loads(invoke("show", "here", "--json").stdout)
    assert told["experiments_done"] == [0, 1]
    assert [one["state"] for one in told["searches"]] == ["done"] * 4
    longer = told["arms"]["longer"]
    assert longer["flops_ratio"] == {"value": 0.5, "low": 0.5, "high": 0.5}
    again = compare()
    assert again.exit_code == 0
    assert json.loads(invoke("show", "here", "--json").stdout) == told


def test_arms_start_equal_and_experiments_do_not(place: Path) -> None:
    assert compare().exit_code == 0
    starts = {
        (experiment, arm): load_checkpoint(
            RunDirectory(place / "here" / f"e{experiment}" / arm).start
        ).about
        for experiment in (0, 1)
        for arm in ARMS
    }
    for experiment in (0, 1):
        one, another = (starts[experiment, arm] for arm in ARMS)
        assert one["start"] == another["start"]
        assert one["seed"] == another["seed"]  # of the split and of the trials
        assert one["data"] == another["data"]
    assert starts[0, "plain"]["start"] != starts[1, "plain"]["start"]
    assert starts[0, "plain"]["seed"] != starts[1, "plain"]["seed"]
    assert (place / "here" / "problem.h5").exists()
    assert not list((place / "here").glob("e*/*/problem.h5")), "prepared once, for all"


def test_a_search_is_the_same_alone_as_with_neighbours(place: Path) -> None:
    """On two workers that take trials of all four searches as they come."""
    assert (
        compare("--workers", "2", "--set", "trial.fake.seconds={mean: 0.02, sigma: 1}").exit_code
        == 0
    )
    for run in ("e0/longer", "e1/plain"):
        alone = place / "alone" / run
        assert invoke("run", f"here/{run}/config.yaml", "--out", alone).exit_code == 0
        assert found(RunDirectory(alone)) == found(RunDirectory(place / "here" / run))


def test_what_a_search_logs_stands_in_its_own_log(place: Path) -> None:
    result = compare()
    log = (place / "here" / "e1" / "longer" / "run.log").read_text()
    assert "generation 1: told" in log
    assert "e1/longer g0" not in log
    assert log.count("generation 1: told") == 1
    assert result.stderr.count("generation 1: told") == 4
    assert "e1/longer generation 1: told" in result.stderr


def test_it_can_be_made_larger_and_not_smaller(place: Path) -> None:
    assert compare("--experiments", "1").exit_code == 0
    before = found(RunDirectory(place / "here" / "e0" / "plain"))
    more = yaml.safe_load(COMPARED)
    more["comparison"]["arms"]["third"] = {"trial.epochs": 3}
    config_file(place, yaml.safe_dump(more, sort_keys=False))
    result = compare()
    assert result.exit_code == 0, result.output
    assert "2 of 2 experiments done, 6 of 6 searches" in result.stdout
    assert found(RunDirectory(place / "here" / "e0" / "plain")) == before
    config_file(place, COMPARED)
    for refused in (compare(), compare("--experiments", "1")):
        assert refused.exit_code == 2
        assert len(refused.stderr.splitlines()) == 1
        assert "here: has 2 experiments of the arms plain, longer, third" in refused.stderr
    assert "3 arms" in invoke("show", "here").stdout, "nothing is hidden"


def test_other_searches_and_other_directories_are_refused(place: Path) -> None:
    assert compare("--experiments", "1").exit_code == 0
    refused = compare("--experiments", "1", "--set", "tuner.individuals=5")
    assert refused.exit_code == 2
    assert "e0/plain: holds another search" in refused.stderr
    new_run(place, "run")
    (place / "other").mkdir()
    (place / "other" / "thesis.tex").touch()
    for out in ("run", "other"):
        refused = invoke("compare", "search.yaml", "--out", out)
        assert refused.exit_code == 2
        assert f"{out}: exists and is not a comparison" in refused.stderr
        assert ("but a run." in refused.stderr) == (out == "run")
    refused = invoke("run", "search.yaml", "--out", "here")
    assert refused.exit_code == 2
    assert "here: exists and is not a run but a comparison." in refused.stderr


def test_fresh_sets_the_old_one_aside(place: Path) -> None:
    assert compare("--experiments", "1").exit_code == 0
    assert compare("--experiments", "1", "--fresh", "--set", "seed=6").exit_code == 0
    (aside,) = place.glob("here.*Z")
    old, new = (found(RunDirectory(one / "e0" / "plain")) for one in (aside, place / "here"))
    assert len(old) == len(new)
    assert old != new


def test_one_of_its_searches_that_another_job_works_on_refuses_it(place: Path) -> None:
    assert compare("--experiments", "1").exit_code == 0
    directory = RunDirectory(place / "here" / "e0" / "longer")
    directory.checkpoint(1).unlink()
    owner = claim(directory, heartbeat_s=60.0, dead=None)
    try:
        for options in ((), ("--fresh",)):
            refused = compare("--experiments", "1", *options)
            assert refused.exit_code == 2, refused.output
            assert "e0/longer" in refused.stderr
    finally:
        release(directory, owner)
    assert compare("--experiments", "1").exit_code == 0


def test_where_another_job_has_a_search_nothing_is_made_anew(place: Path) -> None:
    """Else the arm that was refused would stand there, and could not be another one later."""
    assert compare("--experiments", "1").exit_code == 0
    directory = RunDirectory(place / "here" / "e0" / "longer")
    directory.checkpoint(1).unlink()
    third = {"plain": {}, "third": {"trial.epochs": 3}, "longer": {"trial.epochs": 4}}
    config_file(place, with_key(COMPARED, "comparison", arms=third, experiments=1))
    owner = claim(directory, heartbeat_s=60.0, dead=None)
    try:
        assert compare().exit_code == 2
    finally:
        release(directory, owner)
    assert not (place / "here" / "e0" / "third").exists()
    assert invoke("show", "here", "--json").stdout.count("third") == 0
    other = {**third, "third": {"trial.epochs": 5}}
    config_file(place, with_key(COMPARED, "comparison", arms=other, experiments=1))
    assert compare().exit_code == 0


def test_an_arm_that_cannot_use_the_data_is_refused_before_it_is_made(place: Path) -> None:
    assert compare("--experiments", "1").exit_code == 0
    arms = {**ARMS, "third": {}, "fourth": {"trial.batch_size": 100_000}}
    config_file(place, with_key(COMPARED, "comparison", arms=arms, experiments=1))
    assert compare().exit_code == 2
    assert not (place / "here" / "e0" / "third").exists()


def test_the_data_are_read_once_for_all_searches(
    place: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    verified = []

    def counted(file: Path, *, verify: bool = False) -> PreparedProblem:
        if verify:
            verified.append(file)
        return open_prepared(file, verify=verify)

    for module in (run_data, comparison_opening):
        monkeypatch.setattr(module, "open_prepared", counted)
    for experiments in ("1", "2"):
        verified.clear()
        assert compare("--experiments", experiments).exit_code == 0
        assert len(verified) == 1
    assert caplog.text.count("test images are also training images") == 1


def test_a_comparison_made_shorter_is_done_with_all_its_searches(place: Path) -> None:
    assert compare("--experiments", "1", "--set", "tuner.generations=2").exit_code == 0
    directory = RunDirectory(place / "here" / "e0" / "longer")
    directory.checkpoint(1).unlink()
    assert compare("--experiments", "1", "--set", "tuner.generations=1").exit_code == 2
    RunDirectory(place / "here" / "e0" / "plain").checkpoint(1).unlink()
    assert compare("--experiments", "1", "--set", "tuner.generations=1").exit_code == 0
    told = json.loads(invoke("show", "here", "--json").stdout)
    assert [one["state"] for one in told["searches"]] == ["done"] * 2
    for arm in ("plain", "longer"):
        alone = json.loads(invoke("show", f"here/e0/{arm}", "--json").stdout)
        assert (alone["status"], alone["generations"], len(alone["trials"])) == ("done", 1, 4)


def test_a_damaged_configuration_has_a_cure(place: Path) -> None:
    assert compare("--experiments", "1").exit_code == 0
    (place / "here" / "comparison.yaml").write_text("comparison: {arms:\n")
    for refused in (compare("--experiments", "1"), invoke("show", "here")):
        assert refused.exit_code == 2
        (line,) = refused.stderr.splitlines()
        assert "Copy the configuration that it began with to here/comparison.yaml" in line


@pytest.mark.parametrize(
    ("arms", "words"),
    [
        ({"a": {}, "b": {"trial.epochs": 0}}, "comparison.arms.b: trial.epochs"),
        ({"a": {}, "b": {"trial.epoch": 2}}, "comparison.arms.b: trial.epoch"),
        ({"a": {}, "b": {"trial.threads": 2}}, "comparison.arms.b: all arms share the workers"),
        ({"a": {}, "b": {"seed": 2}}, "arms differ in the search only, not in seed"),
        ({"a": {}, "b": {" seed": 2}}, "the keys of an arm are names with dots between them"),
        ({"a": {}, "b": {"problem.path=x": 2}}, "the keys of an arm are names with dots"),
        ({"a": {}, "b": {"": 2}}, "the keys of an arm are names with dots"),
        ({"a": {}, "b": {"run.workers": 2}}, "arms differ in the search only, not in run"),
        ({"a": {}, "b": {"trial": {"epochs": 2}}}, "name keys, as trial.epochs"),
        ({"a": {}, "b": {"trial.shrink": {"enabled": True}}}, "name keys, as trial.epochs"),
        ({"a": {}, "b": {"tuner.modules": {"population": 12}}}, "name keys, as trial.epochs"),
        ({"a": {}, "b": None}, "comparison.arms.b"),
        ({"a": {}, "b" * 101: {}}, "the name of an arm is that of a folder"),
        ({"a": {}, "../b": {}}, "the name of an arm is that of a folder"),
        ({"a": {}}, "comparison.arms"),
        ({"a": {"seed": 2}, "b": {"run.workers": 2}}, "not in run. Received: b: 'run.workers'"),
    ],
)
def test_what_is_no_arm_is_told_before_anything_is_written(
    place: Path, arms: dict[str, object], words: str
) -> None:
    config_file(place, with_key(FAKE_SEARCH, "comparison", arms=arms))
    refused = compare()
    assert refused.exit_code == 2
    assert words in refused.stderr
    assert not (place / "here").exists()


def test_a_nested_override_of_an_arm_is_refused(place: Path) -> None:
    """It would set a section, and all that it does not name to the defaults, real Keras first."""
    refused = compare("--set", "comparison.arms.longer.trial.epochs=3")
    assert refused.exit_code == 2
    assert "name keys, as trial.epochs" in refused.stderr
    assert compare("--set", "comparison.arms.longer={trial.epochs: 3}").exit_code == 0
    config = yaml.safe_load((place / "here" / "e0" / "longer" / "config.yaml").read_text())
    assert (config["trial"]["epochs"], config["trial"]["runner"]) == (3, "fake")


def test_an_arm_that_is_none_is_not_missed_as_well(place: Path) -> None:
    config_file(place, with_key(FAKE_SEARCH, "comparison", arms={"a": {}, "b": None}))
    assert len(compare().stderr.splitlines()) == 1
    config_file(place, with_key(FAKE_SEARCH, "comparison", arms={"a": {}}))
    assert "comparison.arms: too few. Received: arms={'a': {}}. Allowed: at" in compare().stderr


def test_all_arms_are_checked_at_once(tmp_path: Path) -> None:
    arms = {"a": {"trial.epochs": 0}, "b": {"trial.batch_size": 0}}
    with pytest.raises(ConfigurationFaults) as caught:
        comparison(with_key(FAKE_SEARCH, "comparison", arms=arms), tmp_path)
    assert len(caught.value.faults) == 2


@pytest.mark.parametrize("key", ["tuner.modules.population", "trial.learning_rate"])
def test_arms_that_begin_elsewhere_are_named(place: Path, key: str) -> None:
    arms = {"plain": {}, "crowd": {key: 12}}
    config_file(place, with_key(FAKE_SEARCH, "comparison", experiments=1, arms=arms))
    result = compare()
    assert result.exit_code == 0
    line = "experiment 0: its arms began with different populations, because they differ in space,"
    assert line in result.stderr
    assert line in invoke("show", "here").stdout.replace("\n", " ")


def test_an_arm_is_a_value_of_any_kind(tmp_path: Path) -> None:
    rates = {"min": 0.01, "max": 0.1, "scale": "log"}
    arms = {"plain": {}, "rates": {"trial.learning_rate": rates, "trial.optimizer": "sgd"}}
    made = comparison(with_key(FAKE_SEARCH, "comparison", experiments=1, arms=arms), tmp_path)
    plain, other = made.runs
    assert other.config.trial.optimizer == "sgd"
    assert other.config.trial.learning_rate.max == 0.1
    back = replace(other, config=other.config.model_copy(update={"trial": plain.config.trial}))
    assert back.config.model_dump(exclude={"name"}) == plain.config.model_dump(exclude={"name"})


def test_without_an_experiment_that_is_done_there_is_no_table(place: Path) -> None:
    assert compare("--experiments", "1").exit_code == 0
    RunDirectory(place / "here" / "e0" / "longer").checkpoint(1).unlink()
    text = invoke("show", "here").stdout
    assert "0 of 1 experiments done, 1 of 2 searches" in text
    assert "Table 1" not in text
    assert "stopped" in text
    assert json.loads(invoke("show", "here", "--json").stdout)["arms"] == {}


def test_failures_only_have_no_accuracy(place: Path) -> None:
    result = compare("--set", "trial.fake.failures={nan: 1.0}")
    assert result.exit_code == 0
    words = "Not one trial of the last generation is complete in e0/plain, e1/plain, e0/longer"
    assert words in result.stdout
    assert "nan, " not in result.stdout
    told = json.loads(invoke("show", "here", "--json").stdout)["arms"]["longer"]
    assert told["accuracy"] is None
    assert told["degradation"] is None
    assert told["speed_up"]["value"] > 0


def test_its_searches_are_runs_like_any_other(place: Path) -> None:
    assert compare("--experiments", "1").exit_code == 0
    assert invoke("show", "here/e0/plain", "g000-t000").exit_code == 0


def test_a_comparison_that_goes_on_is_followed(place: Path) -> None:
    """In a pipe by a line for each change, and at the end the table."""
    program = [sys.executable, "-m", "mpinas"]
    slowly = ("--set", "trial.fake.seconds={mean: 0.5, sigma: 0.1}", "--workers", "2")
    job = [*program, "compare", "search.yaml", "--out", "here", *slowly]
    with subprocess.Popen(job, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as comparing:
        while comparing.poll() is None and "running" not in invoke("show", "here").stdout:
            time.sleep(0.05)
        following = [*program, "show", "here", "--follow"]
        followed = subprocess.run(following, capture_output=True, text=True, timeout=120)
        assert comparing.wait(timeout=60) == 0
    assert followed.returncode == 0, followed.stderr
    before, table = followed.stdout.split("small: 2 arms, 2 of 2", 1)
    lines = before.splitlines()
    assert len(lines) > 1
    assert len({*lines}) == len(lines)
    assert all(line.startswith("small: 2 arms, ") and line.endswith(" trials") for line in lines)
    assert "Table 1" in table


def test_lost_data_are_prepared_again_and_other_data_refused(place: Path) -> None:
    assert compare("--experiments", "1").exit_code == 0
    (place / "here" / "problem.h5").unlink()
    assert compare("--experiments", "2").exit_code == 0
    assert (place / "here" / "problem.h5").exists()
    (place / "here" / "comparison.yaml").unlink()
    refused = compare("--experiments", "2")
    assert refused.exit_code == 2
    assert "not a comparison" in refused.stderr


def test_a_dry_run_tries_every_arm_and_leaves_nothing(place: Path) -> None:
    arms = {**ARMS, "third": {"tuner.generations": 3, "tuner.individuals": 5}}
    config_file(place, with_key(COMPARED, "comparison", arms=arms))
    well = ("--set", "trial.fake.failures={}", "--workers", "2")
    result = compare("--dry-run", *well)
    assert result.exit_code == 0, result.output
    lines = {line.split()[0]: " ".join(line.split()[1:]) for line in result.stdout.splitlines()}
    assert lines["small:"] == "everything is in order, nothing was started"
    assert lines["searches"] == "6 (2 experiments x 3 arms)"
    assert lines["trials"] == str(2 * (2 * 4 + 2 * 4 + 3 * 5))
    assert lines["plain"].startswith("2 x 4 trials a search, about ")
    assert lines["third"].startswith("3 x 5 trials a search, about ")
    assert lines["in"].endswith("on 2 workers")
    assert {one.name for one in place.iterdir()} == {"search.yaml"}


def test_a_dry_run_refuses_what_the_comparison_would(place: Path) -> None:
    assert compare("--experiments", "1").exit_code == 0
    before = sorted((one, one.stat().st_mtime_ns) for one in (place / "here").rglob("*"))
    well = ("--set", "trial.fake.failures={}")
    assert compare("--dry-run", "--experiments", "1", *well).exit_code == 2, "another search"
    (place / "other").mkdir()
    (place / "other" / "thesis.tex").touch()
    refused = invoke("compare", "search.yaml", "--out", "other", "--dry-run")
    assert refused.exit_code == 2
    assert "exists and is not a comparison" in refused.stderr
    refused = invoke("run", "search.yaml", "--out", "other", "--dry-run")
    assert "exists and is not a run" in refused.stderr
    assert sorted((one, one.stat().st_mtime_ns) for one in (place / "here").rglob("*")) == before
