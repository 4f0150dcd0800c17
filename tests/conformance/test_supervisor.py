"""The supervisor and its forkserver, with a runner that misbehaves in every way it can."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from handmade import fake_spec

from mpinas.records import (
    Event,
    Failure,
    Finished,
    Progress,
    Started,
    TrialResult,
    TrialSpec,
    TrialStatus,
    Worker,
)
from mpinas.trial import child, handle
from mpinas.trial.child import Supervisor
from mpinas.trial.handle import ForkServer

WORKER = Worker(host="here", rank=3, device="gpu:7")
ODD_PROGRAM = handle.PROGRAM.replace(
    "main(*arguments)",
    'import mpinas.trial.forkserver as server\nserver.RUNNERS = {"odd": "odd_runner"}\n'
    "main(*arguments)",
)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ForkServer]:
    monkeypatch.setattr(handle, "PROGRAM", ODD_PROGRAM)
    made = ForkServer("odd", 1, {**os.environ, "PMI_RANK": "1", "OMPI_COMM_WORLD_SIZE": "4"})
    yield made
    made.close()
    assert psutil.Process().children(recursive=True) == []


@pytest.fixture
def slot(server: ForkServer) -> Iterator[Supervisor]:
    made = Supervisor(server, WORKER, {"CUDA_VISIBLE_DEVICES": "7"})
    yield made
    made.close()


def odd(what: str, **more: Any) -> TrialSpec:
    spec = fake_spec(5, **more)
    return TrialSpec(**{**_fields(spec), "candidate": {"odd": what}})


def _fields(spec: TrialSpec) -> dict[str, Any]:
    return {name: getattr(spec, name) for name in spec.__slots__}


def watch(slot: Supervisor, spec: TrialSpec) -> list[Event]:
    slot.start(spec)
    events: list[Event] = []
    while slot.busy:
        events += slot.poll()
        time.sleep(0.002)
    return events


def outcome_of(slot: Supervisor, spec: TrialSpec) -> TrialResult:
    *before, last = watch(slot, spec)
    assert not any(isinstance(event, Finished) for event in before)
    assert isinstance(last, Finished)
    return last.result


def works(slot: Supervisor) -> bool:
    return outcome_of(slot, odd("ignored_signals")).status is TrialStatus.COMPLETE


def test_what_a_trial_finds_around_it(slot: Supervisor) -> None:
    own = dict(os.environ)
    found = json.loads(outcome_of(slot, odd("surroundings")).error)
    environment = found["environment"]
    assert environment["CUDA_VISIBLE_DEVICES"] == "7"
    assert environment["KERAS_BACKEND"] == "tensorflow"
    for name in ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
        assert environment[name] == "1"
    assert not [name for name in environment if name.startswith(("PMI", "OMPI_", "HYDRA"))]
    assert found["core"] == 0
    assert found["term_is_default"] is True
    assert found["group"] is True
    assert (found["tensorflow"], found["mpi4py"]) == (False, False)
    assert found["path"] == sys.path
    assert dict(os.environ) == own


def test_identity_comes_from_the_spec(slot: Supervisor) -> None:
    spec = odd("strangers_name")
    result = outcome_of(slot, spec)
    assert (result.trial_id, result.network_hash) == (spec.trial_id, spec.network.hash)
    assert result.worker == WORKER


def test_no_result_object_is_an_error(slot: Supervisor) -> None:
    result = outcome_of(slot, odd("nothing"))
    assert (result.failure, "NoneType" in result.error) == (Failure.ERROR, True)


def test_a_diverging_loss_is_reported(slot: Supervisor) -> None:
    started, progress, finished = watch(slot, odd("diverging"))
    assert isinstance(started, Started)
    assert isinstance(progress, Progress)
    assert progress.loss != progress.loss
    assert isinstance(finished, Finished)


def test_a_result_larger_than_a_pipe_arrives_whole(slot: Supervisor) -> None:
    assert len(outcome_of(slot, odd("large")).error) == 5_000_000


def test_tensorflows_out_of_memory_is_known_by_name(slot: Supervisor) -> None:
    assert outcome_of(slot, odd("out_of_memory")).failure is Failure.OUT_OF_MEMORY


def test_noise_on_the_standard_streams_is_no_message(slot: Supervisor) -> None:
    assert outcome_of(slot, odd("talkative")).status is TrialStatus.COMPLETE


def test_what_a_trial_leaves_behind_ends_with_it(slot: Supervisor) -> None:
    assert gone(int(outcome_of(slot, odd("grandchild")).error))


def test_what_a_trial_started_ends_with_its_timeout(slot: Supervisor) -> None:
    events = watch(slot, odd("grandchild_and_hang", time_limit_s=0.5))
    (progress,) = (event for event in events if isinstance(event, Progress))
    assert isinstance(events[-1], Finished)
    assert events[-1].result.failure is Failure.TIMEOUT
    assert "in grandchild_and_hang" in events[-1].result.error, "the stack tells where it was"
    assert gone(progress.epoch)


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


def test_a_result_stands_although_the_process_does_not_end(
    slot: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child, "EXIT_GRACE_S", 0.1)
    assert outcome_of(slot, odd("hang_at_the_end")).status is TrialStatus.COMPLETE
    assert works(slot)


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


def test_a_forkserver_that_keeps_dying_is_given_up(slot: Supervisor) -> None:
    for _ in range(handle.DEATHS_ALLOWED):
        assert not slot.broken
        assert outcome_of(slot, odd("kill_the_forkserver")).failure is Failure.INFRASTRUCTURE
    assert outcome_of(slot, odd("ignored_signals")).failure is Failure.INFRASTRUCTURE
    assert "3 times" in slot.broken


def test_deaths_count_in_a_row_only(slot: Supervisor) -> None:
    for _ in range(handle.DEATHS_ALLOWED + 1):
        outcome_of(slot, odd("kill_the_forkserver"))
        assert works(slot)


def test_a_forkserver_that_does_not_answer_is_replaced(
    slot: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is stopped while the first trial runs; the second never comes to its first line."""
    monkeypatch.setattr(child, "EXIT_GRACE_S", 0.1)
    monkeypatch.setattr(child, "DEATH_LIMIT_S", 0.1)
    assert outcome_of(slot, odd("stop_the_forkserver")).status is TrialStatus.COMPLETE
    result = outcome_of(slot, odd("ignored_signals", time_limit_s=0.5))
    assert result.failure is Failure.INFRASTRUCTURE
    assert "first line" in result.error
    assert works(slot)


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


def test_a_signal_from_a_scheduler_is_no_fault_of_the_trial(slot: Supervisor) -> None:
    result = outcome_of(slot, odd("terminated_from_outside"))
    assert (result.failure, "SIGTERM" in result.error) == (Failure.INFRASTRUCTURE, True)


def test_signals_for_rank_0_pass_a_trial_by(slot: Supervisor) -> None:
    assert works(slot)


def test_a_busy_slot_takes_nothing(slot: Supervisor) -> None:
    slot.start(odd("hang"))
    with pytest.raises(RuntimeError, match="busy with g000-t005"):
        slot.start(odd("nothing"))


def test_no_descriptor_is_left_behind(slot: Supervisor) -> None:
    kinds = ("nothing", "grandchild", "terminated_from_outside", "large")
    for kind in kinds:
        outcome_of(slot, odd(kind))
    before = len(os.listdir("/proc/self/fd"))
    for kind in (*kinds, *kinds):
        outcome_of(slot, odd(kind))
    assert len(os.listdir("/proc/self/fd")) == before


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


def gone(pid: int) -> bool:
    """Whether the process ends, or has ended, without anybody's further doing."""
    try:
        process = psutil.Process(pid)
        process.wait(timeout=20)
    except psutil.NoSuchProcess:
        return True
    except psutil.TimeoutExpired:
        return process.status() == psutil.STATUS_ZOMBIE
    return True
