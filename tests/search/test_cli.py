"""The command line: exit codes, one line for a fault, nothing written, nothing overwritten."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from invoking import invoke
from searching import config_file, found

from mpinas.journal import append_result, read_results
from mpinas.ownership import claim, release
from mpinas.records import Shrink, ShrinkOutcome
from mpinas.run_directory import RunDirectory


@pytest.fixture
def place(tmp_path, monkeypatch, no_scheduler):
    """An empty current directory with the small search in it and no scheduler around."""
    monkeypatch.chdir(tmp_path)
    config_file(tmp_path)
    return tmp_path


def test_run_then_show_then_extend(place):
    result = invoke("run", "search.yaml")
    assert result.exit_code == 0, result.output
    view = json.loads(invoke("show", "runs/small", "--json").stdout)
    assert (view["status"], view["generation"], view["generations"]) == ("done", 3, 3)
    assert len(view["trials"]) == 18
    assert view["best"]["fitness"] == max(t["fitness"] or 0 for t in view["trials"])
    assert 0 < view["utilisation"] <= 1
    again = invoke("run", "search.yaml")
    assert again.exit_code == 0
    assert json.loads(invoke("show", "runs/small", "--json").stdout)["trials"] == view["trials"]
    assert invoke("run", "search.yaml", "--set", "tuner.generations=4").exit_code == 0
    longer = json.loads(invoke("show", "runs/small", "--json").stdout)
    assert longer["trials"][:18] == view["trials"]
    assert len(longer["trials"]) == 24


def test_the_json_has_exactly_the_promised_keys(place):
    invoke("run", "search.yaml", "--set", "tuner.generations=1")
    view = json.loads(invoke("show", "runs/small", "--json").stdout)
    assert list(view) == [
        "run",
        "status",
        "generation",
        "generations",
        "best",
        "utilisation",
        "wall_time_s",
        "workers",
        "lost_workers",
        "trials",
    ]
    keys = (
        "trial_id status failure fitness flops shrunk_flops parameters shrunk_parameters "
        "network_hash shrink_s rebuild_s train_s wall_time_s host rank device shrink"
    )
    assert all(list(trial) == keys.split() for trial in view["trials"])


def test_show_tells_of_shrinks_where_there_were_any(place):
    invoke("run", "search.yaml", "--set", "tuner.generations=1")
    assert "shr" not in invoke("show", "runs/small").stdout
    journal = RunDirectory(place / "runs" / "small").journals()[0]
    old = next(result for result in read_results(journal) if result.fitness is not None)
    broken = Shrink(
        outcome=ShrinkOutcome.BROKEN, steps=3, alive_flops_at_start=1, warnings=("odd",)
    )
    append_result(journal, replace(old, shrink=broken))
    text = invoke("show", "runs/small").stdout
    row = next(line for line in text.splitlines() if line.split()[1:2] == [old.trial_id])
    assert "broken" in row
    assert "shrink: 0 shrunk, 0 nothing removed, 1 broken and trained unshrunk" in text
    assert f"the first, of {old.trial_id}: odd" in text
    trials = json.loads(invoke("show", "runs/small", "--json").stdout)["trials"]
    told = [trial for trial in trials if trial["shrink"] is not None]
    assert [(one["trial_id"], one["shrunk_flops"]) for one in told] == [(old.trial_id, None)]
    assert told[0]["shrink"]["outcome"] == "broken"


def test_show_names_what_a_stranger_wants_to_know(place):
    invoke("run", "search.yaml")
    text = invoke("show", "runs/small").stdout
    for words in ("small: done", "3 of 3 generations", "18 of 18 trials", "x nan", "x infeasible"):
        assert words in text
    best = max(found(RunDirectory(place / "runs" / "small")), key=lambda trial: trial[2] or 0.0)
    first = next(line for line in text.splitlines() if line.split()[:1] == ["1"])
    assert first.split()[1:3] == [best[0], f"{best[2]:.4f}"]


def test_a_configuration_alone_means_run(place):
    assert invoke("search.yaml", "--set", "tuner.generations=1").exit_code == 0
    assert RunDirectory(place / "runs" / "small").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ("run", "missing.yaml"),
        ("run", "search.yaml", "--set", "trial.epohcs=3"),
        ("run", "search.yaml", "--set", "trial.batch_size=5000"),
        ("run", "search.yaml", "--set", "problem={name: arrays, path: search.yaml}"),
        ("run", "search.yaml", "--set", "problem={name: arrays, path: nothing.npz}"),
        ("run", "search.yaml", "--set", "problem.train_images=100000"),
        ("run", "search.yaml", "--set", "run.gpus=99"),
        ("run", "search.yaml", "--walltime", "soon"),
        ("run", "search.yaml", "--start-from", "search.yaml"),
        ("run", "search.yaml", "--start-from", "nothing.h5"),
        ("show", "."),
        ("show", "nothing"),
    ],
)
def test_what_the_user_must_change_is_a_line_with_code_2_and_nothing_written(place, arguments):
    before = sorted(place.rglob("*"))
    result = invoke(*arguments)
    assert result.exit_code == 2
    assert "Traceback" not in result.output
    assert len(result.stderr.strip().splitlines()) == 1, result.stderr
    assert sorted(place.rglob("*")) in (before, sorted([*before, place / "runs"]))


def test_a_directory_of_another_search_is_refused_with_the_differing_keys(place):
    invoke("run", "search.yaml", "--set", "tuner.generations=1")
    kept = found(RunDirectory(place / "runs" / "small"))
    result = invoke("run", "search.yaml", "--set", "seed=9", "--set", "trial.epochs=7")
    assert result.exit_code == 2
    assert "seed (5 there, 9 here)" in result.stderr
    assert "trial.epochs (2 there, 7 here)" in result.stderr
    assert found(RunDirectory(place / "runs" / "small")) == kept


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("trial.shrink.enabled=false", "trial.shrink.enabled (True there, False here)"),
        ("trial.shrink.strength=2", "trial.shrink.strength (1.0 there, 2.0 here)"),
        ("trial.shrink.threshold=0.1", "trial.shrink.threshold.gamma (0.2 there, 0.1 here)"),
    ],
)
def test_a_search_does_not_go_on_with_another_shrink(place, change, words):
    shrink = ("--set", "trial.shrink.enabled=true", "--set", "trial.epochs=3")
    assert invoke("run", "search.yaml", *shrink, "--set", "tuner.generations=1").exit_code == 0
    kept = found(RunDirectory(place / "runs" / "small"))
    result = invoke("run", "search.yaml", *shrink, "--set", change)
    assert result.exit_code == 2
    assert words in result.stderr
    assert found(RunDirectory(place / "runs" / "small")) == kept


def test_fresh_keeps_the_old_run_under_another_name(place):
    invoke("run", "search.yaml", "--set", "tuner.generations=1")
    old = found(RunDirectory(place / "runs" / "small"))
    options = ("--fresh", "--set", "seed=9", "--set", "tuner.generations=1")
    assert invoke("run", "search.yaml", *options).exit_code == 0
    new = found(RunDirectory(place / "runs" / "small"))
    assert new != old
    aside = [path for path in (place / "runs").iterdir() if path.name != "small"]
    assert [found(RunDirectory(path)) for path in aside] == [old]


@pytest.mark.parametrize("fresh", [(), ("--fresh",)])
def test_a_directory_where_another_job_works_is_refused(place, fresh):
    invoke("run", "search.yaml", "--set", "tuner.generations=1")
    directory = RunDirectory(place / "runs" / "small")
    owner = claim(directory, 10.0)
    result = invoke("run", "search.yaml", *fresh)
    assert result.exit_code == 2
    assert "another job" in result.stderr
    assert json.loads(invoke("show", "runs/small", "--json").stdout)["status"] == "running"
    release(directory, owner)
    assert invoke("run", "search.yaml").exit_code == 0


def test_a_search_starts_from_the_populations_of_another(place):
    one_generation = ("--set", "tuner.generations=1")
    invoke("run", "search.yaml", *one_generation)
    start = "runs/small/checkpoints/start.h5"
    options = ("--out", "runs/b", "--set", "seed=9", "--start-from", start)
    assert invoke("run", "search.yaml", *options, *one_generation).exit_code == 0
    hashes = [
        [trial[1] for trial in found(RunDirectory(place / "runs" / name))]
        for name in ("small", "b")
    ]
    assert hashes[0] == hashes[1]
    assert invoke("run", "search.yaml", "--out", "runs/b", "--set", "seed=9").exit_code == 0


@pytest.mark.parametrize(
    ("override", "word"),
    [
        ("space.batch_norm=false", "space"),
        ("tuner.individuals=7", "tuner"),
        ("trial.learning_rate=0.5", "search space"),
    ],
)
def test_starting_populations_of_another_space_or_tuner_are_refused(place, override, word):
    invoke("run", "search.yaml", "--set", "tuner.generations=1")
    start = "runs/small/checkpoints/start.h5"
    result = invoke("run", "search.yaml", "--out", "b", "--set", override, "--start-from", start)
    assert result.exit_code == 2
    assert word in result.stderr
    assert not (place / "b").exists()


def test_a_begun_run_takes_no_other_starting_populations(place):
    one_generation = ("--set", "tuner.generations=1")
    invoke("run", "search.yaml", *one_generation)
    start = ("--start-from", "runs/small/checkpoints/start.h5")
    other = ("run", "search.yaml", "--out", "b", "--set", "seed=9")
    invoke(*other, *one_generation)
    refused = invoke(*other, *start)
    assert refused.exit_code == 2
    assert "began with other populations" in refused.stderr
    assert len(found(RunDirectory(place / "b"))) == 6
    again = invoke(*other, "--fresh", *start, *one_generation)
    assert again.exit_code == 0, again.stderr
    assert invoke(*other, *start).exit_code == 0, "a job that is submitted again has the option"


def test_a_generation_without_a_complete_trial_is_said(place):
    result = invoke("run", "search.yaml", "--set", "space.max_parameters=1")
    assert result.exit_code == 0
    assert "not one of 6 trials is complete" in result.stderr
    assert "above 1" in result.stderr


def test_at_the_walltime_running_trials_are_stopped_and_the_run_goes_on_later(place):
    slow = ("--set", "trial.fake.seconds.mean=5")
    result = invoke("run", "search.yaml", "--walltime", "00:00:02", *slow)
    assert result.exit_code == 75, result.output
    assert "the same command goes on" in result.stdout
    trials = found(RunDirectory(place / "runs" / "small"))
    assert [fitness for _, _, fitness in trials if fitness is not None] == []
    assert json.loads(invoke("show", "runs/small", "--json").stdout)["status"] == "stopped"
    again = invoke("run", "search.yaml", "--walltime", "00:00:02", *slow)
    assert again.exit_code == 75


def test_a_short_walltime_is_used(place):
    """With a reserve of ``grace_s`` whatever the walltime, nothing was ever started."""
    assert invoke("run", "search.yaml", "--walltime", "00:00:25").exit_code == 0


def test_a_dry_run_tells_and_keeps_nothing(place):
    result = invoke("run", "search.yaml", "--dry-run", "--set", "trial.fake.failures={}")
    assert result.exit_code == 0, result.output
    assert "18 (3 x 6)" in result.stdout
    assert not (place / "runs").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--set", "seed=9"), "holds another search"),
        (("--start-from", "nothing.h5", "--out", "b"), "no starting populations"),
        (("--set", "space.max_parameters=1", "--out", "b"), "within its limits"),
        (("--set", "run.gpus=99", "--out", "b"), "GPUs"),
    ],
)
def test_a_dry_run_checks_what_the_run_would_check(place, options, words):
    invoke("run", "search.yaml", "--set", "tuner.generations=1")
    result = invoke("run", "search.yaml", "--dry-run", *options)
    assert result.exit_code == 2
    assert words in result.stderr


def test_a_run_is_made_longer_not_shorter(place):
    invoke("run", "search.yaml")
    result = invoke("run", "search.yaml", "--set", "tuner.generations=2")
    assert result.exit_code == 2
    assert "has 3 generations already" in result.stderr


def test_removed_folders_and_data_are_made_again(place):
    invoke("run", "search.yaml", "--set", "tuner.generations=1")
    directory = RunDirectory(place / "runs" / "small")
    before = found(directory)
    shutil.rmtree(directory.journals()[0].parent)
    directory.problem.unlink()
    assert invoke("run", "search.yaml", "--set", "tuner.generations=2").exit_code == 0
    assert len(found(directory)) == 12
    directory.problem.write_bytes(b"as another version wrote it")
    assert invoke("run", "search.yaml").exit_code == 0
    assert set(before) < set(found(directory)), "the checkpoint tells what the journal told"


def npz(file, seed):
    rng = np.random.default_rng(seed)
    labels = np.arange(600) % 3
    np.savez(
        file,
        x_train=rng.integers(0, 256, (600, 6, 6), dtype=np.uint8),
        y_train=labels,
        x_test=rng.integers(0, 256, (30, 6, 6), dtype=np.uint8),
        y_test=labels[:30],
    )


def test_data_may_move_but_not_change(place):
    npz("a.npz", 1)
    command = ("run", "search.yaml", "--set", "tuner.generations=1", "--set")
    assert invoke(*command, "problem={name: arrays, path: a.npz}").exit_code == 0
    (place / "a.npz").rename("moved.npz")
    assert invoke(*command, "problem={name: arrays, path: moved.npz}").exit_code == 0
    npz("other.npz", 2)
    refused = invoke(*command, "problem={name: arrays, path: other.npz}")
    assert refused.exit_code == 2
    assert "began with other data" in refused.stderr
    (place / "runs" / "small" / "problem.h5").unlink()
    refused = invoke(*command, "problem={name: arrays, path: other.npz}")
    assert refused.exit_code == 2
    assert not (place / "runs" / "small" / "problem.h5").exists()
    assert invoke(*command, "problem={name: arrays, path: moved.npz}").exit_code == 0


def test_damaged_data_are_not_trained_on(place):
    invoke("run", "search.yaml", "--set", "tuner.generations=1")
    file = place / "runs" / "small" / "problem.h5"
    content = bytearray(file.read_bytes())
    content[-1000] ^= 1
    file.write_bytes(content)
    result = invoke("run", "search.yaml", "--set", "tuner.generations=2")
    assert result.exit_code == 2
    assert "problem.h5" in result.stderr


def test_a_bad_fresh_start_leaves_the_old_run_where_it_is(place):
    invoke("run", "search.yaml", "--set", "tuner.generations=1")
    before = sorted((place / "runs").iterdir())
    result = invoke("run", "search.yaml", "--fresh", "--set", "trial.batch_size=100000")
    assert result.exit_code == 2
    assert sorted((place / "runs").iterdir()) == before


def test_an_empty_directory_is_filled_in_place(place):
    (place / "mount").mkdir()
    command = ("run", "search.yaml", "--set", "tuner.generations=1", "--out", "mount")
    assert invoke(*command).exit_code == 0
    assert invoke(*command).exit_code == 0


def test_a_lost_start_of_other_populations_is_not_replaced_by_own_ones(place):
    one_generation = ("--set", "tuner.generations=1")
    invoke("run", "search.yaml", *one_generation)
    start = ("--start-from", "runs/small/checkpoints/start.h5")
    other = ("run", "search.yaml", "--out", "b", "--set", "seed=9", *one_generation)
    assert invoke(*other, *start).exit_code == 0
    (place / "b" / "checkpoints" / "start.h5").unlink()
    refused = invoke(*other)
    assert refused.exit_code == 2
    assert "--start-from again" in refused.stderr
    assert invoke(*other, *start).exit_code == 0
    assert len(found(RunDirectory(place / "b"))) == 6


def test_a_dry_run_says_why_its_candidate_failed(place):
    result = invoke("run", "search.yaml", "--dry-run", "--set", "trial.fake.failures={raise: 1}")
    assert result.exit_code == 1
    assert "a failure on purpose" in result.stderr


def test_every_failure_on_one_worker_ends_the_run_all_the_same(place):
    failures = "trial.fake.failures={raise: 0.4, exit: 0.3, segfault: 0.3}"
    assert invoke("run", "search.yaml", "--set", failures).exit_code == 0
    kinds = {
        t["failure"] for t in json.loads(invoke("show", "runs/small", "--json").stdout)["trials"]
    }
    assert kinds == {None, "error", "crash"}


def test_a_damaged_status_file_hides_no_trial(place):
    invoke("run", "search.yaml", "--set", "tuner.generations=1")
    (place / "runs" / "small" / "status.json").write_text('{"sta')
    view = json.loads(invoke("show", "runs/small", "--json").stdout)
    assert (len(view["trials"]), view["status"], view["generation"]) == (6, "done", 1)
