"""Random damage to the files of a run: what goes on is the search that was never damaged, or one
line names the file.

A seeded sample runs always, all 200 rounds with ``--soak``.
"""

from __future__ import annotations

import logging
import random
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import mpi_launcher
import pytest
from searching import config_file, config_of, drive, fake_result, found, new_run, search_in

from mpinas.clock import Clock
from mpinas.dispatch.inline import InlineExecutor
from mpinas.errors import MpinasError
from mpinas.opening import RunOptions
from mpinas.run_directory import RunDirectory
from mpinas.session import Job, run_search
from mpinas.signals import StopRequest

ROUNDS, SAMPLE = 200, 25
STOPS = (1, 5, 6, 9, 12, 15, 18)
"""After how many of the 18 trials the run was stopped that is damaged."""

Trial = tuple[str, str, "float | None"]
Damage = Callable[[Path, random.Random], None]


def truncate(file: Path, draw: random.Random) -> None:
    file.write_bytes(file.read_bytes()[: draw.randrange(max(1, file.stat().st_size))])


def flip_bits(file: Path, draw: random.Random) -> None:
    content = bytearray(file.read_bytes())
    for _ in range(draw.choice([1, 1, 2, 50])):
        if content:
            content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    file.write_bytes(bytes(content))


def zero_range(file: Path, draw: random.Random) -> None:
    content = bytearray(file.read_bytes())
    begin = draw.randrange(max(1, len(content)))
    end = min(len(content), begin + draw.choice([1, 64, 4096]))
    content[begin:end] = bytes(end - begin)
    file.write_bytes(bytes(content))


def append_noise(file: Path, draw: random.Random) -> None:
    file.write_bytes(file.read_bytes() + draw.randbytes(draw.choice([1, 100])))


def copy_neighbour(file: Path, draw: random.Random) -> None:
    """As a careless restore from a backup does."""
    neighbours = [one for one in sorted(file.parent.glob(f"*{file.suffix}")) if one.is_file()]
    file.write_bytes(draw.choice(neighbours).read_bytes())


def remove(file: Path, draw: random.Random) -> None:
    file.unlink()


def make_folder(file: Path, draw: random.Random) -> None:
    file.unlink()
    file.mkdir()


DAMAGES: tuple[Damage, ...] = (
    truncate,
    flip_bits,
    zero_range,
    append_noise,
    copy_neighbour,
    remove,
    make_folder,
)


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> dict[int, RunDirectory]:
    """The run as it was stopped after so many trials, to be copied."""
    fresh = new_run(tmp_path_factory.mktemp("fresh"), "run")
    made = {}
    for stop_after in STOPS:
        folder = tmp_path_factory.mktemp(f"stopped{stop_after}")
        made[stop_after] = RunDirectory(shutil.copytree(fresh.path, folder / "run"))
        drive(search_in(made[stop_after]), stop_after=stop_after)
    return made


@pytest.fixture(scope="module")
def never(stopped: dict[int, RunDirectory]) -> list[Trial]:
    """All trials, undamaged."""
    trials = found(stopped[STOPS[-1]])
    assert len(trials) == 18
    return trials


def victims(directory: RunDirectory, draw: random.Random) -> list[Path]:
    """Mostly the newest checkpoint; else any files that search goes on from, several at once."""
    checkpoints = sorted(directory.checkpoints.glob("g*.h5"))
    if checkpoints and draw.random() < 0.4:
        return [checkpoints[-1]]
    files = [directory.start, *checkpoints, *directory.journals()]
    return draw.sample(files, min(len(files), draw.choice([1, 1, 2, 3, len(files)])))


def go_on(directory: RunDirectory, config: Path) -> None:
    run_search(
        config_of(config.parent),
        RunOptions(config=config, out=directory.path),
        Job(
            executor=InlineExecutor(lambda spec, report: fake_result(spec)),
            stopping=StopRequest(),
            clock=Clock(deadline_s=None, reserve_s=0.0, now_s=lambda: 0.0),
        ),
    )


def rounds(whole_soak: bool) -> Iterator[random.Random]:
    for number in range(ROUNDS if whole_soak else SAMPLE):
        yield random.Random(f"damage {number}")


def test_a_damaged_run_goes_on_as_if_nothing_had_happened_or_names_the_file(
    tmp_path: Path,
    stopped: dict[int, RunDirectory],
    never: list[Trial],
    whole_soak: bool,
    caplog: pytest.LogCaptureFixture,
) -> None:
    config = config_file(tmp_path)
    ends: Counter[str] = Counter()
    for number, draw in enumerate(rounds(whole_soak)):
        place = stopped[draw.choice(STOPS)].path
        directory = RunDirectory(shutil.copytree(place, tmp_path / f"round{number}"))
        hit = {file: draw.choice(DAMAGES) for file in victims(directory, draw)}
        for file, damage in hit.items():
            damage(file, draw)
        story = ", ".join(f"{damage.__name__} {file.name}" for file, damage in hit.items())
        caplog.clear()
        try:
            with caplog.at_level(logging.INFO):
                go_on(directory, config)
        except (MpinasError, OSError) as error:
            line = str(error)
            assert "\n" not in line, story
            assert any(str(file) in line for file in hit), f"{story}: {line}"
            ends["named"] += 1
        else:
            assert found(directory) == never, story
            assert "going on from" in caplog.text
            ends["went on"] += 1
    assert ends["went on"] > ends["named"] > 0, ends


@pytest.mark.parametrize("name", ["g001.h5", "start.h5"])
@pytest.mark.parametrize("damage", [truncate, flip_bits, zero_range, remove])
def test_a_damaged_checkpoint_is_named_before_the_search_goes_on(
    tmp_path: Path,
    stopped: dict[int, RunDirectory],
    never: list[Trial],
    caplog: pytest.LogCaptureFixture,
    damage: Damage,
    name: str,
) -> None:
    directory = RunDirectory(shutil.copytree(stopped[15].path, tmp_path / "run"))
    damage(directory.checkpoints / name, random.Random(1))
    with caplog.at_level(logging.INFO):
        go_on(directory, config_file(tmp_path))
    warnings = [one.getMessage() for one in caplog.records if one.levelname == "WARNING"]
    assert any(name in line for line in warnings), warnings
    before = "start.h5" if name == "start.h5" else "g000.h5"
    assert f"going on from {directory.checkpoints / before}" in caplog.text
    assert found(directory) == never


def test_where_nothing_can_be_read_this_is_said_and_the_same_search_begins_anew(
    tmp_path: Path,
    stopped: dict[int, RunDirectory],
    never: list[Trial],
    caplog: pytest.LogCaptureFixture,
) -> None:
    directory = RunDirectory(shutil.copytree(stopped[18].path, tmp_path / "run"))
    for file in (directory.start, *directory.checkpoints.glob("g*.h5"), *directory.journals()):
        file.write_bytes(b"")
    with caplog.at_level(logging.WARNING):
        go_on(directory, config_file(tmp_path))
    assert "no starting populations can be read" in caplog.text
    assert found(directory) == never


@pytest.mark.parametrize("name", ["checkpoints/g001.h5", "journal/g000.jsonl"])
def test_the_command_tells_of_a_folder_in_place_of_a_file_in_one_line(
    tmp_path: Path, stopped: dict[int, RunDirectory], name: str
) -> None:
    directory = RunDirectory(shutil.copytree(stopped[15].path, tmp_path / "run"))
    make_folder(directory.path / name, random.Random(1))
    program = ["-m", "mpinas", "run", str(config_file(tmp_path)), "--out", str(directory.path)]
    ended = mpi_launcher.run_alone(program)
    assert ended.returncode == 2, ended.stderr
    assert "Traceback" not in ended.stderr
    (line,) = [line for line in ended.stderr.splitlines() if name in line]
    assert "Move it away" in line
