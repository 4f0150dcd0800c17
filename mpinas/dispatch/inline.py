"""An executor without processes: trials run here, one after the other. For tests and debugging.

It survives what Python can catch; a trial that ends or blocks its process does so to ours.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

from mpinas.dispatch.standing import Standing
from mpinas.records import (
    Event,
    Finished,
    Progress,
    Started,
    TrialResult,
    TrialSpec,
    Worker,
    WorkerLost,
    to_json,
)
from mpinas.trial import outcome

RunTrial = Callable[[TrialSpec, Callable[[Progress], None]], TrialResult]


class InlineExecutor:
    """Runs submitted trials when :meth:`events` is called.

    Args:
        run_trial: what a trial is.
        workers: how many trials may be submitted before one has to end.
    """

    def __init__(self, run_trial: RunTrial, workers: int = 1) -> None:
        self._run_trial = run_trial
        host = socket.gethostname()
        ranks = range(1, workers + 1)
        self._workers = {rank: Worker(host=host, rank=rank, device="cpu") for rank in ranks}
        self._waiting: dict[int, TrialSpec] = {}
        self._running: int | None = None
        self._cancelled: list[TrialResult] = []
        self._standing = Standing()

    def workers(self) -> int:
        return len(self._workers)

    def free(self) -> int:
        return len(self._free())

    def submit(self, spec: TrialSpec) -> None:
        rank = self._standing.choose(spec, (self._workers[rank] for rank in self._free()))
        if rank is None:
            raise RuntimeError(f"no worker is free for {spec.trial_id}")
        self._waiting[rank] = spec

    def events(self, timeout_s: float) -> Iterator[Event]:
        """Yields the ends of cancelled trials, or runs the oldest trial to its end."""
        while self._cancelled:
            yield Finished(result=self._cancelled.pop(0))
        if self._waiting:
            self._running = next(iter(self._waiting))
            spec = self._waiting.pop(self._running)
            yield from self._run_on(self._workers[self._running], spec)

    def cancel(self, trial_id: str) -> None:
        for rank, spec in list(self._waiting.items()):
            if spec.trial_id == trial_id:
                del self._waiting[rank]
                ended = replace(outcome.interrupted(spec), worker=self._workers[rank])
                self._cancelled.append(ended)

    def close(self, grace_s: float | None = None) -> None:
        self._waiting.clear()
        self._cancelled.clear()

    def _free(self) -> list[int]:
        return [
            rank for rank in self._workers if rank not in self._waiting and rank != self._running
        ]

    def _run_on(self, worker: Worker, spec: TrialSpec) -> Iterator[Event]:
        yield Started(trial_id=spec.trial_id, worker=worker)
        progress: list[Progress] = []
        result = replace(self._run(spec, progress.append), worker=worker)
        yield from progress
        self._running = None
        verdict = self._standing.take(worker, result, alone=len(self._workers) == 1)
        if verdict.reason:
            del self._workers[worker.rank]
        yield Finished(result=verdict.result)
        if verdict.reason:
            yield WorkerLost(worker=worker, trial_id=None, reason=verdict.reason)

    def _run(self, spec: TrialSpec, report: Callable[[Progress], None]) -> TrialResult:
        begun_at = time.monotonic()
        try:
            result = self._run_trial(spec, report)
            to_json(result)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            result = outcome.of_exception(spec, type(error).__name__, outcome.traceback_of(error))
        wall_time_s = time.monotonic() - begun_at
        times = replace(result.times, wall_time_s=wall_time_s, ended_at=time.time())
        return replace(
            result,
            trial_id=spec.trial_id,
            network_hash=spec.network.hash,
            times=times,
        )
