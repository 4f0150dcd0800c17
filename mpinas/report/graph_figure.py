"""Draws small graphs as boxes with text and arrows between them, from top to bottom."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mpinas.report.drawing import INK, SOFT, STANDARD_WIDTH_IN, canvas
from mpinas.report.graph_layout import Edge, Layout, Name, Point, lay_out

BOX_WIDTH, BOX_GAP = 1.75, 0.2
"""Inches."""
LINE_HEIGHT, PADDING, ROW_GAP = 0.17, 0.13, 0.3
FONT_SIZE = 8.5
LONGEST_LINE = 24
"""Characters that fit into a box."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """A node.

    Attributes:
        lines: its text; the first is bold.
        look: ``plain``; ``end`` for input and output, ``strong`` for what matters.
    """

    lines: tuple[str, ...]
    look: str = "plain"


@dataclass(frozen=True, slots=True, kw_only=True)
class Graph:
    """What is drawn.

    Attributes:
        boxes: in topological order.
        dashed: edges that are drawn so.
        rows: where boxes have to be, see ``graph_layout.lay_out``; None: wherever.
        row_names: at the left edge, by row.
    """

    title: str
    boxes: Mapping[Name, Box]
    edges: tuple[Edge, ...]
    dashed: frozenset[Edge] = frozenset()
    rows: Mapping[Name, int] | None = None
    row_names: tuple[str, ...] = ()


_LOOKS: Mapping[str, Mapping[str, Any]] = {
    "plain": {"fc": "white", "ec": INK, "lw": 1.0},
    "end": {"fc": "#ececec", "ec": SOFT, "lw": 1.0},
    "strong": {"fc": "white", "ec": INK, "lw": 2.2},
    "faint": {"fc": "white", "ec": SOFT, "lw": 1.0, "ls": "--"},
}


def draw_graphs(graphs: Sequence[Graph], *, least_in: float = STANDARD_WIDTH_IN) -> Any:
    """All graphs below each other, each under its title, as a drawing.

    Args:
        least_in: width of the drawing, where the graphs need no more.
    """
    layouts = [lay_out(list(graph.boxes), graph.edges, graph.rows) for graph in graphs]
    heights = [_heights(graph, layout) for graph, layout in zip(graphs, layouts, strict=True)]
    width_in = max(least_in, *(_width_in(*pair) for pair in zip(graphs, layouts, strict=True)))
    totals = [
        own[-1] + (0.35 if graph.title else 0.1) for own, graph in zip(heights, graphs, strict=True)
    ]
    drawing = canvas(sum(totals), width_in)
    drawing.set_layout_engine("none")
    axes = drawing.add_axes((0, 0, 1, 1))
    axes.set_xlim(0, width_in)
    axes.set_ylim(sum(totals), 0)
    axes.axis("off")
    top = 0.0
    for graph, layout, own, total in zip(graphs, layouts, heights, totals, strict=True):
        if graph.title:
            axes.text(0.08, top + 0.2, graph.title, fontsize=10, weight="bold", va="center")
        _draw(axes, graph, layout, own, top + total - own[-1], width_in)
        top += total
    return drawing


def _width_in(graph: Graph, layout: Layout) -> float:
    margin = 0.9 if graph.row_names else 0.2
    return layout.width * (BOX_WIDTH + BOX_GAP) + margin


def _heights(graph: Graph, layout: Layout) -> list[float]:
    """Where each row begins, in inches, and at last where all of it ends."""
    lines = [1] * layout.rows
    for name, (_, row) in layout.places.items():
        lines[int(row)] = max(lines[int(row)], len(graph.boxes[name].lines))
    places = [0.0]
    for count in lines:
        places.append(places[-1] + count * LINE_HEIGHT + PADDING + ROW_GAP)
    return places


def _draw(
    axes: Any, graph: Graph, layout: Layout, heights: Sequence[float], top: float, width_in: float
) -> None:
    left = 0.7 if graph.row_names else 0.0

    def place(point: Point) -> Point:
        x = (width_in + left) / 2 + point[0] * (BOX_WIDTH + BOX_GAP)
        row = int(point[1])
        return x, top + (heights[row] + heights[row + 1] - ROW_GAP) / 2

    for row, name in enumerate(graph.row_names):
        axes.text(0.08, place((0, row))[1], name, fontsize=FONT_SIZE, color=SOFT, va="center")
    for edge, (first, *passing, last) in layout.routes.items():
        points = [place(first)]
        for point in passing:  # straight down beside the boxes of the row
            (x, _), row = place(point), int(point[1])
            points += [(x, top + heights[row]), (x, top + heights[row + 1] - ROW_GAP)]
        _draw_edge(axes, graph, edge, [*points, place(last)])
    for name, box in graph.boxes.items():
        _draw_box(axes, box, place(layout.places[name]))


def _half_height(box: Box) -> float:
    return (len(box.lines) * LINE_HEIGHT + PADDING) / 2


def _draw_edge(axes: Any, graph: Graph, edge: Edge, points: Sequence[Point]) -> None:
    start, end = (_half_height(graph.boxes[name]) for name in edge)
    first, *between, last = points
    path = [(first[0], first[1] + start), *between, (last[0], last[1] - end)]
    look = {"color": INK, "lw": 1.0, "ls": "--" if edge in graph.dashed else "-"}
    if len(path) > 2:
        axes.plot([x for x, _ in path[:-1]], [y for _, y in path[:-1]], **look)
    arrow = {
        "arrowstyle": "-|>,head_width=0.22,head_length=0.4",
        "shrinkA": 0,
        "shrinkB": 0,
        **look,
    }
    axes.annotate("", path[-1], path[-2], arrowprops=arrow)


def _draw_box(axes: Any, box: Box, centre: Point) -> None:
    from matplotlib.patches import FancyBboxPatch

    x, y = centre
    half = _half_height(box)
    shape = FancyBboxPatch(
        (x - BOX_WIDTH / 2, y - half),
        BOX_WIDTH,
        2 * half,
        boxstyle="round,pad=0,rounding_size=0.06",
        zorder=2,
        **_LOOKS[box.look],
    )
    axes.add_patch(shape)
    for index, line in enumerate(box.lines):
        axes.text(
            x,
            y - half + PADDING / 2 + (index + 0.52) * LINE_HEIGHT,
            _cut(line),
            fontsize=FONT_SIZE,
            weight="bold" if index == 0 else "normal",
            color=INK if box.look != "faint" else SOFT,
            ha="center",
            va="center",
            zorder=3,
        )


def _cut(line: str) -> str:
    return line if len(line) <= LONGEST_LINE else line[: LONGEST_LINE - 1] + "…"
