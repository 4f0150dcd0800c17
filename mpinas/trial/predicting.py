"""A written model as a classifier of images: loaded from its file, asked for probabilities.

Comes in: a ``.keras`` file, exported here or made by others, and images as uint8 arrays. Comes
out: probabilities. Nothing in the file is run as code.
"""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from mpinas.errors import UserMustChange, fault
from mpinas.files import no_file
from mpinas.problems.images import Images

SUFFIX = ".keras"
MOST_QUOTED = 160


class Classifier:
    """A model that gives each image a probability for each class.

    Args:
        file: of the model.

    Attributes:
        image_shape: ``(height, width, channels)`` that it reads.
        classes: how many it tells apart.

    Raises:
        UserMustChange: there is none, it cannot be read, or it is no classifier of images.
    """

    def __init__(self, file: Path) -> None:
        self._model = _load(file)
        self.image_shape, self.classes = _form(file, self._model)

    def probabilities(self, images: Sequence[Images]) -> npt.NDArray[np.float64]:
        """(images, classes), each row adding up to 1, or with a value that is no number: of an
        image on which the model fails.

        Args:
            images: uint8, of ``image_shape``, not empty.
        """
        given = np.asarray(self._model.predict(np.stack(images), verbose=0), np.float64)
        finite = np.isfinite(given).all(axis=1)
        if _are_probabilities(given[finite]):
            return given
        powers = np.exp(given - given.max(axis=1, keepdims=True))  # they are logits
        shares: npt.NDArray[np.float64] = powers / powers.sum(axis=1, keepdims=True)
        return shares


def _load(file: Path) -> keras.Model:
    allowed = f"A {SUFFIX} file is allowed, as 'python -m mpinas export' writes it"
    if not file.is_file():
        raise UserMustChange(fault(str(file), no_file(file), allowed=allowed))
    if file.suffix != SUFFIX or not zipfile.is_zipfile(file):
        raise UserMustChange(fault(str(file), "it is no Keras model", allowed=allowed))
    try:
        return keras.models.load_model(file, compile=False, safe_mode=True)
    except Exception as error:  # a damaged file ends in whatever its damaged part ends in
        said = " ".join(str(error).split())[:MOST_QUOTED] or type(error).__name__
        raise UserMustChange(fault(str(file), "Keras cannot load it", f"error={said}")) from error


def _form(file: Path, model: Any) -> tuple[tuple[int, int, int], int]:
    """What the model reads and how many classes it tells apart."""
    inputs, outputs = getattr(model, "inputs", None) or (), getattr(model, "outputs", None) or ()
    shapes = [tuple(one.shape[1:]) for one in (*inputs, *outputs)]
    fits = (len(inputs), len(outputs)) == (1, 1) and (len(shapes[0]), len(shapes[1])) == (3, 1)
    fits = fits and None not in (*shapes[0], *shapes[1]) and shapes[0][2] in (1, 3)
    if fits and shapes[1][0] > 1:  # of one value nothing tells what it is the probability of
        height, width, channels = shapes[0]
        return (height, width, channels), shapes[1][0]
    raise UserMustChange(
        fault(
            str(file),
            "it does not classify images",
            f"shapes={shapes}",
            "Needed: one input (height, width, 1 or 3) and one output (classes), two or more",
        )
    )


def _are_probabilities(given: npt.NDArray[np.float64]) -> bool:
    return bool((given >= 0).all() and np.allclose(given.sum(axis=1), 1, atol=1e-2))
