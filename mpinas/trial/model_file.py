"""Files of Keras models: read, looked at whether they fit a problem, and written.

Comes in: a file, of mpinas or not. Comes out: a model that the shrink can take, or what is wrong
with it. Nothing in a file is run as code.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from mpinas.assembly.from_keras import describe_model
from mpinas.errors import UserMustChange, fault
from mpinas.files import fsync_directory, no_file

SUFFIX = ".keras"
MOST_QUOTED = 160
TRIED_IMAGES = 4
PASSED_OVER = (
    keras.layers.Activation,
    keras.layers.Dropout,
    keras.layers.Flatten,
    keras.layers.GlobalAveragePooling2D,
    keras.layers.GlobalMaxPooling2D,
    keras.layers.Identity,
    keras.layers.Reshape,
)
"""Layers behind which values are what they were, or means of them."""
ACTIVATIONS = (
    keras.layers.ELU,
    keras.layers.LeakyReLU,
    keras.layers.PReLU,
    keras.layers.ReLU,
)


def load_model(file: Path) -> keras.Model:
    """A model whose channels are understood; nothing in the file is run as code.

    Raises:
        UserMustChange: there is none, it cannot be read, or the shrink cannot take it.
    """
    allowed = f"A {SUFFIX} file of a functional or sequential model is allowed"
    if not file.is_file():
        raise UserMustChange(fault(str(file), no_file(file), "", allowed))
    if file.suffix != SUFFIX or not zipfile.is_zipfile(file):
        cure = f"Save the model with model.save('NAME{SUFFIX}')"
        raise UserMustChange(fault(str(file), "it is no Keras model", "", allowed, cure))
    try:
        model = keras.models.load_model(file, compile=False, safe_mode=True)
    except Exception as error:  # a damaged file ends in whatever its damaged part ends in
        raise UserMustChange(_unreadable(str(file), error)) from error
    describe_model(model)
    if not model.trainable_weights:
        cure = "Set model.trainable to True and save it again"
        raise UserMustChange(fault(str(file), "none of its weights is trained", cure=cure))
    return model


def _unreadable(where: str, error: Exception) -> str:
    said = " ".join(str(error).split())[:MOST_QUOTED] or type(error).__name__
    if "lambda" in str(error).lower():
        return fault(
            where,
            "it has a Lambda layer, which is code that mpinas does not run",
            cure="Replace it by a layer that says what it does, as Rescaling or Activation",
        )
    return fault(
        where,
        "Keras cannot load it",
        f"error={said}",
        "Models of Keras's own layers are allowed, subclassed and custom ones are not",
        "Write it as keras.Model(inputs, outputs)",
    )


def check_fit(model: keras.Model, image_shape: Sequence[int], classes: int) -> bool:
    """Whether the model's outputs are probabilities; they are logits otherwise.

    Raises:
        UserMustChange: it takes other images, or tells other classes, than the problem has.
    """
    where = f"model '{model.name}'"
    wanted, given = (*image_shape,), tuple(model.inputs[0].shape[1:])
    faults = []
    if wanted != given:
        rule = "it reads images of another shape than the problem's"
        faults.append(fault(where, rule, f"input shape={given}", f"Needed: {wanted}"))
    output = tuple(model.outputs[0].shape[1:])
    if output != (classes,):
        rule = "it has another number of classes than the problem"
        faults.append(fault(where, rule, f"output shape={output}", f"Needed: {(classes,)}"))
    is_softmax = not faults and _gives_probabilities(model)
    if not is_softmax and (function := last_function(model.outputs[0])):
        allowed = "Softmax, or none (logits), is allowed"
        faults.append(fault(where, "its last activation is neither", function, allowed))
    if faults:
        raise UserMustChange(*faults)
    return is_softmax


def _gives_probabilities(model: keras.Model) -> bool:
    """Tried out: there are many ways to write a softmax, in a layer, in a function, before a mean.

    What looks like it on random images does so on others.
    """
    images = np.random.default_rng(0).uniform(-1, 1, (TRIED_IMAGES, *model.inputs[0].shape[1:]))
    given = np.asarray(model(images.astype(np.float32), training=False), np.float64)
    return bool((given >= 0).all() and np.allclose(given.sum(axis=1), 1, atol=1e-2))


def last_function(tensor: Any) -> str:
    """Name of what is applied last to the values of a tensor; empty for nothing, or a sum of
    products. What only moves or averages values is passed over."""
    layer = tensor._keras_history.operation
    function = getattr(layer, "activation", None)
    if function not in (None, keras.activations.linear):
        return getattr(function, "__name__", type(function).__name__)
    if isinstance(layer, PASSED_OVER):
        (before,) = layer._inbound_nodes[tensor._keras_history.node_index].input_tensors
        return last_function(before)
    is_silent = isinstance(layer, keras.layers.Layer) and not isinstance(layer, ACTIVATIONS)
    return "" if is_silent else type(layer).__name__


def save_model(model: keras.Model, file: Path) -> None:
    """Writes a model whole or not at all.

    Raises:
        OSError: it cannot be written there.
    """
    temporary = file.with_name(f".{file.stem}.{os.getpid()}{SUFFIX}")
    try:
        model.save(temporary)
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        os.replace(temporary, file)
        fsync_directory(file.parent)
    finally:
        temporary.unlink(missing_ok=True)
