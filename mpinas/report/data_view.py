"""What a prepared file holds, in a few lines for people. Draws, prints nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from mpinas.problems import PreparedProblem
from mpinas.problems.images import Labels


def prepared_lines(file: Path, problem: PreparedProblem) -> Iterator[str]:
    """Counts, shapes, class balance, where the data came from, and remarks."""
    shape = "x".join(str(length) for length in problem.image_shape)
    yield (
        f"{file}: {len(problem.y_train):,} training and {len(problem.y_test):,} test images "
        f"of {shape}, {problem.classes} classes, {file.stat().st_size / 1e6:.1f} MB"
    )
    training, test = (
        _balance(labels, problem.classes) for labels in (problem.y_train, problem.y_test)
    )
    yield f"  images of a class  {training} training, {test} test"
    yield f"  came from          {problem.source}"
    yield f"  SHA-256            {problem.checksum}"
    yield from (f"  note               {remark}" for remark in problem.remarks)


def _balance(labels: Labels, classes: int) -> str:
    counts = np.bincount(labels, minlength=classes)
    low, high = counts.min(), counts.max()
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"
