"""Batches from the mapped images: complete, shuffled by seed and epoch, normalised."""

from __future__ import annotations

import numpy as np
import pytest

from mpinas.problems.normalisation import channel_statistics
from mpinas.trial.batches import Batches


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (5000, 3, 4, 2), dtype=np.uint8)


def batches_of(images, indices, batch_size=32) -> Batches:
    mean, deviation = channel_statistics(images, indices)
    return Batches(
        images=images,
        labels=np.arange(len(images), dtype=np.int32),
        order=indices,
        mean=mean,
        deviation=deviation,
        batch_size=batch_size,
    )


def visited(batches: Batches) -> list[int]:
    return [int(label) for step in range(len(batches)) for label in batches[step][1]]


@pytest.mark.parametrize(("count", "sizes"), [(64, [32, 32]), (65, [32, 32, 1]), (5, [5])])
def test_every_chosen_image_comes_once(images, count, sizes):
    indices = np.arange(100, 100 + count)
    batches = batches_of(images, indices)
    assert [len(batches[step][1]) for step in range(len(batches))] == sizes
    assert visited(batches) == indices.tolist()
    assert sorted(visited(batches.shuffled(1, 0))) == indices.tolist()


def test_the_order_depends_on_seed_and_epoch_alone(images):
    batches = batches_of(images, np.arange(200))
    first = visited(batches.shuffled(1, 0))
    assert first == visited(batches.shuffled(1, 0))
    assert first != visited(batches.shuffled(1, 1))
    assert first != visited(batches.shuffled(2, 0))
    assert first != visited(batches)


def test_images_and_labels_stay_together_and_are_normalised(images):
    indices = np.arange(4000)
    batches = batches_of(images, indices).shuffled(3, 5)
    pictures, labels = batches[7]
    chosen = images[indices].astype(np.float64)
    mean, deviation = chosen.mean(axis=(0, 1, 2)), chosen.std(axis=(0, 1, 2))
    assert pictures.dtype == np.float32
    assert np.allclose(pictures, (images[labels] - mean) / deviation, atol=1e-5)


def test_statistics_are_of_the_chosen_images_and_each_channel(images):
    images = images.copy()
    images[..., 1] //= 4
    images[4500:] = 255
    indices = np.arange(4500)
    mean, deviation = channel_statistics(images, indices)
    assert mean == pytest.approx(images[indices].mean(axis=(0, 1, 2)), rel=1e-6)
    assert deviation == pytest.approx(images[indices].std(axis=(0, 1, 2)), rel=1e-6)
    shuffled = channel_statistics(images, indices[::-1])
    assert np.array_equal(mean, shuffled[0])
    assert np.array_equal(deviation, shuffled[1])


@pytest.mark.parametrize("level", [0, 17, 255])
def test_a_constant_channel_gives_zeros(images, level):
    images = images.copy()
    images[..., 0] = level
    pictures, _ = batches_of(images, np.arange(100))[0]
    assert np.array_equal(pictures[..., 0], np.zeros_like(pictures[..., 0]))
    assert np.isfinite(pictures).all()
