"""Winners of a real search of digits as models: trained, tested, loaded without mpinas, used."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import mpi_launcher
import numpy as np
import pytest
from PIL import Image

from mpinas.problems import open_prepared
from mpinas.trial.exported import Exported, ModelFiles

ROOT = Path(__file__).parents[2]
LIMIT_S = 600
WITHOUT_MPINAS = """\
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "mpinas":
            raise ImportError(name + " is not installed")

sys.meta_path.insert(0, Refuse())
import json
import keras
import numpy as np

data = np.load(sys.argv[2])
model = keras.models.load_model(sys.argv[1])
given = model.predict(data["images"], verbose=0)
assert "mpinas" not in sys.modules
print(json.dumps({
    "accuracy": float(np.mean(given.argmax(axis=1) == data["labels"])),
    "classes": given.argmax(axis=1).tolist(),
    "sums": given.sum(axis=1).tolist(),
    "as_floats": model.predict(data["images"].astype("float32"), verbose=0).argmax(axis=1).tolist(),
    "layers": [type(layer).__module__.split(".")[0] for layer in model.layers],
}))
"""


def mpinas(*arguments: object, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "mpinas", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT_S,
        env=mpi_launcher.environment(),
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small search of digits with the shrink."""
    out = tmp_path_factory.mktemp("search") / "run"
    small = ("tuner.generations=2", "tuner.individuals=4", "trial.save_weights=best")
    overrides = [part for key in small for part in ("--set", key)]
    mpinas("run", ROOT / "configs/quickstart.yaml", "--out", out, "--workers", 2, *overrides)
    return out


@pytest.fixture(scope="module")
def winner(run: Path) -> Exported:
    """The winner in all formats."""
    mpinas("export", run, "--format", "saved_model,tflite")
    return exported_in(run / "models")[0]


def exported_in(folder: Path) -> list[Exported]:
    names = sorted(file.stem for file in folder.glob("*.json") if file.name != "owner.json")
    found = [ModelFiles(folder, name).load_record() for name in names]
    return [one for one in found if one is not None]


@pytest.fixture(scope="module")
def test_set(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The test images and their labels, for programs without mpinas."""
    prepared = open_prepared(run / "problem.h5")
    file = tmp_path_factory.mktemp("data") / "test.npz"
    np.savez(file, images=prepared.x_test, labels=prepared.y_test)
    return file


@pytest.fixture(scope="module")
def without_mpinas(run: Path, winner: Exported, test_set: Path) -> dict[str, Any]:
    """What plain Keras makes of the winner."""
    model = run / "models" / f"{winner.name}.keras"
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_MPINAS, str(model), str(test_set)],
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT_S,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
    )
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


def test_the_winner_of_digits_reaches_97_percent(run: Path, winner: Exported) -> None:
    assert winner.test.accuracy >= 0.97
    assert winner.test.images == len(open_prepared(run / "problem.h5").y_test)
    assert winner.found["costs"]["flops"] >= winner.costs.flops
    card = (run / "models" / f"{winner.name}.md").read_text()
    for words in (f"{winner.test.accuracy:.4f}", winner.data["checksum"], "keras"):
        assert words in card


def test_plain_keras_loads_it_and_finds_the_accuracy_of_its_card(
    winner: Exported, without_mpinas: dict[str, Any]
) -> None:
    assert without_mpinas["accuracy"] == winner.test.accuracy
    assert without_mpinas["as_floats"] == without_mpinas["classes"]
    np.testing.assert_allclose(without_mpinas["sums"], 1, atol=1e-5)
    assert set(without_mpinas["layers"]) == {"keras"}


def test_predict_agrees(
    run: Path, winner: Exported, without_mpinas: dict[str, Any], test_set: Path, tmp_path: Path
) -> None:
    images = np.load(test_set)["images"]
    files = []
    for number, pixels in enumerate(images):
        files.append(tmp_path / f"{number:04d}.png")
        Image.fromarray(pixels[..., 0]).save(files[-1])
    model = run / "models" / f"{winner.name}.keras"
    told = json.loads(mpinas("predict", model, *files, "--json").stdout)
    assert [one["file"] for one in told] == [str(file) for file in files]
    found = [winner.class_names.index(one["classes"][0]["class"]) for one in told]
    assert found == without_mpinas["classes"]


def test_predict_names_what_it_cannot_read(run: Path, winner: Exported, tmp_path: Path) -> None:
    good, bad = tmp_path / "good.jpg", tmp_path / "bad.png"
    Image.new("RGB", (40, 20), (200, 0, 0)).save(good)
    bad.write_bytes(b"no image")
    lone = tmp_path / "lone.keras"
    lone.write_bytes((run / "models" / f"{winner.name}.keras").read_bytes())
    done = mpinas("predict", lone, bad, good, tmp_path / "none.png", "--top", 3, code=1)
    assert "bad.png: cannot be read: no PNG" in done.stderr
    assert "none.png: cannot be read: No such file" in done.stderr
    assert "classes are numbers" in done.stderr
    assert len([line for line in done.stdout.splitlines() if " 0." in line or " 1." in line]) == 3
    assert "there is no such file" in mpinas("predict", tmp_path / "x.keras", good, code=2).stderr
    bad.rename(tmp_path / "bad.keras")
    assert "no Keras model" in mpinas("predict", tmp_path / "bad.keras", good, code=2).stderr


def test_other_formats_give_the_same_classes(
    run: Path, winner: Exported, without_mpinas: dict[str, Any], test_set: Path
) -> None:
    program = """\
import sys
import numpy as np
import tensorflow as tf

images = np.load(sys.argv[3])["images"].astype("float32")
saved = tf.saved_model.load(sys.argv[1])
served = saved.serve(images).numpy().argmax(axis=1)
lite = tf.lite.Interpreter(sys.argv[2])
lite.resize_tensor_input(lite.get_input_details()[0]["index"], images.shape)
lite.allocate_tensors()
lite.set_tensor(lite.get_input_details()[0]["index"], images)
lite.invoke()
lite = lite.get_tensor(lite.get_output_details()[0]["index"]).argmax(axis=1)
print(served.tolist())
print(lite.tolist())
"""
    files = ModelFiles(run / "models", winner.name)
    arguments = [files.model("saved_model"), files.model("tflite"), test_set]
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT_S,
    )
    assert done.returncode == 0, done.stderr
    served, lite = map(json.loads, done.stdout.splitlines()[-2:])
    assert served == without_mpinas["classes"]
    # Its kernels round otherwise; an image between two classes may fall to the other side.
    assert np.mean(np.asarray(lite) == without_mpinas["classes"]) > 0.99


def test_what_is_there_is_not_trained_again_and_a_format_is_added(
    run: Path, winner: Exported, tmp_path: Path
) -> None:
    again = mpinas("export", run, "--format", "saved_model,tflite")
    assert "is there already" in again.stderr
    assert "epoch" not in again.stderr
    short = ("--epochs", 2, "--out", tmp_path)
    mpinas("export", run, *short)
    before = exported_in(tmp_path)[0]
    added = mpinas("export", run, *short, "--format", "tflite")
    assert "epoch 1/2" not in added.stderr
    after = exported_in(tmp_path)[0]
    assert set(after.files) == set(before.files) | {f"{winner.name}.tflite"}
    assert {name: after.files[name] for name in before.files} == before.files


def test_the_weights_of_the_search_are_a_better_start(run: Path, tmp_path: Path) -> None:
    one = ("--epochs", 1, "--set", "trial.learning_rate=0.00001")
    mpinas("export", run, *one, "--out", tmp_path / "new")
    mpinas("export", run, *one, "--out", tmp_path / "inherited", "--inherit")
    (new,), (inherited,) = (exported_in(tmp_path / name) for name in ("new", "inherited"))
    assert inherited.validation.accuracy > new.validation.accuracy + 0.2
    assert inherited.training["begun_with"] == "the weights of the trial"


def test_weights_that_are_damaged_are_so_on_every_worker(
    run: Path, winner: Exported, tmp_path: Path
) -> None:
    copy = shutil.copytree(run, tmp_path / "run")
    weights = copy / "weights" / f"{winner.trial_id}.weights.h5"
    weights.write_bytes(weights.read_bytes()[:-999])
    done = mpinas("export", copy, "--inherit", "--epochs", 1, code=1)
    assert "no weights of this network" in done.stdout
    assert "Leave --inherit out" in done.stdout
    assert "tried again" not in done.stderr


LONG = ("--epochs", 40, "--patience", 40)


@pytest.fixture(scope="module")
def never_stopped(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    folder = tmp_path_factory.mktemp("never")
    mpinas("export", run, *LONG, "--out", folder)
    return exported_in(folder)[0]


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGUSR1, 75), (signal.SIGKILL, -9)],
)
def test_a_stopped_training_goes_on_from_its_last_epoch_to_the_same_weights(
    run: Path, never_stopped: Exported, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    export = ["-m", "mpinas", "export", str(run), *map(str, LONG), "--out", str(tmp_path)]
    job = mpi_launcher.start_alone(export)
    backup = ModelFiles(tmp_path, never_stopped.name).backup
    try:
        deadline = time.monotonic() + LIMIT_S
        while not backup.exists():
            assert job.poll() is None, "it ended before its first epoch"
            assert time.monotonic() < deadline, "no epoch ended"
            time.sleep(0.01)
        job.send_signal(number)
        output, errors = job.communicate(timeout=LIMIT_S)
    finally:
        mpi_launcher.stop(job)
    assert job.returncode == code, output + errors
    assert exported_in(tmp_path) == []
    last = mpinas("export", run, *LONG, "--out", tmp_path)
    assert "epoch 1/40 loss" not in last.stderr
    (exported,) = exported_in(tmp_path)
    assert exported.curves == never_stopped.curves
    assert exported.test == never_stopped.test
    left = {file.name for file in tmp_path.iterdir()}
    assert left == {f"{exported.name}{end}" for end in (".keras", ".json", ".md")}


def test_a_loss_that_is_no_number_ends_with_a_line(run: Path, tmp_path: Path) -> None:
    rate = ("--set", "trial.learning_rate=1e30", "--set", "trial.optimizer=sgd")
    done = mpinas("export", run, *rate, "--epochs", 3, "--out", tmp_path, code=1)
    assert "loss is" in done.stdout
    assert exported_in(tmp_path) == []
