"""One trial of a run: what was proposed, what it costs layer by layer, and what came of it.

Comes in: a run directory and the name of a trial. Comes out: :class:`TrialView`, as complete as the
files allow; a trial that waits, runs, failed or was never buildable has less.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mpinas.assembly.narrow import narrow
from mpinas.assembly.shapes import network_shapes
from mpinas.config_file import Knowledge
from mpinas.errors import RunDirectoryFault, UserMustChange, fault
from mpinas.proposals import Proposal, Proposals
from mpinas.records import (
    LayerSpec,
    NetworkSpec,
    Shape,
    ShrinkOutcome,
    TrialResult,
    to_plain,
    trial_number,
)
from mpinas.report.run_view import RunView, load_run
from mpinas.results import named_trial
from mpinas.run_directory import RunDirectory, RunningTrial
from mpinas.space.layers import LAYERS


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerCosts:
    """A layer as it stands in a network: for one image, as ``records.Costs`` counts."""

    shape: Shape
    parameters: int
    flops: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerRow:
    """A layer before and after the shrink; ``after`` is None where the shrink took it out."""

    layer: LayerSpec
    before: LayerCosts
    after: LayerCosts | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialView:
    """What is known of a trial.

    Attributes:
        status: how it ended, or ``running`` or ``waiting``.
        proposal: what it tries; None where it cannot be told, and then ``remark`` says why.
        layers: of its network, in its order; none where there is no network.
        is_shrunk: whether the layers' ``after`` is that of a network that was narrowed.
    """

    run: str
    trial_id: str
    status: str
    result: TrialResult | None
    running: RunningTrial | None
    proposal: Proposal | None
    remark: str
    layers: tuple[LayerRow, ...]
    is_shrunk: bool


def load_trial(path: Path, name: str, knowledge: Knowledge) -> TrialView:
    """Reads all about a trial; ``g3-t17`` is understood as ``g003-t017``.

    Raises:
        RunDirectoryFault: there is no such run, or no such trial in it so far.
    """
    view = load_run(path, knowledge)
    name = named_trial(name)
    result = next((one for one in view.results if one.trial_id == name), None)
    running = next((one for one in view.running if one.trial_id == name), None)
    proposals, remark = _proposals(path)
    proposal = None
    if proposals is not None:
        proposal, remark = _proposal(proposals, name, result, view)
    if result is None and running is None and proposal is None:
        raise RunDirectoryFault(_no_such_trial(path, name, view, _known(proposals, view)))
    widths = shrunk_widths(result)
    network = proposal.network if proposal is not None else None
    return TrialView(
        run=view.name,
        trial_id=name,
        status=result.status.value if result else "running" if running else "waiting",
        result=result,
        running=running,
        proposal=proposal,
        remark=remark,
        layers=layer_rows(network, widths) if network is not None else (),
        is_shrunk=widths is not None,
    )


def _proposals(path: Path) -> tuple[Proposals | None, str]:
    try:
        return Proposals(RunDirectory(path)), ""
    except UserMustChange as error:
        return None, str(error)


def _proposal(
    proposals: Proposals, name: str, result: TrialResult | None, view: RunView
) -> tuple[Proposal | None, str]:
    """What the trial tries, or why that cannot be told."""
    try:
        if result is not None:
            return proposals.of(result), ""
        return _proposed(proposals, view, _generation(name)).get(name), ""
    except UserMustChange as error:
        return None, str(error)


def _generation(name: str) -> int:
    """Of a trial; -1 for what is no name of one."""
    try:
        return trial_number(name)[0]
    except ValueError:
        return -1


def _proposed(proposals: Proposals, view: RunView, generation: int) -> Mapping[str, Proposal]:
    """All candidates of a generation; none of one that was not begun."""
    last = min(view.generation, view.generations - 1)
    return proposals.generation(generation) if 0 <= generation <= last else {}


def _known(proposals: Proposals | None, view: RunView) -> Sequence[str]:
    """The trials so far, those that wait included, in order."""
    known = {one.trial_id for one in view.results} | {one.trial_id for one in view.running}
    if proposals is not None:
        with suppress(UserMustChange):
            known |= _proposed(proposals, view, view.generation).keys()
    return sorted(known, key=trial_number)


def _no_such_trial(path: Path, name: str, view: RunView, known: Sequence[str]) -> str:
    nearest = _nearest(name, known)
    so_far = f"It has {len(known)}, {known[0]} to {known[-1]}" if known else "It has none so far"
    is_last = view.generation + 1 >= view.generations
    later = "" if is_last else "; those of later generations are not bred yet"
    return fault(
        str(path),
        "no such trial",
        f"TRIAL={name}",
        so_far + later,
        f"Near it: {', '.join(nearest)}" if nearest else "",
    )


def _nearest(name: str, known: Collection[str]) -> Sequence[str]:
    """Up to two names like that one: by generation and place, or by their letters."""
    try:
        generation, index = trial_number(name)
    except ValueError:
        return difflib.get_close_matches(name, known, n=2)

    def distance(other: str) -> tuple[int, int]:
        its_generation, its_index = trial_number(other)
        return abs(its_generation - generation), abs(its_index - index)

    return sorted(known, key=distance)[:2]


def shrunk_widths(result: TrialResult | None) -> Mapping[str, int] | None:
    """What the shrink left, of a network that went on narrower or might have."""
    if result is None or result.shrink is None or not result.shrink.widths:
        return None
    return None if result.shrink.outcome is ShrinkOutcome.BROKEN else result.shrink.widths


def layer_rows(network: NetworkSpec, widths: Mapping[str, int] | None) -> tuple[LayerRow, ...]:
    """Each layer with its costs.

    Args:
        widths: output channels by layer name after the shrink; None where nothing was cut.
    """
    before = _costs(network)
    after = before if widths is None else _costs(narrow(network, widths))
    return tuple(
        LayerRow(layer=layer, before=before[layer.name], after=after.get(layer.name))
        for layer in network.layers
    )


def _costs(network: NetworkSpec) -> Mapping[str, LayerCosts]:
    shapes = network_shapes(network)
    costs = {}
    for layer in network.layers:
        row, inputs = LAYERS[layer.kind], [shapes[name] for name in layer.inputs]
        costs[layer.name] = LayerCosts(
            shape=shapes[layer.name],
            parameters=row.parameter_count(layer.parameters, inputs),
            flops=row.flops(layer.parameters, inputs),
        )
    return costs


def to_json_view(view: TrialView) -> Mapping[str, Any]:
    """The machine-readable form of ``show RUN TRIAL --json``."""
    candidate = None if view.proposal is None else to_plain(view.proposal.candidate)
    return {
        "run": view.run,
        "trial_id": view.trial_id,
        "status": view.status,
        "result": None if view.result is None else to_plain(view.result),
        "running": None if view.running is None else to_plain(view.running),
        "candidate": candidate,
        "layers": [_layer_row(row, is_shrunk=view.is_shrunk) for row in view.layers],
        "remark": view.remark,
    }


def _layer_row(row: LayerRow, *, is_shrunk: bool) -> Mapping[str, Any]:
    after = None if row.after is None else to_plain(row.after)
    return {
        **to_plain(row.layer),
        "before": to_plain(row.before),
        "after": after if is_shrunk else None,
    }
