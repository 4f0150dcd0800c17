"""``predict`` around its model: which files it takes, whose class names it tells. No TensorFlow."""

from __future__ import annotations

import json
import os
import sys
import types
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from mpinas.cli import main
from mpinas.problems.images import Images


class Brightest:
    """Tells black images from white ones; of a grey one it knows nothing."""

    classes = 2

    def __init__(self, file: Path) -> None:
        self.image_shape = (4, 4, 3)

    def probabilities(self, images: Sequence[Images]) -> np.ndarray:
        shares = np.asarray([float(image.mean()) / 255 for image in images])
        shares[np.abs(shares - 0.5) < 0.1] = np.nan
        return np.stack([1 - shares, shares], axis=1)


@pytest.fixture(autouse=True)
def _no_keras(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("mpinas.trial.predicting")
    module.Classifier = Brightest  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr("mpinas.cli.predict.end_orderly", lambda: None)


def predict(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["predict", *map(str, arguments)])


@pytest.fixture
def model(tmp_path: Path) -> Path:
    file = tmp_path / "m.keras"
    file.write_bytes(b"a model")
    return file


def saved(file: Path, mode: str, colour: object, **options: object) -> Path:
    Image.new(mode, (9, 6), colour).save(file, **options)  # type: ignore[arg-type]
    return file


def test_images_of_every_kind(tmp_path: Path, model: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    frames = [Image.new("P", (9, 6), colour) for colour in (0, 1)]
    frames[0].putpalette([255, 255, 255, 0, 0, 0])
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    white = [
        saved(tmp_path / "cmyk.jpg", "CMYK", (0, 0, 0, 0)),
        saved(tmp_path / "sixteen.png", "I;16", 65535),
        saved(tmp_path / "grey.png", "L", 255),
        saved(tmp_path / "bits.png", "1", 1),
        saved(tmp_path / "clear.png", "RGBA", (255, 255, 255, 0)),
        saved(tmp_path / "turned.jpg", "RGB", (255, 255, 255), exif=exif),
        tmp_path / "moving.gif",
    ]
    done = predict(model, *white, "--json")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert [one["classes"][0]["class"] for one in told] == ["1"] * len(white)


def test_what_cannot_be_told_is_named_and_the_others_are_told(tmp_path: Path, model: Path) -> None:
    white = saved(tmp_path / "white.png", "RGB", (255, 255, 255))
    unclear = saved(tmp_path / "unclear.png", "RGB", (128, 128, 128))
    cut = tmp_path / "cut.png"
    cut.write_bytes(white.read_bytes()[:-20])
    empty = tmp_path / "empty.png"
    empty.touch()
    done = predict(model, cut, unclear, white, tmp_path, empty, tmp_path / "none.png")
    assert done.exit_code == 1
    for words in (
        "cut.png: cannot be read: ",
        "unclear.png: the model gives no numbers for it",
        f"{tmp_path}: cannot be read: Is a directory",
        "empty.png: cannot be read: the file is empty",
        "none.png: cannot be read: No such file",
    ):
        assert words in done.stderr
    assert "white.png" in done.stdout
    assert "unclear.png" not in done.stdout


def test_a_name_of_any_bytes(tmp_path: Path, model: Path) -> None:
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\n.png"))
    try:
        saved(odd, "RGB", (0, 0, 0))
    except OSError:
        pytest.skip("this file system takes no such name")
    done = predict(model, odd, tmp_path / "none\udcff.png")
    assert done.exit_code == 1, done.output
    assert r"\udcff\n.png" in done.stdout
    assert r"none\udcff.png: cannot be read" in done.stderr
