"""``trial.shrink``: each key means what it says, and what cannot work is refused or told."""

from __future__ import annotations

import json
import re

import pytest
from searching import FAKE_SEARCH, config_file, config_of, with_key

from mpinas.config import TrialConfig
from mpinas.config_file import differing_keys, dump_config, load_config
from mpinas.config_shrink import ShrinkConfig, drift_warnings
from mpinas.config_yaml import parse_yaml
from mpinas.errors import ConfigurationFaults
from mpinas.opening import KNOWLEDGE, check_directory, fill_directory, shrink_warnings
from mpinas.run_directory import create_run_directory

LINE = re.compile(r"^[^:]+: (trial\.|trial:).+\.$")
SOURCES = ("gamma", "gate", "group_lasso", "max_weight")


def faults_of(tmp_path, *overrides):
    with pytest.raises(ConfigurationFaults) as caught:
        config_of(tmp_path, *overrides)
    for line in caught.value.faults:
        assert LINE.match(line), line
    return caught.value.faults


def shrink_of(tmp_path, *overrides):
    return config_of(tmp_path, *(f"trial.shrink.{one}" for one in overrides)).trial.shrink


def test_defaults(tmp_path):
    written = parse_yaml(dump_config(config_of(tmp_path)))["trial"]["shrink"]
    assert written == {
        "enabled": False,
        "epochs": 1.0,
        "source": "auto",
        "penalty": "l1",
        "metric": "flops",
        "strength": 1.0,
        "threshold": {"gamma": 0.2, "gate": 0.1, "group_lasso": 0.1, "max_weight": 0.1},
        "relative": None,
        "scale_learning_rate": None,
        "inherit_weights": True,
        "min_filters": 1,
        "round_to": 1,
    }


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("enabeld=true", ["trial.shrink.enabeld", "'enabled'"]),
        ("treshold=0.1", ["trial.shrink.treshold", "'threshold'"]),
        ("threshold.gama=0.1", ["trial.shrink.threshold.gama", "'gamma'"]),
        ("enabled=1", ["trial.shrink.enabled", "true or false"]),
        ("enabled='true'", ["trial.shrink.enabled", "true or false"]),
        ("epochs=0", ["trial.shrink.epochs", "Allowed: above 0"]),
        ("epochs=.inf", ["trial.shrink.epochs", "finite"]),
        ("epochs=one", ["trial.shrink.epochs", "a number is wanted"]),
        ("epochs=null", ["trial.shrink.epochs", "a number is wanted"]),
        ("source=beta", ["trial.shrink.source", "'gamma'", "'max_weight'"]),
        ("source=null", ["trial.shrink.source", "'auto'"]),
        ("penalty=l3", ["trial.shrink.penalty", "'l1' or 'l2'"]),
        ("metric=latency", ["trial.shrink.metric", "'flops' or 'parameters'"]),
        ("strength=-1", ["trial.shrink.strength", "Allowed: 0"]),
        ("strength=.nan", ["trial.shrink.strength", "finite"]),
        ("threshold=-0.1", ["trial.shrink.threshold", "threshold=-0.1", "Allowed: 0 and above"]),
        ("threshold=.nan", ["trial.shrink.threshold", "threshold=nan"]),
        ("threshold=.inf", ["trial.shrink.threshold", "threshold=inf"]),
        ("threshold=low", ["trial.shrink.threshold", "a number or a section", "'low'"]),
        ("threshold=true", ["trial.shrink.threshold", "a number or a section", "True"]),
        ("threshold=[0.1]", ["trial.shrink.threshold", "a number or a section", "[0.1]"]),
        ("threshold=null", ["trial.shrink.threshold", "a number or a section", "None"]),
        ("threshold={gate: -1}", ["trial.shrink.threshold.gate", "gate=-1"]),
        ("threshold={gate: true}", ["trial.shrink.threshold.gate", "a number is wanted"]),
        ("relative=1", ["trial.shrink.relative", "true or false"]),
        ("scale_learning_rate=0", ["trial.shrink.scale_learning_rate", "Allowed: above 0"]),
        ("scale_learning_rate=auto", ["trial.shrink.scale_learning_rate", "a number is wanted"]),
        ("inherit_weights=null", ["trial.shrink.inherit_weights", "true or false"]),
        ("min_filters=0", ["trial.shrink.min_filters", "Allowed: above 0"]),
        ("min_filters=1.5", ["trial.shrink.min_filters", "whole number"]),
        ("round_to=0", ["trial.shrink.round_to", "Allowed: above 0"]),
        ("round_to=8.0", ["trial.shrink.round_to", "whole number"]),
    ],
)
def test_one_wrong_key_gives_one_line_that_names_it(tmp_path, override, words):
    (line,) = faults_of(tmp_path, f"trial.shrink.{override}")
    for word in words:
        assert word in line
    assert len(line) < 300 + len(str(tmp_path))


@pytest.mark.parametrize("value", ["true", "null", "[]", "1"])
def test_the_section_is_a_section(tmp_path, value):
    (line,) = faults_of(tmp_path, f"trial.shrink={value}")
    assert "trial.shrink: wrong type: a section" in line


def test_a_number_is_all_thresholds(tmp_path):
    short = shrink_of(tmp_path, "threshold=0.05")
    assert [short.threshold_of(source) for source in SOURCES] == [0.05] * 4
    assert short == shrink_of(tmp_path, f"threshold={dict.fromkeys(SOURCES, 0.05)}")
    assert shrink_of(tmp_path, "threshold=0").threshold_of("gate") == 0


def test_a_section_is_some_thresholds(tmp_path):
    shrink = shrink_of(tmp_path, "threshold={gate: 0.3, max_weight: 2}")
    assert [shrink.threshold_of(source) for source in SOURCES] == [0.2, 0.3, 0.1, 2.0]
    assert shrink == shrink_of(tmp_path, "threshold.gate=0.3", "threshold.max_weight=2")


def test_thresholds_are_relative_for_gamma_alone_where_nothing_is_said(tmp_path):
    for said, meant in (("null", [True, False, False, False]), ("true", [True] * 4)):
        shrink = shrink_of(tmp_path, f"relative={said}")
        assert [shrink.is_relative(source) for source in SOURCES] == meant
    assert not shrink_of(tmp_path, "relative=false").is_relative("gamma")


@pytest.mark.parametrize(
    ("overrides", "received"),
    [
        (("relative=true", "threshold=1"), "threshold.gamma=1, source=auto, relative=true"),
        (("threshold=1.5",), "threshold.gamma=1.5, source=auto, relative=null"),
        (("relative=true", "threshold.gate=1"), "threshold.gate=1, source=auto"),
        (("relative=true", "source=max_weight", "threshold.max_weight=3"), "threshold.max_weight"),
    ],
)
def test_a_relative_threshold_is_below_1(tmp_path, overrides, received):
    """At 1 the layer's largest channel itself would be dead."""
    (line,) = faults_of(tmp_path, *(f"trial.shrink.{one}" for one in overrides))
    assert "trial.shrink: a threshold relative to the layer's largest is below 1" in line
    assert f"Received: {received}" in line


@pytest.mark.parametrize(
    "overrides",
    [
        ("source=max_weight", "threshold=1.5"),
        ("relative=false", "threshold=1"),
        ("relative=true", "source=gate", "threshold.max_weight=2"),
        ("relative=true", "threshold=0.999"),
    ],
)
def test_thresholds_that_are_not_relative_or_not_used_may_be_anything(tmp_path, overrides):
    shrink_of(tmp_path, *overrides)


def test_no_default_in_place_of_a_faulty_value_breaks_a_rule(tmp_path):
    for faulty, rest in (
        ("relative=no", "threshold=1.5"),
        ("source=gama", "threshold=1.5"),
        ("inherit_weights=no", "epochs=9"),
        ("epochs=x", "enabled=true"),
    ):
        overrides = ("enabled=true", faulty, rest)
        (line,) = faults_of(tmp_path, *(f"trial.shrink.{one}" for one in overrides))
        assert f"trial.shrink.{faulty.split('=')[0]}: " in line


@pytest.mark.parametrize(
    ("epochs", "shrink", "inherit", "left"),
    [
        (2, 1, True, 1),
        (8, 0.5, True, 7),
        (8, 1.5, True, 6),
        (1, 1, True, 0),
        (1, 0.25, True, 0),
        (2, 1.01, True, 0),
        (1, 5, False, 1),
    ],
)
def test_an_epoch_is_left_after_the_shrink(tmp_path, epochs, shrink, inherit, left):
    overrides = (
        f"trial.epochs={epochs}",
        f"trial.shrink.epochs={shrink}",
        f"trial.shrink.inherit_weights={json.dumps(inherit)}",
    )
    assert config_of(tmp_path, *overrides).trial.shrink.epochs_after(epochs) == left
    if left:
        config_of(tmp_path, *overrides, "trial.shrink.enabled=true")
        return
    (line,) = faults_of(tmp_path, *overrides, "trial.shrink.enabled=true")
    assert ": trial: the regularised epochs count" in line
    assert f"Received: epochs={epochs}, shrink.epochs={shrink:g}, " in line
    assert "set shrink.inherit_weights to false" in line


@pytest.mark.parametrize(("source", "batch_norm"), [("gamma", "false"), ("gate", "true")])
def test_a_source_that_no_network_has_is_refused(tmp_path, source, batch_norm):
    """Every trial of the search would find nothing to remove."""
    overrides = (f"space.batch_norm={batch_norm}", f"trial.shrink.source={source}")
    enabled = "trial.shrink.enabled=true"
    config_of(tmp_path, *overrides)
    config_of(tmp_path, *overrides, enabled, "trial.shrink.source=auto")
    config_of(tmp_path, *overrides, enabled, "trial.shrink.source=max_weight")
    other = {"true": "false", "false": "true"}[batch_norm]
    config_of(tmp_path, *overrides, enabled, f"space.batch_norm={other}")
    (line,) = faults_of(tmp_path, *overrides, enabled)
    assert f"Received: shrink.source={source}, space.batch_norm={batch_norm}." in line


def test_a_faulty_space_is_not_judged_with_the_shrink(tmp_path):
    gate = ("trial.shrink={enabled: true, source: gate}", "space.batch_norm=no")
    with pytest.raises(ConfigurationFaults) as caught:
        config_of(tmp_path, *gate)
    (line,) = caught.value.faults
    assert "space.batch_norm: wrong type" in line


def test_what_tells_where_nothing_is_said():
    assert ShrinkConfig().source_with(batch_norm=True) == "gamma"
    assert ShrinkConfig().source_with(batch_norm=False) == "gate"
    for source in SOURCES:
        assert ShrinkConfig(source=source).source_with(batch_norm=True) == source


ALL_CHANGED = {
    "enabled": True,
    "epochs": 0.5,
    "source": "gate",
    "penalty": "l2",
    "metric": "parameters",
    "strength": 0.3,
    "threshold": {"gamma": 0.3, "gate": 0.2, "group_lasso": 0.02, "max_weight": 0.05},
    "relative": False,
    "scale_learning_rate": 0.02,
    "inherit_weights": False,
    "min_filters": 2,
    "round_to": 8,
}


def test_the_resolved_configuration_loads_back_equal(tmp_path):
    assert list(ALL_CHANGED) == list(ShrinkConfig.model_fields)
    text = with_key(with_key(FAKE_SEARCH, "trial", shrink=ALL_CHANGED), "space", batch_norm=False)
    config = load_config(config_file(tmp_path, text), (), KNOWLEDGE)
    assert config.trial.shrink.model_dump(mode="json") == ALL_CHANGED
    again = load_config(config_file(tmp_path, dump_config(config)), (), KNOWLEDGE)
    assert again == config
    settings = json.loads(json.dumps(config.trial.model_dump(mode="json")))
    assert TrialConfig.model_validate_json(json.dumps(settings)) == config.trial


@pytest.mark.parametrize("key", ALL_CHANGED)
def test_every_key_defines_the_search(tmp_path, key):
    changed = config_of(tmp_path, f"trial.shrink.{key}={json.dumps(ALL_CHANGED[key])}")
    differing = differing_keys(config_of(tmp_path), changed)
    assert differing
    assert all(line.startswith(f"trial.shrink.{key}") for line in differing)


def test_a_run_from_before_the_shrink_goes_on_without_one(tmp_path):
    config = config_of(tmp_path)
    directory = create_run_directory(tmp_path / "old", lambda new: fill_directory(config, new))
    old = parse_yaml(directory.config.read_text())
    del old["trial"]["shrink"]
    directory.config.write_text(json.dumps(old))
    check_directory(config, directory.path, fresh=False)
    shrunk = config_of(tmp_path, "trial.shrink.enabled=true")
    with pytest.raises(Exception, match=r"holds another search.*trial\.shrink\.enabled"):
        check_directory(shrunk, directory.path, fresh=False)


@pytest.mark.parametrize(
    ("epochs", "per_epoch", "steps"), [(1, 400, 400), (0.5, 313, 156), (2, 7, 14), (0.01, 7, 1)]
)
def test_steps_and_the_rate_of_scales(epochs, per_epoch, steps):
    shrink = ShrinkConfig(epochs=epochs)
    assert shrink.steps(per_epoch) == steps
    assert shrink.scale_rate(per_epoch) == pytest.approx(3 / steps)
    assert ShrinkConfig(epochs=epochs, scale_learning_rate=0.01).scale_rate(per_epoch) == 0.01


def warnings_of(shrink, *, batch_norm=True, learning_rate=1e-3, optimizer="adam", steps=469):
    return drift_warnings(
        ShrinkConfig(**{"enabled": True, **shrink}),
        batch_norm=batch_norm,
        learning_rate=learning_rate,
        optimizer=optimizer,
        steps_per_epoch=steps,
    )


@pytest.mark.parametrize(
    ("shrink", "batch_norm", "needed"),
    [
        ({}, True, 0.8 / 1.2),
        ({}, False, 0.9),
        ({"relative": False}, True, 0.8),
        ({"relative": True}, False, 0.9 / 1.1),
        ({"source": "gate"}, True, 0.9),
        ({"threshold": 0.5}, True, 0.5 / 1.5),
    ],
)
def test_a_scale_must_be_able_to_come_to_its_threshold(shrink, batch_norm, needed):
    def lines(drift):
        rate = {"scale_learning_rate": drift / 200}
        return warnings_of({**shrink, **rate}, batch_norm=batch_norm, steps=200)

    assert lines(needed * 1.01) == ()
    (line,) = lines(needed * 0.99)
    assert f"product={needed * 0.99:.4g}." in line
    assert f"Needed: a product of {needed:.4g} for threshold." in line


def test_adam_at_its_usual_rate_cannot_shrink_in_an_epoch_of_60000_images():
    """Whatever the strength: what MorphNet's users met, and what this warning is for."""
    for strength in (1.0, 1000.0):
        shrink = {"scale_learning_rate": 1e-3, "strength": strength}
        (line,) = warnings_of(shrink, batch_norm=False)
        assert line == (
            "trial.shrink.scale_learning_rate: no channel can be removed at any strength: Adam "
            "moves a scale, which begins at 1, by at most about the learning rate in a step. "
            "Received: scale_learning_rate=0.001, steps=469, product=0.469. Needed: a product of "
            "0.9 for threshold.gate=0.1. Set scale_learning_rate to null, give the shrink more "
            "epochs or make batch_size smaller."
        )
    assert warnings_of({"scale_learning_rate": 1e-3, "epochs": 2.0}, batch_norm=False) == ()
    assert warnings_of({"scale_learning_rate": 1e-3}, batch_norm=False, steps=1875) == ()


@pytest.mark.parametrize("steps", [1, 7, 469, 100_000])
@pytest.mark.parametrize("epochs", [0.01, 0.5, 1.0, 3.0])
def test_the_default_rate_is_always_enough(steps, epochs):
    for batch_norm in (True, False):
        lines = warnings_of({"epochs": epochs}, batch_norm=batch_norm, steps=steps)
        assert not any("scale_learning_rate" in line for line in lines)


def test_what_is_switched_off_is_not_warned_of():
    assert warnings_of({"enabled": False, "scale_learning_rate": 1e-6}) == ()


@pytest.mark.parametrize(("steps", "is_told"), [(119, True), (120, False)])
def test_gates_that_fall_too_fast_are_told(steps, is_told):
    """In 40 steps networks without batch norm were at chance before the cut."""
    lines = warnings_of({}, batch_norm=False, steps=steps)
    assert [f"Received: steps={steps}. " in line for line in lines] == [True] * is_told
    assert warnings_of({}, batch_norm=True, steps=20) == ()


@pytest.mark.parametrize("source", ["group_lasso", "max_weight"])
def test_weights_that_cannot_move_by_the_threshold(source):
    shrink = {"source": source, "threshold": 0.1, "relative": False}
    (line,) = warnings_of(shrink, learning_rate=1e-3, steps=99)
    assert line.startswith("trial.shrink.threshold: what is removed follows more from the initial")
    assert "learning_rate=0.001, steps=99, product=0.099. Needed: a product of 0.1 for " in line
    assert f"threshold.{source}=0.1." in line
    assert warnings_of(shrink, learning_rate=1e-3, steps=101) == ()
    assert warnings_of({**shrink, "scale_learning_rate": 1e-9}, steps=101) == ()
    assert warnings_of(shrink, optimizer="sgd", steps=1) == ()
    assert warnings_of({**shrink, "relative": True}, steps=1) == ()


@pytest.mark.parametrize(
    ("images", "overrides", "words"),
    [
        (51_000, (), "steps=399, product=0.0399"),
        (51_000 * 3, (), "steps=1196, product=0.1196"),
        (51_001, ("trial.batch_size=1000",), "steps=52, "),
        (51_000, ("trial.shrink.epochs=0.5",), "steps=200, "),
        (100, (), "steps=1, "),
    ],
)
def test_steps_are_counted_as_batches_are(tmp_path, images, overrides, words):
    rate = ("trial.shrink.enabled=true", "trial.shrink.scale_learning_rate=0.0001")
    (line,) = shrink_warnings(config_of(tmp_path, *rate, *overrides), images)
    assert words in line


@pytest.mark.parametrize("rates", ["{min: 1e-5, max: 0.002}", "[1e-5, 0.002, 1e-4]", "0.002"])
def test_the_highest_learning_rate_counts(tmp_path, rates):
    config = config_of(
        tmp_path,
        "trial.shrink={enabled: true, source: max_weight, threshold: 0.1}",
        f"trial.learning_rate={rates}",
    )
    assert shrink_warnings(config, 128 * 51) == ()
    (line,) = shrink_warnings(config, 128 * 49)
    assert "learning_rate=0.002, steps=49, product=0.098" in line
