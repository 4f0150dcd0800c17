"""A runner for tests of the process a trial runs in: does what ``candidate["odd"]`` says."""

from __future__ import annotations

import json
import mmap
import os
import pathlib
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any, cast

from mpinas.records import Failure, Progress, TrialResult, TrialSpec, TrialStatus
from mpinas.trial import fake, forkserver

Report = Callable[[Progress], None]


def run_trial(spec: TrialSpec, report: Report) -> TrialResult:
    return cast(Callable[[TrialSpec, Report], TrialResult], globals()[spec.candidate["odd"]])(
        spec, report
    )


def result(spec: TrialSpec, **more: Any) -> TrialResult:
    what = {"trial_id": spec.trial_id, "network_hash": spec.network.hash, "fitness": 0.5, **more}
    return TrialResult(status=TrialStatus.COMPLETE, **what)


def surroundings(spec: TrialSpec, report: Report) -> TrialResult:
    """Tells the environment, signals, limits and modules that a trial finds."""
    found = {
        "environment": dict(os.environ),
        "core": resource.getrlimit(resource.RLIMIT_CORE)[0],
        "term_is_default": signal.getsignal(signal.SIGTERM) is signal.SIG_DFL,
        "group": os.getpgid(0) == os.getpid(),
        "tensorflow": "tensorflow" in sys.modules,
        "mpi4py": "mpi4py" in sys.modules,
        "path": sys.path,
        "badness": int(pathlib.Path("/proc/self/oom_score_adj").read_text()),
    }
    return result(spec, error=json.dumps(found))


def strangers_name(spec: TrialSpec, report: Report) -> TrialResult:
    return result(spec, trial_id="g999-t999", network_hash="0" * 16)


def nothing(spec: TrialSpec, report: Report) -> TrialResult:
    return cast(TrialResult, None)


def diverging(spec: TrialSpec, report: Report) -> TrialResult:
    nan = float("nan")
    report(Progress(trial_id=spec.trial_id, epoch=1, epochs=1, loss=nan, accuracy=nan))
    return result(spec)


def large(spec: TrialSpec, report: Report) -> TrialResult:
    return result(spec, error="x" * 5_000_000)


def out_of_memory(spec: TrialSpec, report: Report) -> TrialResult:
    class ResourceExhaustedError(Exception):
        pass

    raise ResourceExhaustedError("OOM when allocating tensor")


def talkative(spec: TrialSpec, report: Report) -> TrialResult:
    """Writes to the standard streams, as libraries do."""
    sys.stdout.write("R{}\nnoise from a library\n")
    os.write(1, b"more noise\n")
    return result(spec)


def complaining(spec: TrialSpec, report: Report) -> TrialResult:
    os.write(2, b"a trial complains\n")
    return result(spec)


def grandchild(spec: TrialSpec, report: Report) -> TrialResult:
    """Leaves a process behind that would live on; tells its number."""
    process = subprocess.Popen(["sleep", "600"])
    return result(spec, error=str(process.pid))


def grandchild_and_hang(spec: TrialSpec, report: Report) -> TrialResult:
    process = subprocess.Popen(["sleep", "600"])
    report(Progress(trial_id=spec.trial_id, epoch=process.pid, epochs=1, loss=0.0, accuracy=0.0))
    time.sleep(600)
    return result(spec)


def temporary_file(spec: TrialSpec, report: Report) -> TrialResult:
    """Leaves a temporary file, as TensorFlow does; tells where."""
    descriptor, path = tempfile.mkstemp()
    os.close(descriptor)
    return result(spec, error=path)


def temporary_file_and_crash(spec: TrialSpec, report: Report) -> TrialResult:
    raise ValueError(temporary_file(spec, report).error)


def temporary_file_and_death(spec: TrialSpec, report: Report) -> TrialResult:
    path = temporary_file(spec, report).error
    report(Progress(trial_id=path, epoch=1, epochs=1, loss=0.0, accuracy=0.0))
    os.kill(os.getpid(), signal.SIGKILL)
    return result(spec)


def hang(spec: TrialSpec, report: Report) -> TrialResult:
    time.sleep(600)
    return result(spec)


def hang_at_the_end(spec: TrialSpec, report: Report) -> TrialResult:
    """Something of a library hinders the end of the process after the result."""

    class Hindrance:
        def flush(self) -> None:
            time.sleep(600)

        def write(self, text: str) -> None:
            pass

    sys.stdout = cast(Any, Hindrance())
    return result(spec)


def kill_the_forkserver(spec: TrialSpec, report: Report) -> TrialResult:
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(600)
    return result(spec)


def stop_the_forkserver(spec: TrialSpec, report: Report) -> TrialResult:
    os.kill(os.getppid(), signal.SIGSTOP)
    return result(spec)


def terminated_from_outside(spec: TrialSpec, report: Report) -> TrialResult:
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(600)
    return result(spec)


def ignored_signals(spec: TrialSpec, report: Report) -> TrialResult:
    for number in (signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP):
        os.kill(os.getpid(), number)
    return result(spec)


def broken_device(spec: TrialSpec, report: Report) -> TrialResult:
    """A fake trial, where its device is not among the broken ones, or all are."""
    broken = spec.candidate["broken_on"]
    device = os.environ.get("CUDA_VISIBLE_DEVICES")
    if device not in broken and "all" not in broken:
        return fake.run_trial(spec, report)
    return TrialResult(
        trial_id=spec.trial_id,
        network_hash=spec.network.hash,
        status=TrialStatus.FAILED,
        failure=Failure.INFRASTRUCTURE,
        error=f"a traceback\nnothing works on device {device}",
    )


def unreadable_progress(spec: TrialSpec, report: Report) -> TrialResult:
    """Half an epoch is no epoch."""
    report(Progress(trial_id=spec.trial_id, epoch=cast(int, 0.5), epochs=1, loss=0.0, accuracy=0.0))
    return result(spec)


def unreadable_error(spec: TrialSpec, report: Report) -> TrialResult:
    _tell(report)(forkserver.ERROR, b'{"name": "ValueError"}')
    return result(spec)


def unreadable_result(spec: TrialSpec, report: Report) -> TrialResult:
    _tell(report)(forkserver.RESULT, b'{"trial_id": ')
    return result(spec)


def line_of_no_kind(spec: TrialSpec, report: Report) -> TrialResult:
    _tell(report)(b"", b"what a library writes to a descriptor that it takes for its own")
    return result(spec)


def _tell(report: Report) -> Callable[[bytes, bytes], None]:
    return cast(Any, report).__self__  # type: ignore[no-any-return]


def name_that_is_no_text(spec: TrialSpec, report: Report) -> TrialResult:
    """A file name with bytes that are no UTF-8, as it stands in Python's message."""
    raise FileNotFoundError(os.fsdecode(b"caf\xe9.h5"))


def mapped_file(spec: TrialSpec, report: Report) -> TrialResult:
    """Reads a large file through a mapping, as trials read the data set, then stays a while."""
    with open(spec.problem.path, "rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
    pages = sum(mapped[offset] for offset in range(0, len(mapped), mmap.PAGESIZE))
    time.sleep(0.3)
    return result(spec, error=str(pages))


def stop_the_forkserver_and_hang(spec: TrialSpec, report: Report) -> TrialResult:
    os.kill(os.getppid(), signal.SIGSTOP)
    time.sleep(600)
    return result(spec)


def killed(spec: TrialSpec, report: Report) -> TrialResult:
    os.kill(os.getpid(), signal.SIGKILL)
    return result(spec)


def exit_code_three(spec: TrialSpec, report: Report) -> TrialResult:
    os._exit(3)


def hang_with_a_temporary_file(spec: TrialSpec, report: Report) -> TrialResult:
    path = temporary_file(spec, report).error
    report(Progress(trial_id=path, epoch=1, epochs=1, loss=0.0, accuracy=0.0))
    time.sleep(600)
    return result(spec)
