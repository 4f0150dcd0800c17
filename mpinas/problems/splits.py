"""Which training images are learned from and which are held out to measure fitness.

Pure. Every trial of a run computes the same split from the run's seed; nothing is stored.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mpinas.errors import DataFault, fault
from mpinas.streams import stream

Indices = npt.NDArray[np.intp]
TEST_SHARE = 0.2
_SPLIT_ROLE = 0  # of the run's random streams; the others belong to the search
_TEST_SEED = 1797  # any number; another one would change every data set without test images


def split(
    labels: npt.ArrayLike, *, training_images: int, validation_images: int, seed: int
) -> tuple[Indices, Indices]:
    """Splits stratified: each class has the same share in both parts, as far as images go.

    With another ``training_images`` and the same ``validation_images``, the smaller training part
    lies inside the larger one as far as each class has no fewer images in the larger one, which
    largest remainders do not promise where classes differ in size.

    Args:
        labels: whole numbers (N,), of all training images.
        training_images, validation_images: exact sizes, see :func:`part_sizes`; at most N in all.
        seed: of the run.

    Returns:
        Indices of training and validation images, ascending, disjoint. While there are enough
        images, each class is in both parts.

    Raises:
        DataFault: a class would be missing from a part.
    """
    classes = np.asarray(labels)
    names, available = np.unique(classes, return_counts=True)
    held_out = _stratified(available, validation_images, kept=1)
    used = _stratified(available - held_out, training_images, kept=0)
    for counts, part in ((used, "training"), (held_out, "validation")):
        _refuse_missing_class(names, counts, part)
    rng = stream(seed, _SPLIT_ROLE)
    training, validating = [], []
    for name, first, last in zip(names, held_out, used, strict=True):
        shuffled = rng.permutation(np.flatnonzero(classes == name))
        validating.append(shuffled[:first])
        training.append(shuffled[len(shuffled) - last :])
    return np.sort(np.concatenate(training)), np.sort(np.concatenate(validating))


def set_test_apart(labels: npt.ArrayLike) -> tuple[Indices, Indices]:
    """A stratified fifth as test data, for data sets that come without; the same in every run.

    Args:
        labels: whole numbers (N,), each class at least twice.

    Returns:
        Indices of training and test images, ascending, disjoint; each class is in both.
    """
    classes = np.asarray(labels)
    training_images, test_images = part_sizes(len(classes), validation=TEST_SHARE)
    missing = max(0, len(np.unique(classes)) - test_images)
    return split(
        classes,
        training_images=training_images - missing,
        validation_images=test_images + missing,
        seed=_TEST_SEED,
    )


def part_sizes(
    images: int,
    *,
    validation: float,
    train_images: int | None = None,
    train_fraction: float | None = None,
) -> tuple[int, int]:
    """How many images are learned from and held out.

    Args:
        images: how many training images the data set has.
        validation: below 1 a share: of ``train_images`` where that is given (cheap searches
            measure cheaply: 10,000 and 0.15 hold out 1,500 beside the 10,000), else of all
            images that are used. From 1 on a number of images.
        train_images: exact size of the training part; None for all that is not held out.
        train_fraction: share of ``images`` that are used at all, for both parts; None for all.

    Raises:
        DataFault: a part would be empty, or there are not enough images for both.
    """
    available = images if train_fraction is None else int(train_fraction * images + 0.5)
    base = available if train_images is None else train_images
    held_out = int(validation * base + 0.5) if validation < 1 else int(validation)
    used = available - held_out if train_images is None else train_images
    limit = "" if train_fraction is None else f", train_fraction={train_fraction:g}"
    received = f"validation={validation:g}, train_images={train_images}{limit}, images={images}"
    if held_out < 1:
        cure = "Raise problem.validation"
        raise DataFault(
            fault("problem.validation", "no validation images are left", received, cure=cure)
        )
    if used < 1:
        cure = "Lower problem.validation"
        raise DataFault(
            fault("problem.validation", "no training images are left", received, cure=cure)
        )
    if used + held_out > images:
        raise DataFault(
            fault(
                "problem.train_images",
                f"{used} training and {held_out} validation images are more than there are",
                received,
                cure="Lower problem.train_images or problem.validation",
            )
        )
    return used, held_out


def _stratified(available: Indices, wanted: int, *, kept: int) -> Indices:
    """Shares ``wanted`` out in proportion to ``available``, exactly, by largest remainder.

    Each class gets at least one while ``wanted`` suffices for all classes, and leaves ``kept``
    while that is possible. All in whole numbers, so that it is the same on every machine.
    """
    total = int(available.sum())
    most = np.maximum(available - kept, 0)
    most = most if int(most.sum()) >= wanted else available
    counts = available * wanted // total
    if wanted >= len(available):
        counts = np.maximum(counts, np.minimum(most, 1))
    while (difference := wanted - int(counts.sum())) != 0:
        # What each class lacks to its exact quota, times total.
        lack = available * wanted - counts * total
        if difference > 0:
            lack = np.where(counts < most, lack, np.iinfo(lack.dtype).min)
            counts[int(np.argmax(lack))] += 1
        else:
            lack = np.where(counts > 1, lack, np.iinfo(lack.dtype).max)
            counts[int(np.argmin(lack))] -= 1
    return counts


def _refuse_missing_class(names: npt.NDArray[np.int_], counts: Indices, part: str) -> None:
    if not counts.all():
        raise DataFault(
            fault(
                "problem.validation",
                f"a class has no image in the {part} part",
                f"class={names[int(np.argmin(counts))]}, images={int(counts.sum())}",
                "Each class needs an image in both parts",
                "Change problem.validation or raise problem.train_images",
            )
        )
