"""The directory of a comparison: made whole, mended, and of one set of data."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from comparing import drive_run, new_comparison
from data_files import random_arrays, save_npz
from invoking import compare, invoke
from searching import ARMS, COMPARED, config_file, found, with_key

from mpinas import comparison_opening
from mpinas.export import ExportWish, plan_export
from mpinas.ownership import claim, release
from mpinas.problems import open_prepared
from mpinas.run_directory import RunDirectory

ONE_EXPERIMENT = with_key(with_key(COMPARED, "comparison", experiments=1), "trial", batch_size=32)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_scheduler: None) -> Path:
    """An empty current directory with the small comparison in it and no scheduler around."""
    monkeypatch.chdir(tmp_path)
    config_file(tmp_path, ONE_EXPERIMENT)
    return tmp_path


def shown(path: object) -> list[tuple[object, ...]]:
    """What ``show --json`` tells of the arms, as exactly as sums in another order can be equal."""
    arms = json.loads(invoke("show", path, "--json").stdout)["arms"]
    figures = ("accuracy", "time_s", "cpu_s", "flops_per_image")
    return [
        (name, arm["trials"], *(f"{arm[one]['value']:.9g}" for one in figures if arm[one]))
        for name, arm in arms.items()
    ]


def arrays(file: Path, seed: int) -> Path:
    """Data of one's own, other ones for each seed."""
    draw = np.random.default_rng(seed)
    images = draw.integers(0, 255, size=(100, 8, 8, 1), dtype=np.uint8)
    labels = np.arange(100, dtype=np.int64) % 2
    training = {"x_train": images[:80], "y_train": labels[:80]}
    np.savez(file, **training, x_test=images[80:], y_test=labels[80:])
    return file


SLOW_DATA = """
import time
import numpy as np


def load():
    open({began!r}, "w").close()
    time.sleep({seconds})
    images = np.random.default_rng(1).integers(0, 255, size=(100, 8, 8, 1), dtype=np.uint8)
    labels = np.arange(100, dtype=np.int64) % 2
    return (images[:80], labels[:80]), (images[80:], labels[80:])
"""


@pytest.mark.parametrize("is_there", [False, True])
def test_killed_while_data_are_prepared_the_same_command_begins(
    place: Path, is_there: bool
) -> None:
    """Real data take minutes. Half of a directory would be refused as something else."""
    if is_there:
        (place / "here").mkdir()
    began, source = place / "began", place / "source.py"
    source.write_text(SLOW_DATA.format(began=str(began), seconds=600))
    problem = {"name": "python", "path": f"{source}:load"}
    config_file(place, with_key(ONE_EXPERIMENT, "problem", **problem))
    job = subprocess.Popen(
        [sys.executable, "-m", "mpinas", "compare", "search.yaml", "--out", "here"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        give_up_s = time.monotonic() + 120
        while not began.exists():
            assert job.poll() is None
            assert time.monotonic() < give_up_s
            time.sleep(0.05)
    finally:
        os.killpg(job.pid, signal.SIGKILL)
        job.wait()
    source.write_text(SLOW_DATA.format(began=str(began), seconds=0))
    result = compare()
    assert result.exit_code == 0, result.output
    hidden = {one.name for one in (place / "here").iterdir() if one.name.startswith(".")}
    assert not hidden
    assert not list(place.glob(".here*"))


def test_it_appears_whole(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(config: object, file: Path) -> None:
        file.write_bytes(b"half")
        raise RuntimeError("killed")

    monkeypatch.setattr(comparison_opening, "prepare", fail)
    assert isinstance(compare().exception, RuntimeError)
    assert not (place / "here").exists()
    assert not list(place.glob(".here*"))


def test_data_that_an_arm_cannot_use_leave_nothing_behind(place: Path) -> None:
    arms = {**ARMS, "large": {"trial.batch_size": 4096}}
    config_file(place, with_key(ONE_EXPERIMENT, "comparison", arms=arms))
    refused = compare()
    assert refused.exit_code == 2
    assert "fewer training images than one batch" in refused.stderr
    assert [one.name for one in place.iterdir()] == ["search.yaml"]


def test_fresh_moves_nothing_where_the_new_one_cannot_be_made(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert compare().exit_code == 0
    before = invoke("show", "here", "--json").stdout

    def fail(config: object, file: Path) -> None:
        raise RuntimeError("bad data")

    monkeypatch.setattr(comparison_opening, "prepare", fail)
    assert isinstance(compare("--fresh").exception, RuntimeError)
    assert invoke("show", "here", "--json").stdout == before
    assert not list(place.glob("here.*"))


def test_fresh_sets_what_a_link_leads_to_aside(place: Path) -> None:
    (place / "scratch" / "it").mkdir(parents=True)
    (place / "here").symlink_to("scratch/it")
    assert compare().exit_code == 0
    assert compare("--fresh", "--set", "seed=6").exit_code == 0
    assert (place / "here").is_symlink()
    (aside,) = (place / "scratch").glob("it.*Z")
    old, new = (found(RunDirectory(one / "e0" / "plain")) for one in (aside, place / "here"))
    assert len(old) == len(new)
    assert old != new


@pytest.mark.parametrize("text", [None, "", "name: ["])
def test_without_its_configuration_it_is_told_how_to_go_on(place: Path, text: str | None) -> None:
    assert compare().exit_code == 0
    before = invoke("show", "here", "--json").stdout
    config = place / "here" / "comparison.yaml"
    config.unlink()
    if text is not None:
        config.write_text(text)
    refused = compare()
    assert refused.exit_code == 2
    assert "here/comparison.yaml" in refused.stderr
    if text is None:
        assert "Copy the configuration that it began with to here/comparison.yaml" in refused.stderr
    config.write_text(ONE_EXPERIMENT)
    assert compare().exit_code == 0
    assert invoke("show", "here", "--json").stdout == before
    config.write_text(text or "")
    assert compare("--fresh").exit_code == 0, "it is of no use as it is"
    assert len(list(place.glob("here.*Z"))) == 1


def test_a_job_that_works_in_one_without_a_configuration_is_left_alone(place: Path) -> None:
    assert compare().exit_code == 0
    (place / "here" / "comparison.yaml").unlink()
    directory = RunDirectory(place / "here" / "e0" / "longer")
    owner = claim(directory, heartbeat_s=60.0, dead=None)
    try:
        refused = compare("--fresh")
    finally:
        release(directory, owner)
    assert refused.exit_code == 2
    assert "e0/longer" in refused.stderr


def test_other_data_at_another_path_are_not_taken_for_those_it_began_with(place: Path) -> None:
    """Nobody would notice that all goes on with the old ones."""
    first, other = (arrays(place / f"{seed}.npz", seed) for seed in (1, 2))
    config_file(place, with_key(ONE_EXPERIMENT, "problem", name="arrays"))
    assert compare("--set", f"problem.path={first}").exit_code == 0
    before = open_prepared(place / "here" / "problem.h5").checksum
    more = ("--experiments", "2")
    refused = compare("--set", f"problem.path={other}", *more)
    assert refused.exit_code == 2
    assert "began with other data" in refused.stderr
    assert open_prepared(place / "here" / "problem.h5").checksum == before
    moved = first.rename(place / "moved.npz")
    result = compare("--set", f"problem.path={moved}", *more)
    assert result.exit_code == 0, result.output
    assert open_prepared(place / "here" / "problem.h5").checksum == before


def test_shared_data_that_became_others_are_refused(place: Path) -> None:
    """Finished searches are not opened: arms of one table would have had different data."""
    shared = place / "shared.h5"
    for seed in (1, 2):
        raw = arrays(place / f"{seed}.npz", seed)
        out = place / f"{seed}.h5"
        assert invoke("prepare", "arrays", "--from", raw, "--out", out).exit_code == 0
    (place / "1.h5").rename(shared)
    config_file(place, with_key(ONE_EXPERIMENT, "problem", name="arrays", path=str(shared)))
    assert compare().exit_code == 0
    third = ("--set", "comparison.arms.third={trial.epochs: 3}")
    (place / "2.h5").rename(shared)
    for options in ((), ("--dry-run",)):
        refused = compare(*third, *options)
        assert refused.exit_code == 2
        assert "began with other data" in refused.stderr
    assert not (place / "here" / "e0" / "third").exists()


@pytest.mark.parametrize("verb", ["compare", "run"])
def test_data_that_are_refused_do_not_stay_in_the_place_of_the_others(
    place: Path, verb: str
) -> None:
    """Killed before a search had begun, there is nothing to compare them with."""
    first = arrays(place / "1.npz", 1)
    few = save_npz(random_arrays((8, 8, 1), classes=2, training=20), place)
    config_file(place, with_key(ONE_EXPERIMENT, "problem", name="arrays", path=str(first)))
    here = RunDirectory(place / "here")
    again = (verb, "search.yaml", "--out", "here")
    assert invoke(*again).exit_code == 0
    before = open_prepared(here.problem).checksum
    for search in [here, *map(RunDirectory, (place / "here").glob("e0/*"))]:
        shutil.rmtree(search.checkpoints, ignore_errors=True)
        shutil.rmtree(search.path / "journal", ignore_errors=True)
    refused = invoke(*again, "--set", f"problem.path={few}")
    assert refused.exit_code == 2
    assert "fewer training images than one batch" in refused.stderr
    assert open_prepared(here.problem).checksum == before
    assert invoke(*again).exit_code == 0


def test_what_another_job_works_on_stays_as_it_is(place: Path) -> None:
    first = arrays(place / "1.npz", 1)
    config_file(place, with_key(ONE_EXPERIMENT, "problem", name="arrays"))
    assert compare("--set", f"problem.path={first}").exit_code == 0
    longer = RunDirectory(place / "here" / "e0" / "longer")
    longer.checkpoint(1).unlink()
    first.rename(place / "2.npz")
    files = [place / "here" / name for name in ("problem.h5", "comparison.yaml")]
    files += sorted((place / "here").glob("e0/*/config.yaml"))
    before = [(file.stat().st_ino, file.read_bytes()) for file in files]
    owner = claim(longer, heartbeat_s=60.0, dead=None)
    try:
        assert compare("--set", f"problem.path={place / '2.npz'}").exit_code == 2
    finally:
        release(longer, owner)
    assert [(file.stat().st_ino, file.read_bytes()) for file in files] == before


def test_finished_searches_know_their_data_still_when_it_is_repeated(place: Path) -> None:
    assert compare().exit_code == 0
    directory = RunDirectory(place / "here" / "e0" / "plain")
    before = directory.config.read_bytes()
    assert compare().exit_code == 0
    assert directory.config.read_bytes() == before
    directory.config.unlink()
    assert compare().exit_code == 0
    assert directory.config.read_bytes() == before, "what is lost is put back"
    wish = ExportWish(run=directory.path, epochs=1, patience=1)
    assert plan_export(wish).specs[0].problem.path == str(place / "here" / "problem.h5")


@pytest.mark.parametrize("harm", ["a journal", "a line", "all journals"])
def test_what_journals_of_finished_searches_lost_is_put_back(place: Path, harm: str) -> None:
    """The tables are made of them, and nothing else would tell that a result is missing."""
    assert compare().exit_code == 0
    directory = RunDirectory(place / "here" / "e0" / "plain")
    before, trials = shown("here"), found(directory)
    if harm == "a line":
        lines = directory.journal(1).read_text().splitlines(keepends=True)
        directory.journal(1).write_text("".join(lines[1:]))
    for file in {"a journal": [directory.journal(1)], "all journals": directory.journals()}.get(
        harm, []
    ):
        file.unlink()
    assert shown("here") != before
    assert compare().exit_code == 0
    assert found(directory) == trials
    assert shown("here") == before


def test_one_where_a_search_is_wanted_is_told(place: Path) -> None:
    assert compare().exit_code == 0
    for command in (("show", "here", "g000-t000"), ("export", "here")):
        refused = invoke(*command)
        assert refused.exit_code == 2
        assert "here: this is a comparison. Its runs: here/e0/" in refused.stderr


def test_a_search_that_is_done_does_not_wait_for_its_neighbours(tmp_path: Path) -> None:
    """Their job keeps it, but nothing more happens to it: who follows it would wait for hours."""
    comparison = new_comparison(tmp_path, experiments=1)
    run = comparison.runs[0]
    drive_run(comparison, run)
    directory = RunDirectory(run.path)
    owner = claim(directory, heartbeat_s=60.0, dead=None)
    try:
        assert json.loads(invoke("show", run.path, "--json").stdout)["status"] == "done"
        directory.checkpoint(1).unlink()
        assert json.loads(invoke("show", run.path, "--json").stdout)["status"] == "running"
    finally:
        release(directory, owner)
