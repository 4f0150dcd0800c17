"""What is drawn for the copies of an epoch: each copy once, in its ranges, by seed and epoch."""

from __future__ import annotations

import numpy as np
import pytest

from mpinas.config import AugmentConfig
from mpinas.trial.augmentation import COLUMNS, draw_changes

SHAPE = (32, 16, 3)
ALL = AugmentConfig(copies=4, flip=True, shift=0.25, brightness=0.2, contrast=0.3, saturation=0.4)


def drawn(augment: AugmentConfig, images: int = 5000, shape=SHAPE, seed: int = 1, epoch: int = 0):
    return draw_changes(augment, images, shape, seed=seed, epoch=epoch)


def columns(augment: AugmentConfig, **more) -> dict[str, np.ndarray]:
    """Of the variants alone."""
    changes = drawn(augment, **more)
    return dict(zip(COLUMNS, changes[len(changes) // augment.copies :].T, strict=True))


@pytest.mark.parametrize("copies", [1, 2, 4])
def test_the_first_copy_is_left_alone_and_each_other_is_changed(copies):
    changes = drawn(ALL.model_copy(update={"copies": copies}), images=100)
    assert changes.shape == (copies * 100, len(COLUMNS))
    assert changes.dtype == np.float32
    assert not changes[:100].any()
    assert changes[100:].any(axis=1).all()
    assert len(np.unique(changes[100:], axis=0)) == (copies - 1) * 100


def test_each_change_fills_its_range_evenly_and_keeps_to_it():
    found = columns(ALL)
    assert set(found["flip"]) == {0, 1}
    assert np.mean(found["flip"]) == pytest.approx(0.5, abs=0.02)
    for name, most in (("down", 8), ("right", 4)):
        values, counts = np.unique(found[name], return_counts=True)
        assert values.tolist() == list(range(-most, most + 1))
        assert counts.max() < 1.2 * counts.min()
    for name, most in (("brightness", 0.2 * 255), ("contrast", 0.3), ("saturation", 0.4)):
        assert np.abs(found[name]).max() <= np.float32(most)
        assert found[name].min() < -0.99 * most
        assert found[name].max() > 0.99 * most
        assert abs(found[name].mean()) < 0.02 * most


def test_changes_are_drawn_independently_of_each_other():
    found = np.corrcoef(drawn(ALL)[5000:].T)
    assert np.abs(found - np.eye(len(COLUMNS))).max() < 0.05


@pytest.mark.parametrize(
    ("key", "off", "silent"),
    [
        ("flip", False, {"flip"}),
        ("shift", 0.0, {"down", "right"}),
        ("brightness", 0.0, {"brightness"}),
        ("contrast", 0.0, {"contrast"}),
        ("saturation", 0.0, {"saturation"}),
    ],
)
def test_what_is_not_asked_for_is_not_done_and_changes_nothing_else(key, off, silent):
    all_of_it, without = columns(ALL), columns(ALL.model_copy(update={key: off}))
    for name in COLUMNS:
        if name in silent:
            assert not without[name].any()
        else:
            assert np.array_equal(without[name], all_of_it[name])


@pytest.mark.parametrize(("channels", "coloured"), [(1, False), (2, False), (3, True), (4, False)])
def test_only_rgb_images_have_a_saturation(channels, coloured):
    assert columns(ALL, shape=(8, 8, channels))["saturation"].any() == coloured


def test_an_image_too_small_for_a_shift_stays_in_place():
    found = columns(ALL, shape=(3, 1, 1))
    assert not found["down"].any()
    assert not found["right"].any()


def test_equal_seeds_and_epochs_draw_the_same_others_do_not():
    first = drawn(ALL)
    assert np.array_equal(first, drawn(ALL))
    assert not np.array_equal(first, drawn(ALL, epoch=1))
    assert not np.array_equal(first, drawn(ALL, seed=2))
