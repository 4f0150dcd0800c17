"""What a person sees of a run: no shrink is hidden, no line is wider than a terminal."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Sequence

import pytest
from rich.console import Console

from mpinas.records import (
    Costs,
    Failure,
    Shrink,
    ShrinkOutcome,
    Times,
    TrialResult,
    TrialStatus,
    Worker,
    trial_id,
)
from mpinas.report.run_view import RunView
from mpinas.report.tables import headline, render
from mpinas.run_directory import LostWorker

COSTS = Costs(flops=12_300_000, parameters=50_000, activations=1)
SHRUNK, NOTHING, BROKEN = ShrinkOutcome


def costs(share: float) -> Costs:
    """What is left of the network when that share of its FLOPs is; of parameters, half as much."""
    return Costs(
        flops=round(share * COSTS.flops),
        parameters=round(share * COSTS.parameters / 2),
        activations=1,
    )


def plain(index: int, host: str = "laptop") -> TrialResult:
    """A trial without a shrink; the fitness falls with the index."""
    return TrialResult(
        trial_id=trial_id(0, index),
        network_hash="",
        status=TrialStatus.COMPLETE,
        fitness=1 - 0.01 * index,
        costs=COSTS,
        times=Times(wall_time_s=1.5),
        worker=Worker(host=host, rank=1, device="cpu"),
    )


def after(
    index: int, outcome: ShrinkOutcome, kept: Costs | None, *warnings: str, host: str = "laptop"
) -> TrialResult:
    """A trial with a shrink."""
    shrink = Shrink(outcome=outcome, steps=9, alive_flops_at_start=1, warnings=warnings)
    return dataclasses.replace(plain(index, host), shrunk_costs=kept, shrink=shrink)


def test_a_search_of_a_comparison_shares_its_workers() -> None:
    """What it did not use, others did: nobody was idle for that."""
    alone = " ".join(headline(view([plain(0)])))
    shared = " ".join(headline(dataclasses.replace(view([plain(0)]), is_shared=True)))
    assert "workers were training for 82% of the time" in alone
    assert "workers were training" not in shared
    assert "its trials had 82% of the workers' time" in shared


def failed(result: TrialResult) -> TrialResult:
    """The same, ended in a loss that is no number."""
    ended = {"status": TrialStatus.FAILED, "failure": Failure.NOT_A_NUMBER, "fitness": None}
    return dataclasses.replace(result, **ended)


def view(results: Sequence[TrialResult]) -> RunView:
    return RunView(
        name="small",
        status="done",
        generation=1,
        generations=1,
        individuals=len(results),
        workers=2,
        wall_time_s=19.0,
        utilisation=0.82,
        results=tuple(results),
        best=results[0],
        running=(),
    )


def shown(*results: TrialResult, width: int = 80) -> list[str]:
    """The lines of ``show`` on a terminal."""
    file = io.StringIO()
    Console(file=file, width=width, highlight=False).print(render(view(results)))
    return [line.rstrip() for line in file.getvalue().splitlines()]


def row(lines: list[str], index: int) -> str:
    """The line of a trial."""
    return next(line for line in lines if line.split()[1:2] == [trial_id(0, index)])


def words(lines: list[str]) -> str:
    """All of it, wherever the lines break."""
    return " ".join(" ".join(lines).split())


def test_without_a_shrink_nothing_is_said_of_one() -> None:
    assert shown(plain(0), failed(plain(1))) == [
        "small: done, 1 of 1 generations, 2 of 2 trials, 19 s, 2 workers",
        "workers were training for 82% of the time",
        "   trial      accuracy  parameters  MFLOPs  seconds  host",
        "1  g000-t000    1.0000      50,000   12.30      1.5  laptop",
        "1 x nan",
    ]


def test_a_shrunk_trial_shows_what_it_cost_before_and_after() -> None:
    lines = shown(after(0, SHRUNK, costs(0.38)))
    assert row(lines, 0).split()[3:8] == ["50,000", "12.30", "4.67", "(38%)", "1.5"]
    assert any("MFLOPs" in line and "shrunk to" in line for line in lines)


def test_what_came_of_each_shrink_is_seen() -> None:
    lines = shown(
        after(0, NOTHING, COSTS), after(1, BROKEN, None), after(2, SHRUNK, costs(0.5)), plain(3)
    )
    assert "nothing removed" in row(lines, 0)
    assert "%" not in row(lines, 0), "it would look like a shrink"
    assert "broken" in row(lines, 1)
    assert "%" not in row(lines, 1)
    assert "(50%)" in row(lines, 2)
    assert "no shrink" in row(lines, 3)


def test_of_all_shrinks_it_is_told_how_they_ended() -> None:
    lines = shown(
        *(after(index, SHRUNK, costs(0.2)) for index in range(2)),
        after(2, NOTHING, COSTS),
        after(3, BROKEN, None),
        plain(4),
        failed(after(5, SHRUNK, costs(0.1))),
    )
    assert "shrink: 2 shrunk, 1 nothing removed, 1 broken and trained unshrunk" in lines


def test_a_shrink_that_never_removes_anything_is_not_passed_over() -> None:
    lines = shown(after(0, NOTHING, COSTS), after(1, NOTHING, COSTS))
    assert "shrink: 0 shrunk, 2 nothing removed, 0 broken and trained unshrunk" in lines
    assert "100% of the FLOPs and 100% of the parameters kept on average" in lines


def test_the_mean_counts_broken_ones_as_whole_and_failed_trials_not_at_all() -> None:
    """Over the shrunk ones alone it would promise 20 %."""
    lines = shown(
        *(after(index, SHRUNK, costs(0.2)) for index in range(2)),
        after(2, NOTHING, COSTS),
        after(3, BROKEN, None),
        plain(4),
        failed(after(5, SHRUNK, costs(0.1))),
    )
    mean = "60% of the FLOPs and 55% of the parameters kept on average (broken: 100%)"
    assert mean in lines


def test_the_mean_is_of_shares_so_that_large_networks_do_not_drown_small_ones() -> None:
    large = dataclasses.replace(COSTS, flops=1_000 * COSTS.flops)
    lines = shown(
        dataclasses.replace(after(0, SHRUNK, large), costs=large), after(1, SHRUNK, costs(0.2))
    )
    assert "60% of the FLOPs" in words(lines)


def test_costs_that_could_not_be_told_and_costs_of_nothing_are_no_error() -> None:
    nothing = Costs(flops=0, parameters=0, activations=0)
    lines = shown(
        dataclasses.replace(after(0, SHRUNK, costs(0.5)), costs=None),
        dataclasses.replace(after(1, BROKEN, None), costs=None),
        dataclasses.replace(after(2, SHRUNK, nothing), costs=nothing),
    )
    assert "shrink: 2 shrunk, 0 nothing removed, 1 broken and trained unshrunk" in lines
    assert "100% of the FLOPs" in words(lines)
    unknown = dataclasses.replace(after(0, BROKEN, None), costs=None)
    assert "on average" not in words(shown(unknown))


def test_only_failed_trials_had_a_shrink() -> None:
    text = words(shown(plain(0), failed(after(1, SHRUNK, costs(0.5), "odd"))))
    assert "on average" not in text
    assert "trials with shrink warnings: 1" in text


def test_warnings_are_counted_by_trial_and_the_first_is_told() -> None:
    lines = shown(
        after(0, SHRUNK, costs(0.5)),
        after(1, SHRUNK, costs(0.5), "alive: 0.4 of [conv2d] at step 0 [/]", "not this one"),
        after(2, NOTHING, COSTS, "nor this"),
    )
    said = "trials with shrink warnings: 2; the first, of g000-t001: "
    assert said + "alive: 0.4 of [conv2d] at step 0 [/]" in words(lines)
    assert "not this" not in words(lines)
    assert "nor this" not in words(lines)


@pytest.mark.parametrize("host", ["laptop", "gpu-a100-017", "node0123.cluster.example.org"])
def test_it_fits_a_terminal_and_only_the_host_gives_way(host: str) -> None:
    large = Costs(flops=12_345_670_000, parameters=34_567_890, activations=1)
    half = dataclasses.replace(large, flops=large.flops // 2)
    trials = [
        dataclasses.replace(
            after(index, outcome, half, "w" * 30 + " of a warning " * 9, host=host),
            costs=large,
            times=Times(wall_time_s=12345.6),
        )
        for index, outcome in enumerate([SHRUNK, NOTHING, BROKEN] * 4)
    ]
    lines = shown(*trials)
    assert max(map(len, lines)) <= 80
    for index, cell in ((0, "6172.84 (50%)"), (1, "nothing removed"), (2, "broken")):
        before = ["34,567,890", "12345.67"]
        assert row(lines, index).split()[3:-1] == [*before, *cell.split(), "12345.6"]
    assert any("shrunk to" in line and "parameters" in line for line in lines)


def test_it_is_plain_text() -> None:
    """A job log may be ASCII."""
    lines = shown(after(0, SHRUNK, costs(0.5), "odd"), after(1, NOTHING, COSTS))
    assert "\n".join(lines).isascii()


def test_lost_workers_stand_under_the_headline() -> None:
    lost = LostWorker(host="n1", rank=2, device="cpu", reason="its process died", lost_at=1.0)
    lines = list(headline(dataclasses.replace(view([plain(0)]), lost=(lost,))))
    assert lines[0].endswith("2 workers and 1 lost")
    assert lines[-1] == "lost: worker 2 on n1 (cpu): its process died"
