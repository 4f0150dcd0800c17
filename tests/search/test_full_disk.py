"""A disk that takes nothing more, at any moment: one line, nothing lost but what was running.

On a small file system in memory, of pages of 4096 bytes; skipped where none may be mounted.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import mpi_launcher
import pytest
from searching import (
    COMPARED,
    config_file,
    config_of,
    drive,
    fake_result,
    found,
    new_run,
    search_in,
)

from mpinas.clock import Clock
from mpinas.dispatch.inline import InlineExecutor
from mpinas.errors import DiskFault
from mpinas.journal import read_results
from mpinas.opening import RunOptions
from mpinas.records import Failure, TrialResult, TrialSpec, TrialStatus
from mpinas.run_directory import RunDirectory, searches_in
from mpinas.session import Job, run_search
from mpinas.signals import StopRequest

PAGE_BYTES = 4096
SIZE = "2m"
SLOW = ("--set", "trial.fake.seconds={mean: 0.3, sigma: 0.3}", "--set", "run.heartbeat_s=0.2")

Trial = tuple[str, str, "float | None"]
Searches = Callable[[Path], Mapping[str, list[Trial]]]


def change_mount(*arguments: str) -> None:
    ended = subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)
    if ended.returncode != 0:
        pytest.skip(f"no file system may be mounted here: {ended.stderr.strip()}")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small disk of its own."""
    place = tmp_path / "disk"
    place.mkdir()
    change_mount("-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(place))
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    return new_run(tmp_path_factory.mktemp("fresh"), "run")


@pytest.fixture(scope="module")
def never(tmp_path_factory: pytest.TempPathFactory) -> list[Trial]:
    """All trials of the search on a large disk."""
    directory = new_run(tmp_path_factory.mktemp("never"), "run")
    drive(search_in(directory))
    return found(directory)


def fill(disk: Path, pages_left: int = 0) -> Path:
    """A file that takes all space but so many pages."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(PAGE_BYTES)) == PAGE_BYTES:
            pass
    if pages_left:
        with filler.open("r+b") as file:
            file.truncate(filler.stat().st_size - pages_left * PAGE_BYTES)
    return filler


@pytest.mark.parametrize("pages_left", [0, 1, 2, 3, 5])
@pytest.mark.parametrize("stop_after", [0, 2, 5, 8, 14])
def test_wherever_it_is_full_the_search_goes_on_from_what_is_written(
    disk: Path, fresh: RunDirectory, never: list[Trial], stop_after: int, pages_left: int
) -> None:
    directory = RunDirectory(shutil.copytree(fresh.path, disk / "run"))
    search = search_in(directory)
    drive(search, stop_after=stop_after)
    before = found(directory)
    filler = fill(disk, pages_left)
    with pytest.raises(OSError, match="No space left on device") as caught:
        drive(search)
    assert Path(caught.value.filename).suffix in (".jsonl", ".h5")
    kept = found(directory)
    assert set(before) <= set(kept)
    filler.unlink()
    drive(search_in(directory))
    assert found(directory) == never
    assert set(kept) <= set(never)


@pytest.mark.parametrize(("pages_left", "suffix"), [(0, ".jsonl"), (2, ".h5")])
def test_journals_and_checkpoints_both_meet_the_full_disk(
    disk: Path, fresh: RunDirectory, pages_left: int, suffix: str
) -> None:
    """Else the test above would prove less than it says."""
    directory = RunDirectory(shutil.copytree(fresh.path, disk / "run"))
    search = search_in(directory)
    drive(search, stop_after=0 if suffix == ".jsonl" else 5)
    filler = fill(disk, pages_left)
    with pytest.raises(OSError, match="No space left on device") as caught:
        drive(search)
    filler.unlink()
    assert Path(caught.value.filename).suffix == suffix


def start(config: Path, out: Path, ranks: int, verb: str = "run") -> subprocess.Popen[str]:
    program = ["-m", "mpinas", verb, str(config), "--out", str(out), *SLOW]
    if ranks:
        return mpi_launcher.start(ranks, program)
    return mpi_launcher.start_alone([*program, "--workers", "2"])


def end_of(job: subprocess.Popen[str]) -> str:
    try:
        return mpi_launcher.communicate(job)[1]
    finally:
        mpi_launcher.stop(job)


def fill_under(job: subprocess.Popen[str], disk: Path, out: Path, searches: Searches) -> Path:
    """The job with a filled disk, once some trials have ended, to its end; what fills it."""
    deadline = time.monotonic() + 60
    try:
        while sum(len(trials) for trials in searches(out).values()) < 3:
            assert time.monotonic() < deadline, "no trial ended"
            time.sleep(0.05)
    except BaseException:
        mpi_launcher.stop(job)
        raise
    filler = fill(disk)
    errors = end_of(job)
    assert job.returncode == 1, errors
    assert "Traceback" not in errors
    said = [line for line in errors.splitlines() if "No space left on device. All" in line]
    assert len(said) == 1, errors
    assert str(out) in said[0]
    return filler


@pytest.mark.parametrize("ranks", [0, pytest.param(3, marks=pytest.mark.mpi)])
def test_a_job_on_a_full_disk_ends_with_one_line_and_goes_on_when_there_is_space(
    tmp_path: Path, disk: Path, never: list[Trial], ranks: int
) -> None:
    config, out = config_file(tmp_path), disk / "run"

    def trials(path: Path) -> Mapping[str, list[Trial]]:
        return {"": found(RunDirectory(path))} if path.exists() else {}

    filler = fill_under(start(config, out, ranks), disk, out, trials)
    kept = found(RunDirectory(out))
    assert len(kept) >= 3
    assert not RunDirectory(out).owner.exists()
    filler.unlink()
    again = start(config, out, ranks)
    errors = end_of(again)
    assert again.returncode == 0, errors
    assert found(RunDirectory(out)) == never
    assert set(kept) <= set(never)


def test_a_comparison_on_a_full_disk_does_so_too(tmp_path: Path, disk: Path) -> None:
    config, out = config_file(tmp_path, COMPARED), disk / "here"

    def trials(path: Path) -> Mapping[str, list[Trial]]:
        return {str(one.path.relative_to(path)): found(one) for one in searches_in(path)}

    filler = fill_under(start(config, out, 0, "compare"), disk, out, trials)
    kept = trials(out)
    assert not list(out.glob("e*/*/owner.json"))
    filler.unlink()
    for place in (out, tmp_path / "never"):
        job = start(config, place, 0, "compare")
        errors = end_of(job)
        assert job.returncode == 0, errors
    assert trials(out) == trials(tmp_path / "never")
    assert all(set(kept[name]) <= set(all_of_it) for name, all_of_it in trials(out).items())


def run_here(config: Path, out: Path) -> subprocess.CompletedProcess[str]:
    return mpi_launcher.run_alone(["-m", "mpinas", "run", str(config), "--out", str(out)])


def test_a_run_on_a_disk_that_became_read_only_is_one_line_and_stays_as_it_is(
    tmp_path: Path, disk: Path, fresh: RunDirectory, never: list[Trial]
) -> None:
    config = config_file(tmp_path)
    directory = RunDirectory(shutil.copytree(fresh.path, disk / "run"))
    drive(search_in(directory), stop_after=8)
    before = found(directory)
    change_mount("-o", "remount,ro", str(disk))
    ended = run_here(config, directory.path)
    assert ended.returncode == 1, ended.stderr
    (line,) = [line for line in ended.stderr.splitlines() if "Read-only file system" in line]
    assert str(directory.path) in line
    assert "Traceback" not in ended.stderr
    assert found(directory) == before
    change_mount("-o", "remount,rw", str(disk))
    assert run_here(config, directory.path).returncode == 0
    assert found(directory) == never


def test_a_full_disk_at_the_start_of_a_job_is_one_line(
    tmp_path: Path, disk: Path, fresh: RunDirectory, never: list[Trial]
) -> None:
    config = config_file(tmp_path)
    directory = RunDirectory(shutil.copytree(fresh.path, disk / "run"))
    drive(search_in(directory), stop_after=8)
    filler = fill(disk)
    ended = run_here(config, directory.path)
    assert ended.returncode == 1, ended.stderr
    assert "No space left on device" in ended.stderr
    assert "Traceback" not in ended.stderr
    filler.unlink()
    assert run_here(config, directory.path).returncode == 0
    assert found(directory) == never


def test_weights_that_the_disk_does_not_take_fail_no_trial(tmp_path: Path) -> None:
    """A journal line still fits where a megabyte does not."""
    options = ("trial.save_weights=best", "trial.fake.failures={}")
    directory = new_run(tmp_path, "run", *options)
    ran = []

    def run_trial(spec: TrialSpec, report: object) -> TrialResult:
        ran.append(spec.trial_id)
        if len(ran) < 3:
            return fake_result(spec)
        return replace(
            fake_result(spec),
            status=TrialStatus.FAILED,
            fitness=None,
            failure=Failure.INFRASTRUCTURE,
            error=f"the weights cannot be written to {spec.weights_path}: [Errno 28] No space",
        )

    with pytest.raises(DiskFault, match=r"weights/g000-t00\d.*No space left on device") as caught:
        run_search(
            config_of(tmp_path, *options),
            RunOptions(config=tmp_path / "search.yaml", out=directory.path),
            Job(
                executor=InlineExecutor(run_trial),
                stopping=StopRequest(),
                clock=Clock(deadline_s=None, reserve_s=0.0, now_s=time.monotonic),
            ),
        )
    assert "\n" not in str(caught.value)
    assert len(ran) == 3
    assert not any("cannot be written" in one.error for one in read_results(directory.journal(0)))
