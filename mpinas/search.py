"""The search as a step object: it gives specs out and takes events in; it has no loop of its own.

Comes in: a tuner, a search space, a run directory. Goes out: ``TrialSpec``; comes back: ``Event``.
Everything that must survive a kill is on disk before the next step. The search knows no MPI, no
Keras and no clock: the same seed gives the same search whoever drives it and however often it is
stopped.
"""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mpinas import __version__, checkpoint, journal
from mpinas.assembly.expand import expand
from mpinas.assembly.shapes import check_limits, network_costs
from mpinas.attempts import Attempts
from mpinas.clock import Seen, seen
from mpinas.config import RunConfig
from mpinas.errors import Infeasible, RunDirectoryFault, fault
from mpinas.evolution.genome import Candidate
from mpinas.records import (
    Costs,
    Event,
    NetworkSpec,
    ProblemSpec,
    TrialResult,
    TrialSpec,
    TrialStatus,
    canonical_json,
    last_line,
    to_plain,
    trial_id,
    trial_number,
)
from mpinas.results import results_of
from mpinas.run_directory import RunDirectory
from mpinas.space.search_space import SearchSpace
from mpinas.streams import ASK, STARTING_POPULATIONS, stream, trial_seed
from mpinas.tuners.base import Tuner
from mpinas.weights import KeptWeights

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What a search needs to know and never changes.

    Attributes:
        problem: as every trial gets it.
        image_shape: (height, width, channels).
        data: checksum of the prepared data.
        training_images: how many a trial sees in an epoch; for predicting its cost.
    """

    config: RunConfig
    tuner: Tuner
    space: SearchSpace
    problem: ProblemSpec
    data: str
    image_shape: tuple[int, int, int]
    classes: int
    training_images: int


class Search:
    """One run, from wherever its directory says it is.

    Args:
        setting: what is searched.
        directory: with ``config.yaml`` in it; journals and checkpoints are read and written here.
        start_state: starting populations of another run, or None to draw them.
    """

    def __init__(
        self, setting: Setting, directory: RunDirectory, start_state: Any | None = None
    ) -> None:
        self._setting = setting
        self._directory = directory
        self._attempts = Attempts()
        self._results: dict[str, TrialResult] = {}
        self._expected = 0
        self._weights = KeptWeights(setting.config, directory)
        self._state, self.generation = self._load_or_start(start_state)

    @property
    def done(self) -> bool:
        """Whether all generations are told."""
        return self.generation >= self._setting.config.tuner.generations

    @property
    def running(self) -> Sequence[str]:
        """Ids of the trials that are out."""
        return self._attempts.running

    @property
    def begun(self) -> int:
        """How many trials are over or out: how far the search is beside its neighbours."""
        before = self.generation * self._setting.config.tuner.individuals
        return before + len(self._results) + len(self.running)

    def next_specs(
        self,
        wanted: int,
        fits: Callable[[TrialSpec], bool] = lambda spec: True,
        *,
        free: int | None = None,
    ) -> list[TrialSpec]:
        """Up to ``wanted`` trials to be started now, those predicted to take longest first.

        Breeds the next generation where the last one is told. Gives fewer where the rest of a
        generation is still out.

        Args:
            fits: whether a trial may still be started (the clock); one that may not stays waiting.
            free: how many workers have no trial, where that is more than is wanted.
        """
        while not self.done and self._expected == 0:
            self._begin_generation()
            self._end_generation_if_told()
        return self._attempts.start(wanted, fits, free=free or wanted)

    def take(self, event: Event) -> None:
        """Takes what an executor tells; a final result is on disk when this returns."""
        result = self._attempts.take(event)
        if result is not None:
            journal.append_result(self._directory.journal(self.generation), result)
            self._note(result)
            self._end_generation_if_told()

    def _load_or_start(self, start_state: Any | None) -> tuple[Any, int]:
        tuner, directory = self._setting.tuner, self._directory
        newest = checkpoint.load_chain(directory.start, directory.checkpoint)
        if newest is not None:
            self._saved_history = len(newest.history)
            self._start_digest = str(newest.about["start"])
            state = tuner.state_from_plain(newest.state, newest.history)
            return state, newest.generation + 1
        if start_state is None:
            start_state = tuner.init(stream(self._setting.config.seed, STARTING_POPULATIONS))
        self._state, self._saved_history = start_state, 0
        self._start_digest = self._digest(start_state)
        self._check_start_is_the_lost_one()
        self._save(directory.start, checkpoint.START, ())
        return start_state, 0

    def _digest(self, state: Any) -> str:
        plain = [self._setting.tuner.state_to_plain(state), [list(row) for row in state.history]]
        return hashlib.sha256(canonical_json(plain)).hexdigest()

    def _check_start_is_the_lost_one(self) -> None:
        """Where ``start.h5`` is lost, a later checkpoint still tells which populations it held.

        Raises:
            RunDirectoryFault: they are not those that would be begun with now.
        """
        for generation in range(self._directory.told()):
            try:
                later = checkpoint.load_checkpoint(self._directory.checkpoint(generation))
            except checkpoint.DamagedCheckpoint:
                continue
            if later.about["start"] != self._start_digest:
                raise RunDirectoryFault(
                    fault(
                        str(self._directory.start),
                        "is lost or damaged, and the run did not begin with populations of its own",
                        cure="Give --start-from again, as when it was begun",
                    )
                )
            return

    def _begin_generation(self) -> None:
        setting, generation = self._setting, self.generation
        rng = stream(setting.config.seed, ASK, generation)
        candidates, self._state = setting.tuner.ask(
            self._state, rng, setting.config.tuner.individuals
        )
        if not candidates:
            raise RuntimeError(f"the tuner proposed nothing for generation {generation}")
        self._expected = len(candidates)
        file = self._directory.journal(generation)
        journal.cut_torn_line(file)
        known = {result.trial_id: result for result in journal.read_results(file)}
        placed = [
            self._place(trial_id(generation, index), index, candidate, known)
            for index, candidate in enumerate(candidates)
        ]
        self._attempts.add(spec for spec in placed if spec is not None)
        logger.info("generation %d: %d candidates", generation, len(candidates))

    def _place(
        self, name: str, index: int, candidate: Candidate, known: Mapping[str, TrialResult]
    ) -> TrialSpec | None:
        """The trial of a candidate; None where it is known from the journal, or infeasible."""
        setting = self._setting
        try:
            network = expand(
                candidate,
                setting.space,
                input_shape=setting.image_shape,
                classes=setting.classes,
            )
        except Infeasible as error:
            self._decide(_infeasible(name, "", None, error), known)
            return None
        costs = network_costs(network)
        try:
            check_limits(costs, setting.space)
        except Infeasible as error:
            self._decide(_infeasible(name, network.hash, costs, error), known)
            return None
        if self._is_known(name, network.hash, known):
            self._note(known[name])
            return None
        return self._spec(name, index, candidate, network, costs)

    def _spec(
        self, name: str, index: int, candidate: Candidate, network: NetworkSpec, costs: Costs
    ) -> TrialSpec:
        setting, config = self._setting, self._setting.config
        return TrialSpec(
            trial_id=name,
            candidate=to_plain(candidate),
            network=network,
            problem=setting.problem,
            learning_rate=float(candidate.blueprint.hyperparameters["learning_rate"]),  # type: ignore[arg-type]
            settings=config.trial_of(self.generation).model_dump(mode="json"),
            seed=trial_seed(config.seed, self.generation, index),
            predicted_cost=self._predicted_cost(costs, self.generation),
            time_limit_s=config.trial.time_limit_s,
            memory_limit_mb=config.trial.memory_limit_mb,
            weights_path=self._weights.path(name, self.generation),
            events_path=self._events_path(name),
        )

    def _events_path(self, name: str) -> str | None:
        """Where the trial is to write for TensorBoard, or None where nobody wants it."""
        wanted = self._setting.config.trial.tensorboard
        return str((self._directory.tensorboard / name).absolute()) if wanted else None

    def _predicted_cost(self, costs: Costs, generation: int) -> float:
        """Of a trial of that generation; of the last one it may be shrunk, unlike those before."""
        trial = self._setting.config.trial_of(generation)
        epochs = trial.shrink.epochs_at_most(trial.epochs)
        return float(costs.flops) * self._setting.training_images * epochs

    def past(self) -> list[Seen]:
        """How long the trials of this run took so far, by its journals."""
        return [
            seen(self._predicted_cost(result.costs, trial_number(result.trial_id)[0]), result)
            for result in results_of(self._directory)
            if result.costs is not None and result.fitness is not None
        ]

    def _decide(self, result: TrialResult, known: Mapping[str, TrialResult]) -> None:
        """Notes a result that rank 0 itself came to."""
        if not self._is_known(result.trial_id, result.network_hash, known):
            journal.append_result(self._directory.journal(self.generation), result)
        self._note(result)

    def _is_known(self, name: str, network_hash: str, known: Mapping[str, TrialResult]) -> bool:
        """Whether the journal tells of this trial; a result of another network is named."""
        result = known.get(name)
        if result is not None and result.network_hash != network_hash:
            logger.warning(
                "%s: the journal tells of network %s, proposed is %s: not used",
                name,
                result.network_hash or "none",
                network_hash or "none",
            )
        return result is not None and result.network_hash == network_hash

    def _note(self, result: TrialResult) -> None:
        self._results[result.trial_id] = result
        self._weights.take(result)

    def _end_generation_if_told(self) -> None:
        if not self._expected or len(self._results) < self._expected:
            return
        results = sorted(self._results.values(), key=lambda one: trial_number(one.trial_id))
        self._state = self._setting.tuner.tell(self._state, results)
        self._save(self._directory.checkpoint(self.generation), self.generation, results)
        self._warn_if_none_is_complete(results)
        logger.info("generation %d: told", self.generation)
        self._results, self._expected = {}, 0
        self.generation += 1

    def _warn_if_none_is_complete(self, results: Sequence[TrialResult]) -> None:
        if any(result.fitness is not None for result in results):
            return
        reasons = Counter(last_line(result.error) for result in results)
        (reason, count), *_ = reasons.most_common(1)
        logger.warning(
            "generation %d: not one of %d trials is complete; %d times: %s",
            self.generation,
            len(results),
            count,
            reason,
        )

    def _save(self, path: Path, generation: int, results: Sequence[TrialResult]) -> None:
        config = self._setting.config
        checkpoint.save_checkpoint(
            path,
            checkpoint.Checkpoint(
                generation=generation,
                state=self._setting.tuner.state_to_plain(self._state),
                history_start=self._saved_history,
                history=self._state.history[self._saved_history :],
                results=[to_plain(result) for result in results],
                about={
                    "mpinas": __version__,
                    "name": config.name,
                    "config": config.model_dump(mode="json"),
                    "seed": config.seed,
                    "start": self._start_digest,
                    "data": self._setting.data,
                    "image_shape": list(self._setting.image_shape),
                    "classes": self._setting.classes,
                    "space": config.space.model_dump(mode="json"),
                    "tuner": config.tuner.of_populations(),
                },
            ),
        )
        self._saved_history = len(self._state.history)


def _infeasible(
    name: str, network_hash: str, costs: Costs | None, error: Infeasible
) -> TrialResult:
    return TrialResult(
        trial_id=name,
        network_hash=network_hash,
        status=TrialStatus.INFEASIBLE,
        costs=costs,
        error=error.reason,
    )
