"""How good a network is on the validation part, and whether it is any better than guessing.

Comes in: a model from images to logits or probabilities, and batches. Comes out: a record.
"""

from __future__ import annotations

from dataclasses import dataclass

import keras
import numpy as np

from mpinas.morphnet.regularizer import is_broken
from mpinas.trial.batches import Batches
from mpinas.trial.inputs import pass_over


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """On the validation part.

    Attributes:
        loss: mean cross-entropy in nats, without what layers add to a training loss.
        accuracy: 0..1, in the precision of Keras's accuracies.
        classes: how many there are.
        is_one_class: the same class for all images, although they are of several.
    """

    loss: float
    accuracy: float
    classes: int
    is_one_class: bool

    @property
    def is_guessing(self) -> bool:
        """Whether it is no better than guessing."""
        return self.is_one_class or is_broken(self.loss, self.classes)

    @property
    def said(self) -> str:
        """For people."""
        suffix = ", one class for all images" if self.is_one_class else ""
        return f"validation loss {self.loss:.4g}{suffix}"


def measure(model: keras.Model, batches: Batches, *, from_logits: bool = True) -> Measured:
    """The model as it stands; ``from_logits``: else it gives probabilities."""
    given = model.predict(pass_over(batches), verbose=0)
    labels = np.concatenate([batches[step][-1] for step in range(len(batches))])
    losses = keras.losses.sparse_categorical_crossentropy(labels, given, from_logits=from_logits)
    found = np.argmax(given, axis=1)
    return Measured(
        loss=float(np.mean(losses)),
        accuracy=float(np.mean(found == labels, dtype=np.float32)),
        classes=given.shape[1],
        is_one_class=len(np.unique(found)) == 1 < len(np.unique(labels)),
    )
