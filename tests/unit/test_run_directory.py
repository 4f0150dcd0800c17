"""A run directory appears whole, belongs to one living job, and is taken over from a dead one."""

import dataclasses
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mpinas.errors import RunDirectoryFault
from mpinas.ownership import STALE_AFTER_HEARTBEATS, beat, claim, is_alive, release
from mpinas.records import to_json
from mpinas.run_directory import (
    RunDirectory,
    Status,
    create_run_directory,
    load_status,
    save_status,
)
from mpinas.signals import STOP_SIGNALS, StoppedEarly, stop_signals


@pytest.fixture
def directory(tmp_path):
    return create_run_directory(tmp_path / "run", lambda new: new.config.write_text("name: x\n"))


def test_it_appears_whole(directory):
    assert directory.exists()
    assert {path.name for path in directory.path.iterdir()} == {
        "config.yaml",
        "journal",
        "checkpoints",
    }


def test_where_filling_fails_nothing_stays_behind(tmp_path):
    def fail(new):
        new.config.write_text("half")
        raise ValueError("bad data")

    with pytest.raises(ValueError, match="bad data"):
        create_run_directory(tmp_path / "deep" / "run", fail)
    assert not (tmp_path / "deep" / "run").exists()
    assert not any(path.is_file() for path in tmp_path.rglob("*"))


def test_a_signal_comes_before_or_after_the_move_to_its_name_never_within(tmp_path, monkeypatch):
    """Into a folder that is there already files go one by one; half of them would be refused."""
    (tmp_path / "run").mkdir()
    usual = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    rename, moved = Path.rename, []

    def interrupted(file, target):
        if not moved:
            os.kill(os.getpid(), signal.SIGUSR1)
            time.sleep(0.05)
        moved.append(file)
        return rename(file, target)

    monkeypatch.setattr(Path, "rename", interrupted)
    with stop_signals() as request, pytest.raises(StoppedEarly), request.at_once(None):
        create_run_directory(tmp_path / "run", lambda new: new.config.write_text(""))
    for number, handler in usual.items():
        signal.signal(number, handler)
    assert RunDirectory(tmp_path / "run").exists()
    assert len(moved) == len(list((tmp_path / "run").iterdir())) == 3


def test_a_folder_of_something_else_is_refused_and_kept(tmp_path):
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(RunDirectoryFault, match="not a run"):
        create_run_directory(tmp_path, lambda new: None)
    assert (tmp_path / "thesis.tex").exists()


def test_an_empty_folder_is_used(tmp_path):
    (tmp_path / "run").mkdir()
    made = (tmp_path / "run").stat().st_ino
    create_run_directory(tmp_path / "run", lambda new: new.config.write_text(""))
    assert RunDirectory(tmp_path / "run").exists()
    assert (tmp_path / "run").stat().st_ino == made, "a mount point cannot be replaced"
    assert {path.name for path in (tmp_path / "run").iterdir()} == {
        "config.yaml",
        "journal",
        "checkpoints",
    }


def test_a_living_job_keeps_others_out_and_a_released_directory_is_free(directory):
    owner = claim(directory, 10.0)
    with pytest.raises(RunDirectoryFault, match=f"pid={os.getpid()}"):
        claim(directory, 10.0)
    assert is_alive(directory)
    release(directory, owner)
    assert not is_alive(directory)
    claim(directory, 10.0)


def test_a_job_that_was_killed_on_this_host_is_taken_over_at_once(directory):
    program = (
        "import os, sys, pathlib; from mpinas.ownership import *;"
        "claim(RunDirectory(pathlib.Path(sys.argv[1])), 10.0); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", program, str(directory.path)], check=False)
    assert directory.owner.exists()
    assert claim(directory, 10.0).pid == os.getpid()


def test_a_recycled_pid_is_not_the_owner(directory):
    owner = claim(directory, 10.0)
    directory.owner.write_bytes(to_json(dataclasses.replace(owner, process_start=1)))
    assert not is_alive(directory)


def test_on_another_host_the_age_of_the_heartbeat_decides(directory):
    owner = dataclasses.replace(claim(directory, 10.0), host="elsewhere")
    directory.owner.write_bytes(to_json(owner))
    assert is_alive(directory)
    old = time.time() - STALE_AFTER_HEARTBEATS * 10.0 - 1
    os.utime(directory.owner, (old, old))
    assert not is_alive(directory)


def test_who_lost_the_directory_stops_at_the_next_heartbeat(directory):
    owner = claim(directory, 10.0)
    directory.owner.write_bytes(to_json(dataclasses.replace(owner, pid=1)))
    with pytest.raises(RunDirectoryFault, match="pid=1,"):
        beat(directory, owner)


def test_of_many_that_find_a_dead_owner_one_gets_the_directory(directory):
    """Two that judged the same dead owner deleted each other's claim."""
    program = (
        "import sys, pathlib, time; from mpinas.ownership import *;"
        "directory = RunDirectory(pathlib.Path(sys.argv[1]));"
        "time.sleep(max(0, float(sys.argv[2]) - time.time())); claim(directory, 10.0);"
        "print('mine', flush=True); time.sleep(3)"
    )
    for _ in range(3):
        owner = claim(directory, 10.0)
        directory.owner.write_bytes(to_json(dataclasses.replace(owner, process_start=1)))
        start = str(time.time() + 1.5)
        jobs = [
            subprocess.Popen(
                [sys.executable, "-c", program, str(directory.path), start],
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
            for _ in range(4)
        ]
        assert [job.communicate()[0] for job in jobs].count("mine\n") == 1


def test_a_removed_owner_file_is_made_again_by_its_owner(directory):
    owner = claim(directory, 10.0)
    directory.owner.unlink()
    beat(directory, owner)
    assert is_alive(directory)


def test_what_a_killed_start_left_is_removed_by_the_next(tmp_path):
    prefix = f".run.{socket.gethostname()}."
    left = tmp_path / f"{prefix}999999999.new"
    other = tmp_path / f"{prefix}{os.getppid()}.new"
    for folder in (left, other):
        folder.mkdir()
    create_run_directory(tmp_path / "run", lambda new: new.config.write_text(""))
    assert not left.exists()
    assert other.exists()


def test_a_start_that_was_killed_in_a_folder_of_the_users_can_be_made_again(tmp_path):
    """``--out`` may name an empty folder; what was being built in it does not fill it."""
    place = tmp_path / "run"
    (place / f".run.{socket.gethostname()}.999999999.new" / "journal").mkdir(parents=True)
    create_run_directory(place, lambda new: new.config.write_text(""))
    assert {path.name for path in place.iterdir()} == {"config.yaml", "journal", "checkpoints"}


def test_of_two_starts_in_a_folder_of_the_users_one_loses(tmp_path):
    place = tmp_path / "run"
    place.mkdir()

    def late(new):
        new.config.write_text("mine")
        (place / "config.yaml").write_text("theirs")

    with pytest.raises(RunDirectoryFault, match="another job has just made"):
        create_run_directory(place, late)
    assert [path.name for path in place.iterdir()] == ["config.yaml"]
    assert (place / "config.yaml").read_text() == "theirs"


def test_the_old_run_is_moved_only_when_the_new_one_is_ready(directory):
    def fail(new):
        raise ValueError("bad data")

    aside = directory.path.with_name("old")
    with pytest.raises(ValueError, match="bad data"):
        create_run_directory(directory.path, fail, aside=aside)
    assert directory.config.read_text() == "name: x\n"
    create_run_directory(directory.path, lambda new: new.config.write_text("y"), aside=aside)
    assert directory.config.read_text() == "y"
    assert (aside / "config.yaml").read_text() == "name: x\n"


def test_a_file_with_an_odd_name_is_no_journal(directory):
    for name in ("g000.jsonl", "g010.jsonl", "g2.jsonl", "g000 (copy).jsonl", "g.jsonl"):
        (directory.path / "journal" / name).touch()
    assert [file.name for file in directory.journals()] == ["g000.jsonl", "g2.jsonl", "g010.jsonl"]


def test_a_place_that_cannot_be_written_is_a_line(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(RunDirectoryFault, match="cannot be made: Not a directory"):
        create_run_directory(tmp_path / "file" / "run", lambda new: None)


def test_a_damaged_owner_file_keeps_nobody_out(directory):
    directory.owner.write_text("{")
    claim(directory, 10.0)


def test_status_is_read_whole_or_not_at_all(directory):
    assert load_status(directory) is None
    status = Status(workers=2, busy_time_s=0.1)
    save_status(directory, status)
    assert load_status(directory) == status
    directory.status.write_text('{"workers": 2, "bu')
    assert load_status(directory) is None
