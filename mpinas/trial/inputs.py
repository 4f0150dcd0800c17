"""From batches to what the network reads: done on the device, as part of the trained model.

Comes in: ``Batches`` of uint8 images, or of their numbers where the device holds the images, and
what is to be changed about each. Comes out: a Keras model around the network that takes them, and
``tf.data`` that yields them. The network itself sees normalised float32 images only, and knows
nothing of this.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from mpinas.config import AugmentConfig
from mpinas.problems.images import Images
from mpinas.trial.augmentation import COLUMNS, GREY_LEVELS, RGB_CHANNELS
from mpinas.trial.batches import Batches, Parts

MOST_RESIDENT_BYTES = 2**31
"""CIFAR needs 0.15 GB of a device's memory and Tiny ImageNet 1.2 GB; several workers may share a
device of 16 GB, and each holds its own."""

GREY = (0.299, 0.587, 0.114)
"""How bright red, green and blue are: ITU-R BT.601, section 2.5.1."""

PREFETCHED_BATCHES = 2
WORD_BYTES = 8


class Prepare(keras.layers.Layer):  # type: ignore[misc]
    """Makes of a batch the images (batch, height, width, channels) float32 that a network reads.

    Called with images or numbers, and with their changes where there are several copies. Changes
    are made in training only. An image whose changes are zeros stays the same to the last bit.

    Args:
        parts: whose training part says how images are normalised and augmented.
    """

    def __init__(self, parts: Parts) -> None:
        # Half precision could not count the grey levels.
        super().__init__(name="prepare", dtype="float32", trainable=False)
        batches = parts.training
        self._augment = batches.augment
        self._image_shape = batches.image_shape
        # Of a whole image: on a CPU, three values that are repeated take four times as long.
        whole = (1, *batches.image_shape)
        self._mean = np.broadcast_to(parts.mean, whole).copy()
        self._scale = np.broadcast_to(np.float32(1) / parts.deviation, whole).copy()
        self._words = None
        if batches.resident is not None:
            self._words = tf.constant(_as_words(batches.images[batches.resident]))

    def call(self, given: Sequence[Any], training: bool = False) -> Any:
        images = given[0]
        if self._words is not None:
            images = _as_images(tf.gather(self._words, images), self._image_shape)
        pixels = tf.cast(images, tf.float32)
        if training and self._augment.copies > 1:
            changes = dict(zip(COLUMNS, tf.unstack(given[1], axis=1), strict=True))
            pixels = _moved(pixels, changes, self._augment)
            pixels = _recoloured(pixels, changes, self._augment)
        return (pixels - self._mean) * self._scale


def _as_words(images: Images) -> npt.NDArray[np.int64]:
    """Each image as a row of 8-byte words, the last one filled up with zeros.

    TensorFlow has no kernel that gathers single bytes on a GPU, and would do so on the host.
    """
    rows = images.reshape(len(images), -1)
    unused = -rows.shape[1] % WORD_BYTES
    return np.ascontiguousarray(np.pad(rows, ((0, 0), (0, unused)))).view(np.int64)


def _as_images(words: Any, image_shape: tuple[int, int, int]) -> Any:
    pixels = tf.reshape(tf.bitcast(words, tf.uint8), (-1, words.shape[1] * WORD_BYTES))
    return tf.reshape(pixels[:, : math.prod(image_shape)], (-1, *image_shape))


def _moved(pixels: Any, changes: dict[str, Any], augment: AugmentConfig) -> Any:
    """Mirrors and shifts; what comes in from outside is the image, reflected at its border.

    Places are computed as floats: TensorFlow computes whole numbers of 32 bits on the host.
    """
    _, height, width, _ = pixels.shape
    if augment.shift > 0:
        rows = _reflected(np.arange(height, dtype=np.float32) - _column(changes["down"]), height)
        pixels = tf.gather(pixels, tf.cast(rows, tf.int64), axis=1, batch_dims=1)
    if augment.shift > 0 or augment.flip:
        places = np.arange(width, dtype=np.float32)
        columns = _reflected(places - _column(changes["right"]), width)
        columns = tf.where(_column(changes["flip"]) > 0, width - 1 - columns, columns)
        pixels = tf.gather(pixels, tf.cast(columns, tf.int64), axis=2, batch_dims=1)
    return pixels


def _column(drawn: Any) -> Any:
    return drawn[:, tf.newaxis]


def _reflected(places: Any, length: int) -> Any:
    """Places up to half a length outside 0..length - 1, the border pixel not repeated."""
    return length - 1 - tf.abs(length - 1 - tf.abs(places))


def _recoloured(pixels: Any, changes: dict[str, Any], augment: AugmentConfig) -> Any:
    """Changes brightness, contrast and saturation, in grey levels that are cut to their range."""
    if augment.saturation > 0 and pixels.shape[3] == RGB_CHANNELS:
        change = changes["saturation"][:, tf.newaxis, tf.newaxis]
        red, green, blue = tf.unstack(pixels, axis=3)
        grey = GREY[0] * red + GREY[1] * green + GREY[2] * blue
        pixels = tf.stack([one + change * (one - grey) for one in (red, green, blue)], axis=3)
    contrast = changes["contrast"][:, tf.newaxis, tf.newaxis, tf.newaxis]
    brightness = changes["brightness"][:, tf.newaxis, tf.newaxis, tf.newaxis]
    if augment.contrast > 0:
        mean = tf.reduce_mean(pixels, axis=(1, 2, 3), keepdims=True)
        pixels, brightness = pixels * (1 + contrast), brightness - contrast * mean
    return tf.clip_by_value(pixels + brightness, 0.0, GREY_LEVELS)


def around(
    network: keras.Model, parts: Parts, model_class: type[keras.Model] = keras.Model
) -> keras.Model:
    """The network with its input prepared: what is trained. Its weights are the network's."""
    batches = parts.training
    if batches.resident is None:
        given = [keras.Input(batches.image_shape, dtype="uint8", name="images")]
    else:
        given = [keras.Input((), dtype="int64", name="places")]
    if batches.changes is not None:
        given.append(keras.Input((len(COLUMNS),), dtype="float32", name="changes"))
    return model_class(given, network(Prepare(parts)(given)), name="trained")


def pass_over(batches: Batches) -> tf.data.Dataset:
    """One pass over batches that stay the same."""
    return one_pass(lambda: batches)


def one_pass(current: Callable[[], Batches]) -> tf.data.Dataset:
    """One pass over whatever ``current`` gives when the pass begins and while it lasts.

    The pass has the number of batches, and their shapes, that it has now.
    """
    batches = current()
    first = [tf.TensorSpec((None, *array.shape[1:]), array.dtype) for array in batches[0]]

    def read(step: Any) -> tuple[tuple[Any, ...], Any]:
        arrays = tf.numpy_function(
            lambda number: current()[number], [step], [spec.dtype for spec in first], stateful=True
        )
        *given, labels = map(tf.ensure_shape, arrays, [spec.shape for spec in first])
        return tuple(given), labels

    options = tf.data.Options()
    options.autotune.enabled = False
    options.threading.private_threadpool_size = 1
    options.threading.max_intra_op_parallelism = 1
    steps = tf.data.Dataset.range(len(batches))
    return steps.map(read).prefetch(PREFETCHED_BATCHES).with_options(options)
