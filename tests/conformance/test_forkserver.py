"""The forkserver: how it ends, what it leaves, and what that means for its worker."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from handmade import ODD_PROGRAM
from supervising import WORKER, gone, odd, outcome_of, watch, works

from mpinas.records import (
    Event,
    Failure,
    Finished,
    TrialStatus,
)
from mpinas.trial import child, folders, handle
from mpinas.trial.child import Supervisor
from mpinas.trial.handle import ForkServer
from mpinas.trial.processes import is_alive


@pytest.mark.parametrize("end", ["", "_and_crash", "_and_death"])
def test_temporary_files_of_a_trial_end_with_it(
    slot: Supervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    """TensorFlow left a file of generated code for every function it traced."""
    monkeypatch.setattr(tempfile, "tempdir", None)
    slot.server._environment["TMPDIR"] = str(tmp_path)
    events = watch(slot, odd(f"temporary_file{end}"))
    assert str(tmp_path / "mpinas-trial-") in str(events)
    assert works(slot)
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_forkserver_left_is_removed_by_the_next(
    slot: Supervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of its own user, of its own machine, and of nobody who lives."""
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    slot.server._environment["TMPDIR"] = str(tmp_path)
    dead = subprocess.Popen(["true"])
    dead.wait()
    own = Path(folders.make())
    elsewhere = tmp_path / f"mpinas-trial-{dead.pid}-00000000-abc"
    strangers = tmp_path / "mpinas-trial-abc"
    left = tmp_path / own.name.replace(str(os.getpid()), str(dead.pid))
    for folder in (elsewhere, strangers, left):
        folder.mkdir()
    (left / "file").write_text("")
    monkeypatch.setattr(tempfile, "tempdir", None)
    outcome_of(slot, odd("kill_the_forkserver"))
    assert works(slot)
    assert set(tmp_path.iterdir()) == {own, elsewhere, strangers}


def test_the_folders_of_running_trials_end_with_the_forkserver(
    slot: Supervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slot.server._environment["TMPDIR"] = str(tmp_path)
    slot.start(odd("hang_with_a_temporary_file"))
    events: list[Event] = []
    while len(events) < 2:
        events += slot.poll()
    assert len(list(tmp_path.iterdir())) == 1
    slot.server.close()
    assert list(tmp_path.iterdir()) == []


def test_a_fork_that_fails_leaves_no_folder(
    slot: Supervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = ODD_PROGRAM.replace(
        "main(*arguments)", "import os\nos.fork = lambda: os.stat('/no/process')\nmain(*arguments)"
    )
    monkeypatch.setattr(handle, "PROGRAM", program)
    slot.server._environment["TMPDIR"] = str(tmp_path)
    result = outcome_of(slot, odd("nothing"))
    assert (result.failure, "/no/process" in result.error) == (Failure.INFRASTRUCTURE, True)
    assert list(tmp_path.iterdir()) == []


def test_a_dead_forkserver_is_started_again(slot: Supervisor, server: ForkServer) -> None:
    result = outcome_of(slot, odd("kill_the_forkserver"))
    assert (result.failure, result.worker) == (Failure.INFRASTRUCTURE, WORKER)
    assert works(slot)
    assert not slot.broken


def test_children_end_with_their_forkserver(slot: Supervisor, server: ForkServer) -> None:
    slot.start(odd("hang"))
    while slot.pid is None:
        slot.poll()
    child_pid, server_pid = slot.pid, server.pid
    assert server_pid is not None
    os.kill(server_pid, signal.SIGKILL)
    assert gone(child_pid)


def test_a_forkserver_that_keeps_dying_is_given_up(
    slot: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handle, "PROGRAM", "raise SystemExit(1)")
    for _ in range(handle.DEATHS_ALLOWED):
        assert not slot.broken
        assert outcome_of(slot, odd("nothing")).failure is Failure.INFRASTRUCTURE
    assert outcome_of(slot, odd("nothing")).failure is Failure.INFRASTRUCTURE
    assert "3 times" in slot.broken


@pytest.mark.parametrize("between", ["", "ignored_signals", "exit_code_three"])
def test_deaths_count_in_a_row_only(slot: Supervisor, between: str) -> None:
    """A child that came to its first line, or to any end, shows that the server can do its work."""
    for _ in range(handle.DEATHS_ALLOWED + 1):
        outcome_of(slot, odd("kill_the_forkserver"))
        if between:
            outcome_of(slot, odd(between))
    assert works(slot)
    assert not slot.broken


def test_a_forkserver_that_dies_while_it_gets_an_order_is_no_broken_worker(
    slot: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*arguments: object) -> int:
        raise BrokenPipeError("nobody reads this")

    with monkeypatch.context() as patched:
        patched.setattr(socket, "send_fds", fails)
        result = outcome_of(slot, odd("nothing"))
    assert (result.failure, "takes no orders" in result.error) == (Failure.INFRASTRUCTURE, True)
    assert not slot.broken
    assert works(slot)


def test_a_stopped_forkserver_costs_no_worker(
    slot: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It can no longer be asked to kill its child, but it can be killed, and its child is then."""
    monkeypatch.setattr(child, "DEATH_LIMIT_S", 0.5)
    slot.start(odd("stop_the_forkserver_and_hang", time_limit_s=0.5))
    pids: set[int] = set()
    events: list[Event] = []
    while slot.busy:
        events += slot.poll()
        pids |= {pid for pid in (slot.pid, slot.server.pid) if pid is not None}
    assert isinstance(events[-1], Finished)
    assert events[-1].result.failure is Failure.TIMEOUT
    assert not slot.broken
    assert [pid for pid in pids if is_alive(pid)] == []
    assert works(slot)


def test_a_child_that_outlives_its_forkserver_costs_the_worker(
    slot: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one does that waits for a device which does not answer: nothing ends it."""
    monkeypatch.setattr(child, "DEATH_LIMIT_S", 0.2)
    monkeypatch.setattr(child, "is_alive", lambda pid: True)
    result = outcome_of(slot, odd("stop_the_forkserver_and_hang", time_limit_s=0.5))
    assert result.failure is Failure.TIMEOUT
    assert "does not die" in slot.broken


def test_a_forkserver_that_stops_behind_a_result_is_replaced(
    slot: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child, "EXIT_GRACE_S", 0.1)
    monkeypatch.setattr(child, "DEATH_LIMIT_S", 0.1)
    assert outcome_of(slot, odd("stop_the_forkserver")).status is TrialStatus.COMPLETE
    assert works(slot)
    assert not slot.broken


def test_a_forkserver_that_does_not_answer_is_replaced(
    slot: Supervisor, server: ForkServer
) -> None:
    """It is stopped between two trials; the second never comes to its first line."""
    assert works(slot)
    assert server.pid is not None
    os.kill(server.pid, signal.SIGSTOP)
    result = outcome_of(slot, odd("ignored_signals", time_limit_s=0.5))
    assert result.failure is Failure.INFRASTRUCTURE
    assert "first line" in result.error
    assert works(slot)
    assert not slot.broken


def test_a_runner_that_cannot_be_loaded_is_no_fault_of_the_trial(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(handle, "PROGRAM", ODD_PROGRAM.replace("odd_runner", "no_such_module"))
    server = ForkServer("odd", 1, os.environ)
    result = outcome_of(Supervisor(server, WORKER), odd("nothing"))
    assert result.failure is Failure.INFRASTRUCTURE
    assert "No module named 'no_such_module'" in result.error
    server.close()


def test_a_forkserver_that_never_loads_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the trial's time limit nor its end: loading has a limit of its own."""
    monkeypatch.setattr(handle, "PROGRAM", "import time; time.sleep(600)")
    monkeypatch.setattr(handle, "LOAD_LIMIT_S", 0.5)
    server = ForkServer("odd", 1, os.environ)
    result = outcome_of(Supervisor(server, WORKER), odd("nothing", time_limit_s=0.1))
    assert result.failure is Failure.INFRASTRUCTURE
    assert "had not loaded" in result.error
    server.close()


def test_noise_of_loading_is_dropped_where_it_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Only while loading: what a trial writes to standard error stays to be read."""
    monkeypatch.setattr(handle, "PROGRAM", ODD_PROGRAM.replace("odd_runner", "noisy_runner"))
    for quiet, noises in ((True, 0), (False, 1)):
        server = ForkServer("odd", 1, os.environ, quiet=quiet)
        outcome_of(Supervisor(server, WORKER), odd("complaining"))
        server.close()
        errors = capfd.readouterr().err
        assert errors.count("noise while loading") == noises
        assert errors.count("a trial complains") == 1


def test_starting_and_cancelling_do_not_wait_for_the_forkserver(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(handle, "PROGRAM", "import time; time.sleep(600)")
    server = ForkServer("odd", 1, os.environ)
    slot = Supervisor(server, WORKER)
    slot.start(odd("nothing"))
    slot.poll()
    slot.cancel()
    (finished,) = slot.poll()
    assert isinstance(finished, Finished)
    assert finished.result.status is TrialStatus.INTERRUPTED
    server.close()


KILLED_PROGRAM = """
import os, time, handmade
from mpinas.dispatch.local import LocalExecutor
from mpinas.dispatch.settings import WorkerSettings
from mpinas.trial import handle
{before}
executor = LocalExecutor(WorkerSettings(runner='fake', gpus=0), 1)
executor.submit(handmade.fake_spec(0, failures={{'hang': 1.0}}))
while len(executor.process_ids()) < {processes}:
    list(executor.events(0.1))
print(*executor.process_ids(), flush=True)
time.sleep(600)
"""
SLEEPS_WHILE_LOADING = (
    "import time; from mpinas.trial import forkserver; "
    "forkserver.importlib.import_module = lambda name: time.sleep(600); main("
)
NEVER_LOADS = f"handle.PROGRAM = handle.PROGRAM.replace('main(', {SLEEPS_WHILE_LOADING!r})"


@pytest.mark.parametrize(("before", "processes"), [("", 2), (NEVER_LOADS, 1)])
def test_killed_worker_leaves_no_process(before: str, processes: int) -> None:
    """``kill -9`` of who supervises: the forkserver ends, in the middle of loading as well, and
    so does an endless child."""
    job = subprocess.Popen(
        [sys.executable, "-c", KILLED_PROGRAM.format(before=before, processes=processes)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
    )
    assert job.stdout is not None
    found = [int(text) for text in job.stdout.readline().split()]
    assert len(found) == processes
    time.sleep(0.5 if before else 0.0)
    job.kill()
    job.wait()
    job.stdout.close()
    assert all(gone(pid) for pid in found)
