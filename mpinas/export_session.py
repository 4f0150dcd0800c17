"""One job's part of an export: the folder is claimed, what is not there yet is trained.

Comes in: a plan, an executor with its workers ready, what signals asked for, and the job's clock.
Comes out: models and their cards in the folder. Stopped at any moment, the same command goes on:
what is there is not trained again, and a training goes on from its last epoch.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from mpinas.clock import Clock
from mpinas.dispatch.base import Executor
from mpinas.errors import NoWorkerLeft
from mpinas.export import Plan, files_of, is_there
from mpinas.model_card import model_card
from mpinas.ownership import Owner, beat, claim, release, watch_owner
from mpinas.pump import POLL_S, SHORTEST_GRACE_S
from mpinas.records import (
    Event,
    Failure,
    Finished,
    Progress,
    Started,
    TrialResult,
    TrialSpec,
    TrialStatus,
    WorkerLost,
    last_line,
)
from mpinas.run_directory import RunDirectory, write_whole
from mpinas.search import INFRASTRUCTURE_RETRIES
from mpinas.signals import StopRequest

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How an export ended.

    Attributes:
        stopped: it was asked to end before all was done.
        failures: why a model is not there, by trial id.
    """

    stopped: bool
    failures: Mapping[str, str]


def run_export(
    plan: Plan,
    open_executor: Callable[[int], Executor],
    stopping: StopRequest,
    clock: Clock,
) -> Outcome:
    """Has the models of a plan there, as far as it gets.

    Args:
        open_executor: starts workers, called only where there is something to train, with how
            many models; closed here.

    Raises:
        UserMustChange: another job works in the folder, or workers cannot be started.
        NoWorkerLeft: nobody is left to train.
        OSError: the folder cannot be written to.
    """
    plan.folder.mkdir(parents=True, exist_ok=True)
    place = RunDirectory(plan.folder)
    dead = watch_owner(place, stopping)
    if stopping():
        return Outcome(stopped=True, failures={})
    owner = claim(place, plan.config.run.heartbeat_s, dead=dead)
    try:
        waiting = plan.waiting()
        for spec in plan.specs:
            if spec not in waiting:
                logger.info("%s: is there already", spec.trial_id)
                _write_card(spec)
        if not waiting:
            return Outcome(stopped=False, failures={})
        executor = open_executor(len(waiting))
        try:
            pump = _Pump(plan, place, owner, executor, stopping, clock)
            return pump.run(waiting)
        finally:
            executor.close()
    finally:
        release(place, owner)


def _write_card(spec: TrialSpec) -> None:
    """Writes the card of a model that is there."""
    files = files_of(spec)
    exported = files.load_record()
    if exported is not None:
        write_whole(files.card, model_card(exported), durable=True)


@dataclass(slots=True)
class _Pump:
    """Drives final trainings; never blocks for longer than ``POLL_S``."""

    plan: Plan
    place: RunDirectory
    owner: Owner
    executor: Executor
    stopping: StopRequest
    clock: Clock
    _waiting: list[TrialSpec] = field(default_factory=list, init=False)
    _running: dict[str, TrialSpec] = field(default_factory=dict, init=False)
    _attempts: Counter[str] = field(default_factory=Counter, init=False)
    _failures: dict[str, str] = field(default_factory=dict, init=False)
    _beaten_at_s: float = field(default=0.0, init=False)

    def run(self, specs: Sequence[TrialSpec]) -> Outcome:
        self._waiting = sorted(specs, key=lambda spec: -spec.predicted_cost)
        while self._waiting or self._running:
            if self.stopping() or self.clock.over():
                self._drain()
                break
            self._dispatch()
            for event in self.executor.events(POLL_S):
                self._take(event)
            self._beat()
        left = [*self._waiting, *self._running.values()]
        return Outcome(stopped=bool(left), failures=self._failures)

    def _dispatch(self) -> None:
        if self.executor.workers() == 0:
            raise NoWorkerLeft("no worker is left that can train a model")
        while self._waiting and self.executor.free() > 0:
            spec = self._waiting.pop(0)
            self._running[spec.trial_id] = spec
            self.executor.submit(spec)

    def _take(self, event: Event) -> None:
        if isinstance(event, Started):
            where = f"worker {event.worker.rank} on {event.worker.host} ({event.worker.device})"
            logger.info("%s: %s", event.trial_id, where)
        elif isinstance(event, Progress):
            logger.info(_progress_line(event))
        elif isinstance(event, Finished):
            spec = self._running.pop(event.result.trial_id, None)
            if spec is not None:
                self._take_result(spec, event.result)
        else:
            self._take_lost(event)

    def _take_result(self, spec: TrialSpec, result: TrialResult) -> None:
        if result.status is TrialStatus.INTERRUPTED:
            self._waiting.insert(0, spec)
        elif result.status is TrialStatus.COMPLETE and is_there(spec):
            _write_card(spec)
            logger.info("%s: written to %s", spec.trial_id, files_of(spec).model("keras"))
        elif result.failure is Failure.INFRASTRUCTURE:
            self._try_again(spec, result.error)
        else:
            self._fail(spec, _reason(result))

    def _take_lost(self, event: WorkerLost) -> None:
        logger.warning("worker %d lost: %s", event.worker.rank, event.reason)
        spec = self._running.pop(event.trial_id or "", None)
        if spec is not None:
            self._try_again(spec, event.reason)

    def _try_again(self, spec: TrialSpec, error: str) -> None:
        self._attempts[spec.trial_id] += 1
        if self._attempts[spec.trial_id] > INFRASTRUCTURE_RETRIES:
            self._fail(spec, last_line(error))
            return
        logger.warning("%s: %s: tried again", spec.trial_id, last_line(error))
        self._waiting.append(spec)

    def _fail(self, spec: TrialSpec, reason: str) -> None:
        logger.warning("%s: failed: %s", spec.trial_id, reason)
        self._failures[spec.trial_id] = reason

    def _drain(self) -> None:
        """Cancels what is running, whose last epochs are on disk, and ends the workers."""
        cause = self.stopping.name or "the walltime is near"
        logger.warning("%s: %d running trainings are cancelled", cause, len(self._running))
        for trial_id in self._running:
            self.executor.cancel(trial_id)
        give_up_s = time.monotonic() + max(self.plan.config.run.grace_s, SHORTEST_GRACE_S)
        while self._running and time.monotonic() < give_up_s and not self.stopping.urgent():
            for event in self.executor.events(POLL_S):
                self._take(event)
        left_s = 0.0 if self.stopping.urgent() else give_up_s - time.monotonic()
        self.executor.close(max(0.0, left_s))

    def _beat(self) -> None:
        now_s = time.monotonic()
        if now_s - self._beaten_at_s >= self.plan.config.run.heartbeat_s:
            self._beaten_at_s = now_s
            beat(self.place, self.owner)


def _progress_line(event: Progress) -> str:
    line = f"{event.trial_id}: epoch {event.epoch}/{event.epochs}, loss {event.loss:.4f}"
    if event.validation_accuracy is None:
        return line
    return f"{line}, validation accuracy {event.validation_accuracy:.4f}"


def _reason(result: TrialResult) -> str:
    if result.status is TrialStatus.COMPLETE:
        return "its files are not those that its record tells of; is the folder a shared one?"
    reason = last_line(result.error)
    if result.failure is Failure.NOT_A_NUMBER:
        return f"{reason}; a lower --set trial.learning_rate may help"
    return reason
