"""The loop that drives a search on an executor until it is done or has to stop.

The only loop of the searching process. It never blocks for longer than ``POLL_S``, so that a
signal is noticed at once.
"""

from __future__ import annotations

import logging
import os
import re
import time
from dataclasses import dataclass

from mpinas.clock import Clock
from mpinas.dispatch.base import Executor
from mpinas.errors import NoWorkerLeft
from mpinas.files import DISK_ERRORS
from mpinas.monitor import Monitor
from mpinas.records import Event, Failure, Finished, TrialResult, TrialSpec
from mpinas.search import Search
from mpinas.signals import StopRequest

logger = logging.getLogger(__name__)

POLL_S = 0.2
SHORTEST_GRACE_S = 1.0
"""Cancelled trials report within this; a result that was under way is worth it."""


@dataclass(slots=True, kw_only=True)
class Pump:
    """Drives one search.

    Attributes:
        stopping: what signals asked for; looked at before every dispatch.
        grace_s: how long cancelled trials and workers may take to end.
    """

    search: Search
    executor: Executor
    clock: Clock
    monitor: Monitor
    stopping: StopRequest
    grace_s: float

    def run(self) -> bool:
        """Returns True when the search is done, False when it was stopped and can go on later.

        Raises:
            NoWorkerLeft: nobody is left to run a trial.
        """
        out: dict[str, TrialSpec] = {}
        while not self.search.done:
            if self.stopping() or self.clock.over():
                self._drain(out)
                break
            self._dispatch(out)
            if self.search.done:
                break
            if not self.search.running:
                logger.warning("no trial is expected to end before the walltime")
                break
            self._take_events(out, POLL_S)
            self.monitor.write()
        return self.search.done

    def _dispatch(self, out: dict[str, TrialSpec]) -> None:
        if self.executor.workers() == 0:
            raise NoWorkerLeft("no worker is left that can run a trial; see run.log for why")
        for spec in self.search.next_specs(self.executor.free(), self.clock.fits):
            out[spec.trial_id] = spec
            self.executor.submit(spec)
            self.monitor.submitted(spec)

    def _take_events(self, out: dict[str, TrialSpec], timeout_s: float) -> None:
        for event in self.executor.events(timeout_s):
            self._take(event, out)

    def _take(self, event: Event, out: dict[str, TrialSpec]) -> None:
        if isinstance(event, Finished) and event.result.trial_id in out:
            spec = out.pop(event.result.trial_id)
            _refuse_full_disk(spec, event.result)
            self.clock.learn(spec, event.result)
        self.monitor.take(event)
        self.search.take(event)

    def _drain(self, out: dict[str, TrialSpec]) -> None:
        """Cancels what is running and ends the workers, within one time of grace for both.

        A result that was under way is still taken. Asked again, it waits for nothing: all results
        that count are on disk.
        """
        cause = self.stopping.name or "the walltime is near"
        logger.warning("%s: %d running trials are cancelled", cause, len(self.search.running))
        for trial in self.search.running:
            self.executor.cancel(trial)
        give_up_s = time.monotonic() + max(self.grace_s, SHORTEST_GRACE_S)
        while self.search.running and time.monotonic() < give_up_s and not self.stopping.urgent():
            self._take_events(out, POLL_S)
        if self.search.running:
            logger.warning("not waited for: %s", ", ".join(self.search.running))
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
