"""Whether the text of a figure can be read: none upon another, none cut off."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text

LEAST_GAP = 8
"""Between texts beside each other, in pixels of the drawing: about half a letter."""


def texts(figure: Any) -> Iterator[tuple[Text, Any]]:
    """What can be read in a drawing, and where it stands, in pixels."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    unseen = set(itertools.chain.from_iterable(map(_unseen, figure.axes)))
    for text in figure.findobj(Text):
        if text.get_visible() and text.get_text().strip() and text not in unseen:
            yield text, text.get_window_extent(canvas.get_renderer())


def _unseen(axes: Any) -> Iterator[Text]:
    """Labels of ticks beyond the ends of an axis, or of one that is off."""
    for axis in (axes.xaxis, axes.yaxis):
        low, high = sorted(axis.get_view_interval())
        for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks()):
            if not axes.axison or not low <= tick.get_loc() <= high:
                yield from (tick.label1, tick.label2)
        if not axes.axison:
            yield axis.label


def illegible(figure: Any) -> list[str]:
    """Pairs of texts of which one is upon the other, and texts that are cut off."""
    found = list(texts(figure))
    width, height = figure.bbox.width, figure.bbox.height
    cut = [
        f"cut off: {text.get_text()!r}"
        for text, box in found
        if box.x0 < -1 or box.y0 < -1 or box.x1 > width + 1 or box.y1 > height + 1
    ]
    upon = [
        f"{one.get_text()!r} upon {other.get_text()!r}"
        for (one, box), (other, other_box) in itertools.combinations(found, 2)
        if min(box.x1, other_box.x1) - max(box.x0, other_box.x0) > -LEAST_GAP
        and min(box.y1, other_box.y1) - max(box.y0, other_box.y0) > 1
    ]
    return cut + upon


def all_legible(drawings: dict[str, Any]) -> bool:
    assert drawings
    found = {name: faults for name, one in drawings.items() if (faults := illegible(one))}
    assert not found, found
    return True
