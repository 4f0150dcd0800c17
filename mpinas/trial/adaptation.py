"""What ``python -m mpinas shrink`` is asked for, and what it tells: records without TensorFlow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Pixels = Literal["standardised", "unit", "raw"]
"""What a model reads: each channel with mean 0 and deviation 1, as mpinas has it; 0..1; 0..255."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """How a model is to be adapted.

    Attributes:
        flops: a share of the model's own below 1, or a count.
        epochs: of training after the cut; 0 for none.
        expand: whether it is cut to half of the target and widened uniformly to it.
        pixels: what the model reads; None to look at its first layers.
        seed: of batches and new weights, below 2**31.
    """

    model: Path
    out: Path
    flops: float
    epochs: int
    expand: bool
    pixels: Pixels | None
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """Of a model, as built. ``widths``: channels by layer that makes new ones."""

    flops: int
    parameters: int
    widths: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapted:
    """What was done.

    Attributes:
        pixels: what the model was given to read.
        target: FLOPs asked for.
        threshold: of the cut, as a multiple of each source's own; -1 where nothing was cut.
        multiplier: of all widths afterwards; None without ``expand``.
        accuracy_before: on the validation part, of the model as it came.
        accuracy_regularised: after the regularised training, before the cut.
        accuracy_after_cut: None with ``expand``, which begins with new weights.
        accuracy: of the model that was written.
        unknown: layers whose channels were all kept because it is not known what they do.
        warnings: what went other than it was meant, for people.
    """

    before: Size
    after: Size
    pixels: Pixels
    target: int
    threshold: float
    multiplier: float | None
    accuracy_before: float
    accuracy_regularised: float
    accuracy_after_cut: float | None
    accuracy: float
    unknown: tuple[str, ...]
    warnings: tuple[str, ...]
