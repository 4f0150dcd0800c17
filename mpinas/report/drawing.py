"""How figures of a report look: sizes, greys, markers and hatches, so that no colour is needed.

matplotlib is drawn on by objects; its global state is set aside for the time of a report, so that
nobody's settings change what comes out.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from mpinas.report.page import Figure

STANDARD_WIDTH_IN = 5.0
"""Fits two beside each other on a wide screen, and a telephone with text of 8 pixels and more."""
DOTS_PER_INCH = 200
COLOURS_IN_FILE = 64

INK, SOFT, PALE = "#1a1a1a", "#767676", "#c4c4c4"
ACCENT = "#0b5394"
"""Dark enough to be told from greys without colour."""
FILLS = ("#3d3d3d", "#ffffff", "#a9a9a9", "#ffffff", "#6f6f6f", "#e2e2e2", "#ffffff", "#c4c4c4")
HATCHES = ("", "///", "", "...", "\\\\\\", "xxx", "---", "ooo")
LINES: tuple[Any, ...] = ("-", "--", ":", "-.", (0, (5, 1, 1, 1, 1, 1)), (0, (8, 3)))
MARKERS = ("o", "s", "^", "D", "v", "P")

_STYLE: dict[Any, Any] = {
    "font.family": ["DejaVu Sans"],
    "font.size": 10,
    "axes.labelsize": 10,
    "axes.titlesize": 10,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": INK,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.8,
    "hatch.linewidth": 0.7,
    "hatch.color": INK,
    "text.parse_math": False,  # what people call things may hold dollars
}


@contextmanager
def style() -> Iterator[None]:
    """All figures are drawn inside of this."""
    import matplotlib

    with matplotlib.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # of a host's name
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        yield


def canvas(height_in: float, width_in: float = STANDARD_WIDTH_IN) -> Any:
    """An empty ``matplotlib.figure.Figure``."""
    from matplotlib.figure import Figure as Drawing

    return Drawing(figsize=(width_in, height_in), layout="constrained", facecolor="white")


def finish(drawing: Any, *, name: str, title: str, caption: str, alternative: str) -> Figure:
    """The drawing as a figure of a page."""
    return Figure(
        name=name,
        title=title,
        caption=caption,
        alternative=alternative,
        png=_png(drawing),
        width_in=float(drawing.get_size_inches()[0]),
    )


def _png(drawing: Any) -> bytes:
    """With few colours: a third of the size, and nothing here has more."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    agg: Any = FigureCanvasAgg(drawing)
    drawing.set_dpi(DOTS_PER_INCH)
    agg.draw()
    width, height = agg.get_width_height()
    image = Image.frombuffer("RGBA", (width, height), agg.buffer_rgba()).convert("RGB")
    file = io.BytesIO()
    image.quantize(COLOURS_IN_FILE, dither=Image.Dither.NONE).save(file, "PNG", optimize=True)
    return file.getvalue()


def whole_numbers(axis: Any) -> None:
    """Ticks of an axis that counts."""
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def log_scale(axes: Any, values: Sequence[float]) -> None:
    """A logarithmic horizontal axis with plain numbers; at least two of them are named."""
    from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

    low, high = min(values), max(values)
    margin = max((high / low) ** 0.05, 1.15)
    axes.set_xscale("log")
    axes.set_xlim(low / margin, high * margin)
    ratio = high / low
    if ratio < 4:  # on its own a logarithmic locator would name far too many
        axes.xaxis.set_major_locator(MaxNLocator(4))
    else:
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0,) if ratio > 50 else (1.0, 2.0, 5.0)))
    plain_numbers(axes.xaxis)
    axes.xaxis.set_minor_formatter(NullFormatter())


def plain_numbers(axis: Any) -> None:
    """Neither offsets nor powers of ten at the ticks of an axis, nor zeros at the end."""
    from matplotlib.ticker import FuncFormatter

    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def few_numbers(axis: Any) -> None:
    """So few ticks that those of small numbers, which are long, have room."""
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator(6))
    plain_numbers(axis)


def bars(
    axes: Any, labels: Sequence[str], values: Sequence[float], words: Callable[[float], str]
) -> None:
    """Horizontal bars from top to bottom, each with its value in words behind it."""
    places = range(len(labels))
    axes.barh(places, values, height=0.65, color=PALE, edgecolor=INK, linewidth=0.8)
    for place, value in zip(places, values, strict=True):
        axes.annotate(
            words(value), (value, place), xytext=(3, 0), textcoords="offset points", va="center"
        )
    axes.set_yticks(places, labels)
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    axes.set_xlim(0, 1.18 * max(values, default=0.0) or 1.0)
