"""The figures of a comparison, on trials whose times and accuracies are known."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from io import StringIO
from math import inf, nan
from pathlib import Path
from statistics import fmean

import pytest
from rich.console import Console
from searching import FAKE_SEARCH, config_file, drive, fake_result, with_key

from mpinas.comparison import ComparedRun, Comparison, comparison_of
from mpinas.config_file import dump_config
from mpinas.errors import RunDirectoryFault
from mpinas.opening import RunOptions, fill_directory, read_config, search_setting
from mpinas.records import (
    Costs,
    Curves,
    Failure,
    Shrink,
    ShrinkOutcome,
    Times,
    TrialResult,
    TrialSpec,
    TrialStatus,
    trial_number,
)
from mpinas.report.comparison_json import to_json_view
from mpinas.report.comparison_page import comparison_page
from mpinas.report.comparison_screen import ComparisonScreen
from mpinas.report.comparison_tables import (
    data_of_paper,
    phase_rows,
    progress_rows,
    ratio_words,
    remarks,
    render_comparison,
    table_1,
)
from mpinas.report.comparison_view import ComparisonReader, ComparisonView, load_comparison
from mpinas.report.estimates import Estimate, estimate
from mpinas.report.page import figures
from mpinas.report.shrinks import mean_kept, shrink_lines
from mpinas.report.training_flops import training_flops
from mpinas.run_directory import RunDirectory, Status, create_run_directory, save_status
from mpinas.search import Search

INDIVIDUALS, GENERATIONS = 4, 2
Evaluate = Callable[[ComparedRun, TrialSpec], TrialResult]


def compared(
    folder: Path,
    evaluate: Evaluate,
    *,
    experiments: int = 1,
    search_s: Mapping[str, float] | None = None,
) -> ComparisonView:
    """A comparison of ``plain`` and ``other`` whose trials end as told.

    Args:
        search_s: processor seconds of each generation's search, by arm.
    """
    arms = {"plain": {}, "other": {"trial.epochs": 4}}
    text = with_key(FAKE_SEARCH, "comparison", experiments=experiments, arms=arms)
    text = with_key(text, "tuner", generations=GENERATIONS, individuals=INDIVIDUALS)
    text = with_key(text, "space", max_parameters=None)
    text = with_key(text, "trial", fake={})
    file = config_file(folder, text)
    comparison = comparison_of(read_config(RunOptions(config=file)), folder / "here", str(file))
    comparison.directory.path.mkdir()
    comparison.directory.config.write_text(dump_config(comparison.config))
    for run in comparison.runs:
        _drive(run, evaluate)
        spent_s = dict.fromkeys(range(GENERATIONS), (search_s or {}).get(run.arm, 0.0))
        save_status(RunDirectory(run.path), Status(search_s=spent_s))
    return load_comparison(folder / "here")


def _drive(run: ComparedRun, evaluate: Evaluate) -> None:
    directory = create_run_directory(run.path, lambda new: fill_directory(run.config, new))
    search = Search(search_setting(run.config, directory), directory)
    drive(search, evaluate=lambda spec: evaluate(run, spec))


def ended(spec: TrialSpec, fitness: float, seconds: float, start_s: float = 3.0) -> TrialResult:
    """A trial that took so many seconds on its worker; how long it waited to start is no time of
    its own."""
    whole_s, cpu_s = start_s + seconds, 2 * seconds
    times = Times(start_s=start_s, train_s=seconds, wall_time_s=whole_s, cpu_s=cpu_s)
    return replace(fake_result(spec), fitness=fitness, times=times)


def test_speed_up_is_the_first_arms_time_over_the_others(tmp_path: Path) -> None:
    def evaluate(run: ComparedRun, spec: TrialSpec) -> TrialResult:
        seconds = {"plain": 8.0, "other": 2.0}[run.arm]
        if trial_number(spec.trial_id)[0] == 1:
            seconds *= {"plain": 1.0, "other": 2.0}[run.arm]
        return ended(spec, 0.5, seconds, start_s=100.0)

    view = compared(tmp_path, evaluate, search_s={"plain": 4.0, "other": 1.0})
    plain, other = view.arms
    assert plain.time_s.value == pytest.approx(8.0 * 8 + 2 * 4.0)
    assert other.time_s.value == pytest.approx(4 * 2.0 + 4 * 4.0 + 2 * 1.0)
    against = other.against
    assert against is not None
    assert against.speed_up.value == pytest.approx(72.0 / 26.0)
    assert against.processor_speed_up.value == pytest.approx((128 + 8) / (48 + 2))
    assert [one.value for one in against.generations] == pytest.approx([36.0 / 9.0, 36.0 / 17.0])
    assert plain.against is None
    assert against.speed_up.low is None


def test_accuracy_is_that_of_the_merged_last_generations(tmp_path: Path) -> None:
    """So a search with failures counts less, and an early generation not at all."""

    def evaluate(run: ComparedRun, spec: TrialSpec) -> TrialResult:
        generation, index = trial_number(spec.trial_id)
        if run.arm == "plain":
            return ended(spec, 0.8, 1.0)
        if run.experiment == 1 and index > 0:
            return failed(spec)
        return ended(spec, 0.1 if generation == 0 else 0.6 + 0.2 * run.experiment, 1.0)

    view = compared(tmp_path, evaluate, experiments=2)
    other = view.arms[1]
    assert other.accuracy is not None
    assert other.against is not None
    assert other.accuracy.value == pytest.approx(fmean([0.6] * INDIVIDUALS + [0.8]))
    assert (other.accuracy.low, other.accuracy.high) == pytest.approx((0.6, 0.8))
    degradation = other.against.degradation
    assert degradation is not None
    assert degradation.value == pytest.approx(0.8 - fmean([0.6] * INDIVIDUALS + [0.8]))
    assert other.ends["nan"] == GENERATIONS * (INDIVIDUALS - 1)
    assert any("no accuracy" in line for line in remarks(view))
    assert any("ranges" in line for line in remarks(view))


def failed(spec: TrialSpec) -> TrialResult:
    result = fake_result(spec)
    return replace(
        result, status=TrialStatus.FAILED, failure=Failure.NOT_A_NUMBER, fitness=None, error="nan"
    )


def test_only_experiments_in_which_all_arms_are_done_count(tmp_path: Path) -> None:
    def evaluate(run: ComparedRun, spec: TrialSpec) -> TrialResult:
        return ended(spec, 0.5, 1.0 + run.experiment)

    compared(tmp_path, evaluate, experiments=2)
    RunDirectory(tmp_path / "here" / "e1" / "other").checkpoint(GENERATIONS - 1).unlink()
    view = load_comparison(tmp_path / "here")
    assert view.experiments == (0,)
    assert view.arms[0].time_s == Estimate(value=8.0, low=None, high=None, experiments=1)


def test_what_is_paired_is_resampled_in_pairs(tmp_path: Path) -> None:
    """Experiments differ tenfold, arms always by two: that leaves no doubt about the ratio."""

    def evaluate(run: ComparedRun, spec: TrialSpec) -> TrialResult:
        return ended(spec, 0.5, 10.0 ** (run.experiment % 2) / (1 + (run.arm == "other")))

    view = compared(tmp_path, evaluate, experiments=5)
    plain, other = view.arms
    assert other.against is not None
    speed_up = other.against.speed_up
    assert (speed_up.low, speed_up.value, speed_up.high) == pytest.approx((2.0, 2.0, 2.0))
    assert plain.time_s.low is not None
    assert plain.time_s.high is not None
    assert 8.0 <= plain.time_s.low < plain.time_s.value < plain.time_s.high <= 80.0
    assert any("resampling the 5 experiments" in line for line in remarks(view))


def test_the_interval_is_that_of_resampled_experiments() -> None:
    """Against the exact distribution of the mean of five draws from five numbers."""
    made = estimate([0.0, 0.0, 0.0, 0.0, 1.0], fmean)
    assert made.value == pytest.approx(0.2)
    assert made.low == 0.0  # five draws without the one: (4/5)**5 = 0.33
    assert made.high == pytest.approx(0.6)  # four or five of it: 0.0067, three: 0.051
    assert estimate([0.0, 0.0, 0.0, 0.0, 1.0], fmean) == made


@pytest.mark.parametrize("experiments", [3, 5])
def test_a_quotient_that_is_no_number_spoils_no_bounds(experiments: int) -> None:
    """Where a search trained nothing its FLOPs are none; of 0 / 0 nothing follows."""
    pairs = [(2.0, 1.0)] * (experiments - 1) + [(0.0, 0.0)]

    def ratio(some: Sequence[tuple[float, float]]) -> float:
        above, below = (sum(column) for column in zip(*some, strict=True))
        return above / below if below else nan

    for order in (pairs, pairs[::-1]):
        made = estimate(order, ratio)
        assert (made.low, made.value, made.high) == (2.0, 2.0, 2.0)
    assert ratio_words(estimate([(0.0, 0.0)] * experiments, ratio)) == "-"


def test_an_arm_without_any_flops_has_no_number_and_ends_no_report(tmp_path: Path) -> None:
    def evaluate(run: ComparedRun, spec: TrialSpec) -> TrialResult:
        if run.arm == "other" and run.experiment == 0:
            return replace(failed(spec), curves=Curves())
        return ended(spec, 0.5, 1.0)

    view = compared(tmp_path, evaluate, experiments=2)
    against = view.arms[1].against
    assert against is not None
    assert against.flops_ratio.high == inf
    told = to_json_view(view)["arms"]["other"]
    assert told["flops_ratio"]["high"] is None
    assert told["degradation"] is None
    assert any("is complete in e0/other." in line for line in remarks(view))
    page = comparison_page([view], tmp_path, files=())
    assert "speed-up-measures" in {one.name for one in figures(page.sections)}
    head, *rows = progress_rows(view)
    best = {row[0]: row[head.index("best")] for row in rows}
    assert best["e0/other"] == "-"


def test_a_reader_reads_what_has_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A comparison of ten searches that is followed is looked at every second."""
    compared(tmp_path, lambda run, spec: ended(spec, 0.5, 1.0), experiments=2)
    opened: list[Path] = []
    read_bytes = Path.read_bytes

    def noting(file: Path) -> bytes:
        if file.suffix in (".jsonl", ".h5"):
            opened.append(file)
        return read_bytes(file)

    monkeypatch.setattr(Path, "read_bytes", noting)
    reader = ComparisonReader(tmp_path / "here")
    first = reader.read()
    assert len(opened) == 4 * (GENERATIONS + 1)
    opened.clear()
    again = reader.read()
    assert opened == []
    assert again == first
    assert again.arms is first.arms
    directory = RunDirectory(tmp_path / "here" / "e1" / "other")
    lines = directory.journal(1).read_text().splitlines(keepends=True)
    directory.journal(1).write_text("".join(lines[:-1]))
    later = reader.read()
    assert opened == [directory.journal(1)]
    assert later == load_comparison(tmp_path / "here")
    assert len(later.runs[-1].results) == len(first.runs[-1].results) - 1
    save_status(directory, Status(search_s={0: 1000.0}))
    assert reader.read().arms[1].time_s.value > 500.0
    directory.checkpoint(1).unlink()
    assert reader.read().experiments == (0,)
    (tmp_path / "here" / "comparison.yaml").unlink()
    with pytest.raises(RunDirectoryFault, match="not a comparison"):
        reader.read()


@pytest.mark.parametrize("name", ["other", "an-arm-of-which-the-name-says-all-that-it-changes"])
def test_a_narrow_terminal_cuts_nothing_off(tmp_path: Path, name: str) -> None:
    """The paper's searches have seven generations."""
    view = compared(tmp_path, lambda run, spec: ended(spec, 0.5, 12.25), experiments=2)
    plain, other = view.arms
    against = other.against
    assert against is not None
    generations = tuple(
        Estimate(value=number + 0.11, low=number + 0.05, high=number + 0.15, experiments=2)
        for number in range(12)
    )
    longer = replace(other, name=name, against=replace(against, generations=generations))
    console = Console(width=80, file=StringIO())
    console.print(render_comparison(replace(view, arms=(plain, longer))))
    assert isinstance(console.file, StringIO)
    text = console.file.getvalue()
    assert "…" not in text
    for number in range(12):
        assert f"{number}.11" in text
        assert f"[{number}.05, {number}.15]" in text
    assert all(part in text for part in name.split("-"))


def test_costs_count_the_shrink_with_the_whole_network(tmp_path: Path) -> None:
    file = config_file(tmp_path, with_key(FAKE_SEARCH, "trial", epochs=6))
    config = read_config(RunOptions(config=file))
    whole, left = (Costs(flops=flops, parameters=1, activations=1) for flops in (1000, 400))
    curves = Curves(training_loss=(1.0,) * 5)
    shrink = Shrink(outcome=ShrinkOutcome.SHRUNK, steps=3, alive_flops_at_start=1000)
    plain = TrialResult(
        trial_id="g000-t000",
        network_hash="x",
        status=TrialStatus.COMPLETE,
        fitness=0.5,
        curves=curves,
        costs=whole,
    )
    assert training_flops(config, plain).whole == 5000
    shrunk = replace(plain, shrunk_costs=left, shrink=shrink)
    assert training_flops(config, shrunk).whole == 1000 + 5 * 400
    broken = replace(plain, shrink=replace(shrink, outcome=ShrinkOutcome.BROKEN))
    assert training_flops(config, broken).whole == 1000 + 5000
    refused = replace(plain, shrink=replace(shrink, steps=0), shrunk_costs=whole)
    assert training_flops(config, refused).whole == 5000, "nothing could die: trained at once"
    assert training_flops(config, replace(plain, costs=None)).whole == 0


@pytest.mark.parametrize(("problem", "speed_up"), [("mnist", "1.48"), ("tiny_imagenet", "2.14")])
def test_the_papers_own_figures_stand_beside(tmp_path: Path, problem: str, speed_up: str) -> None:
    view = compared(tmp_path, lambda run, spec: ended(spec, 0.5, 1.0))
    assert len(table_1(view)) == 2
    named = view.comparison.config.problem.model_copy(update={"name": problem})
    config = view.comparison.config.model_copy(update={"problem": named})
    known: Comparison = replace(view.comparison, config=config)
    assert table_1(replace(view, comparison=known))[-1][:2] == ("the paper's shrink", speed_up)


def test_data_may_be_said_to_be_one_of_the_papers(tmp_path: Path) -> None:
    """As Tiny ImageNet's that were prepared from a folder: to mpinas they are images."""
    view = compared(tmp_path, lambda run, spec: ended(spec, 0.5, 1.0))
    named = view.comparison.config.comparison.model_copy(update={"paper": "tiny_imagenet"})
    config = view.comparison.config.model_copy(update={"comparison": named})
    told = replace(view, comparison=replace(view.comparison, config=config))
    assert table_1(told)[-1] == ("the paper's shrink", "2.14", "", "", "-0.38 points")
    assert data_of_paper(told) == "tiny_imagenet"
    assert data_of_paper(view) == "digits"


def test_where_the_time_goes_adds_up(tmp_path: Path) -> None:
    view = compared(tmp_path, lambda run, spec: ended(spec, 0.5, 2.0), search_s={"plain": 8.0})
    head, plain, _ = phase_rows(view)
    cells = dict(zip(head, plain, strict=True))
    assert (cells["training"], cells["rest"], cells["search"]) == ("2.0", "0.0", "2.0")


def test_flops_that_nobody_knows_are_told_of(tmp_path: Path) -> None:
    def evaluate(run: ComparedRun, spec: TrialSpec) -> TrialResult:
        generation, index = trial_number(spec.trial_id)
        if run.arm == "other" and index == 0:
            return replace(failed(spec), curves=Curves())
        if run.arm == "plain" and (generation, index) == (0, 0):
            return infeasible(spec)
        return ended(spec, 0.5, 1.0)

    lines = list(remarks(compared(tmp_path, evaluate)))
    assert "Failed trials took time and have no accuracy." in lines
    assert any("FLOPs of failed trials (2 of other)" in line for line in lines)
    assert any(line.startswith("Infeasible networks") for line in lines)


def infeasible(spec: TrialSpec) -> TrialResult:
    return TrialResult(
        trial_id=spec.trial_id,
        network_hash=spec.network.hash,
        status=TrialStatus.INFEASIBLE,
        error="too large",
    )


def test_infeasible_networks_are_no_failed_trials(tmp_path: Path) -> None:
    def evaluate(run: ComparedRun, spec: TrialSpec) -> TrialResult:
        first = trial_number(spec.trial_id) == (0, 0)
        return infeasible(spec) if first else ended(spec, 0.5, 1.0)

    lines = list(remarks(compared(tmp_path, evaluate)))
    assert not any("Failed trials" in line or "FLOPs of failed" in line for line in lines)


@pytest.mark.parametrize("figure", [inf, nan])
def test_what_is_no_number_is_a_dash(figure: float) -> None:
    assert ratio_words(Estimate(value=figure, low=None, high=None, experiments=1)) == "-"


def test_a_search_made_shorter_counts_what_is_left_of_it(tmp_path: Path) -> None:
    """All figures are of the same trials."""
    view = compared(tmp_path, lambda run, spec: ended(spec, 0.5, 1.0))
    file = view.comparison.directory.config
    file.write_text(file.read_text().replace("generations: 2", "generations: 1"))
    shorter = load_comparison(tmp_path / "here").arms[1]
    (run,) = shorter.runs
    assert len(run.results) == INDIVIDUALS
    assert sum(shorter.ends.values()) == INDIVIDUALS
    assert run.cpu_s == pytest.approx(INDIVIDUALS * 2.0)
    assert 0 < run.flops < view.arms[1].runs[0].flops


def screen(view: ComparisonView, height: int, width: int = 80) -> list[str]:
    console = Console(width=width, height=height, file=StringIO())
    options = console.options.update_dimensions(width, height)
    lines = console.render_lines(ComparisonScreen(view=view), options, pad=False)
    words = ["".join(segment.text for segment in line).rstrip() for line in lines]
    while words and not words[-1]:
        words.pop()
    return words


@pytest.mark.parametrize("height", [10, 24, 200])
def test_a_screen_shows_where_searches_are_before_what_they_came_to(
    tmp_path: Path, height: int
) -> None:
    compared(tmp_path, lambda run, spec: ended(spec, 0.5, 1.0), experiments=5)
    for arm in ("plain", "other"):
        RunDirectory(tmp_path / "here" / "e4" / arm).checkpoint(GENERATIONS - 1).unlink()
    view = load_comparison(tmp_path / "here")
    lines = screen(view, height)
    text = "\n".join(lines)
    assert "4 of 5 experiments done" in lines[0]
    assert "stopped" in lines[3], "what goes on stands above what is done"
    assert ("Table 1" in text) == (height > 10)
    assert ("By generation" in text) == (height == 200)
    assert ("and 7 more" in text) == (height == 10)
    assert ("What did not fit" in lines[-1]) == (height < 200)
    assert ("In brackets" in text) == (height == 200)
    assert len(lines) <= height


def test_a_shrink_that_broke_kept_all(tmp_path: Path) -> None:
    """As ``show`` of the one search has it."""
    plain = ended_alone(tmp_path)
    assert plain.costs is not None
    shrink = Shrink(outcome=ShrinkOutcome.SHRUNK, steps=3, alive_flops_at_start=1000)
    left = replace(plain.costs, flops=plain.costs.flops // 4)
    shrunk = replace(plain, shrink=shrink, shrunk_costs=left)
    broken = replace(plain, shrink=replace(shrink, outcome=ShrinkOutcome.BROKEN))
    kept = left.flops / plain.costs.flops
    assert mean_kept([plain, shrunk, broken]) == pytest.approx((kept + 1.0) / 2)
    words = " ".join(shrink_lines([plain, shrunk, broken]))
    assert f"{(kept + 1.0) / 2:.0%} of the FLOPs" in words


def ended_alone(folder: Path) -> TrialResult:
    view = compared(folder, lambda run, spec: ended(spec, 0.5, 1.0))
    return view.runs[0].results[0]


def test_a_lost_account_of_a_search_is_told_of(tmp_path: Path) -> None:
    view = compared(tmp_path, lambda run, spec: ended(spec, 0.5, 1.0), search_s={"plain": 9.0})
    assert not any("status.json" in line for line in remarks(view))
    RunDirectory(tmp_path / "here" / "e0" / "plain").status.unlink()
    lines = list(remarks(load_comparison(tmp_path / "here")))
    assert any("status.json of e0/plain does not tell" in line for line in lines)
