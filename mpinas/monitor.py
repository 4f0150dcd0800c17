"""What ``show`` follows: the status file, the signs of life, and a log line per event.

Where searches share a farm, each has a monitor of its own. That the status cannot be written ends
no job: the journals are what counts.
"""

from __future__ import annotations

import logging
import time
from dataclasses import replace

from mpinas.ownership import Heart, Owner
from mpinas.records import (
    Event,
    Finished,
    Progress,
    Started,
    TrialResult,
    TrialSpec,
    WorkerLost,
    last_line,
)
from mpinas.run_directory import (
    LostWorker,
    RunDirectory,
    RunningTrial,
    Status,
    load_status,
    save_status,
)

logger = logging.getLogger(__name__)

WRITE_EVERY_S = 1.0


class Monitor:
    """Keeps the account of a job and writes it down, at most once a second, and more seldom while
    no trial runs.

    Args:
        directory: of the run; times of earlier jobs are read from its status file.
        workers: how many there are.
        generation: which this job goes on with, counted from 0.
    """

    def __init__(
        self, directory: RunDirectory, owner: Owner, *, workers: int, generation: int = 0
    ) -> None:
        self._directory = directory
        self._heart = Heart(directory, owner)
        self._idle_write_s = owner.heartbeat_s
        self._workers = workers
        self._before = load_status(directory) or Status()
        self._search_s = {
            told: seconds
            for told, seconds in self._before.search_s.items()
            if told < generation  # the rest is done again
        }
        self._began_s = time.monotonic()
        self._first_dispatch_s: float | None = None
        self._last_result_s = self._began_s
        self._busy_s = 0.0
        self._running: dict[str, RunningTrial] = {}
        self._lost: list[LostWorker] = []
        self._lost_at_s: list[float] = []
        self._written_s = float("-inf")
        self._unsaved = False

    def submitted(self, spec: TrialSpec) -> None:
        """A trial has gone out."""
        if self._first_dispatch_s is None:
            self._first_dispatch_s = time.monotonic()

    def searched(self, generation: int, cpu_s: float) -> None:
        """The search has worked for a generation itself, for that many processor seconds."""
        self._search_s[generation] = self._search_s.get(generation, 0.0) + cpu_s

    def take(self, event: Event) -> None:
        """Notes and logs an event; looks first whether the directory is still this job's.

        Raises:
            RunDirectoryFault: another job has it, because this one was suspended for long; the
                event must not be written down.
        """
        self._heart.beat_if_due()
        tell(event)
        if isinstance(event, Started):
            worker = event.worker
            self._running[event.trial_id] = RunningTrial(
                trial_id=event.trial_id, host=worker.host, rank=worker.rank
            )
        elif isinstance(event, Progress):
            self._take_progress(event)
        elif isinstance(event, Finished):
            self._take_finished(event.result)
        elif isinstance(event, WorkerLost):
            self._running.pop(event.trial_id or "", None)

    def lost(self, event: WorkerLost, *, left: int) -> None:
        """Notes that a worker of the farm is gone or set aside, whoever's trial it had.

        Args:
            left: how many workers can still run trials.
        """
        worker = event.worker
        self._workers = left
        self._lost_at_s.append(time.monotonic())
        self._lost.append(
            LostWorker(
                host=worker.host,
                rank=worker.rank,
                device=worker.device,
                reason=event.reason,
                lost_at=time.time(),
            )
        )
        self.write(now=True)

    def write(self, *, now: bool = False) -> None:
        """Writes the status file where it is time for it, and gives a sign of life.

        Raises:
            RunDirectoryFault: another job has the directory.
        """
        self._heart.beat_if_due()
        time_s = time.monotonic()
        every_s = WRITE_EVERY_S if self._running else self._idle_write_s
        if not now and time_s - self._written_s < every_s:
            return
        self._written_s = time_s
        try:
            save_status(self._directory, self._status(time_s))
        except OSError as error:
            if not self._unsaved:
                logger.warning("%s cannot be written: %s", self._directory.status, error.strerror)
            self._unsaved = True
        else:
            self._unsaved = False

    def _status(self, time_s: float) -> Status:
        before = self._before
        return Status(
            workers=self._workers,
            wall_time_s=before.wall_time_s + time_s - self._began_s,
            worker_time_s=before.worker_time_s + self._on_duty_s(),
            busy_time_s=before.busy_time_s + self._busy_s,
            search_s=dict(self._search_s),
            updated_at=time.time(),
            running=tuple(self._running.values()),
            lost=tuple(self._lost),
        )

    def _on_duty_s(self) -> float:
        """Summed over workers: from the first trial to the last result, or until it was lost."""
        first_s = self._first_dispatch_s
        if first_s is None:
            return 0.0
        ends_s = [min(one, self._last_result_s) for one in self._lost_at_s]
        ends_s += [self._last_result_s] * self._workers
        return sum(max(0.0, end_s - first_s) for end_s in ends_s)

    def _take_progress(self, event: Progress) -> None:
        trial = self._running.get(event.trial_id)
        if trial is not None:
            self._running[event.trial_id] = replace(
                trial,
                epoch=event.epoch,
                epochs=event.epochs,
                accuracy=event.validation_accuracy,
            )

    def _take_finished(self, result: TrialResult) -> None:
        self._running.pop(result.trial_id, None)
        self._last_result_s = time.monotonic()
        self._busy_s += result.times.on_worker_s


def tell(event: Event) -> None:
    """Logs what happened to a trial; a lost worker is told of by whoever has the farm."""
    if isinstance(event, Started):
        worker, name = event.worker, event.trial_id
        place = (worker.host, worker.rank, worker.device)
        logger.info("%s started on %s, worker %d, %s", name, *place)
    elif isinstance(event, Progress):
        accuracy = event.validation_accuracy
        logger.info(
            "%s epoch %d/%d loss %.4f accuracy %.4f validation %s",
            event.trial_id,
            event.epoch,
            event.epochs,
            event.loss,
            event.accuracy,
            "-" if accuracy is None else f"{accuracy:.4f}",
        )
    elif isinstance(event, Finished):
        result = event.result
        logger.info("%s %s in %.1f s", result.trial_id, _outcome(result), result.times.wall_time_s)


def _outcome(result: TrialResult) -> str:
    if result.fitness is not None:
        return f"fitness {result.fitness:.4f}"
    kind = f" ({result.failure.value})" if result.failure else ""
    return f"{result.status.value}{kind}: {last_line(result.error)}"
