"""A run directory appears whole, belongs to one living job, and is taken over from a dead one."""

import dataclasses
import os
import subprocess
import sys
import time

import pytest

from mpinas.errors import RunDirectoryFault
from mpinas.records import to_json
from mpinas.run_directory import (
    STALE_AFTER_HEARTBEATS,
    RunDirectory,
    Status,
    beat,
    claim,
    create_run_directory,
    is_alive,
    load_status,
    release,
    save_status,
)


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


def test_a_folder_of_something_else_is_refused_and_kept(tmp_path):
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(RunDirectoryFault, match="not a run"):
        create_run_directory(tmp_path, lambda new: None)
    assert (tmp_path / "thesis.tex").exists()


def test_an_empty_folder_is_used(tmp_path):
    (tmp_path / "run").mkdir()
    create_run_directory(tmp_path / "run", lambda new: new.config.write_text(""))
    assert RunDirectory(tmp_path / "run").exists()


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
        "import os, sys, pathlib; from mpinas.run_directory import *;"
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
    with pytest.raises(RunDirectoryFault, match="taken"):
        beat(directory, owner)


def test_a_damaged_owner_file_keeps_nobody_out(directory):
    directory.owner.write_text("{")
    claim(directory, 10.0)


def test_status_is_read_whole_or_not_at_all(directory):
    assert load_status(directory) is None
    status = Status(status="running", generation=2, generations=5, busy_time_s=0.1)
    save_status(directory, status)
    assert load_status(directory) == status
    directory.status.write_text('{"status": "runn')
    assert load_status(directory) is None
