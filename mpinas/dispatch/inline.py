"""An executor without processes: trials run here, one after the other. For tests and debugging.

It survives what Python can catch; a trial that ends or blocks its process does so to ours.
"""

from __future__ import annotations

import socket
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace

from mpinas.records import (
    Event,
    Finished,
    Progress,
    Started,
    TrialResult,
    TrialSpec,
    Worker,
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
        self._workers = workers
        self._waiting: dict[str, TrialSpec] = {}
        self._cancelled: list[TrialSpec] = []
        self._worker = Worker(host=socket.gethostname(), rank=1, device="cpu")

    def workers(self) -> int:
        return self._workers

    def free(self) -> int:
        return self._workers - len(self._waiting)

    def submit(self, spec: TrialSpec) -> None:
        if not self.free():
            raise RuntimeError(f"no worker is free for {spec.trial_id}")
        self._waiting[spec.trial_id] = spec

    def events(self, timeout_s: float) -> Iterator[Event]:
        """Yields the ends of cancelled trials, or runs the oldest trial to its end."""
        while self._cancelled:
            spec = self._cancelled.pop(0)
            yield Finished(result=replace(outcome.interrupted(spec), worker=self._worker))
        if self._waiting:
            spec = self._waiting.pop(next(iter(self._waiting)))
            yield Started(trial_id=spec.trial_id, worker=self._worker)
            progress: list[Progress] = []
            result = self._run(spec, progress.append)
            yield from progress
            yield Finished(result=result)

    def cancel(self, trial_id: str) -> None:
        spec = self._waiting.pop(trial_id, None)
        if spec is not None:
            self._cancelled.append(spec)

    def close(self) -> None:
        self._waiting.clear()
        self._cancelled.clear()

    def _run(self, spec: TrialSpec, report: Callable[[Progress], None]) -> TrialResult:
        begun_at = time.monotonic()
        try:
            result = self._run_trial(spec, report)
            to_json(result)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            result = outcome.of_exception(spec, type(error).__name__, traceback.format_exc())
        times = replace(result.times, wall_time_s=time.monotonic() - begun_at)
        return replace(
            result,
            trial_id=spec.trial_id,
            network_hash=spec.network.hash,
            times=times,
            worker=self._worker,
        )
