"""Models that mpinas did not make: shrunk to a target, written plain, or refused."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from data_files import random_arrays, save_npz
from keras import layers
from searching import config_of
from shrink_models import images, largest_difference

from mpinas.assembly.from_keras import describe_model, unsupported
from mpinas.config_shrink import ShrinkConfig
from mpinas.errors import MpinasError, UserMustChange
from mpinas.morphnet.channels import ChannelGraph
from mpinas.morphnet.folding import carry
from mpinas.morphnet.gates import weights_of
from mpinas.morphnet.regularizer import Regularizer
from mpinas.morphnet.shrink import rebuild_model, set_weights
from mpinas.morphnet.sources import find_sources
from mpinas.morphnet.target import meet_target
from mpinas.opening import problem_of
from mpinas.report.adapted_view import adapted_lines
from mpinas.trial import adapting
from mpinas.trial.adaptation import Adapted, Wish
from mpinas.trial.adapting import adapt, scaling_layer
from mpinas.trial.measuring import measure
from mpinas.trial.model_file import check_fit, load_model, save_model

SHAPE = (8, 8, 1)
CLASSES = 4

RECOUNT = """
import json, math, sys
import keras
model = keras.models.load_model(sys.argv[1])
assert not any(name.split(".")[0] == "mpinas" for name in sys.modules)
flops = sum(
    2 * math.prod(layer.kernel.shape) * math.prod(layer.output.shape[1:-1])
    for layer in model.layers
    if hasattr(layer, "kernel")
)
widths = {layer.name: layer.kernel.shape[-1] for layer in model.layers if hasattr(layer, "kernel")}
print(json.dumps({"flops": flops, "parameters": model.count_params(), "widths": widths}))
"""


@pytest.fixture
def config(tmp_path):
    data = save_npz(random_arrays(SHAPE, classes=CLASSES, training=40), tmp_path)
    return config_of(
        tmp_path,
        f"problem={{name: arrays, path: {data}, validation: 0.2}}",
        "trial={epochs: 2, batch_size: 8}",
    )


def adapted_in(folder: Path, model: keras.Model, config: Any, **wishes: Any) -> Adapted:
    settings = {"flops": 0.5, "epochs": 1, "expand": False, "pixels": "unit", "seed": 3, **wishes}
    model.save(folder / "model.keras")
    wish = Wish(model=folder / "model.keras", out=folder / "small.keras", **settings)
    with problem_of(config) as problem:
        return adapt(load_model(wish.model), problem, config.trial, wish)


def as_others_see_it(file: Path) -> Any:
    """What a fresh process without mpinas counts."""
    done = subprocess.run(
        [sys.executable, "-c", RECOUNT, str(file)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def two_branches(activation: str | None = "softmax") -> keras.Model:
    """A sum, a concatenation, and one path with batch norms."""
    given = keras.Input(SHAPE)
    stem = layers.Conv2D(8, 3, padding="same", activation="relu")(given)
    left = layers.Conv2D(8, 3, padding="same", use_bias=False)(stem)
    left = layers.ReLU()(layers.BatchNormalization()(left))
    right = layers.Conv2D(6, 1, activation="relu")(stem)
    joined = layers.Concatenate()([layers.Add()([stem, left]), right])
    hidden = layers.Dense(12, activation="relu")(layers.GlobalAveragePooling2D()(joined))
    return keras.Model(given, layers.Dense(CLASSES, activation=activation)(hidden))


def in_a_row() -> keras.Model:
    return keras.Sequential(
        [
            keras.Input(SHAPE),
            layers.Conv2D(8, 3),
            layers.BatchNormalization(),
            layers.Activation("relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(16, activation="relu"),
            layers.Dense(CLASSES),
            layers.Softmax(),
        ]
    )


@pytest.mark.parametrize("make", [two_branches, in_a_row])
def test_what_is_written_is_a_plain_model_with_the_flops_that_are_told(tmp_path, config, make):
    adapted = adapted_in(tmp_path, make(), config)
    seen = as_others_see_it(tmp_path / "small.keras")
    assert seen["flops"] == adapted.after.flops <= adapted.target
    assert adapted.target == adapted.before.flops // 2
    assert seen["parameters"] == adapted.after.parameters < adapted.before.parameters
    assert seen["widths"] == adapted.after.widths
    assert adapted.unknown == ()
    assert {file.name for file in tmp_path.glob("*.keras")} == {"model.keras", "small.keras"}
    small = keras.models.load_model(tmp_path / "small.keras")
    np.testing.assert_allclose(np.asarray(small(images(SHAPE))).sum(axis=1), 1.0, rtol=1e-5)


def test_without_training_what_is_written_is_the_cut(tmp_path, config):
    adapted = adapted_in(tmp_path, two_branches(None), config, epochs=0)
    assert adapted.accuracy == adapted.accuracy_after_cut


def test_expanded_the_target_is_met_with_wider_layers(tmp_path, config):
    adapted = adapted_in(tmp_path, two_branches(), config, flops=20_000, expand=True)
    seen = as_others_see_it(tmp_path / "small.keras")
    assert seen["flops"] == adapted.after.flops <= adapted.target == 20_000
    assert adapted.after.flops > adapted.target // 2
    assert adapted.multiplier > 1
    assert adapted.accuracy_after_cut is None


def test_layers_that_are_not_known_keep_their_channels_and_are_named(tmp_path, config):
    given = keras.Input(SHAPE)
    first = layers.Conv2D(9, 3, activation="relu")(given)
    mixed = layers.LayerNormalization(name="mixed")(first)
    second = layers.Conv2D(8, 3, activation="relu", name="second")(mixed)
    logits = layers.Dense(CLASSES)(layers.Flatten()(second))
    adapted = adapted_in(tmp_path, keras.Model(given, logits), config)
    assert adapted.unknown == ("mixed",)
    assert next(iter(adapted.after.widths.values())) == 9
    assert adapted.after.widths["second"] < 8


@pytest.mark.parametrize("name", ["MobileNetV2", "ResNet50"])
def test_channels_of_zeros_are_cut_from_known_models_without_a_change(name):
    model = getattr(keras.applications, name)(weights=None, input_shape=(32, 32, 3), classes=10)
    assert check_fit(model, (32, 32, 3), 10)
    descriptions = describe_model(model)
    assert unsupported(descriptions) == ()
    graph = ChannelGraph(descriptions)
    sources = find_sources(graph, "auto")
    assert {one.source for one in sources.layers} == {"gamma"}
    alive = np.random.default_rng(1).random(graph.groups) < 0.6
    for source in sources.layers:
        scale = model.get_layer(source.name).gamma
        scale.assign(np.asarray(scale) * (alive | ~sources.may_die)[source.ids])
    shares = Regularizer(graph, sources, model, ShrinkConfig()).read().shares
    target = graph.cost(alive | ~sources.may_die, "flops")
    cut = meet_target(graph, shares, target)
    assert cut.threshold == 0.0
    small = rebuild_model(model, graph, cut.plan)
    gammas = [one.name for one in sources.layers]
    carried = carry(graph, cut.plan, weights_of(model), gammas)
    set_weights(small, carried.weights)
    assert carried.exact
    assert largest_difference(model, small, images((32, 32, 3), 2)) < 1e-5
    rebuilt = ChannelGraph(describe_model(small))
    assert rebuilt.cost(rebuilt.all_alive(), "flops") == cut.flops == target


@keras.saving.register_keras_serializable("tests")
class Subclassed(keras.Model):
    """Says nothing of how its layers are connected."""

    def __init__(self) -> None:
        super().__init__()
        self.head = layers.Dense(CLASSES)

    def call(self, inputs: Any) -> Any:
        return self.head(keras.ops.reshape(inputs, (-1, 64)))

    def get_config(self) -> dict[str, Any]:
        return {}


def subclassed() -> keras.Model:
    model = Subclassed()
    model(images(SHAPE))
    return model


def with_lambda() -> keras.Model:
    given = keras.Input(SHAPE)
    doubled = layers.Lambda(lambda values: 2 * values, output_shape=SHAPE)(given)
    return keras.Model(given, layers.Dense(CLASSES)(layers.Flatten()(doubled)))


@pytest.mark.parametrize(
    ("make", "said"),
    [(subclassed, "subclassed"), (with_lambda, "Lambda layer, which is code")],
)
def test_models_that_hide_what_they_do_are_refused(tmp_path, make, said):
    make().save(tmp_path / "model.keras")
    with pytest.raises(UserMustChange, match=said):
        load_model(tmp_path / "model.keras")


def test_files_that_are_no_models_are_refused_in_a_line(tmp_path):
    text = tmp_path / "text.keras"
    text.write_text("not a model")
    whole = tmp_path / "whole.keras"
    in_a_row().save(whole)
    torn = tmp_path / "torn.keras"
    torn.write_bytes(whole.read_bytes()[:-300])
    other = tmp_path / "whole.h5"
    other.write_bytes(whole.read_bytes())
    for file in (text, torn, other, tmp_path, tmp_path / "none.keras"):
        with pytest.raises(UserMustChange) as refused:
            load_model(file)
        assert len(refused.value.faults) == 1
        assert str(file) in str(refused.value)
        assert "\n" not in str(refused.value)


def test_a_model_of_other_images_or_classes_is_refused_with_both_lines():
    with pytest.raises(UserMustChange, match="another shape") as refused:
        check_fit(in_a_row(), (32, 32, 3), 10)
    assert len(refused.value.faults) == 2
    assert "another number of classes" in refused.value.faults[1]


def test_probabilities_and_logits_are_told_apart():
    assert check_fit(two_branches("softmax"), SHAPE, CLASSES)
    assert check_fit(in_a_row(), SHAPE, CLASSES)
    assert not check_fit(two_branches(None), SHAPE, CLASSES)
    with pytest.raises(UserMustChange, match=r"sigmoid.*Softmax, or none"):
        check_fit(two_branches("sigmoid"), SHAPE, CLASSES)


def ending(last: Callable[[Any], Any]) -> keras.Model:
    """A map of 6 channels, and what makes an output of it."""
    given = keras.Input(SHAPE)
    return keras.Model(given, last(layers.Conv2D(6, 3)(given)))


def averaged(activation: str | None) -> Callable[[Any], Any]:
    last = layers.Conv2D(CLASSES, 1, activation=activation)
    return lambda values: layers.GlobalAveragePooling2D()(last(values))


def dense(activation: str | None) -> Callable[[Any], Any]:
    last = layers.Dense(CLASSES, activation=activation)
    return lambda values: last(layers.Flatten()(values))


@pytest.mark.parametrize(
    ("last", "is_softmax"),
    [
        (dense(None), False),
        (averaged(None), False),
        (lambda values: layers.Flatten()(layers.Conv2D(CLASSES, 6)(values)), False),
        (lambda values: layers.Activation("linear")(averaged(None)(values)), False),
        (lambda values: keras.activations.softmax(dense(None)(values)), True),
        (averaged("softmax"), True),
    ],
)
def test_a_softmax_is_one_however_it_is_written(last, is_softmax):
    """Those behind a function or before a mean were trained as logits."""
    assert check_fit(ending(last), SHAPE, CLASSES) is is_softmax


@pytest.mark.parametrize(
    ("last", "name"),
    [
        (lambda values: layers.Activation("linear")(dense("sigmoid")(values)), "sigmoid"),
        (lambda values: layers.ReLU()(dense(None)(values)), "ReLU"),
        (lambda values: keras.ops.tanh(dense(None)(values)), "Tanh"),
    ],
)
def test_another_function_is_refused_wherever_it_stands(last, name):
    with pytest.raises(UserMustChange, match=f"neither. Received: {name}"):
        check_fit(ending(last), SHAPE, CLASSES)


def test_a_frozen_batch_norm_tells_nothing_and_ends_nothing(tmp_path, config):
    """Its scale does not move: the optimizer was said to be at fault, with a traceback."""
    model = two_branches()
    (norm,) = (one for one in model.layers if isinstance(one, layers.BatchNormalization))
    norm.trainable = False
    adapted = adapted_in(tmp_path, model, config)
    assert adapted.after.flops <= adapted.target


def test_a_model_of_which_nothing_is_trained_is_refused(tmp_path):
    model = in_a_row()
    model.trainable = False
    model.save(tmp_path / "model.keras")
    with pytest.raises(UserMustChange, match=r"none of its weights.*Set model.trainable to True"):
        load_model(tmp_path / "model.keras")


def test_a_target_out_of_reach_is_refused_before_anything_is_trained(tmp_path, config, monkeypatch):
    def train(*arguments: Any) -> None:
        raise AssertionError("trained")

    monkeypatch.setattr(adapting._Workshop, "fit", train)
    with pytest.raises(UserMustChange, match="cannot be made that small"):
        adapted_in(tmp_path, in_a_row(), config, flops=2)


def test_scales_that_cannot_come_down_are_told(tmp_path, config):
    slow = config.trial.shrink.model_copy(update={"scale_learning_rate": 1e-6})
    trial = config.trial.model_copy(update={"shrink": slow})
    adapted = adapted_in(
        tmp_path, in_a_row(), config.model_copy(update={"trial": trial}), flops=0.99
    )
    told = [line for line in adapted.warnings if "no channel can be removed" in line]
    assert any("threshold.gamma" in line for line in told)
    assert any("threshold.gate" in line for line in told)


def test_a_reshape_that_is_called_twice_is_rebuilt(tmp_path, config):
    """Its calls keep different numbers of channels."""
    given = keras.Input(SHAPE)
    flat = layers.Reshape((64, 8))
    left = flat(layers.Conv2D(8, 3, padding="same", activation="relu")(given))
    right = flat(layers.Conv2D(8, 1, activation="relu")(given))
    joined = layers.Concatenate()([left, right])
    model = keras.Model(given, layers.Dense(CLASSES)(layers.GlobalAveragePooling1D()(joined)))
    adapted = adapted_in(tmp_path, model, config, flops=0.6)
    assert adapted.after.flops <= adapted.target


def test_what_layers_add_to_a_loss_is_no_guessing():
    model = keras.Sequential(
        [
            keras.Input(SHAPE),
            layers.Flatten(),
            layers.Dense(CLASSES, kernel_regularizer=keras.regularizers.L2(1e3)),
        ]
    )
    given = images(SHAPE, 16)
    labels = np.argmax(model.predict(given, verbose=0), axis=1)
    model.compile(loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    assert model.evaluate(given, labels, verbose=0) > 100

    measured = measure(model, [(given, labels)])
    assert measured.accuracy == 1
    assert measured.loss < np.log(CLASSES)
    assert not measured.is_guessing


def test_a_loss_that_is_no_number_leaves_no_file(tmp_path, config):
    wild = config.model_copy(
        update={"trial": config.trial.model_copy(update={"learning_rate": 1e30})}
    )
    with pytest.raises(MpinasError, match="no number"):
        adapted_in(tmp_path, two_branches(None), wild)
    assert not (tmp_path / "small.keras").exists()


def test_an_end_while_writing_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    file = tmp_path / "model.keras"
    file.write_text("old")
    model = in_a_row()

    def torn(path: Path) -> None:
        Path(path).write_text("half")
        raise KeyboardInterrupt

    monkeypatch.setattr(model, "save", torn)
    with pytest.raises(KeyboardInterrupt):
        save_model(model, file)
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


def shrink_command(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mpinas", "shrink", *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
    )


def test_the_command_prints_what_it_wrote(tmp_path, config):
    two_branches().save(tmp_path / "model.keras")
    chosen = (
        f"--set=problem={{name: arrays, path: {tmp_path / 'data.npz'}, validation: 0.2}}",
        "--set=trial={batch_size: 8, epochs: 1, shrink: {enabled: true}}",
        "--set=seed=99999999999",
    )
    arguments = ("model.keras", "--problem", "search.yaml", "--flops", "0.6", *chosen)
    done = shrink_command(tmp_path, *arguments, "-o", "out.keras")
    assert done.returncode == 0, done.stderr
    seen = as_others_see_it(tmp_path / "out.keras")
    assert f"-> {seen['flops']:,} (target" in done.stdout
    assert "written: out.keras" in done.stdout
    out_of_reach = shrink_command(tmp_path, *arguments, "--flops", "2", "-o", "tiny.keras")
    assert out_of_reach.returncode == 2
    assert "Smallest that can be reached" in out_of_reach.stderr
    assert "Traceback" not in out_of_reach.stderr
    assert not (tmp_path / "tiny.keras").exists()


@pytest.mark.parametrize(
    ("first", "pixels"),
    [
        (layers.Normalization(mean=[127.0], variance=[50.0**2], name="scale_pixels"), "raw"),
        (layers.Normalization(mean=[0.3], variance=[0.14]), "standardised"),
        (layers.Rescaling(1 / 127.5, offset=-1), "raw"),
        (layers.Rescaling(2.0, offset=-1), "standardised"),
        (layers.ReLU(), "standardised"),
    ],
)
def test_a_model_that_scales_grey_levels_itself_is_given_those(tmp_path, config, first, pixels):
    given = keras.Input(SHAPE)
    model = keras.Model(given, two_branches()(first(given)))
    flat = keras.Sequential([keras.Input(SHAPE), first, *in_a_row().layers])
    assert scaling_layer(model) == scaling_layer(flat) == (first.name if pixels == "raw" else None)
    adapted = adapted_in(tmp_path, flat, config, pixels=None, epochs=0)
    assert adapted.pixels == pixels
    assert pixels != "raw" or first.name not in adapted.unknown
    assert f"reads       {pixels} pixels" in adapted_lines(tmp_path / "small.keras", adapted)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_and_leaves_the_old_file(tmp_path, config, number):
    """From when its data are prepared on; before there is nothing to leave."""
    two_branches().save(tmp_path / "model.keras")
    (tmp_path / "out.keras").write_text("old")
    files = sorted(tmp_path.iterdir())
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    endless = ("--problem", "search.yaml", "--epochs", str(10**6), "-o", "out.keras")
    chosen = (
        f"--set=problem={{name: arrays, path: {tmp_path / 'data.npz'}, validation: 0.2}}",
        "--set=trial.batch_size=8",
    )
    with subprocess.Popen(
        [sys.executable, "-m", "mpinas", "shrink", "model.keras", "--flops=0.5", *endless, *chosen],
        cwd=tmp_path,
        env={**os.environ, "TMPDIR": str(scratch)},
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        while process.poll() is None and not any(scratch.iterdir()):
            time.sleep(0.05)
        process.send_signal(number)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "Traceback" not in said
    assert (tmp_path / "out.keras").read_text() == "old"
    assert not any(scratch.iterdir())
    assert sorted(tmp_path.iterdir()) == sorted([*files, scratch])


@pytest.mark.parametrize("out", ["model.keras", "./model.keras", "out.h5", "nowhere/out.keras"])
def test_a_place_that_cannot_be_written_is_refused_at_once(tmp_path, config, out):
    done = shrink_command(
        tmp_path, "model.keras", "--problem", "search.yaml", "--flops", "0.5", "-o", out
    )
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert done.stderr.startswith("--out: ")
