"""What ``python -m mpinas predict`` found: a table for people, JSON for scripts. Prints nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.table import Table
from rich.text import Text


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """Of one file.

    Attributes:
        classes: the most probable ones with their probabilities, the first first.
        error: why there are none; empty where there are.
    """

    file: str
    classes: tuple[tuple[str, float], ...] = ()
    error: str = ""

    @classmethod
    def of(cls, file: str, shares: Sequence[tuple[str, float]], top: int) -> Prediction:
        """The ``top`` most probable of all classes; of equal ones the earlier class first. Shares
        that are no numbers are an error of their own."""
        if not all(math.isfinite(share) for _, share in shares):
            return cls(file=file, error="the model gives no numbers for it")
        ranked = sorted(shares, key=lambda share: -share[1])
        return cls(file=file, classes=tuple(ranked[:top]))


def printable(name: str) -> str:
    """A name with escapes for what would break its line, or is no letter: names of files are bytes,
    and may hold anything."""
    parts = (one if one.isprintable() else ascii(one)[1:-1] for one in name)
    return "".join(parts)


def prediction_table(predictions: Sequence[Prediction]) -> Table:
    """A line for each class of each file that could be read."""
    table = Table(box=None, pad_edge=False)
    for name in ("image", "class", "probability"):
        justify = "right" if name == "probability" else "left"
        table.add_column(name, justify=justify, no_wrap=True)  # type: ignore[arg-type]
    for one in predictions:
        for place, (name, share) in enumerate(one.classes):
            table.add_row(
                Text(printable(one.file) if place == 0 else ""),
                Text(printable(name)),
                f"{share:.4f}",
            )
    return table


def to_json_view(predictions: Sequence[Prediction]) -> Sequence[Mapping[str, Any]]:
    """The machine-readable form of ``predict --json``, a line of it a file, in their order."""
    return [
        {
            "file": one.file,
            "error": one.error or None,
            "classes": [{"class": name, "probability": share} for name, share in one.classes],
        }
        for one in predictions
    ]
