"""Reports of searches in every state: what can be drawn is, and a sentence stands for the rest."""

from __future__ import annotations

import csv
import itertools
import os
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from PIL import Image
from reporting import JOB_BEGAN, NASTY, NOON, failing, part_of_run, timed, whole_run
from searching import drive, new_run, search_in

from mpinas.cli import main
from mpinas.journal import append_result, read_results
from mpinas.records import Failure, TrialResult, TrialSpec, Worker, trial_id
from mpinas.report.page import Page, Section, Table, render
from mpinas.results import results_of
from mpinas.run_directory import RunDirectory

ALL_FIGURES = {
    "accuracy-by-generation",
    "accuracy-against-flops",
    "failures",
    "lineage",
    "species",
    "winner-curves",
    "winner-flops",
    "winner-genome",
    "winner-network",
    "worker-time",
    "workers",
}
OF_GENOMES = {"lineage", "species", "winner-flops", "winner-genome", "winner-network"}


def report(directory: RunDirectory, *arguments: str) -> Result:
    """What the command says; a bug is raised here."""
    command = ["report", str(directory.path), *arguments]
    return CliRunner().invoke(main, command, catch_exceptions=False)


def figures(directory: RunDirectory) -> set[str]:
    """Names of the figures that were drawn, each of them not blank."""
    result = report(directory)
    assert result.exit_code == 0, result.output
    files = list((directory.path / "report").glob("*.png"))
    for file in files:
        with Image.open(file) as image:
            assert len(image.convert("L").getcolors() or []) > 4, file
    assert page(directory).count("data:image/png;base64,") == len(files)
    return {file.stem for file in files}


def page(directory: RunDirectory) -> str:
    return (directory.path / "report" / "index.html").read_text(encoding="utf-8")


def trials(directory: RunDirectory) -> list[dict[str, str]]:
    with (directory.path / "report" / "trials.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_a_whole_run_has_every_figure(tmp_path: Path) -> None:
    directory = whole_run(tmp_path, 3, 8)
    assert figures(directory) == ALL_FIGURES
    rows, results = trials(directory), list(results_of(directory))
    assert {row["trial_id"]: row["fitness"] for row in rows} == {
        one.trial_id: "" if one.fitness is None else str(one.fitness) for one in results
    }
    assert all("data-" not in line for line in page(directory).splitlines() if "<img" in line)


def test_the_page_asks_for_nothing(tmp_path: Path) -> None:
    """No address in it leads anywhere but into itself, and to the CSV."""
    directory = part_of_run(tmp_path, 4)
    figures(directory)
    found: list[tuple[str, str]] = []

    class Links(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            assert tag not in ("script", "iframe", "object", "embed"), tag
            found.extend((name, value or "") for name, value in attrs if name in ("src", "href"))

    Links().feed(page(directory))
    assert found
    assert {value for _, value in found if not value.startswith(("data:", "#"))} == {"trials.csv"}
    assert not re.search(r"https?://|@import|url\(", page(directory))


def test_an_empty_run(tmp_path: Path) -> None:
    directory = new_run(tmp_path, "run")
    search_in(directory)
    assert figures(directory) == {"species"}
    assert trials(directory) == []
    assert "No trial has ended yet." in page(directory)


def test_a_run_without_a_checkpoint(tmp_path: Path) -> None:
    """Killed before its first word."""
    assert figures(new_run(tmp_path, "run")) == set()


def test_one_trial(tmp_path: Path) -> None:
    directory = part_of_run(tmp_path, 1, "trial.fake.failures={}")
    assert figures(directory) | {"failures"} == ALL_FIGURES


def test_one_generation_with_one_trial(tmp_path: Path) -> None:
    directory = whole_run(tmp_path, 1, 1, "trial.fake.failures={}")
    assert figures(directory) | {"failures"} == ALL_FIGURES


def test_failures_only_and_what_they_say_is_only_text(tmp_path: Path) -> None:
    directory = new_run(tmp_path, "run")
    kinds = itertools.cycle(Failure)
    drive(search_in(directory), stop_after=13, evaluate=timed(2, failing(kinds)))
    assert figures(directory) == {"failures", "species", "worker-time", "workers"}
    text = page(directory)
    assert "<script" not in text
    seen = {row["failure"] for row in trials(directory)} - {""}
    assert len(seen) > 4
    assert text.count("&lt;script&gt;alert(1)") == 2 * len(seen)  # a cell, and all of it
    assert {row["error"] for row in trials(directory)} >= {NASTY.splitlines()[-1]}


@pytest.mark.parametrize("end", ["\r", "\x0b", "\x85", "\u2028"])
def test_no_line_end_of_an_error_breaks_the_csv(tmp_path: Path, end: str) -> None:
    """Progress bars write carriage returns; Python's csv before 3.13 leaves them bare."""
    directory = new_run(tmp_path, "run")

    def run(spec: TrialSpec) -> TrialResult:
        return replace(timed(1, failing(itertools.repeat(Failure.ERROR)))(spec), error=error)

    error = f"Traceback\n 1/9 [=>..]{end}ValueError: what was wrong{end}\n"
    drive(search_in(directory), stop_after=4, evaluate=run)
    assert report(directory).exit_code == 0
    rows = trials(directory)
    told = {row["error"] for row in rows if row["failure"] == "error"}
    assert told == {"ValueError: what was wrong"}
    assert all(None not in row and None not in row.values() for row in rows)


def test_what_a_keyboard_stops_at_has_a_name(tmp_path: Path) -> None:
    """A screen reader reads it out; a box that scrolls would be silence."""
    directory = part_of_run(tmp_path, 6)
    assert report(directory).exit_code == 0
    stops = re.findall('<[^>]*tabindex="0"[^>]*>', page(directory))
    assert len(stops) > 3
    assert all(re.search('role="region" aria-label="[^"]+"', stop) for stop in stops)


def test_lines_of_a_cell_stay_lines_if_none_of_them_is_long() -> None:
    """What the rows of Table 1 are of, and the arm below it: together they are longer."""
    rows = (("speed-up in processor time\nshrink-fast",), ("word " * 20,))
    table = Table(title="", head=("",), rows=rows)
    section = Section(name="s", title="s", blocks=(table,))
    text = render(Page(title="t", lead=(), facts=(), sections=(section,)))
    assert text.count('<td class="short">') == 1
    assert '<td class="short">speed-up in processor time\nshrink-fast</td>' in text


def test_names_of_hosts_are_only_text(tmp_path: Path) -> None:
    directory = new_run(tmp_path, "run", "trial.fake.failures={}")
    evaluate, hosts = timed(2), itertools.cycle(["<b>$x^</b>", "节点"])

    def on_odd_hosts(spec: TrialSpec) -> TrialResult:
        result = evaluate(spec)
        return replace(result, worker=Worker(host=next(hosts), rank=1, device="cpu"))

    drive(search_in(directory), stop_after=4, evaluate=on_odd_hosts)
    assert "workers" in figures(directory)
    assert "<b>" not in page(directory)
    assert "&lt;b&gt;$x^&lt;/b&gt;" in page(directory)


def test_a_directory_whose_name_is_no_text(tmp_path: Path) -> None:
    directory = part_of_run(tmp_path, 2)
    odd = RunDirectory(directory.path.rename(os.fsdecode(os.fsencode(tmp_path) + b"/run-\xff")))
    assert "workers" in figures(odd)


def test_a_run_under_way_tells_the_lineage_of_what_is_not_told_yet(tmp_path: Path) -> None:
    directory = part_of_run(tmp_path, 9, "trial.fake.failures={}")
    assert directory.told() == 1
    assert figures(directory) | {"failures"} == ALL_FIGURES
    assert "Nothing is known of where these came from" not in page(directory)


def test_random_search(tmp_path: Path) -> None:
    directory = part_of_run(tmp_path, 9, "tuner.name=random_search")
    assert figures(directory) == ALL_FIGURES - {"species"}
    assert "random_search has no species" in page(directory)


def test_several_jobs(tmp_path: Path) -> None:
    directory = part_of_run(tmp_path, 8)
    lines = (JOB_BEGAN.format(stamp) for stamp in ("2027-01-15T08:00:00", "2027-01-15T08:00:21"))
    directory.log.write_text("".join(lines))
    assert figures(directory) == ALL_FIGURES
    assert "2 jobs; the time between them is left out." in page(directory)
    assert NOON == 1_800_000_000  # which is 2027-01-15T08:00:00


def test_a_lost_start_leaves_out_what_follows_from_it(tmp_path: Path) -> None:
    directory = whole_run(tmp_path, 2, 6, "trial.fake.failures={}")
    directory.start.unlink()
    kept = figures(directory)
    assert kept | {"failures"} >= ALL_FIGURES - OF_GENOMES
    assert "winner-network" not in kept
    assert "What belongs here cannot be told." in page(directory)
    assert "Traceback" not in page(directory)


def test_damaged_checkpoints(tmp_path: Path) -> None:
    directory = whole_run(tmp_path, 3, 6, "trial.fake.failures={}")
    for file in (directory.start, *directory.generation_files()):
        file.write_bytes(file.read_bytes()[:-7] + b"damaged")
    assert figures(directory) | {"failures"} == ALL_FIGURES - OF_GENOMES
    assert "Generations whose checkpoint cannot be read: 0, 1, 2." in page(directory)


def test_a_lost_configuration(tmp_path: Path) -> None:
    directory = whole_run(tmp_path, 2, 6)
    directory.config.unlink()
    assert figures(directory) >= ALL_FIGURES - OF_GENOMES


def test_a_journal_of_before_times_were_written(tmp_path: Path) -> None:
    directory = part_of_run(tmp_path, 4)
    journal = directory.journal(0)
    results = read_results(journal)
    journal.unlink()
    for result in results:
        append_result(journal, replace(result, times=replace(result.times, ended_at=0.0)))
    assert not figures(directory) & {"workers", "worker-time"}
    assert "a version that did not write down when they ended" in page(directory)


def test_out(tmp_path: Path) -> None:
    directory = part_of_run(tmp_path, 2)
    result = report(directory, "--out", str(tmp_path / "a" / "b"))
    assert result.output == f"written: {tmp_path / 'a' / 'b' / 'index.html'}\n"
    assert not (directory.path / "report").exists()


def test_where_it_cannot_be_written(tmp_path: Path) -> None:
    directory = part_of_run(tmp_path, 2)
    (tmp_path / "file").write_text("")
    result = report(directory, "--out", str(tmp_path / "file"))
    assert result.exit_code == 2
    assert "the report cannot be written" in result.output
    assert len(result.output.splitlines()) == 1
    assert "Give another directory with --out" in result.output


def test_what_is_no_run(tmp_path: Path) -> None:
    result = report(RunDirectory(tmp_path / "nothing"))
    assert result.exit_code == 2
    assert "not a run directory" in result.output
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = part_of_run(tmp_path, 2)
    monkeypatch.setattr("mpinas.report.search_page.timeline", _interrupted)
    assert report(directory).exit_code == 130
    assert not (directory.path / "report").exists()


def _interrupted(*arguments: object) -> None:
    raise KeyboardInterrupt


def test_five_thousand_trials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)  # 5,000 of them are slow
    directory = whole_run(tmp_path, 50, 100)
    assert figures(directory) == ALL_FIGURES
    assert len(trials(directory)) == 5000
    assert trial_id(49, 99) in {row["trial_id"] for row in trials(directory)}
    assert (directory.path / "report" / "index.html").stat().st_size < 2_000_000
