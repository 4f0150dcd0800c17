"""Reports as a browser shows them, on a wide screen and on a telephone.

``faults`` is what is looked for; the second half gives it bad pages and sees that it notices.
"""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from chromium import Browser, Picture, Seen
from click.testing import CliRunner
from comparing import drive_run, new_comparison, whole_comparison
from PIL import Image
from reporting import failing, part_of_run, timed, whole_run
from searching import drive, new_run, search_in

from mpinas.cli import main
from mpinas.records import Failure, TrialResult, TrialSpec, Worker
from mpinas.run_directory import RunDirectory

WIDTHS = (1280, 400)
LEAST_TEXT_PX = 6.0
"""Of the smallest text in a figure as it is shown; it was drawn with 8.5 points."""
POINTS_PER_INCH, DOTS_PER_INCH, SMALLEST_POINTS = 72, 200, 8.5
MOST_INK, LEAST_INK = 0.6, 0.002
"""Share of dark pixels; a page that is black, or has nothing on it, is none."""


def faults(seen: Seen, width: int) -> Iterator[str]:
    """What is wrong with a page, in words."""
    yield from (f"console: {line}" for line in seen.complaints)
    yield from (f"request: {address}" for address in seen.requests)
    if seen.width > width:
        yield f"{seen.width} pixels wide in a window of {width}"
    if not seen.title or not seen.text.strip():
        yield "no title or no text"
    screen = Image.open(io.BytesIO(seen.png)).convert("L")
    yield from _ink_faults("the page", screen)
    for picture in seen.pictures:
        yield from _picture_faults(picture, screen)


def _picture_faults(picture: Picture, screen: Image.Image) -> Iterator[str]:
    if not picture.name:
        yield "a picture without an alternative text"
    if not picture.decoded:
        yield f"broken picture: {picture.name}"
        return
    left, top = round(picture.left), round(picture.top)
    right = min(screen.width, left + round(picture.width))
    shown = screen.crop((left, top, right, top + round(picture.height)))
    yield from _ink_faults(picture.name, shown)


def _ink_faults(name: str, shown: Image.Image) -> Iterator[str]:
    if not shown.width or not shown.height:
        yield f"no size: {name}"
        return
    dark = sum(shown.histogram()[:128]) / (shown.width * shown.height)
    if not LEAST_INK < dark < MOST_INK:
        yield f"blank, {dark:.2%} dark: {name}"


def draw(directory: RunDirectory) -> Path:
    """The page of a run."""
    done = CliRunner().invoke(main, ["report", str(directory.path)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return directory.path / "report" / "index.html"


def whole(folder: Path) -> RunDirectory:
    return whole_run(folder, 4, 12)


def under_way(folder: Path) -> RunDirectory:
    return part_of_run(folder, 3)


def empty(folder: Path) -> RunDirectory:
    directory = new_run(folder, "run")
    search_in(directory)
    return directory


def failures_only(folder: Path) -> RunDirectory:
    directory = new_run(folder, "run")
    evaluate = timed(2, failing(itertools.cycle(Failure)))
    drive(search_in(directory), stop_after=13, evaluate=evaluate)
    return directory


def long_names(folder: Path) -> RunDirectory:
    """Of hosts, of the run and in errors, with markup and without a space."""
    directory = new_run(folder, "run-" + "long" * 40, f"name={'name' * 30}")
    evaluate, failures = timed(3), failing(itertools.repeat(Failure.ERROR))
    turns = itertools.count()

    def run(spec: TrialSpec) -> TrialResult:
        if next(turns) % 3 == 0:
            return replace(failures(spec), error="Traceback:\n" + "unbroken" * 100)
        worker = Worker(host=f"<b>&amp;{'host' * 40}", rank=next(turns), device="cpu")
        return replace(evaluate(spec), worker=worker)

    drive(search_in(directory), stop_after=10, evaluate=run)
    return directory


@pytest.mark.parametrize("run", [whole, under_way, empty, failures_only, long_names])
def test_a_report_on_a_wide_screen_and_on_a_telephone(
    run: object, browser: Browser, tmp_path: Path
) -> None:
    assert callable(run)
    directory = run(tmp_path)
    page = draw(directory)
    figures = {file.stem for file in page.parent.glob("*.png")}
    for width in WIDTHS:
        seen = browser.look_at(page, width)
        assert list(faults(seen, width)) == []
        assert len(seen.pictures) == len(figures)
        assert "Leaderboard" in seen.text
        assert Image.open(io.BytesIO(seen.png)).width == width


def compared(folder: Path) -> list[Path]:
    return [whole_comparison(folder).directory.path]


def barely_begun(folder: Path) -> list[Path]:
    comparison = new_comparison(folder, "trial.fake.failures={}")
    drive_run(comparison, comparison.runs[1], stop_after=2)
    return [comparison.directory.path]


def several(folder: Path) -> list[Path]:
    """With arms and names that are long."""
    arms = {f"{'long' * 15}-{epochs}": {"trial.epochs": epochs} for epochs in (2, 3)}
    choice = {"arms": arms, "experiments": 1}
    return [
        whole_comparison(folder, f"name={'name' * 30}", out=out, **choice).directory.path
        for out in ("one", "two")
    ]


@pytest.mark.parametrize("comparisons", [compared, barely_begun, several])
def test_a_report_of_comparisons(comparisons: object, browser: Browser, tmp_path: Path) -> None:
    assert callable(comparisons)
    paths = [str(path) for path in comparisons(tmp_path)]
    command = ["report", *paths, "--out", str(tmp_path / "report")]
    done = CliRunner().invoke(main, command, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    for width in WIDTHS:
        seen = browser.look_at(tmp_path / "report" / "index.html", width)
        assert list(faults(seen, width)) == []
        assert len(seen.pictures) == len(list((tmp_path / "report").glob("*.png")))
        assert "Where the time goes" in seen.text


@pytest.mark.parametrize("width", WIDTHS)
def test_text_in_figures_is_shown_large_enough(
    width: int, browser: Browser, tmp_path: Path
) -> None:
    page = draw(whole(tmp_path))
    drawn = sorted(Image.open(file).width for file in page.parent.glob("*.png"))
    shown = sorted(picture.width for picture in browser.look_at(page, width).pictures)
    for dots, pixels in zip(drawn, shown, strict=True):
        text_px = SMALLEST_POINTS / POINTS_PER_INCH * DOTS_PER_INCH * pixels / dots
        assert text_px >= LEAST_TEXT_PX


GOOD = "<title>t</title><h1 style='font-size: 60px'>A page</h1><p>With text on it.</p>"
PIXEL = "data:image/gif;base64,R0lGODlhAQABAIAAAP///wAAACwAAAAAAQABAAACAkQBADs="
BAD = {
    "<title>t</title>": "no text",
    GOOD + "<div style='width: 1500px; height: 1px'></div>": "pixels wide",
    GOOD + f"<p>{'x' * 1000}</p>": "pixels wide",
    GOOD + "<script>console.log('here')</script>": "console",
    GOOD + "<script>nothing.at.all()</script>": "console",
    GOOD + "<img alt=x src='http://127.0.0.1:9/x.png'>": "request",
    GOOD + "<img alt=x src='beside.png'>": "request",
    GOOD + "<link rel=stylesheet href='http://127.0.0.1:9/x.css'>": "request",
    GOOD + "<img alt=x src='data:image/png;base64,AAAA'>": "broken picture",
    GOOD + f"<img alt=x width=200 height=200 src='{PIXEL}'>": "blank",
    GOOD + "<style>body {background: #000}</style>": "blank",
    "<title>t</title><p style='color: #fff'>Text in white": "blank",
    "<meta http-equiv=Content-Security-Policy content=\"default-src 'none'\">"
    + GOOD
    + "<style>p {color: red}</style>": "console",
}


@pytest.mark.parametrize(("html", "word"), BAD.items())
def test_a_bad_page_is_noticed(html: str, word: str, browser: Browser, tmp_path: Path) -> None:
    page = tmp_path / "bad.html"
    page.write_text(f"<!DOCTYPE html><html><head><link rel=icon href=data:,></head>{html}</html>")
    for width in WIDTHS:
        assert any(word in fault for fault in faults(browser.look_at(page, width), width))


def test_a_good_page_has_no_faults(browser: Browser, tmp_path: Path) -> None:
    page = tmp_path / "good.html"
    page.write_text(f"<!DOCTYPE html><link rel=icon href=data:,>{GOOD}")
    for width in WIDTHS:
        assert list(faults(browser.look_at(page, width), width)) == []
