"""The split: exact sizes, the same shares of each class, the same for all trials of a run."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpinas.errors import DataFault
from mpinas.problems.splits import part_sizes, split


def parts(labels, *, seed: int, **wanted):
    """The split of a run whose problem section says what is wanted."""
    training_images, validation_images = part_sizes(len(labels), **wanted)
    return split(
        labels, training_images=training_images, validation_images=validation_images, seed=seed
    )


@pytest.mark.parametrize(
    ("images", "validation", "train_images", "expected"),
    [
        (60_000, 0.15, None, (51_000, 9_000)),
        (60_000, 0.15, 10_000, (10_000, 1_500)),
        (60_000, 2_000.0, 10_000, (10_000, 2_000)),
        (1_438, 0.15, None, (1_222, 216)),
        (10, 0.25, None, (7, 3)),
        (100, 1.0, None, (99, 1)),
        (11_500, 0.15, 10_000, (10_000, 1_500)),
    ],
)
def test_part_sizes(images, validation, train_images, expected):
    assert part_sizes(images, validation=validation, train_images=train_images) == expected


@pytest.mark.parametrize(
    ("images", "validation", "train_images", "message"),
    [
        (11_499, 0.15, 10_000, "10000 training and 1500 validation images are more than there are"),
        (100, 0.001, None, "no validation images are left"),
        (100, 100.0, None, "no training images are left"),
        (100, 1_000.0, None, "no training images are left"),
        (100, 0.999, None, "no training images are left"),
        (100, 0.1, 101, "more than there are"),
    ],
)
def test_impossible_sizes_are_refused(images, validation, train_images, message):
    with pytest.raises(DataFault, match=message):
        part_sizes(images, validation=validation, train_images=train_images)


@st.composite
def labelled_images(draw):
    counts = draw(st.lists(st.integers(2, 60), min_size=2, max_size=8))
    order = draw(st.integers(0, 2**32))
    labels = np.repeat(np.arange(len(counts)), counts)
    return np.random.default_rng(order).permutation(labels), counts


@given(
    labelled_images(),
    st.floats(0.05, 0.6),
    st.one_of(st.none(), st.floats(0.1, 0.6)),
    st.integers(0, 2**62),
)
def test_sizes_are_exact_and_each_class_has_its_share(data, validation, used_share, seed):
    labels, counts = data
    train_images = None if used_share is None else max(1, int(used_share * len(labels)))
    try:
        sizes = part_sizes(len(labels), validation=validation, train_images=train_images)
    except DataFault:
        return
    if min(sizes) < len(counts):
        return
    training, held_out = parts(labels, validation=validation, train_images=train_images, seed=seed)

    assert (len(training), len(held_out)) == sizes
    assert len(set(training) | set(held_out)) == sum(sizes), "the parts overlap"
    assert np.all(np.diff(training) > 0)
    assert np.all(np.diff(held_out) > 0)
    for label, available in enumerate(counts):
        for part in (training, held_out):
            quota = available * len(part) / len(labels)
            got = int((labels[part] == label).sum())
            assert got >= 1
            # The floor of one image a class and the rest of the other part move it by a few.
            assert abs(got - quota) <= 1 + len(counts) / 2


def test_balanced_classes_are_shared_out_exactly():
    labels = np.tile(np.arange(10), 600)
    training, held_out = parts(labels, validation=0.15, train_images=1_000, seed=7)
    assert np.bincount(labels[training]).tolist() == [100] * 10
    assert np.bincount(labels[held_out]).tolist() == [15] * 10


def test_a_rare_class_is_in_both_parts():
    labels = np.array([0] * 998 + [1] * 2)
    training, held_out = parts(labels, validation=0.1, train_images=None, seed=0)
    assert np.bincount(labels[training]).tolist() == [899, 1]
    assert np.bincount(labels[held_out]).tolist() == [99, 1]
    training, held_out = parts(labels, validation=0.9, train_images=None, seed=0)
    assert np.bincount(labels[training]).tolist() == [99, 1]


@pytest.mark.parametrize(
    ("labels", "validation", "train_images", "part"),
    [
        ([0] * 50 + [1], 0.2, None, "validation"),
        ([0, 1, 2, 3] * 10, 2.0, None, "validation"),
        ([0, 1, 2, 3] * 10, 4.0, 3, "training"),
    ],
)
def test_a_class_without_image_in_a_part_is_refused(labels, validation, train_images, part):
    with pytest.raises(DataFault, match=f"a class has no image in the {part} part"):
        parts(labels, validation=validation, train_images=train_images, seed=0)


def test_the_seed_decides_the_split_and_nothing_else_does():
    labels = np.tile(np.arange(4), 50)
    first = parts(labels, validation=0.2, train_images=None, seed=3)
    again = parts(labels.astype(np.int32), validation=0.2, train_images=None, seed=3)
    other = parts(labels, validation=0.2, train_images=None, seed=4)
    assert np.array_equal(first[0], again[0])
    assert np.array_equal(first[1], again[1])
    assert not np.array_equal(first[1], other[1])


def test_the_split_uses_its_own_stream_of_the_run_seed():
    labels = np.array([0, 1] * 20)
    _, held_out = parts(labels, validation=0.25, train_images=None, seed=5)
    rng = np.random.default_rng(np.random.SeedSequence(5, spawn_key=(0,)))
    expected = [rng.permutation(np.flatnonzero(labels == label))[:5] for label in (0, 1)]
    assert held_out.tolist() == sorted(np.concatenate(expected).tolist())


def test_cheap_training_parts_are_nested():
    labels = np.tile(np.arange(5), 100)
    small, held_out = parts(labels, validation=50.0, train_images=100, seed=1)
    large, same = parts(labels, validation=50.0, train_images=300, seed=1)
    assert set(small) <= set(large)
    assert np.array_equal(held_out, same)
