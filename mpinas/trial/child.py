"""One trial at a time in a process of its own, watched: limits, crashes, cancellation, progress.

Comes in: a ``TrialSpec``. Comes out, from :meth:`Supervisor.poll`: ``Started``, ``Progress`` and
exactly one ``Finished``, whatever the process does. No threads, nothing waits; the poller's loop
has to come by about every 20 ms for the limits to be kept. It must know neither MPI nor Keras.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from mpinas.records import (
    Event,
    Failure,
    Finished,
    Progress,
    Started,
    TrialResult,
    TrialSpec,
    Worker,
    from_json,
    to_json,
)
from mpinas.trial import forkserver, outcome
from mpinas.trial.handle import Fork, ForkServer, ForkServerBroken, thread_environment
from mpinas.trial.processes import is_alive, memory_kills, own_mb

KILL_GRACE_S = 0.5
EXIT_GRACE_S = 5.0
DEATH_LIMIT_S = 10.0
START_LIMIT_S = 120.0
MEMORY_INTERVAL_S = 0.025
PIPE_BYTES = 65536
NOTES_BYTES = 8192


@dataclass(slots=True, kw_only=True)
class _Running:
    """What is known of the trial in the slot. Times are of ``time.monotonic``.

    Attributes:
        reports: read end of the child's pipe.
        notes: what the child writes when it crashes.
        ending: what it is being killed for; the outcome if no result arrives in spite of it.
        kill_at: when to use SIGKILL, once it has been asked to stop.
        hopeless_at: when to stop waiting for its death.
        server_given_up: the forkserver was killed, so that the kernel kills the child.
        memory_at_start_mb: at the first look after the first line.
        memory_kills_before: of the machine (``processes.memory_kills``), when it was ordered.
    """

    spec: TrialSpec
    fork: Fork
    reports: int
    notes: int
    ordered_at: float
    memory_kills_before: int | None
    first_line_at: float | None = None
    unread: bytes = b""
    result: TrialResult | None = None
    ending: TrialResult | None = None
    kill_at: float | None = None
    killed: bool = False
    hopeless_at: float | None = None
    server_given_up: bool = False
    memory_read_at: float = 0.0
    memory_at_start_mb: float | None = None
    events: list[Event] = field(default_factory=list)


class Supervisor:
    """One slot of a worker.

    Args:
        server: forks the children; several slots may share one.
        worker: who this is; stands in every result.
        environment: what a child needs to see its device and no other.
    """

    def __init__(
        self, server: ForkServer, worker: Worker, environment: Mapping[str, str] | None = None
    ) -> None:
        self.server = server
        self.worker = worker
        self.broken = ""
        """Why this slot can run no more trials; empty while it can."""
        self._environment = dict(environment or {})
        self._running: _Running | None = None

    @property
    def busy(self) -> bool:
        """Whether a trial was started whose ``Finished`` has not been polled."""
        return self._running is not None

    @property
    def trial_id(self) -> str | None:
        """Of the trial in the slot."""
        return self._running.spec.trial_id if self._running else None

    @property
    def pid(self) -> int | None:
        """Of the child, None where there is none (yet)."""
        return self._running.fork.pid if self._running else None

    def descriptors(self) -> list[int]:
        """Readable when :meth:`poll` has news; limits need polling nevertheless."""
        found = [self._running.reports] if self._running else []
        control = self.server.descriptor()
        return [*found, control] if control is not None else found

    def start(self, spec: TrialSpec) -> None:
        """Orders a child for the trial; returns at once.

        Raises:
            RuntimeError: the slot is busy.
        """
        if self._running is not None:
            raise RuntimeError(f"the worker is busy with {self.trial_id}")
        threads = thread_environment(int(spec.settings["threads"]))
        reports, report_end = os.pipe()
        notes, text = os.memfd_create("notes"), os.memfd_create("trial")
        os.set_blocking(reports, False)
        ordered_at, kills_before = time.monotonic(), memory_kills()
        try:
            with open(text, "wb", closefd=False) as file:
                file.write(to_json(spec))
            os.lseek(text, 0, os.SEEK_SET)
            fork = self.server.order([text, report_end, notes], {**self._environment, **threads})
        except ForkServerBroken as error:
            self.broken = str(error)
            fork = Fork(order=0, lost=str(error))
        finally:
            os.close(text)
            os.close(report_end)
        self._running = _Running(
            spec=spec,
            fork=fork,
            reports=reports,
            notes=notes,
            ordered_at=ordered_at,
            memory_kills_before=kills_before,
        )

    def poll(self) -> list[Event]:
        """What has happened since the last call, in order; ``Finished`` is the last of a trial."""
        self.server.poll()
        trial = self._running
        if trial is None:
            return []
        over = trial.fork.ended and not (trial.server_given_up and is_alive(trial.fork.pid))
        self._read(trial)
        if over:
            trial.events.append(Finished(result=self._finish(trial)))
        else:
            self._check_limits(trial)
            self._press(trial)
        events, trial.events = trial.events, []
        return events

    def cancel(self) -> None:
        """Ends the trial in the slot, if any; its ``Finished`` follows as ``INTERRUPTED``."""
        if self._running is not None:
            self._stop(self._running, outcome.interrupted(self._running.spec))

    def close(self) -> None:
        """Kills the child, if any, without its ``Finished``. The server is its owner's to close."""
        trial, self._running = self._running, None
        if trial is not None:
            self.server.kill(trial.fork, signal.SIGKILL)
            os.close(trial.reports)
            os.close(trial.notes)

    def _read(self, trial: _Running) -> None:
        while True:
            try:
                text = os.read(trial.reports, PIPE_BYTES)
            except BlockingIOError:
                break
            if not text:
                break
            *lines, trial.unread = (trial.unread + text).split(b"\n")
            for line in lines:
                self._take(trial, line[:1], line[1:])

    def _take(self, trial: _Running, kind: bytes, text: bytes) -> None:
        """Takes one line of the child. After its result, or after nonsense, nothing counts."""
        if trial.result is not None:
            return
        if kind == forkserver.FIRST_LINE:
            self.server.forget_deaths()
            trial.first_line_at = time.monotonic()
            trial.events.append(Started(trial_id=trial.spec.trial_id, worker=self.worker))
            return
        try:
            news = _read_line(trial.spec, kind, text)
        except ValueError as error:
            reason = f"what the child wrote cannot be read: {error}"
            trial.result = outcome.failed(trial.spec, Failure.ERROR, reason)
            self._stop(trial, trial.result)
            return
        if isinstance(news, Progress):
            trial.events.append(news)
        else:
            trial.result = news
            trial.kill_at = time.monotonic() + EXIT_GRACE_S

    def _check_limits(self, trial: _Running) -> None:
        now = time.monotonic()
        if trial.ending is not None or trial.result is not None or self.server.ready_at is None:
            return
        running_s = now - max(trial.ordered_at, self.server.ready_at)
        limit_s = trial.spec.time_limit_s
        if trial.first_line_at is None:
            if running_s > (limit_s or START_LIMIT_S):
                self._give_up_start(trial, running_s)
        elif limit_s is not None and running_s > limit_s:
            self._stop(trial, outcome.over_time(trial.spec, ""))
        elif now - trial.memory_read_at > MEMORY_INTERVAL_S:
            trial.memory_read_at = now
            self._check_memory(trial)

    def _give_up_start(self, trial: _Running, waited_s: float) -> None:
        error = f"the child had not come to its first line after {waited_s:.1f} s"
        if trial.fork.pid is None:
            self.server.give_up(f"the forkserver does not answer: {error}")
        else:
            self._stop(trial, outcome.failed(trial.spec, Failure.INFRASTRUCTURE, error))

    def _check_memory(self, trial: _Running) -> None:
        if trial.spec.memory_limit_mb is None or trial.fork.pid is None:
            return
        memory_mb = own_mb(trial.fork.pid)
        if memory_mb is None:
            return
        if trial.memory_at_start_mb is None:
            trial.memory_at_start_mb = memory_mb
        if memory_mb > trial.spec.memory_limit_mb:
            ending = outcome.over_memory(trial.spec, memory_mb, trial.memory_at_start_mb)
            self._stop(trial, ending)
            trial.kill_at = time.monotonic()

    def _stop(self, trial: _Running, ending: TrialResult) -> None:
        """Asks the child to leave; what it is stopped for first is what counts."""
        if trial.ending is None:
            trial.ending = ending
            trial.kill_at = time.monotonic() + KILL_GRACE_S
            self.server.kill(trial.fork, signal.SIGTERM)

    def _press(self, trial: _Running) -> None:
        """Kills a child that was asked to leave and did not, then its forkserver, then the slot.

        The order to kill goes to the forkserver, which may be stopped or stuck itself. SIGKILL
        ends it nevertheless, and the kernel ends its children. A child that outlives that is in
        the hands of a device or a file system, and the slot is given up. A child that is not
        forked yet is not waited for: it is killed as soon as it is.
        """
        now = time.monotonic()
        if trial.ending is not None and trial.fork.pid is None:
            self.server.kill(trial.fork, signal.SIGKILL)
            trial.events.append(Finished(result=self._finish(trial)))
            return
        if trial.kill_at is not None and now >= trial.kill_at and not trial.killed:
            trial.killed = True
            trial.hopeless_at = now + DEATH_LIMIT_S
            self.server.kill(trial.fork, signal.SIGKILL)
        if trial.hopeless_at is None or now <= trial.hopeless_at:
            return
        if not trial.server_given_up:
            trial.server_given_up = True
            trial.hopeless_at = now + DEATH_LIMIT_S
            self.server.give_up(f"process {trial.fork.pid} does not end, so its forkserver had to")
        else:
            self.broken = f"process {trial.fork.pid} does not die"
            trial.events.append(Finished(result=self._finish(trial)))

    def _finish(self, trial: _Running) -> TrialResult:
        """The outcome: a result that came stands, whatever happened afterwards."""
        self._running = None
        notes = os.pread(trial.notes, NOTES_BYTES, 0).decode(errors="replace")
        os.close(trial.reports)
        os.close(trial.notes)
        now = time.monotonic()
        result = _outcome(trial, notes)
        times = replace(
            result.times,
            start_s=(trial.first_line_at or now) - trial.ordered_at,
            wall_time_s=now - trial.ordered_at,
            ended_at=time.time(),
        )
        return replace(result, times=times, worker=self.worker)


def _outcome(trial: _Running, notes: str) -> TrialResult:
    if trial.result is not None:
        return trial.result
    if trial.ending is not None:
        timeout = trial.ending.failure is Failure.TIMEOUT
        return outcome.over_time(trial.spec, notes) if timeout else trial.ending
    if trial.fork.exit_code is not None:
        return outcome.of_exit(
            trial.spec,
            trial.fork.exit_code,
            notes,
            begun=trial.first_line_at is not None,
            no_memory_left=memory_kills() != trial.memory_kills_before,
        )
    return outcome.failed(trial.spec, Failure.INFRASTRUCTURE, trial.fork.lost)


def _read_line(spec: TrialSpec, kind: bytes, text: bytes) -> Progress | TrialResult:
    """What a child's line says. Raises ValueError where it is none."""
    if kind == forkserver.PROGRESS:
        return from_json(Progress, text)
    if kind == forkserver.RESULT:
        result = from_json(TrialResult, text)
        return replace(result, trial_id=spec.trial_id, network_hash=spec.network.hash)
    if kind == forkserver.ERROR:
        raised = from_json(forkserver.Raised, text)
        return outcome.of_exception(spec, raised.name, raised.text)
    raise ValueError(f"no line begins with {kind!r}")
