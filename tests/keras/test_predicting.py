"""Models of others as classifiers: which are taken, and that no image spoils its neighbours."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest

from mpinas.errors import UserMustChange
from mpinas.trial.predicting import Classifier

SHAPE = (2, 2, 1)


def written(folder: Path, *layers: keras.layers.Layer, shape: tuple[int, ...] = SHAPE) -> Path:
    file = folder / "m.keras"
    keras.Sequential([keras.Input(shape), keras.layers.Flatten(), *layers]).save(file)
    return file


def images(*brightness: int) -> list[np.ndarray]:
    return [np.full(SHAPE, value, np.uint8) for value in brightness]


@pytest.mark.parametrize(
    "layer",
    [
        keras.layers.Dense(1, activation="sigmoid"),  # of which class? it would be sure of the one
        keras.layers.Reshape((2, 2)),
    ],
)
def test_what_tells_no_classes_apart_is_refused(tmp_path: Path, layer: keras.layers.Layer) -> None:
    with pytest.raises(UserMustChange, match=r"does not classify images.*two or more"):
        Classifier(written(tmp_path, layer))


def test_logits_and_probabilities_give_the_same(tmp_path: Path) -> None:
    dense = keras.layers.Dense(3, kernel_initializer=keras.initializers.RandomNormal(seed=1))
    logits = Classifier(written(tmp_path, dense)).probabilities(images(1, 7, 9))
    softmax = Classifier(written(tmp_path, dense, keras.layers.Softmax()))
    np.testing.assert_allclose(logits, softmax.probabilities(images(1, 7, 9)), rtol=1e-5)
    np.testing.assert_allclose(logits.sum(axis=1), 1)


def test_an_image_without_an_answer_changes_no_other(tmp_path: Path) -> None:
    huge = keras.initializers.Constant(1e36)  # white becomes infinite in float32, dark does not
    dense = keras.layers.Dense(2, kernel_initializer=huge, use_bias=False)
    model = written(tmp_path, dense, keras.layers.Softmax())
    classifier = Classifier(model)
    alone = classifier.probabilities(images(3))
    both = classifier.probabilities(images(255, 3))
    assert not np.isfinite(both[0]).all()
    np.testing.assert_allclose(both[1:], alone, rtol=1e-6)
