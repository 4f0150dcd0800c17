"""Workers in this process: each a supervised slot, all forked from one forkserver.

What ``python -m mpinas run`` uses where no MPI launcher has started it.
"""

from __future__ import annotations

import logging
import os
import select
import time
from collections import deque
from collections.abc import Iterator, Mapping

from mpinas.dispatch.placement import local_introductions, place_all, processor_warnings
from mpinas.dispatch.settings import WorkerSettings
from mpinas.dispatch.standing import Standing
from mpinas.records import Event, Finished, TrialSpec, Worker, WorkerLost
from mpinas.trial.child import Supervisor
from mpinas.trial.handle import ForkServer

logger = logging.getLogger(__name__)

POLL_S = 0.02


class LocalExecutor:
    """Runs trials in children of this process.

    Args:
        settings: how workers run trials.
        workers: how many trials run at once.
        environment: of this process.

    Raises:
        LaunchFault: there are not enough devices.
        ForkServerBroken: no process can be started.
    """

    def __init__(
        self, settings: WorkerSettings, workers: int, environment: Mapping[str, str] = os.environ
    ) -> None:
        hellos = local_introductions(workers, environment)
        places = place_all(hellos, settings)
        for line in processor_warnings(hellos, settings.threads):
            logger.warning(line)
        self._server = ForkServer(
            settings.runner,
            settings.threads,
            environment,
            quiet=all(place.binding.device == "cpu" for place in places.values()),
        )
        self._server.start()
        self._slots = [
            Supervisor(
                self._server,
                Worker(host=hellos[rank].host, rank=rank, device=place.binding.device),
                place.environment,
            )
            for rank, place in places.items()
        ]
        self._standing = Standing()
        self._events: deque[Event] = deque()

    def workers(self) -> int:
        return len(self._slots)

    def free(self) -> int:
        return sum(1 for slot in self._slots if not slot.busy)

    def submit(self, spec: TrialSpec) -> None:
        free = {slot.worker.rank: slot for slot in self._slots if not slot.busy}
        rank = self._standing.choose(spec, (slot.worker for slot in free.values()))
        if rank is None:
            raise RuntimeError(f"no worker is free for {spec.trial_id}")
        free[rank].start(spec)

    def events(self, timeout_s: float) -> Iterator[Event]:
        deadline = time.monotonic() + timeout_s
        while True:
            self._poll()
            left_s = deadline - time.monotonic()
            if self._events or left_s <= 0:
                break
            self._wait(min(left_s, POLL_S))
        while self._events:
            yield self._events.popleft()

    def cancel(self, trial_id: str) -> None:
        for slot in self._slots:
            if slot.trial_id == trial_id:
                slot.cancel()

    def close(self, grace_s: float | None = None) -> None:
        for slot in self._slots:
            slot.close()
        self._slots.clear()
        self._events.clear()
        self._server.close()

    def process_ids(self) -> list[int]:
        """Of the forkserver and of the children that run."""
        found = [self._server.pid, *(slot.pid for slot in self._slots)]
        return [pid for pid in found if pid is not None]

    def _poll(self) -> None:
        for slot in list(self._slots):
            reason = ""
            for event in slot.poll():
                if isinstance(event, Finished):
                    alone = len(self._slots) == 1
                    verdict = self._standing.take(slot.worker, event.result, alone=alone)
                    event, reason = Finished(result=verdict.result), verdict.reason
                self._events.append(event)
            reason = slot.broken or reason
            if reason and not slot.busy:
                self._slots.remove(slot)
                self._events.append(WorkerLost(worker=slot.worker, trial_id=None, reason=reason))

    def _wait(self, timeout_s: float) -> None:
        busy = [slot for slot in self._slots if slot.busy]
        descriptors = {descriptor for slot in busy for descriptor in slot.descriptors()}
        select.select(descriptors, [], [], timeout_s)
