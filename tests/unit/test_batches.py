"""Batches from the mapped images: complete, shuffled by seed and epoch, each copy once."""

from __future__ import annotations

import pathlib
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from mpinas.config import AugmentConfig
from mpinas.errors import DataFault
from mpinas.problems.images import ImageData, numbered_names
from mpinas.problems.normalisation import channel_statistics
from mpinas.problems.prepared import open_prepared, write_prepared
from mpinas.problems.splits import split
from mpinas.records import ProblemSpec
from mpinas.streams import stream
from mpinas.trial.batches import Batches, Parts, open_parts

IMAGES = 5000


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (IMAGES, 3, 4, 2), dtype=np.uint8)


@pytest.fixture(scope="module")
def prepared(images, tmp_path_factory) -> str:
    labels = np.arange(IMAGES, dtype=np.int32) % 10
    data = ImageData(
        x_train=images,
        y_train=labels,
        x_test=images[:10],
        y_test=labels[:10],
        class_names=numbered_names(10),
        source="random numbers",
    )
    file = tmp_path_factory.mktemp("prepared") / "random.h5"
    write_prepared(data, file)
    return str(file)


def batches_of(images, indices, batch_size=32) -> Batches:
    """The label of each image is its number."""
    return Batches(
        images=images,
        labels=np.arange(len(images), dtype=np.int32),
        order=indices,
        batch_size=batch_size,
        augment=AugmentConfig(),
    )


def parts_of(prepared: str, *, resident: bool = False, copies: int = 1, batch_size=32) -> Parts:
    problem = ProblemSpec(
        name="random",
        path=prepared,
        training_images=300,
        validation_images=90,
        split_seed=0,
        augment={"copies": copies},
    )
    most = 390 * 3 * 4 * 2 - (0 if resident else 1)
    return open_parts(problem, batch_size, most_resident_bytes=most)


def visited(batches: Batches) -> list[int]:
    return [int(label) for step in range(len(batches)) for label in batches[step][-1]]


@pytest.mark.parametrize(("count", "sizes"), [(64, [32, 32]), (65, [32, 32, 1]), (5, [5])])
def test_every_chosen_image_comes_once(images, count, sizes):
    indices = np.arange(100, 100 + count)
    batches = batches_of(images, indices)
    assert [len(batches[step][-1]) for step in range(len(batches))] == sizes
    assert visited(batches) == indices.tolist()
    assert sorted(visited(batches.shuffled(1, 0))) == indices.tolist()


def test_the_order_depends_on_seed_and_epoch_alone(images):
    batches = batches_of(images, np.arange(200))
    first = visited(batches.shuffled(1, 0))
    assert first == visited(batches.shuffled(1, 0))
    assert first != visited(batches.shuffled(1, 1))
    assert first != visited(batches.shuffled(2, 0))
    assert first != visited(batches)


def test_the_order_is_that_of_a_permutation_by_the_stream_of_batches(images):
    """What trials without copies have always drawn."""
    indices = np.arange(500, 700)
    expected = stream(7, 1, 3).permutation(indices).tolist()
    assert visited(batches_of(images, indices).shuffled(7, 3)) == expected


def test_images_and_labels_stay_together_and_are_given_as_they_are(images):
    pictures, labels = batches_of(images, np.arange(4000)).shuffled(3, 5)[7]
    assert pictures.dtype == np.uint8
    assert np.array_equal(pictures, images[labels])
    assert labels.dtype == np.int32


@pytest.mark.parametrize("resident", [False, True])
def test_the_parts_are_those_of_the_split_and_statistics_are_of_the_training_part(
    prepared, images, resident
):
    parts = parts_of(prepared, resident=resident)
    labels = np.arange(IMAGES) % 10
    training, validation = split(labels, training_images=300, validation_images=90, seed=0)
    assert np.array_equal(parts.training.order, training)
    assert np.array_equal(parts.validation.order, validation)
    mean, deviation = channel_statistics(images, training)
    assert np.array_equal(parts.mean, mean)
    assert np.array_equal(parts.deviation, deviation)
    for part in (parts.training, parts.validation):
        assert (part.changes, part.augment.copies) == (None, 1)
        assert (part.resident is not None) == resident


def test_resident_images_are_those_of_both_parts_and_batches_tell_which(prepared, images):
    mapped, resident = parts_of(prepared, copies=3), parts_of(prepared, copies=3, resident=True)
    device = images[resident.training.resident]
    assert len(device) == 390
    pairs = (
        (mapped.training.shuffled(5, 1), resident.training.shuffled(5, 1)),
        (mapped.validation, resident.validation),
    )
    for one, other in pairs:
        assert len(one) == len(other)
        for step in range(len(one)):
            pictures, *rest = one[step]
            places, *same = other[step]
            assert places.dtype == np.int64
            assert np.array_equal(pictures, device[places])
            assert all(map(np.array_equal, rest, same))


@pytest.mark.parametrize("copies", [2, 3, 4])
def test_each_image_comes_so_many_times_once_as_it_is(prepared, copies):
    batches = parts_of(prepared, copies=copies).training.shuffled(3, 1)
    assert len(batches) == -(-copies * 300 // 32)
    rows = [row for step in range(len(batches)) for row in batches[step][1]]
    order = batches.order.tolist()
    assert len(rows) == len(order)
    assert set(Counter(order).values()) == {copies}
    untouched = [number for number, row in zip(order, rows, strict=True) if not row.any()]
    assert sorted(untouched) == sorted(set(order))
    first = set(order[:32])
    assert len(first) > 24, "copies are shuffled, not beside each other"
    assert 0 < sum(not row.any() for row in rows[: 32 * 3]) < 32 * 3


def test_variants_are_other_ones_each_epoch_and_equal_for_equal_seeds(prepared):
    batches = parts_of(prepared, copies=2).training
    first = batches.shuffled(1, 0)
    again, epoch, seed = batches.shuffled(1, 0), batches.shuffled(1, 1), batches.shuffled(2, 0)
    assert np.array_equal(first.changes, again.changes)
    for other in (epoch, seed):
        kept = {row.tobytes() for row in first.changes if row.any()}
        assert not kept & {row.tobytes() for row in other.changes}


def test_what_is_drawn_does_not_depend_on_the_size_of_batches(prepared):
    small = parts_of(prepared, copies=3, batch_size=7).training.shuffled(1, 0)
    large = parts_of(prepared, copies=3, batch_size=64).training.shuffled(1, 0)
    assert np.array_equal(small.order, large.order)
    assert np.array_equal(small.changes, large.changes)


def test_validation_images_are_never_changed(prepared):
    validation = parts_of(prepared, copies=3).validation
    assert len(validation.order) == 90
    assert not validation.changes.any()


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


def test_other_data_under_the_same_name_are_refused(prepared):
    problem = ProblemSpec(
        name="random",
        path=prepared,
        data=open_prepared(pathlib.Path(prepared)).checksum,
        training_images=300,
        validation_images=90,
        split_seed=0,
    )
    assert len(open_parts(problem, 100).training) == 3
    with pytest.raises(DataFault, match="replaced by other data"):
        open_parts(replace(problem, data="0" * 64), 100)
