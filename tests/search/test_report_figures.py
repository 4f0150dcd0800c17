"""Text in figures of reports: none upon another, none cut off, whatever the figures are of."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from legible import all_legible, illegible, texts
from matplotlib.patches import FancyBboxPatch
from reporting import NOON, failing, part_of_run, timed, whole_run
from searching import drive, new_run, search_in

from mpinas.evolution.operators import OPERATORS
from mpinas.records import (
    Costs,
    Failure,
    Times,
    TrialResult,
    TrialSpec,
    TrialStatus,
    Worker,
    trial_id,
)
from mpinas.report import drawing
from mpinas.report.accuracy_figures import accuracy_against_flops
from mpinas.report.graph_figure import Box, Graph, draw_graphs
from mpinas.report.network_figures import FOLDED
from mpinas.report.page import Figure
from mpinas.report.search_page import search_page
from mpinas.report.timeline import Trials, timeline
from mpinas.report.timeline_figure import timeline_figure
from mpinas.run_directory import RunDirectory
from mpinas.space.layers import LAYERS


@pytest.fixture
def drawings(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Everything that is drawn from here on, by name, as matplotlib has it."""
    found: dict[str, Any] = {}
    finish = drawing.finish

    def finish_and_keep(one: Any, *, name: str, **words: str) -> Figure:
        found[name] = one
        return finish(one, name=name, **words)

    for module in ("accuracy", "genome", "network", "run", "timeline"):
        name = "timeline_figure" if module == "timeline" else f"{module}_figures"
        monkeypatch.setattr(f"mpinas.report.{name}.finish", finish_and_keep)
    return found


def with_failures(folder: Path) -> RunDirectory:
    directory = new_run(folder, "run", "tuner.individuals=12")
    evaluate = timed(3, failing(itertools.cycle(Failure)))
    drive(search_in(directory), stop_after=20, evaluate=evaluate)
    return directory


def on_odd_hosts(folder: Path) -> RunDirectory:
    """With names that are long, or hold what matplotlib might take for a formula."""
    directory = new_run(folder, "run", "trial.fake.failures={}")
    evaluate = timed(2)
    hosts = itertools.cycle(["$x^2$", "gpu-node-of-a-large-cluster-0042.example.org", "_a_{b"])

    def run(spec: TrialSpec) -> TrialResult:
        return replace(evaluate(spec), worker=Worker(host=next(hosts), rank=1234, device="cpu"))

    drive(search_in(directory), stop_after=9, evaluate=run)
    return directory


def with_many_species(folder: Path) -> RunDirectory:
    modules = ("tuner.modules.population=40", "tuner.modules.species=12")
    blueprints = ("tuner.blueprints.population=24", "tuner.blueprints.species=8")
    return whole_run(folder, 6, 24, *modules, *blueprints)


RUNS: dict[str, Callable[[Path], RunDirectory]] = {
    "whole": lambda folder: whole_run(folder, 4, 12),
    "one trial": lambda folder: part_of_run(folder, 1),
    "long": lambda folder: whole_run(folder, 120, 6),
    "failures": with_failures,
    "hosts": on_odd_hosts,
    "species": with_many_species,
}


@pytest.mark.parametrize("run", RUNS)
def test_figures_of_a_run(run: str, drawings: dict[str, Any], tmp_path: Path) -> None:
    search_page(RUNS[run](tmp_path).path)
    assert all_legible(drawings)


@pytest.mark.parametrize("low", [1e-4, 0.013, 0.97, 480.0, 2e6])
@pytest.mark.parametrize("factor", [1.0, 1.02, 1.4, 3.0, 9.0, 11.0, 49.0, 1e3, 1e7])
def test_axis_of_flops(low: float, factor: float, drawings: dict[str, Any]) -> None:
    """At least two numbers stand on it, and not so many that they cannot be read."""
    results = [_trial(index, flops=round(1e6 * low * factor**index)) for index in range(2)]
    with drawing.style():
        accuracy_against_flops(results)
    (figure,) = drawings.values()
    assert all_legible(drawings)
    numbers = {label.get_text() for label in figure.axes[0].get_xticklabels()}
    seen = {text.get_text() for text, _ in texts(figure)} & numbers
    assert len(seen) >= 2


@pytest.mark.parametrize("seconds", [0.004, 3.0, 170.0, 190.0, 10_000.0, 11_000.0, 9e6])
@pytest.mark.parametrize("workers", [1, 3, 64])
def test_axis_of_time(seconds: float, workers: int, drawings: dict[str, Any]) -> None:
    results = [
        _trial(index, ended_at=NOON + seconds, wall_time_s=seconds) for index in range(workers)
    ]
    with drawing.style():
        timeline_figure(timeline([Trials(results=results, told=0, individuals=workers)], ()))
    assert all_legible(drawings)


def _trial(index: int, flops: int = 1, ended_at: float = NOON, wall_time_s: float = 1.0) -> Any:
    return TrialResult(
        trial_id=trial_id(0, index),
        network_hash="0",
        status=TrialStatus.COMPLETE,
        fitness=0.5 + index / 100,
        costs=Costs(flops=flops, parameters=1, activations=1),
        times=Times(ended_at=ended_at, wall_time_s=wall_time_s),
        worker=Worker(host="node", rank=index + 1, device="cpu"),
    )


def test_the_longest_words_fit_into_a_box() -> None:
    """Kinds of layers that a search builds, operators, and what is folded into a box."""
    kinds = [f"{kind} 11x11" for kind, row in LAYERS.items() if row.gene is not None]
    kinds += ["global average", "concatenate", "species 12", "m123456"]
    folded = ", ".join(
        word.format(function="softmax", rate=0.25)
        for kind, word in FOLDED.items()
        if kind != "activation"
    )
    shapes = ("128x128x1024 → 1024", f"relu, {folded}", "kernel_size 11")
    lines = (*OPERATORS, *shapes)
    boxes = {kind: Box(lines=(kind, *lines), look="strong") for kind in kinds}
    with drawing.style():
        figure = draw_graphs([Graph(title="", boxes=boxes, edges=())])
    widths = [patch.get_window_extent().width for patch in figure.findobj(FancyBboxPatch)]
    shown = list(texts(figure))
    assert {text.get_text() for text, _ in shown} == {*kinds, *lines}, "cut by an ellipsis"
    assert all(box.width < min(widths) for _, box in shown)


def test_bad_figures_are_noticed() -> None:
    with drawing.style():
        figure = drawing.canvas(2.0)
        axes = figure.add_subplot()
        axes.set_xticks([0, 0.001, 1], ["a long label", "another long label", "b"])
        axes.text(0.9, 0.5, "text that goes beyond the end of the drawing" * 3, in_layout=False)
        faults = illegible(figure)
    assert "'a long label' upon 'another long label'" in faults
    assert any(fault.startswith("cut off: 'text that") for fault in faults)
