"""One trial for people: what came of it, its genome, its network and its curves. Draws only.

All of it is ASCII, for job logs.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator, Sequence

from rich.console import JustifyMethod
from rich.table import Table
from rich.text import Text

from mpinas.evolution.genome import (
    INPUT_NODE,
    OUTPUT_NODE,
    BlueprintGenome,
    Candidate,
    Genome,
    LayerNode,
    ModuleGenome,
)
from mpinas.records import (
    Costs,
    Curves,
    LayerSpec,
    ParameterValue,
    Shape,
    Shrink,
    Times,
    TrialResult,
)
from mpinas.report.shrinks import outcome_words
from mpinas.report.trial_view import LayerRow, TrialView
from mpinas.space.layers import LAYERS

BAR_CHARACTERS = 20
INDENT = "  "

SHORT = {
    "kernel_size": "{}",
    "pool_size": "{}",
    "strides": "stride {}",
    "padding": "{}",
    "function": "{}",
    "rate": "rate {}",
    "depth_multiplier": "times {}",
}
"""How parameters of layers are written; others as ``name=value``."""

USUAL = (("strides", (1, 1)), ("padding", "same"), ("use_bias", False))
"""Values that need no word."""


def trial_parts(view: TrialView, *, wide: bool = True) -> Iterator[Text | Table]:
    """All that is known of a trial, one below the other.

    Args:
        wide: whether there are the columns for everything; else what matters least is left out.
    """
    result = view.result
    yield Text(_headline(view), style="bold")
    if result is not None:
        yield from _outcome(result)
    if view.proposal is not None:
        yield from _genome(view.proposal.candidate)
    if view.remark:
        yield from (_title("genome and network"), _indented(view.remark))
    if view.layers:
        yield from (_title("network"), _network(view, wide=wide))
    if result is not None and result.curves.training_loss:
        yield from (_title(_curves_title(result)), _curves(result.curves, wide=wide))
    if result is not None and result.error:
        yield from (_title("error"), _indented(result.error.rstrip()))


def _headline(view: TrialView) -> str:
    name, result, running = f"{view.trial_id} of {view.run}", view.result, view.running
    if result is not None and result.fitness is not None:
        return f"{name}: {view.status}, accuracy {result.fitness:.4f}"
    if result is not None and result.failure is not None:
        return f"{name}: {view.status} ({result.failure.value})"
    if running is None:
        return f"{name}: {view.status}"
    epoch = f", epoch {running.epoch} of {running.epochs} over" if running.epochs else ""
    accuracy = "" if running.accuracy is None else f", accuracy {running.accuracy:.4f}"
    return f"{name}: running on {running.host}, worker {running.rank}{epoch}{accuracy}"


def _outcome(result: TrialResult) -> Iterator[Text]:
    if result.costs is not None:
        yield _indented(f"network   {_costs_words(result.costs)}")
    if result.shrink is not None:
        yield from _shrink(result, result.shrink)
    if result.worker is not None:
        worker = result.worker
        yield _indented(f"ran on    {worker.host}, worker {worker.rank}, {worker.device}")
    if result.times.wall_time_s:
        yield _indented(f"seconds   {_times_words(result.times)}")
    if result.versions:
        versions = ", ".join(f"{name} {number}" for name, number in result.versions.items())
        yield _indented(f"versions  {versions}")


def _costs_words(costs: Costs) -> str:
    return (
        f"{costs.flops / 1e6:.2f} MFLOPs, {costs.parameters:,} parameters, "
        f"{costs.activations:,} activations"
    )


def _shrink(result: TrialResult, shrink: Shrink) -> Iterator[Text]:
    yield _indented(f"shrink    {outcome_words(shrink.outcome)} after {shrink.steps} steps")
    if result.shrunk_costs is not None:
        yield _indented(f"to        {_costs_words(result.shrunk_costs)}")
    measured = (
        ("before the cut", shrink.accuracy_before_cut),
        ("after it", shrink.accuracy_after_cut),
    )
    words = [f"{value:.4f} {when}" for when, value in measured if value is not None]
    if words:
        yield _indented(f"accuracy  {', '.join(words)}")
    if shrink.cut_error is not None:
        yield _indented(
            f"error     the cut changed the logits by {shrink.cut_error:.1%} of their size"
        )
    yield from (_indented(f"warning   {line}") for line in shrink.warnings)


def _times_words(times: Times) -> str:
    """By phase, in the order they come; phases that were not are left out."""
    phases = ("start", "build", "shrink", "rebuild", "train", "evaluate")
    seconds = [(name, getattr(times, f"{name}_s")) for name in phases]
    words = ", ".join(f"{name} {value:.2f}" for name, value in seconds if value)
    in_all = f"in all {times.wall_time_s:.2f}, processor {times.cpu_s:.2f}"
    return f"{words}; {in_all}" if words else in_all


def _genome(candidate: Candidate) -> Iterator[Text]:
    blueprint = candidate.blueprint
    modules = {chosen.species: chosen.module.id for chosen in candidate.modules}
    yield _title(f"blueprint {blueprint.id}")
    yield from _hyperparameters(blueprint)
    for place in blueprint.nodes:
        yield _indented(
            f"node {place.id}  species {place.species}, module {modules[place.species]}"
        )
    yield _connections(blueprint)
    for chosen in candidate.modules:
        yield _title(f"module {chosen.module.id}, species {chosen.species}")
        yield from _hyperparameters(chosen.module)
        yield from (_indented(_node_words(node)) for node in chosen.module.nodes)
        yield _connections(chosen.module)


def _hyperparameters(genome: Genome) -> Iterator[Text]:
    words = [f"{name} {_value(value)}" for name, value in genome.hyperparameters.items()]
    if words:
        yield _indented(", ".join(words))


def _node_words(node: LayerNode) -> str:
    """A layer with the parameters that it follows; others are carried along."""
    gene = LAYERS[node.kind].gene
    active = gene.active(node.parameters) if gene is not None else tuple(node.parameters)
    words = ", ".join(f"{name} {_value(node.parameters[name])}" for name in active)
    return f"node {node.id}  {node.kind}{'  ' if words else ''}{words}"


def _connections(genome: BlueprintGenome | ModuleGenome) -> Text:
    def words(*, enabled: bool) -> str:
        chosen = [one for one in genome.connections if one.enabled == enabled]
        return ", ".join(f"{_end(one.start)}>{_end(one.end)}" for one in chosen)

    disabled = words(enabled=False)
    off = f" (disabled: {disabled})" if disabled else ""
    return _indented(f"connections  {words(enabled=True)}{off}")


def _end(node: int) -> str:
    return {INPUT_NODE: "in", OUTPUT_NODE: "out"}.get(node, str(node))


def _network(view: TrialView, *, wide: bool) -> Table:
    """A row for each layer; costs are those before the shrink, the width says what it left."""
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    names = ["", *(row.layer.name for row in view.layers[:-1])]
    columns = {
        "layer": [row.layer.name for row in view.layers],
        "settings": [
            _settings(row.layer, before) for row, before in zip(view.layers, names, strict=True)
        ],
        "output": [_shape(row.before.shape) for row in view.layers],
        "parameters": [f"{row.before.parameters:,}" for row in view.layers],
        "FLOPs": [f"{row.before.flops:,}" for row in view.layers],
        "width": [_width(row) for row in view.layers],
    }
    if not wide:
        del columns["settings"], columns["parameters"], columns["FLOPs"]
    for name in columns:
        justify: JustifyMethod = "right" if name in ("parameters", "FLOPs") else "left"
        folds = name in ("layer", "settings")
        table.add_column(name, justify=justify, no_wrap=not folds, overflow="fold")
    for cells in zip(*columns.values(), strict=True):
        table.add_row(*map(Text, cells))
    return table


def _settings(layer: LayerSpec, before: str) -> str:
    """What its name and its output do not say; what it reads, if not the layer before alone."""
    own = LAYERS[layer.kind].width
    words = [
        SHORT.get(name, f"{name}={{}}").format(_value(value))
        for name, value in layer.parameters.items()
        if name not in (own, "shape", "use_bias") and (name, value) not in USUAL
    ]
    words += ["bias"] if layer.parameters.get("use_bias") else []
    if layer.inputs and layer.inputs != (before,):
        words.append(f"of {' '.join(layer.inputs)}")
    return ", ".join(words)


def _width(row: LayerRow) -> str:
    before = row.before.shape[-1]
    if row.after is None:
        return f"{before} -> gone"
    after = row.after.shape[-1]
    return str(before) if after == before else f"{before} -> {after}"


def _shape(shape: Shape) -> str:
    return "x".join(map(str, shape))


def _value(value: ParameterValue) -> str:
    if isinstance(value, tuple):
        return "x".join(map(str, value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _curves_title(result: TrialResult) -> str:
    return "epochs after the shrink" if result.shrink is not None else "epochs"


def _curves(curves: Curves, *, wide: bool) -> Table:
    """A row for each epoch; the bar is the validation accuracy, from 0 to 1."""
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    heads = ("", "loss", "accuracy", "val. loss", "val. acc.", *(("0 to 1",) if wide else ()))
    for name in heads:
        table.add_column(name, justify="left" if name == "0 to 1" else "right", no_wrap=True)
    columns = (
        curves.training_loss,
        curves.training_accuracy,
        curves.validation_loss,
        curves.validation_accuracy,
    )
    for index in range(max(map(len, columns))):
        cells = [_number(column, index) for column in columns]
        bar = (_bar(curves.validation_accuracy, index),) if wide else ()
        table.add_row(str(index + 1), *cells, *bar)
    return table


def _number(column: Sequence[float], index: int) -> str:
    return f"{column[index]:.4f}" if index < len(column) else ""


def _bar(accuracies: Sequence[float], index: int) -> str:
    if index >= len(accuracies) or not math.isfinite(accuracies[index]):
        return ""
    filled = round(BAR_CHARACTERS * min(1.0, max(0.0, accuracies[index])))
    return "|" + "#" * filled + " " * (BAR_CHARACTERS - filled) + "|"


def _title(text: str) -> Text:
    return Text.assemble("\n", (text, "bold"))


def _indented(text: str) -> Text:
    return Text(textwrap.indent(text, INDENT))
