"""What the end of a child means: the one place that turns ways to die into failure classes. Pure.

The candidate's own doing is ``oom``, ``nan``, ``timeout``, ``crash`` or ``error``;
``infrastructure`` is what another worker might do better.
"""

from __future__ import annotations

import signal
import traceback
from collections.abc import Mapping

from mpinas.records import Failure, TrialResult, TrialSpec, TrialStatus, last_line

CLASS_OF_EXCEPTION: Mapping[str, Failure] = {
    "MemoryError": Failure.OUT_OF_MEMORY,
    "ResourceExhaustedError": Failure.OUT_OF_MEMORY,
    "FloatingPointError": Failure.NOT_A_NUMBER,
    "SystemExit": Failure.CRASH,
}
"""By class name, since the exception's module is TensorFlow; all others are ``error``."""

SIGNALS_FROM_OUTSIDE = (
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGHUP,
    signal.SIGUSR1,
    signal.SIGUSR2,
)
"""What schedulers and people send to end a job: not the candidate's fault."""


NO_MEMORY_LEFT = "the kernel killed the process: the host had no memory left"


def failed(spec: TrialSpec, failure: Failure, error: str) -> TrialResult:
    """A failed trial. ``error`` is the traceback or the reason, as text."""
    return TrialResult(
        trial_id=spec.trial_id,
        network_hash=spec.network.hash,
        status=TrialStatus.FAILED,
        failure=failure,
        error=error,
    )


def traceback_of(error: BaseException) -> str:
    """The traceback as text that JSON can carry.

    A message may quote a file name whose bytes are no UTF-8; they are written as escapes.
    """
    text = "".join(traceback.format_exception(error))
    return text.encode(errors="backslashreplace").decode()


def interrupted(spec: TrialSpec) -> TrialResult:
    """A trial that was cancelled."""
    return TrialResult(
        trial_id=spec.trial_id,
        network_hash=spec.network.hash,
        status=TrialStatus.INTERRUPTED,
        error="cancelled",
    )


def of_exception(spec: TrialSpec, name: str, text: str) -> TrialResult:
    """The outcome of a trial that raised.

    Args:
        name: of the exception's class.
        text: the traceback.
    """
    return failed(spec, CLASS_OF_EXCEPTION.get(name, Failure.ERROR), text)


def of_exit(
    spec: TrialSpec,
    exit_code: int,
    notes: str,
    *,
    begun: bool = True,
    no_memory_left: bool = False,
) -> TrialResult:
    """The outcome of a trial whose process ended without a word.

    Args:
        exit_code: negative for the signal that killed it.
        notes: what the process wrote while crashing, or empty.
        begun: it had come to its first line. One that had not knows nothing of its candidate.
        no_memory_left: the kernel has killed a process of this host meanwhile for lack of memory.
    """
    if not begun:
        how = signal_name(-exit_code) if exit_code < 0 else f"exit code {exit_code}"
        error = f"the process ended by {how} before its first line"
        return failed(spec, Failure.INFRASTRUCTURE, _with_notes(error, notes))
    if exit_code == -signal.SIGKILL and no_memory_left:
        return failed(spec, Failure.OUT_OF_MEMORY, NO_MEMORY_LEFT)
    if exit_code >= 0:
        error = f"the process left with exit code {exit_code} and without a result"
        return failed(spec, Failure.CRASH, _with_notes(error, notes))
    name = signal_name(-exit_code)
    if -exit_code in SIGNALS_FROM_OUTSIDE:
        error = f"the process was ended from outside by {name}"
        return failed(spec, Failure.INFRASTRUCTURE, error)
    return failed(spec, Failure.CRASH, _with_notes(f"the process was killed by {name}", notes))


def over_time(spec: TrialSpec, notes: str) -> TrialResult:
    """The outcome of a trial that was killed for its time."""
    error = f"over the time limit of {spec.time_limit_s:g} s"
    return failed(spec, Failure.TIMEOUT, _with_notes(error, notes))


def over_memory(spec: TrialSpec, memory_mb: float, at_start_mb: float) -> TrialResult:
    """The outcome of a trial that was killed for its memory.

    Args:
        memory_mb: of its own when it was killed.
        at_start_mb: the same when it started: what TensorFlow takes, whatever the candidate.
    """
    limit = f"over the memory limit of {spec.memory_limit_mb:g} MB"
    error = f"{limit}: {memory_mb:.0f} MB of its own, {at_start_mb:.0f} MB when it started"
    return failed(spec, Failure.OUT_OF_MEMORY, error)


def is_starved(result: TrialResult) -> bool:
    """Whether a trial died of the memory of its host, of which others take their part.

    Not of that of a GPU, nor of a limit of its own.
    """
    exception = last_line(result.error).partition(":")[0]
    of_host = result.error == NO_MEMORY_LEFT or exception.endswith("MemoryError")
    return result.failure is Failure.OUT_OF_MEMORY and of_host


def signal_name(number: int) -> str:
    """``SIGSEGV`` for 11; the number where it has no name."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _with_notes(error: str, notes: str) -> str:
    return f"{error}\n{notes}" if notes else error
