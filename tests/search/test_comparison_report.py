"""Reports of comparisons in every state, one or several: what is known is told, and what is not."""

from __future__ import annotations

import csv
import itertools
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from comparing import ARMS, Evaluate, drive_run, in_arm, new_comparison, whole_comparison
from legible import all_legible
from PIL import Image
from reporting import NASTY, failing, part_of_run

from mpinas.cli import main
from mpinas.comparison import Comparison
from mpinas.records import Failure, TrialResult, TrialSpec, Worker
from mpinas.report import drawing
from mpinas.report.comparison_arms import LONGEST_LABEL, compared, shortened
from mpinas.report.comparison_page import comparison_page
from mpinas.report.comparison_phases import summed_flops, summed_phases
from mpinas.report.comparison_summary import cost_table, data_table
from mpinas.report.comparison_view import ComparisonView, load_comparison
from mpinas.report.page import Figure

OF_WORKERS = {"workers", "worker-time"}
OF_TRIALS = {"accuracy-against-time", "failures", "flops-kept", "phases", "training"} | OF_WORKERS
OF_EXPERIMENTS = {"accuracy", "speed-up-by-generation", "speed-up-measures", "time"}
TWO_ARMS = {name: ARMS[name] for name in ("plain", "shrink")}


@pytest.fixture(autouse=True)
def coarse(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer pixels are drawn sooner."""
    monkeypatch.setattr(drawing, "DOTS_PER_INCH", 50)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    """Two experiments of four arms, to be read only: reports of it go elsewhere."""
    return whole_comparison(tmp_path_factory.mktemp("whole"), "name=cifar10")


@pytest.fixture
def drawings(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Everything that is drawn from here on, by name, as matplotlib has it."""
    found: dict[str, Any] = {}
    finish = drawing.finish

    def finish_and_keep(one: Any, *, name: str, **words: str) -> Figure:
        found[name] = one
        made = finish(one, name=name, **words)
        one.set_dpi(200)  # as people get it
        return made

    for module in ("comparison_figures", "comparison_trials", "timeline_figure"):
        monkeypatch.setattr(f"mpinas.report.{module}.finish", finish_and_keep)
    return found


def report(*arguments: object) -> Result:
    """What the command says; a bug is raised here."""
    words = ["report", *map(str, arguments)]
    return CliRunner().invoke(main, words, catch_exceptions=False)


def figures(folder: Path) -> set[str]:
    """Names of the figures of a report, each of them not blank and in the page."""
    files = list(folder.glob("*.png"))
    for file in files:
        with Image.open(file) as image:
            assert len(image.convert("L").getcolors() or []) > 4, file
    assert page(folder).count("data:image/png;base64,") == len(files)
    return {file.stem for file in files}


def page(folder: Path) -> str:
    return (folder / "index.html").read_text(encoding="utf-8")


def words(folder: Path) -> str:
    """The page as it is read: without tags, with single spaces."""
    return " ".join(re.sub("<[^>]*>", " ", page(folder)).replace("&#39;", "'").split())


def trials(folder: Path) -> list[dict[str, str]]:
    with (folder / "trials.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def draw(comparison: Comparison, folder: Path) -> set[str]:
    result = report(comparison.directory.path, "--out", folder)
    assert result.exit_code == 0, result.output
    assert result.output == f"written: {folder / 'index.html'}\n"
    return figures(folder)


def test_a_comparison_at_its_end(whole: Comparison, tmp_path: Path) -> None:
    assert draw(whole, tmp_path) == OF_TRIALS | OF_EXPERIMENTS
    text = words(tmp_path)
    assert "4 arms, 2 of 2 experiments done, 8 of 8 searches" in text
    assert "These are ranges" in text
    assert "the paper's shrink" not in text, "digits are none of the paper's data sets"
    for heading in ("Figure 4 A", "Figure 4 B", "Table 1", "Figures 5 to 8"):
        assert heading in text
    rows = trials(tmp_path)
    assert list(rows[0])[:3] == ["experiment", "arm", "trial_id"]
    assert len(rows) == 2 * len(ARMS) * 12
    assert {(row["experiment"], row["arm"]) for row in rows} == {
        (str(experiment), arm) for experiment in (0, 1) for arm in ARMS
    }
    assert not (whole.directory.path / "report").exists()


def test_the_page_asks_for_nothing_and_leads_to_reports_of_searches(tmp_path: Path) -> None:
    odd = tmp_path / "a #b%20"
    odd.mkdir()
    comparison = whole_comparison(odd, experiments=1, arms=TWO_ARMS)
    assert report(comparison.runs[1].path).exit_code == 0
    assert report(comparison.directory.path).exit_code == 0
    folder = comparison.directory.path / "report"
    found: list[str] = []

    class Links(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            assert tag not in ("script", "iframe", "object", "embed"), tag
            found.extend(value or "" for name, value in attrs if name in ("src", "href"))

    Links().feed(page(folder))
    outside = {one for one in found if not one.startswith(("data:", "#"))}
    assert outside == {"trials.csv", "../e0/shrink/report/index.html"}
    elsewhere = tmp_path / "else"
    assert report(comparison.directory.path, "--out", elsewhere).exit_code == 0
    quoted = "../a%20%23b%2520/here/e0/shrink/report/index.html"
    assert f'href="{quoted}"' in page(elsewhere)


def test_one_experiment(tmp_path: Path) -> None:
    comparison = whole_comparison(tmp_path, experiments=1, arms=TWO_ARMS)
    assert draw(comparison, tmp_path / "r") == OF_TRIALS | OF_EXPERIMENTS
    assert "nothing tells how far another one would differ" in words(tmp_path / "r")


def test_five_experiments_have_intervals(tmp_path: Path, drawings: dict[str, Any]) -> None:
    comparison = whole_comparison(tmp_path, experiments=5, arms=TWO_ARMS)
    assert draw(comparison, tmp_path / "r") == OF_TRIALS | OF_EXPERIMENTS
    assert "95 % intervals" in words(tmp_path / "r")
    assert all_legible(drawings)


def test_before_anything_has_run(tmp_path: Path) -> None:
    comparison = new_comparison(tmp_path)
    assert draw(comparison, tmp_path / "r") == set()
    text = words(tmp_path / "r")
    assert "No experiment is finished yet" in text
    assert "It was stopped or has not begun" in text
    assert text.count("waiting") == 2 * len(ARMS)
    assert (tmp_path / "r" / "trials.csv").read_text().count("\n") == 1


def test_killed_before_an_experiment_was_done(tmp_path: Path, drawings: dict[str, Any]) -> None:
    """One arm at its end, one in its first generation, the others not begun."""
    comparison = new_comparison(tmp_path, "trial.fake.failures={}")
    drive_run(comparison, comparison.runs[0])
    drive_run(comparison, comparison.runs[1], stop_after=3)
    assert draw(comparison, tmp_path / "r") | {"failures"} == OF_TRIALS
    text = words(tmp_path / "r")
    assert "0 of 2 experiments done, 1 of 8 searches" in text
    assert "the trials so far" in text
    assert "Table 1" not in text
    assert all_legible(drawings)


def test_with_one_of_two_experiments_done_figures_are_of_that_one(tmp_path: Path) -> None:
    comparison = new_comparison(tmp_path, arms=TWO_ARMS)
    for run in comparison.runs[:3]:
        drive_run(comparison, run)
    assert draw(comparison, tmp_path / "r") == OF_TRIALS | OF_EXPERIMENTS
    (one,) = compared([load_comparison(comparison.directory.path)])
    assert [len(arm.runs) for arm in one.arms] == [1, 1]
    assert [len(arm.runs) for arm in one.all_arms] == [2, 2]


def test_failures_only(tmp_path: Path) -> None:
    comparison = new_comparison(tmp_path, experiments=1, arms=TWO_ARMS)
    for run in comparison.runs:
        drive_run(comparison, run, evaluate=failing(itertools.cycle(Failure)))
    drawn = draw(comparison, tmp_path / "r")
    assert "failures" in drawn
    assert not drawn & {"accuracy", "training", "flops-kept", "phases"}
    assert "<script" not in page(tmp_path / "r")
    assert "No trial has completed yet." in words(tmp_path / "r")
    last = NASTY.splitlines()[-1].replace("<", "&lt;").replace(">", "&gt;")
    classes = {(row["arm"], row["failure"]) for row in trials(tmp_path / "r")}
    assert len(classes) > 6
    assert page(tmp_path / "r").count(last) == len(classes), "the first of each arm and class"


def test_names_are_only_text(tmp_path: Path, drawings: dict[str, Any]) -> None:
    """Of arms and comparisons they may be long; of directories and hosts, anything."""
    arms = {f"{'very-' * 12}long.{number}": {"trial.epochs": number} for number in (2, 3, 4)}
    choice: dict[str, Any] = {"arms": arms, "experiments": 1}
    one = new_comparison(tmp_path, f"name={'name' * 30}", out="<i>$x^&amp;", **choice)
    for run in one.runs:
        drive_run(one, run, evaluate=on_an_odd_host(in_arm(run)))
    other = whole_comparison(tmp_path, f"name={'name' * 30}", out="other", **choice)
    paths = [comparison.directory.path for comparison in (one, other)]
    assert report(*paths, "--out", tmp_path / "r").exit_code == 0
    assert "time" in figures(tmp_path / "r")
    text = page(tmp_path / "r")
    assert "<b>" not in text
    assert "&lt;b&gt;host" in text
    assert "<i>" not in text
    assert "(&lt;i&gt;$x^&amp;amp;)" in text
    assert all_legible(drawings)


def on_an_odd_host(evaluate: Evaluate) -> Evaluate:
    def run(spec: TrialSpec) -> TrialResult:
        return replace(evaluate(spec), worker=Worker(host="<b>host", rank=1, device="cpu"))

    return run


def test_several_comparisons_have_a_page_in_common(
    whole: Comparison, tmp_path: Path, drawings: dict[str, Any]
) -> None:
    others = [
        whole_comparison(tmp_path, "name=mnist", experiments=1, arms=TWO_ARMS, out="mnist"),
        new_comparison(tmp_path, "name=mnist", out="waiting"),
    ]
    paths = [one.directory.path for one in (whole, *others)]
    assert report(*paths, paths[0], "--out", tmp_path / "r").exit_code == 0
    drawn = figures(tmp_path / "r")
    assert {"time", "accuracy", "speed-up"} <= drawn
    assert {"1-cifar10-training", "2-mnist-mnist-training"} <= drawn
    assert len(drawn) == 3 + 2 * len(OF_TRIALS | OF_EXPERIMENTS - {"time", "accuracy"})
    assert all_legible(drawings)
    text = words(tmp_path / "r")
    assert "mnist (waiting): No experiment is finished yet" in text
    assert {row["comparison"] for row in trials(tmp_path / "r")} == {"cifar10", "mnist (mnist)"}


def test_several_are_written_beside_them(tmp_path: Path) -> None:
    for out in ("one", "two"):
        new_comparison(tmp_path, out=out)
    result = report(tmp_path / "one", tmp_path / "two")
    assert result.output == f"written: {tmp_path / 'comparisons-report' / 'index.html'}\n"


def test_several_searches_are_refused(tmp_path: Path) -> None:
    run = part_of_run(tmp_path, 2).path
    comparison = new_comparison(tmp_path).directory.path
    for paths in ([run, comparison], [comparison, run], [comparison, tmp_path / "nothing"]):
        result = report(*paths, "--out", tmp_path / "r")
        assert result.exit_code == 2
        assert len(result.output.splitlines()) == 1
        assert "is not a comparison" in result.output
        assert "one search at a time" in result.output
    assert not (tmp_path / "r").exists()
    assert report().exit_code == 2


def with_problem(view: ComparisonView, name: str) -> ComparisonView:
    """As if it were of another data set."""
    config = view.comparison.config
    problem = config.problem.model_copy(update={"name": name})
    changed = config.model_copy(update={"problem": problem})
    return replace(view, comparison=replace(view.comparison, config=changed))


def test_table_1_by_data_set_has_the_papers_rows(whole: Comparison) -> None:
    views = [
        with_problem(load_comparison(whole.directory.path), name) for name in ("cifar10", "mnist")
    ]
    known = compared(views)
    table = data_table(known)
    assert table.head == ("", *(one.label for one in known), "mean")
    rows = {str(name): figures for name, *figures in table.rows}
    assert rows["speed-up\nthe paper's shrink"] == ["1.82", "1.48", "1.65"]
    assert rows["accuracy degradation\nthe paper's shrink"][2] == "+0.82 points"
    first, second, mean = map(str, rows["speed-up\nshrink"])
    assert first == second
    assert first.startswith(mean), "of equal ones the mean is theirs"
    assert len(rows) == 4 * 3 + 2


def test_shares_add_up_to_the_speed_up(whole: Comparison) -> None:
    view = load_comparison(whole.directory.path)
    (one,) = compared([view])
    first = summed_phases(one.arms[0].runs)
    for arm, trials in zip(view.arms, one.arms, strict=True):
        spent = summed_flops(trials.runs)
        assert sum(run.flops for run in arm.runs) == pytest.approx(spent.shrink + spent.training)
        if arm.against is not None:
            ratio = first.whole / summed_phases(trials.runs).whole
            assert ratio == pytest.approx(arm.against.speed_up.value)
    shares = {str(row[0]): row for row in cost_table(one).rows}
    assert shares["plain"][1] == "100.0 %"
    assert shares["plain"][-1] == "-", "without a shrink nothing is kept"
    assert shares["shrink"][-1] != "-"


def test_a_curve_after_a_shrink_begins_later(whole: Comparison, drawings: dict[str, Any]) -> None:
    comparison_page([load_comparison(whole.directory.path)], Path(), files=())
    for axes in drawings["training"].axes:
        starts = {line.get_label(): line.get_xdata()[0] for line in axes.get_lines()}
        assert starts == {"plain": 1.0, "shrink": 2.0, "shrink-fast": 1.5, "fewer-epochs": 1.0}
    assert all_legible(drawings)


def with_cut(evaluate: Evaluate) -> Evaluate:
    """Trials whose shrinks tell the accuracy before and after the cut."""

    def run(spec: TrialSpec) -> TrialResult:
        result = evaluate(spec)
        if result.shrink is None:
            return result
        shrink = replace(result.shrink, accuracy_before_cut=0.25, accuracy_after_cut=0.125)
        return replace(result, shrink=shrink)

    return run


def test_the_cut_is_drawn_where_it_was(tmp_path: Path, drawings: dict[str, Any]) -> None:
    comparison = new_comparison(tmp_path, experiments=1)
    for run in comparison.runs:
        drive_run(comparison, run, evaluate=with_cut(in_arm(run)))
    draw(comparison, tmp_path / "r")
    loss, accuracy = drawings["training"].axes
    curves = {line.get_label(): line.get_xydata()[:3].tolist() for line in accuracy.get_lines()}
    assert curves["shrink"][:2] == [[1.0, 0.25], [1.0, 0.125]]
    assert curves["shrink"][2][0] == 2.0
    assert curves["shrink-fast"][:2] == [[0.5, 0.25], [0.5, 0.125]]
    assert [point[0] for point in curves["plain"]] == [1.0, 2.0, 3.0]
    assert {line.get_xdata()[0] for line in loss.get_lines()} == {1.0, 2.0, 1.5}
    assert "just before and just after it" in words(tmp_path / "r")
    assert all_legible(drawings)


def test_workers_of_a_comparison_are_accounted_for_once(whole: Comparison, tmp_path: Path) -> None:
    """Its page has the workers; that of one of its searches cannot know what they did meanwhile."""
    draw(whole, tmp_path / "all")
    for arm in ARMS:
        assert arm in words(tmp_path / "all").split("Workers")[-1], "where the arms are named"
    run = whole.runs[0].path
    assert report(run, "--out", tmp_path / "one").exit_code == 0
    drawn = figures(tmp_path / "one")
    assert "workers" in drawn
    assert "worker-time" not in drawn
    assert "a trial of another search" in words(tmp_path / "one")
    alone = shutil.copytree(run, tmp_path / "alone")
    assert report(alone, "--out", tmp_path / "two").exit_code == 0
    assert "worker-time" in figures(tmp_path / "two")


def test_long_names_keep_their_ends() -> None:
    assert shortened("short") == "short"
    assert shortened("begin-middle-end", 9) == "begi…-end"[:5] + "-end"
    assert len(shortened("x" * 99)) == 22


def test_arms_of_which_short_names_would_be_equal_are_told_apart(
    tmp_path: Path, drawings: dict[str, Any]
) -> None:
    arms = {
        f"shrink-fast-0.{share}-of-the-flops": {"trial.shrink.enabled": True} for share in (25, 50)
    }
    comparison = whole_comparison(tmp_path, experiments=1, arms={**arms, "plain": {}})
    draw(comparison, tmp_path / "r")
    (one,) = compared([load_comparison(comparison.directory.path)])
    labels = [arm.label for arm in one.arms]
    assert len(set(labels)) == 3
    assert labels[2] == "plain"
    assert all(len(label) <= LONGEST_LABEL for label in labels)
    (axes,) = drawings["phases"].axes
    assert [tick.get_text() for tick in axes.get_yticklabels()] == labels
    assert all_legible(drawings)


def test_comparisons_of_the_same_name_and_folder_are_told_apart(tmp_path: Path) -> None:
    views = []
    for machine in ("one", "two"):
        (tmp_path / machine).mkdir()
        views.append(load_comparison(new_comparison(tmp_path / machine).directory.path))
    labels = [one.label for one in compared(views)]
    assert len(set(labels)) == 2
    assert all("(here)" in label for label in labels)
