"""Figures of one network: its layers as a graph, and what they cost before and after a shrink."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mpinas.records import ParameterValue
from mpinas.report.drawing import INK, SOFT, canvas, few_numbers, finish
from mpinas.report.graph_figure import Box, Graph, draw_graphs
from mpinas.report.page import Figure
from mpinas.report.trial_view import LayerRow

FOLDED: Mapping[str, str] = {
    "batch_norm": "norm",
    "activation": "{function}",
    "dropout": "dropout {rate:.2g}",
}
"""Layers that stand in the box of the layer before them, and the words for them."""


def network_figure(rows: Sequence[LayerRow], *, name: str, title: str) -> Figure:
    """The assembled network, from the image to the class logits."""
    graph = network_graph(rows)
    drawing = draw_graphs([graph])
    gone = sum(row.after is None for row in rows)
    words = f" {gone} layers that the shrink took out have a dashed edge." if gone else ""
    return finish(
        drawing,
        name=name,
        title=title,
        caption="Height x width x channels of what each layer gives; what the shrink made of the "
        f"channels stands behind an arrow. Batch norm and the like are in the box before.{words}",
        alternative="; ".join(", ".join(box.lines) for box in graph.boxes.values()),
    )


def network_graph(rows: Sequence[LayerRow]) -> Graph:
    """The network with fewer boxes than layers."""
    homes = _homes(rows)
    boxes: dict[str, list[str]] = {}
    strengths: dict[str, str] = {}
    for row in rows:
        home, layer = homes[row.layer.name], row.layer
        if home == layer.name:
            boxes[home] = [_kind_words(row), _shape_words(row)]
            strengths[home] = _look(row)
        else:
            word = FOLDED[layer.kind].format(**layer.parameters)
            boxes[home][2:] = [", ".join([*boxes[home][2:], word])]
    edges = [
        (homes[source], homes[row.layer.name])
        for row in rows
        for source in row.layer.inputs
        if homes[source] != homes[row.layer.name]
    ]
    return Graph(
        title="",
        boxes={
            name: Box(lines=tuple(lines), look=strengths[name]) for name, lines in boxes.items()
        },
        edges=tuple(dict.fromkeys(edges)),
    )


def _homes(rows: Sequence[LayerRow]) -> dict[str, str]:
    """Layer -> the layer in whose box it stands."""
    readers: dict[str, int] = {}
    for row in rows:
        for source in row.layer.inputs:
            readers[source] = readers.get(source, 0) + 1
    homes: dict[str, str] = {}
    for row in rows:
        layer = row.layer
        folds = layer.kind in FOLDED and len(layer.inputs) == 1 and readers[layer.inputs[0]] == 1
        homes[layer.name] = homes[layer.inputs[0]] if folds else layer.name
    return homes


def _kind_words(row: LayerRow) -> str:
    given = row.layer.parameters
    window = given.get("kernel_size", given.get("pool_size"))
    words = row.layer.kind if window is None else f"{row.layer.kind} {_times(window)}"
    return words.replace("global_average_pool", "global average")


def _times(value: ParameterValue) -> str:
    return "x".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _shape_words(row: LayerRow) -> str:
    before, after = row.before.shape, None if row.after is None else row.after.shape
    text = _times(before)
    if after is None:
        return f"{text} → gone"
    return text if after == before else f"{text} → {after[-1]}"


def _look(row: LayerRow) -> str:
    if row.after is None:
        return "faint"
    return "end" if row.layer.kind == "input" else "strong" if row.before.flops else "plain"


def layer_flops_figure(
    rows: Sequence[LayerRow], *, is_shrunk: bool, name: str, title: str
) -> Figure | None:
    """FLOPs of each layer that has any, before and after the shrink; None where none has.

    Args:
        is_shrunk: whether there was a shrink that held; else there is one bar for each layer.
    """
    costly = [row for row in rows if row.before.flops]
    if not costly:
        return None
    drawing = canvas(1.1 + 0.4 * len(costly))
    axes = drawing.add_subplot()
    before = [row.before.flops / 1e6 for row in costly]
    after = [row.after.flops / 1e6 if row.after else 0.0 for row in costly]
    places = range(len(costly))
    thick, shift = (0.38, 0.19) if is_shrunk else (0.6, 0.0)
    look = {"ec": INK, "lw": 0.8}
    upper, lower = ([place + one for place in places] for one in (-shift, shift))
    axes.barh(upper, before, thick, fc="white", hatch="////", label="before", **look)
    if is_shrunk:
        axes.barh(lower, after, thick, fc=SOFT, label="after", **look)
        axes.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=2)
    for place, value, row in zip(places, before, costly, strict=True):
        words = _width_words(row) if is_shrunk else str(row.before.shape[-1])
        where = {"xytext": (4, 0), "textcoords": "offset points"}
        axes.annotate(words, (value, place), va="center", **where)
    axes.set_yticks(places, [row.layer.name for row in costly])
    axes.set_ylim(len(costly) - 0.5, -0.5)
    axes.set_xlim(0, 1.4 * max(before))
    few_numbers(axes.xaxis)
    axes.set_xlabel("MFLOPs of one image's forward pass")
    axes.grid(visible=False, axis="y")
    return finish(
        drawing,
        name=name,
        title=title,
        caption=_flops_caption(sum(before), sum(after), is_shrunk=is_shrunk),
        alternative="; ".join(
            f"{row.layer.name}: {one:.4g} to {two:.4g} MFLOPs"
            for row, one, two in zip(costly, before, after, strict=True)
        ),
    )


def _flops_caption(before: float, after: float, *, is_shrunk: bool) -> str:
    if not is_shrunk:
        return f"In all {before:.4g} MFLOPs. Behind each bar: output channels."
    return (
        "Behind each pair: output channels before → after. The shrink left "
        f"{after / before:.0%} of {before:.4g} MFLOPs."
    )


def _width_words(row: LayerRow) -> str:
    return f"{row.before.shape[-1]} → {row.after.shape[-1] if row.after else 'gone'}"
