"""What the network gets to see: images prepared on the device, the same whichever way they came."""

from __future__ import annotations

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras_networks import DIGITS_NETWORK, chain, conv2d, dense
from tensorflow.python.framework import kernels

from mpinas.assembly.keras_model import build_model
from mpinas.config import AugmentConfig
from mpinas.problems.normalisation import channel_statistics
from mpinas.trial.augmentation import COLUMNS, draw_changes, unchanged
from mpinas.trial.batches import Batches, Parts
from mpinas.trial.inputs import GREY, Prepare, around, one_pass

SHAPE = (7, 5, 3)  # 105 bytes: no whole number of words
ALL = AugmentConfig(copies=3, flip=True, shift=0.4, brightness=0.3, contrast=0.5, saturation=0.5)
NO_COLOUR = ALL.model_copy(update={"brightness": 0.0, "contrast": 0.0, "saturation": 0.0})
PLAIN = AugmentConfig()


def random_images(shape=SHAPE, count: int = 90) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, *shape), dtype=np.uint8)


def parts_of(images: np.ndarray, augment=PLAIN, *, resident=False, batch_size=32) -> Parts:
    """All but every third image are learned from; labels follow from what is in the image."""
    numbers = np.arange(len(images))
    training, held_out = numbers[numbers % 3 > 0], numbers[numbers % 3 == 0]
    changed = augment.copies > 1
    validation = Batches(
        images=images,
        labels=(images.mean(axis=(1, 2, 3)) > 127).astype(np.int32),
        order=held_out,
        batch_size=batch_size,
        augment=PLAIN,
        changes=unchanged(len(held_out)) if changed else None,
        resident=numbers if resident else None,
    )
    copies = np.tile(training, augment.copies)
    batches = Batches(
        images=images,
        labels=validation.labels,
        order=copies,
        batch_size=batch_size,
        augment=augment,
        changes=unchanged(len(copies)) if changed else None,
        resident=validation.resident,
    )
    mean, deviation = channel_statistics(images, training)
    return Parts(training=batches, validation=validation, mean=mean, deviation=deviation)


PARTS = parts_of(random_images())


def in_grey_levels(images: np.ndarray, changes: np.ndarray, augment=ALL) -> np.ndarray:
    """The images as ``Prepare`` makes them in training, not normalised."""
    parts = parts_of(images, augment)
    channels = images.shape[3]
    levels = Parts(
        training=parts.training,
        validation=parts.validation,
        mean=np.zeros(channels, np.float32),
        deviation=np.ones(channels, np.float32),
    )
    prepare = tf.function(Prepare(levels))
    return prepare([tf.constant(images), tf.constant(changes)], training=True).numpy()


def changes_of(augment: AugmentConfig, images: np.ndarray) -> np.ndarray:
    """Of the first variants."""
    drawn = draw_changes(augment, len(images), images.shape[1:], seed=1, epoch=0)
    return drawn[len(images) : 2 * len(images)]


def moved(image: np.ndarray, flip: float, down: float, right: float) -> np.ndarray:
    """By the plainest of means."""
    height, width, _ = image.shape
    image = image[:, ::-1] if flip else image
    image = np.pad(image, ((height - 1,) * 2, (width - 1,) * 2, (0, 0)), mode="reflect")
    top, left = height - 1 - int(down), width - 1 - int(right)
    return image[top : top + height, left : left + width]


def recoloured(image: np.ndarray, brightness: float, contrast: float, saturation: float):
    """By the words of the configuration, in double precision."""
    image = image.astype(np.float64)
    if image.shape[2] == 3:
        grey = image @ np.array(GREY)
        image = grey[..., None] + (1 + saturation) * (image - grey[..., None])
    image = image.mean() + (1 + contrast) * (image - image.mean()) + brightness
    return np.clip(image, 0, 255)


@pytest.mark.parametrize("shape", [SHAPE, (6, 6, 1), (1, 4, 2), (8, 8, 4)])
def test_an_unchanged_image_is_the_same_to_the_last_bit(shape):
    images = random_images(shape)
    result = in_grey_levels(images, unchanged(len(images)))
    assert np.array_equal(result, images.astype(np.float32))


@pytest.mark.parametrize("shape", [SHAPE, (6, 6, 1), (1, 4, 2)])
def test_flip_and_shift_are_those_of_a_plain_reference(shape):
    images = random_images(shape)
    changes = changes_of(NO_COLOUR, images)
    assert len(np.unique(changes, axis=0)) > 5
    expected = [moved(image, *row[:3]) for image, row in zip(images, changes, strict=True)]
    assert np.array_equal(in_grey_levels(images, changes, NO_COLOUR), np.float32(expected))


@pytest.mark.parametrize(("flip", "shift"), [(True, 0.0), (False, 0.5)])
def test_flip_and_shift_alone(flip, shift):
    augment = NO_COLOUR.model_copy(update={"flip": flip, "shift": shift})
    images = random_images()
    changes = changes_of(augment, images)
    expected = [moved(image, *row[:3]) for image, row in zip(images, changes, strict=True)]
    assert np.array_equal(in_grey_levels(images, changes, augment), np.float32(expected))


@pytest.mark.parametrize("shape", [SHAPE, (6, 6, 1), (5, 4, 2)])
def test_colours_are_those_of_a_plain_reference(shape):
    augment = ALL.model_copy(update={"flip": False, "shift": 0.0})
    images = random_images(shape)
    changes = changes_of(augment, images)
    expected = np.stack(
        [recoloured(image, *row[3:]) for image, row in zip(images, changes, strict=True)]
    )
    assert (expected == 0).any()
    assert (expected == 255).any()
    assert np.allclose(in_grey_levels(images, changes, augment), expected, atol=1e-3)


def test_images_are_normalised_and_in_validation_never_changed():
    images = random_images()
    parts = parts_of(images, ALL)
    changes = tf.constant(changes_of(ALL, images))
    seen = images[np.arange(len(images)) % 3 > 0].astype(np.float64)
    expected = (images - seen.mean(axis=(0, 1, 2))) / seen.std(axis=(0, 1, 2))
    result = Prepare(parts)([tf.constant(images), changes], training=False).numpy()
    assert result.dtype == np.float32
    assert np.allclose(result, expected, atol=1e-5)


@pytest.mark.parametrize("level", [0, 17, 255])
def test_a_constant_channel_gives_zeros(level):
    images = random_images()
    images[..., 0] = level
    result = Prepare(parts_of(images))([tf.constant(images)]).numpy()
    assert not result[..., 0].any()
    assert np.isfinite(result).all()


def test_half_precision_begins_behind_the_preparation():
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = around(build_model(chain(SHAPE, ("flatten", {}), dense(2)), seed=0), PARTS)
        prepared = model.get_layer("prepare")([tf.constant(random_images())])
    finally:
        keras.config.set_dtype_policy("float32")
    assert prepared.dtype == tf.float32


def test_one_pass_gives_the_batches_of_the_moment():
    first = parts_of(random_images(), ALL).training
    current = first
    data = one_pass(lambda: current)
    current = first.shuffled(1, 0)
    got = list(data.as_numpy_iterator())
    assert len(got) == len(first) == 6
    for step, ((images, changes), labels) in enumerate(got):
        assert all(map(np.array_equal, (images, changes, labels), current[step]))


def trained(parts: Parts, **more) -> list[np.ndarray]:
    """Weights and validation loss after two epochs as a trial has them, but for its observer."""
    network = build_model(
        chain(SHAPE, conv2d(4), ("batch_norm", {}), ("flatten", {}), dense(2)), seed=3
    )
    model = around(network, parts)
    model.compile(
        optimizer=keras.optimizers.Adam(1e-2),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile=False,
        **more,
    )
    losses = []
    for epoch in range(2):
        current = parts.training.shuffled(5, epoch)
        data, held_out = one_pass(lambda now=current: now), one_pass(lambda: parts.validation)
        row = model.fit(data, validation_data=held_out, shuffle=False, verbose=0).history
        losses.append(row["val_loss"])
    return [*network.get_weights(), np.array(losses)]


def same(one: list[np.ndarray], other: list[np.ndarray]) -> bool:
    return all(map(np.array_equal, one, other))


@pytest.mark.parametrize("augment", [PLAIN, ALL])
def test_resident_images_train_to_the_same_bits_as_mapped_ones(augment):
    images = random_images()
    mapped = trained(parts_of(images, augment))
    assert same(mapped, trained(parts_of(images, augment, resident=True)))
    assert same(mapped, trained(parts_of(images, augment), steps_per_execution=3))
    assert not same(mapped, trained(parts_of(images, ALL.model_copy(update={"copies": 2}))))


@pytest.mark.parametrize("resident", [False, True])
def test_the_network_with_its_own_weights_gives_the_logits_of_what_was_trained(tmp_path, resident):
    images = np.random.default_rng(1).integers(0, 256, (90, 8, 8, 1), dtype=np.uint8)
    parts = parts_of(images, ALL, resident=resident)
    network = build_model(DIGITS_NETWORK, seed=1)
    model = around(network, parts)
    assert [weight.shape for weight in model.weights] == [
        weight.shape for weight in network.weights
    ]
    network.save_weights(tmp_path / "x.weights.h5")
    again = build_model(DIGITS_NETWORK, seed=2)
    again.load_weights(tmp_path / "x.weights.h5")
    given, changes = parts.validation[0][:2]
    logits = model([given, changes], training=False)
    first = parts.validation.order[: len(given)]
    levels = images[first].astype(np.float32)
    normalised = (levels - parts.mean) * (np.float32(1) / parts.deviation)
    assert np.array_equal(logits, again(normalised, training=False))


def test_losses_of_the_network_are_losses_of_what_is_trained():
    inputs = keras.Input(SHAPE)
    layer = keras.layers.Conv2D(2, 3, kernel_regularizer=keras.regularizers.L1(0.5))
    outputs = keras.layers.GlobalAveragePooling2D()(layer(inputs))
    model = around(keras.Model(inputs, outputs), PARTS)
    expected = 0.5 * np.abs(layer.kernel.numpy()).sum()
    assert [float(loss) for loss in model.losses] == pytest.approx([expected])
    entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(loss=entropy)
    given, labels = tf.constant(random_images()), tf.zeros(90, tf.int32)
    measured = model.evaluate(given, labels, batch_size=90, verbose=0)
    assert measured - float(entropy(labels, model(given))) == pytest.approx(expected, rel=1e-4)


def operations(parts: Parts, *, training: bool) -> list[tf.Operation]:
    prepare = Prepare(parts)
    given = [tf.TensorSpec((None, *array.shape[1:]), array.dtype) for array in parts.training[0]]
    function = tf.function(lambda *inputs: prepare(inputs, training=training))
    return function.get_concrete_function(*given[:-1]).graph.get_operations()


def test_one_copy_costs_nothing_and_neither_does_what_is_not_asked_for():
    images = random_images()

    def kinds(augment: AugmentConfig, training: bool = True) -> set[str]:
        return {one.type for one in operations(parts_of(images, augment), training=training)}

    plain = kinds(PLAIN)
    assert "Cast" in plain
    assert not plain & {"GatherV2", "Mean", "Pack", "Unpack", "ClipByValue", "Maximum"}
    assert kinds(ALL, training=False) - plain <= {"Placeholder"}
    assert "GatherV2" in kinds(ALL)
    only_colour = ALL.model_copy(update={"flip": False, "shift": 0.0})
    assert "GatherV2" not in kinds(only_colour)
    assert "Mean" not in kinds(ALL.model_copy(update={"contrast": 0.0}))


SMALL_THINGS = {"axis", "shape", "begin", "end", "strides", "reduction_indices", "split_dim"}
"""Arguments of a few numbers that all kernels read on the host."""


def gpu_kernels(operation: tf.Operation) -> list[set[str]]:
    """Of each kernel of a GPU that fits: which arguments it wants to have on the host."""
    found = []
    for kernel in kernels.get_registered_kernels_for_op(operation.type).kernel:
        fits = all(
            operation.node_def.attr[limit.name].type in limit.allowed_values.list.type
            for limit in kernel.constraint
            if limit.allowed_values.list.type
        )
        if kernel.device_type in ("GPU", "DEFAULT") and fits:
            found.append(set(kernel.host_memory_arg))
    return found


def test_all_of_it_has_kernels_for_a_gpu_none_of_which_works_on_the_host():
    """There may be no GPU here, but the kernels are in TensorFlow's usual wheel."""
    if not any(
        kernel.device_type == "GPU"
        for kernel in kernels.get_registered_kernels_for_op("GatherV2").kernel
    ):
        pytest.skip("this TensorFlow is built without kernels for a GPU")
    bare = {"Const", "Placeholder", "NoOp", "Identity"}
    for resident, training in itertools.product((False, True), repeat=2):
        parts = parts_of(random_images(), ALL, resident=resident)
        for one in operations(parts, training=training):
            if one.type not in bare and not _only_counts(one):
                assert any(host <= SMALL_THINGS for host in gpu_kernels(one)), one


def _only_counts(operation: tf.Operation) -> bool:
    """Whether it computes shapes and positions of constant size, as ``tf.shape`` does."""
    return all(
        output.dtype == tf.int32 and output.shape.rank is not None and output.shape.rank <= 1
        for output in operation.outputs
    )


def test_columns_are_as_many_as_the_model_is_given():
    network = build_model(chain(SHAPE, ("flatten", {}), dense(2)), seed=0)
    shapes = [tensor.shape for tensor in around(network, parts_of(random_images(), ALL)).inputs]
    assert shapes == [(None, *SHAPE), (None, len(COLUMNS))]
