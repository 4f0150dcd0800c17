"""``tuner.postprocess: shrink``: the last generation is shrunk, however the search got there."""

from __future__ import annotations

import dataclasses
import json

import pytest
from searching import config_of, drive, fake_result, found, new_run, search_in

from mpinas.assembly.shapes import network_costs
from mpinas.errors import ConfigurationFaults, RunDirectoryFault
from mpinas.opening import check_directory, shrink_warnings
from mpinas.records import trial_number
from mpinas.starting import load_start

POSTPROCESS = "tuner.postprocess=shrink"
LAST = 2


def shrunk_trials(search, stop_after=None):
    """(generation, whether it asks for a shrink) of every trial that is started."""
    seen = []

    def evaluate(spec):
        generation = int(spec.trial_id[1:4])
        seen.append((generation, spec.settings["shrink"]["enabled"]))
        return fake_result(spec)

    drive(search, evaluate=evaluate, stop_after=stop_after)
    return seen


@pytest.mark.parametrize("enabled", [False, True])
def test_the_last_generation_is_shrunk(tmp_path, enabled):
    run = new_run(tmp_path, "run", POSTPROCESS, f"trial.shrink.enabled={json.dumps(enabled)}")
    seen = shrunk_trials(search_in(run))
    assert {generation for generation, _ in seen} == {0, 1, LAST}
    assert all(shrunk == (enabled or generation == LAST) for generation, shrunk in seen)


def test_without_it_none_is(tmp_path):
    seen = shrunk_trials(search_in(new_run(tmp_path, "run")))
    assert not any(shrunk for _, shrunk in seen)


def test_the_rest_of_the_section_is_kept(tmp_path):
    config = config_of(tmp_path, POSTPROCESS, "trial.shrink.epochs=0.5", "trial.epochs=3")
    shrink = config.trial_of(LAST).shrink
    assert shrink == config.trial.shrink.model_copy(update={"enabled": True})
    assert config.trial_of(LAST).epochs == 3
    assert config.trial_of(LAST - 1) == config.trial


def test_the_clock_is_told_that_trials_of_the_last_generation_may_take_longer(tmp_path):
    """It knows only how long trials took that were not shrunk, until one of them has ended."""
    run = new_run(tmp_path, "run", POSTPROCESS, "trial.epochs=4", "trial.shrink.epochs=0.5")
    epochs, costs = {}, set()

    def evaluate(spec):
        images = spec.problem.training_images
        flops = network_costs(spec.network).flops
        epochs[spec.trial_id] = spec.predicted_cost / flops / images
        costs.add(spec.predicted_cost)
        return dataclasses.replace(fake_result(spec), costs=network_costs(spec.network))

    search = search_in(run)
    drive(search, evaluate=evaluate)
    assert epochs == {
        name: pytest.approx(5 if trial_number(name)[0] == LAST else 4) for name in epochs
    }
    past = {one.cost for one in search.past()}
    assert past, "some trials are complete"
    assert past <= costs, "what a later job learns is what this one was told"


@pytest.mark.parametrize("stop_after", [1, 7, 13])
def test_stopped_and_resumed_equals_never_stopped(tmp_path, stop_after):
    whole, stopped = (new_run(tmp_path, name, POSTPROCESS) for name in ("whole", "stopped"))
    in_one = shrunk_trials(search_in(whole))
    in_two = shrunk_trials(search_in(stopped), stop_after=stop_after)
    in_two += shrunk_trials(search_in(stopped))
    assert sorted(in_one) == sorted(in_two)
    assert found(whole) == found(stopped)
    assert max(trial_number(name) for name, _, _ in found(whole))[0] == LAST


@pytest.mark.parametrize("generations", [2, 4])
def test_such_a_run_has_the_length_it_was_begun_with(tmp_path, generations):
    run = new_run(tmp_path, "run", POSTPROCESS)
    check_directory(config_of(tmp_path, POSTPROCESS), run.path, fresh=False)
    other = config_of(tmp_path, POSTPROCESS, f"tuner.generations={generations}")
    with pytest.raises(RunDirectoryFault, match="would be one in the middle"):
        check_directory(other, run.path, fresh=False)
    check_directory(other, run.path, fresh=True)


def test_where_all_are_shrunk_it_says_nothing_new_and_the_run_may_become_longer(tmp_path):
    overrides = (POSTPROCESS, "trial.shrink.enabled=true")
    run = new_run(tmp_path, "run", *overrides)
    check_directory(config_of(tmp_path, *overrides, "tuner.generations=4"), run.path, fresh=False)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (("trial.epochs=1",), "the regularised epochs count among the trial's"),
        (("trial.shrink.source=gate",), "gate stands only where there is none"),
        (("tuner.postprocess=prune",), "tuner.postprocess"),
    ],
)
def test_what_the_last_generation_needs_is_checked_at_once(tmp_path, overrides, words):
    with pytest.raises(ConfigurationFaults) as caught:
        config_of(tmp_path, POSTPROCESS, *overrides)
    (line,) = caught.value.faults
    assert words in line


def test_a_shrink_that_can_remove_nothing_is_told_at_the_start(tmp_path):
    slow = "trial.shrink.scale_learning_rate=1e-5"
    (line,) = shrink_warnings(config_of(tmp_path, POSTPROCESS, slow), 1000)
    assert "no channel can be removed" in line
    assert shrink_warnings(config_of(tmp_path, slow), 1000) == ()


def test_it_begins_with_the_populations_of_a_search_without_it(tmp_path):
    other = new_run(tmp_path, "other")
    search_in(other)
    assert load_start(config_of(tmp_path, POSTPROCESS), other.start, None) is not None
