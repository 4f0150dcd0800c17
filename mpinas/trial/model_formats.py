"""A finished model, written in the formats that others read. Files appear whole or not at all.

Comes in: a Keras model of Keras's own layers only. It must know nothing of how it was trained.
"""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import keras
import tensorflow as tf

from mpinas.errors import MpinasError, fault
from mpinas.files import DISK_ERRORS, fsync_directory, remove
from mpinas.trial.exported import ModelFiles


def write_model(model: keras.Model, files: ModelFiles, form: str) -> None:
    """Writes the model in a format; what had its name is replaced.

    Raises:
        OSError: it cannot be written.
        MpinasError: this TensorFlow cannot write that format.
    """
    temporary = files.temporary(form)
    remove(temporary)
    try:
        with _quiet(), _as_os_errors(temporary):
            WRITERS[form](model, temporary)
        put_in_place(temporary, files.model(form))
    finally:
        remove(temporary)


def put_in_place(temporary: Path, target: Path) -> None:
    """Gives a written file or folder its name, after it is on the disk."""
    for written in [temporary] if temporary.is_file() else list(temporary.rglob("*")):
        if written.is_file():
            with written.open("rb") as file:
                os.fsync(file.fileno())
    if target.is_dir():
        remove(target)  # a folder is not replaced by a rename; the record tells of the gap
    os.replace(temporary, target)
    fsync_directory(target.parent)


def _saved_model(model: keras.Model, target: Path) -> None:
    model.export(target, format="tf_saved_model")


def _tflite(model: keras.Model, target: Path) -> None:
    lite = getattr(tf, "lite", None)
    if lite is None:
        raise MpinasError(
            fault(
                "--format",
                "this TensorFlow has no converter to TFLite",
                f"format=tflite, tensorflow={tf.__version__}",
                cure="Leave it out, or convert the SavedModel with the package that replaced it",
            )
        )
    target.write_bytes(lite.TFLiteConverter.from_keras_model(model).convert())


WRITERS: Mapping[str, Callable[[keras.Model, Path], None]] = {
    "saved_model": _saved_model,
    "tflite": _tflite,
}
"""A line for each of ``exported.FORMATS`` that is made of the model's own file."""


@contextlib.contextmanager
def _as_os_errors(file: Path) -> Iterator[None]:
    """TensorFlow's word for a full disk is the one that it has for lack of memory.

    Raises:
        OSError: a disk is at fault, by the words of the error.
    """
    try:
        yield
    except tf.errors.OpError as error:
        for code in DISK_ERRORS:
            if os.strerror(code) in str(error):
                raise OSError(code, os.strerror(code), str(file)) from error
        raise


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Both converters print what they have done."""
    with contextlib.redirect_stdout(io.StringIO()):
        yield
