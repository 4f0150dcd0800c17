"""One job's part of an export: the folder is claimed, what is not there yet is trained.

Comes in: a plan, an executor with its workers ready, what signals asked for, and the job's clock.
Comes out: models and their cards in the folder. Stopped at any moment, the same command goes on:
what is there is not trained again, and a training goes on from its last epoch.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from mpinas.attempts import Attempts
from mpinas.clock import Clock
from mpinas.dispatch.base import Executor
from mpinas.errors import RunDirectoryFault, fault
from mpinas.export import Plan, files_of, has_model, is_there
from mpinas.model_card import model_card
from mpinas.monitor import tell
from mpinas.ownership import Heart, claim, release, watch_owner
from mpinas.pump import Lane, Pump
from mpinas.records import (
    Event,
    Failure,
    TrialResult,
    TrialSpec,
    TrialStatus,
    WorkerLost,
    last_line,
)
from mpinas.run_directory import RunDirectory, write_whole
from mpinas.session import telling_of_the_disk
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
        UserMustChange: the folder cannot be made, or another job works in it, or workers cannot
            be started.
        NoWorkerLeft: nobody is left to train.
        DiskFault: the disk takes nothing more.
    """
    with telling_of_the_disk(plan.folder):
        _make_folder(plan)
        place = RunDirectory(plan.folder)
        dead = watch_owner(place, stopping)
        if stopping():
            return Outcome(stopped=True, failures={})
        owner = claim(place, plan.config.run.heartbeat_s, dead=dead)
        try:
            plan.refuse_models_of_others()
            waiting = plan.waiting()
            for spec in plan.specs:
                if spec not in waiting:
                    logger.info("%s: is there already", spec.trial_id)
                    _finish(spec)
            if not waiting:
                return Outcome(stopped=False, failures={})
            return _train(waiting, plan, Heart(place, owner), open_executor, stopping, clock)
        finally:
            release(place, owner)


def _make_folder(plan: Plan) -> None:
    try:
        plan.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        rule = f"the folder of the models cannot be made: {error.strerror}"
        cure = "Give another folder with --out"
        raise RunDirectoryFault(fault(str(plan.folder), rule, cure=cure)) from error


def _finish(spec: TrialSpec) -> bool:
    """Writes the card of a model that is there, and clears away what its training had left."""
    files = files_of(spec)
    exported = files.load_record() if has_model(spec) else None
    if exported is None:
        return False
    write_whole(files.card, model_card(exported), durable=True)
    files.backup.unlink(missing_ok=True)
    return True


def _train(
    specs: Sequence[TrialSpec],
    plan: Plan,
    heart: Heart,
    open_executor: Callable[[int], Executor],
    stopping: StopRequest,
    clock: Clock,
) -> Outcome:
    trainings = Trainings(specs)
    lane = Lane(search=trainings, monitor=_Signs(heart), clock=clock.another(trials_go_on=True))
    executor = open_executor(len(specs))
    try:
        pump = Pump(
            lanes=[lane], executor=executor, stopping=stopping, grace_s=plan.config.run.grace_s
        )
        done = pump.run()
    finally:
        executor.close()
    return Outcome(stopped=not done, failures=trainings.failures)


class Trainings:
    """Final trainings, as the pump drives a search.

    Attributes:
        failures: why a model is not there, by trial id.
    """

    generation = 0
    """There are none."""

    def __init__(self, specs: Sequence[TrialSpec]) -> None:
        self.failures: dict[str, str] = {}
        self._specs = {spec.trial_id: spec for spec in specs}
        self._attempts = Attempts()
        self._attempts.add(specs)
        self.begun = 0

    @property
    def done(self) -> bool:
        """Whether each is over."""
        return self._attempts.over

    @property
    def running(self) -> Sequence[str]:
        """Ids of the trials whose trainings are out."""
        return self._attempts.running

    def next_specs(
        self, wanted: int, fits: Callable[[TrialSpec], bool], *, free: int
    ) -> list[TrialSpec]:
        """Up to so many trainings to be started now."""
        chosen = self._attempts.start(wanted, fits, free=free)
        self.begun += len(chosen)
        return chosen

    def take(self, event: Event) -> None:
        """Takes what an executor tells; the card of a model is written when this returns."""
        result = self._attempts.take(event)
        if result is None:
            return
        spec = self._specs[result.trial_id]
        if _finish(spec) and is_there(spec):
            logger.info("%s: written to %s", spec.trial_id, files_of(spec).model("keras"))
        else:
            self.failures[spec.trial_id] = _reason(result)


class _Signs:
    """A line for each event, and signs of life in the folder."""

    def __init__(self, heart: Heart) -> None:
        self._heart = heart

    def submitted(self, spec: TrialSpec) -> None:
        """It says so itself when it has started."""

    def searched(self, generation: int, cpu_s: float) -> None:
        """Nobody asks."""

    def take(self, event: Event) -> None:
        self._heart.beat_if_due()
        tell(event)

    def lost(self, event: WorkerLost, *, left: int) -> None:
        """The pump has told of it."""

    def write(self, *, now: bool = False) -> None:
        self._heart.beat_if_due()


def _reason(result: TrialResult) -> str:
    if result.status is TrialStatus.COMPLETE:
        return "its files are not those that its record tells of; is the folder a shared one?"
    reason = last_line(result.error)
    if result.failure is Failure.NOT_A_NUMBER:
        return f"{reason}; a lower --set trial.learning_rate may help"
    return reason
