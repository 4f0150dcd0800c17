"""Loader ``digits``: scikit-learn's 1,797 handwritten digits of 8x8 pixels; no download.

A stratified fifth is its test set, the same in every run whatever the run's seed.
Source: Alpaydin and Kaynak 1998, Optical Recognition of Handwritten Digits, UCI.
"""

from __future__ import annotations

import numpy as np

from mpinas.config import ProblemConfig
from mpinas.problems.images import ImageData, checked
from mpinas.problems.splits import set_test_apart

_DARKEST = 16.0


def load(problem: ProblemConfig) -> ImageData:
    """The data set; nothing in ``problem`` changes it."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = np.rint(digits.images * (255.0 / _DARKEST)).astype(np.uint8)
    labels = digits.target.astype(np.int32)
    training, test = set_test_apart(labels)
    arrays = {
        "x_train": images[training],
        "y_train": labels[training],
        "x_test": images[test],
        "y_test": labels[test],
    }
    return checked(arrays, source="sklearn.datasets.load_digits")
