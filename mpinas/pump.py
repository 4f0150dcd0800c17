"""The loop that drives searches, or trainings of winners, on one executor, to their end or a stop.

The only loop of the searching process. It never blocks for longer than ``POLL_S``, so that a
signal is noticed at once. Searches that share an executor change nothing of each other: each gets
its own results, and only when a trial runs follows from the others.
"""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol, TypeVar

from mpinas.clock import Clock
from mpinas.dispatch.base import Executor
from mpinas.errors import NoWorkerLeft
from mpinas.files import DISK_ERRORS
from mpinas.records import Event, Failure, Finished, TrialResult, TrialSpec, WorkerLost
from mpinas.run_log import acting
from mpinas.signals import StopRequest

logger = logging.getLogger(__name__)

POLL_S = 0.2
SHORTEST_GRACE_S = 1.0
"""Cancelled trials report within this; a result that was under way is worth it."""
NAME_END = ":"
"""Between the name of a lane and the id of a trial, on the farm."""

Answer = TypeVar("Answer")


class Work(Protocol):
    """What is driven: a search, or whatever else gives specs out and takes events in."""

    @property
    def done(self) -> bool:
        """Whether nothing is left to be run."""

    @property
    def running(self) -> Sequence[str]:
        """Ids of the trials that are out."""

    @property
    def begun(self) -> int:
        """How many trials are over or out."""

    @property
    def generation(self) -> int:
        """To whose account its own work goes."""

    def next_specs(
        self, wanted: int, fits: Callable[[TrialSpec], bool], *, free: int
    ) -> list[TrialSpec]:
        """Up to so many trials to be started now, where so many workers are free."""

    def take(self, event: Event) -> None:
        """Takes what an executor tells."""


class Account(Protocol):
    """What is told of the work meanwhile; the first to see an event, before it counts."""

    def submitted(self, spec: TrialSpec) -> None:
        """A trial has gone out."""

    def searched(self, generation: int, cpu_s: float) -> None:
        """The work itself took so much processor time for a generation."""

    def take(self, event: Event) -> None:
        """Notes what happened to a trial; raises where nothing may be written any more."""

    def lost(self, event: WorkerLost, *, left: int) -> None:
        """A worker of the farm is gone, whoever's trial it had; so many are left."""

    def write(self, *, now: bool = False) -> None:
        """Writes down where it is, if it is time for it."""


@dataclass(slots=True, kw_only=True)
class Lane:
    """A search on the farm, or what is driven as one.

    Attributes:
        name: of the search among its neighbours; empty for one that is alone.
        turn: lanes of a lower one are served first.
        clock: learns from this search's trials only.
    """

    search: Work
    monitor: Account
    clock: Clock
    name: str = ""
    turn: int = 0
    _out: dict[str, TrialSpec] = field(default_factory=dict, init=False)

    def name_of(self, trial: str) -> str:
        """A trial's name on the farm."""
        return f"{self.name}{NAME_END}{trial}" if self.name else trial

    def next_specs(self, wanted: int, *, free: int) -> list[TrialSpec]:
        """Up to that many trials to be started, as the farm is to know them."""
        specs = self._timed(lambda: self.search.next_specs(wanted, self.clock.fits, free=free))
        for spec in specs:
            self._out[spec.trial_id] = spec
            self.monitor.submitted(spec)
        return [replace(spec, trial_id=self.name_of(spec.trial_id)) for spec in specs]

    def take(self, event: Event) -> None:
        """Takes what happened to one of this search's trials, under the search's own name."""
        with acting(self.name):
            if isinstance(event, Finished) and event.result.trial_id in self._out:
                spec = self._out.pop(event.result.trial_id)
                _refuse_full_disk(spec, event.result)
                self.clock.learn(spec, event.result)
            self.monitor.take(event)
        self._timed(lambda: self.search.take(event))

    def _timed(self, step: Callable[[], Answer]) -> Answer:
        """Has the search do something, and puts its processor time to its account."""
        generation, began_s = self.search.generation, time.process_time()
        with acting(self.name):
            answer = step()
        self.monitor.searched(generation, time.process_time() - began_s)
        if self.search.generation > generation:
            self.monitor.write(now=True)
        return answer


@dataclass(slots=True, kw_only=True)
class Pump:
    """Drives searches side by side.

    Attributes:
        lanes: at least one.
        stopping: what signals asked for; looked at before every dispatch.
        grace_s: how long cancelled trials and workers may take to end.
    """

    lanes: Sequence[Lane]
    executor: Executor
    stopping: StopRequest
    grace_s: float

    def run(self) -> bool:
        """Returns True when all is done, False when it was stopped and can go on later.

        Raises:
            NoWorkerLeft: nobody is left to run a trial.
        """
        while not self._done():
            if self.stopping() or any(lane.clock.over() for lane in self.lanes):
                self._drain()
                break
            self._dispatch()
            if self._done():
                break
            if not self._running():
                logger.warning("no trial is expected to end before the walltime")
                break
            self._take_events(POLL_S)
            for lane in self.lanes:
                lane.monitor.write()
        return self._done()

    def _done(self) -> bool:
        return all(lane.search.done for lane in self.lanes)

    def _running(self) -> list[str]:
        """What runs, as the farm knows it."""
        return [lane.name_of(trial) for lane in self.lanes for trial in lane.search.running]

    def _dispatch(self) -> None:
        if self.executor.workers() == 0:
            raise NoWorkerLeft("no worker is left that can run a trial; the log says why")
        while (free := self.executor.free()) > 0:
            specs = self._next_specs(free)
            if not specs:
                break
            for spec in specs:
                self.executor.submit(spec)

    def _next_specs(self, free: int) -> list[TrialSpec]:
        """Of the first lane that has any; one at a time, so that neighbours go on in step."""
        wanted = free if len(self.lanes) == 1 else 1
        for lane in sorted(self.lanes, key=lambda lane: (lane.turn, lane.search.begun)):
            specs = lane.next_specs(wanted, free=free)
            if specs:
                return specs
        return []

    def _take_events(self, timeout_s: float) -> None:
        for event in self.executor.events(timeout_s):
            self._take(event)

    def _take(self, event: Event) -> None:
        """Hands an event to the search it is of; a lost worker is one to all of them."""
        if isinstance(event, Finished):
            lane, trial = self._lane_of(event.result.trial_id)
            lane.take(Finished(result=replace(event.result, trial_id=trial)))
        elif event.trial_id is not None:
            lane, trial = self._lane_of(event.trial_id)
            lane.take(replace(event, trial_id=trial))
        if isinstance(event, WorkerLost):
            self._note_lost(event)

    def _note_lost(self, event: WorkerLost) -> None:
        worker = event.worker
        logger.error("worker %d on %s lost: %s", worker.rank, worker.host, event.reason)
        for lane in self.lanes:
            lane.monitor.lost(event, left=self.executor.workers())

    def _lane_of(self, name: str) -> tuple[Lane, str]:
        """Whose a trial is, and what it is called there."""
        lane_name, _, trial = name.rpartition(NAME_END)
        return next(lane for lane in self.lanes if lane.name == lane_name), trial

    def _drain(self) -> None:
        """Cancels what is running and ends the workers, within one time of grace for both.

        A result that was under way is still taken. Asked again, it waits for nothing: all results
        that count are on disk.
        """
        cause = self.stopping.name or "the walltime is near"
        logger.warning("%s: %d running trials are cancelled", cause, len(self._running()))
        for trial in self._running():
            self.executor.cancel(trial)
        give_up_s = time.monotonic() + max(self.grace_s, SHORTEST_GRACE_S)
        while self._running() and time.monotonic() < give_up_s and not self.stopping.urgent():
            self._take_events(POLL_S)
        if self._running():
            logger.warning("not waited for: %s", ", ".join(self._running()))
        left_s = 0.0 if self.stopping.urgent() else give_up_s - time.monotonic()
        self.executor.close(max(0.0, left_s))


def _refuse_full_disk(spec: TrialSpec, result: TrialResult) -> None:
    """Ends the job where the disk took a trial's weights no more.

    The journal may still have room for a line, and would tell of one failed trial after another.

    Raises:
        OSError: as the worker met it.
    """
    file = spec.weights_path
    if result.failure is not Failure.INFRASTRUCTURE or file is None or file not in result.error:
        return
    codes = {int(code) for code in re.findall(r"\[Errno (\d+)\]", result.error)}
    for code in codes.intersection(DISK_ERRORS):
        raise OSError(code, os.strerror(code), file)
