"""What ``python -m mpinas predict`` found: a table for people, JSON for scripts. Prints nothing."""

from __future__ import annotations

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
        error: why the file cannot be read; empty where it can.
    """

    file: str
    classes: tuple[tuple[str, float], ...] = ()
    error: str = ""

    @classmethod
    def of(cls, file: str, shares: Sequence[tuple[str, float]], top: int) -> Prediction:
        """The ``top`` most probable of all classes; of equal ones the earlier class first."""
        ranked = sorted(shares, key=lambda share: -share[1])
        return cls(file=file, classes=tuple(ranked[:top]))


def prediction_table(predictions: Sequence[Prediction]) -> Table:
    """A line for each class of each file that could be read."""
    table = Table(box=None, pad_edge=False)
    for name in ("image", "class", "probability"):
        justify = "right" if name == "probability" else "left"
        table.add_column(name, justify=justify, no_wrap=True)  # type: ignore[arg-type]
    for one in predictions:
        for place, (name, share) in enumerate(one.classes):
            table.add_row(Text(one.file if place == 0 else ""), Text(name), f"{share:.4f}")
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
