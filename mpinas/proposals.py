"""The candidates of a run, found again: what was proposed stands in no result.

Comes in: a run directory, alive or not. Comes out: genotype and network by trial, as the tuner
proposes them again from the checkpoint before; the data need not be there. Writes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mpinas.assembly.expand import expand
from mpinas.checkpoint import START, Checkpoint, DamagedCheckpoint, load_checkpoint
from mpinas.config import RunConfig
from mpinas.errors import Infeasible, RunDirectoryFault, fault
from mpinas.evolution.genome import Candidate, LineageRecord
from mpinas.evolution.innovation import HistoryRow
from mpinas.opening import KNOWLEDGE, build_tuner
from mpinas.records import NetworkSpec, TrialResult, from_plain, trial_id, trial_number
from mpinas.run_directory import RunDirectory
from mpinas.space.search_space import build_space
from mpinas.stored_config import stored_config
from mpinas.streams import ASK, stream


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """A candidate as it was proposed. ``network`` is None where it cannot be expanded."""

    candidate: Candidate
    network: NetworkSpec | None


class Proposals:
    """Reads a run's checkpoints as far as they are asked for, and keeps what it has read.

    Args:
        directory: of the run.

    Raises:
        RunDirectoryFault: nothing tells its configuration any more.
    """

    def __init__(self, directory: RunDirectory) -> None:
        self._directory = directory
        self._config = stored_config(directory, KNOWLEDGE)
        self._checkpoints: dict[int, Checkpoint] = {}
        self._generations: dict[int, Mapping[str, Proposal]] = {}
        self._bred: dict[int, tuple[LineageRecord, ...]] = {}

    @property
    def config(self) -> RunConfig:
        """Of the run."""
        return self._config

    def of(self, result: TrialResult) -> Proposal:
        """What the trial of a result tried.

        Raises:
            RunDirectoryFault: a checkpoint it follows from is lost or damaged, or what is
                proposed now is not what was tried.
        """
        generation, _ = trial_number(result.trial_id)
        proposal = self.generation(generation).get(result.trial_id)
        found = "" if proposal is None or proposal.network is None else proposal.network.hash
        if proposal is None or found != result.network_hash:
            raise RunDirectoryFault(
                fault(
                    str(self._directory.path),
                    f"what {result.trial_id} tried cannot be found again",
                    f"network_hash={result.network_hash or 'none'}, proposed={found or 'none'}",
                    cure="Read the run with the version of mpinas that ran it",
                )
            )
        return proposal

    def generation(self, generation: int) -> Mapping[str, Proposal]:
        """All that was proposed for a generation, by trial id, in order.

        Raises:
            RunDirectoryFault: a checkpoint it follows from is lost or damaged.
        """
        if generation not in self._generations:
            self._generations[generation] = self._propose(generation)
        return self._generations[generation]

    def lineage(self, generation: int) -> tuple[LineageRecord, ...]:
        """Of the genomes made for a generation, told or not; ``START``: the starting ones.

        Raises:
            RunDirectoryFault: a checkpoint it follows from is lost or damaged.
        """
        if generation in self._bred:
            return self._bred[generation]
        if generation == START or self._directory.checkpoint(generation).exists():
            plain = self.checkpoint(generation).lineage
            return tuple(from_plain(LineageRecord, record) for record in plain)
        self.generation(generation)
        return self._bred[generation]

    def checkpoint(self, generation: int) -> Checkpoint:
        """The file of a generation, read once; ``START`` for the starting populations.

        Raises:
            RunDirectoryFault: it is lost or damaged.
        """
        if generation not in self._checkpoints:
            self._checkpoints[generation] = self._read(generation)
        return self._checkpoints[generation]

    def _propose(self, generation: int) -> Mapping[str, Proposal]:
        before = self.checkpoint(generation - 1)
        tuner = build_tuner(self._config)
        state = tuner.state_from_plain(before.state, self._history(generation - 1))
        rng = stream(self._config.seed, ASK, generation)
        candidates, asked = tuner.ask(state, rng, self._config.tuner.individuals)
        self._bred[generation] = tuple(asked.lineage)
        return {
            trial_id(generation, index): Proposal(
                candidate=candidate, network=self._network(candidate, before)
            )
            for index, candidate in enumerate(candidates)
        }

    def _network(self, candidate: Candidate, before: Checkpoint) -> NetworkSpec | None:
        height, width, channels = before.about["image_shape"]
        try:
            return expand(
                candidate,
                build_space(self._config.space, self._config.trial),
                input_shape=(height, width, channels),
                classes=int(before.about["classes"]),
            )
        except Infeasible:
            return None

    def _history(self, generation: int) -> Sequence[HistoryRow]:
        """The innovation table after a generation: every file holds what was new in it."""
        files = [self.checkpoint(number) for number in range(START, generation + 1)]
        return tuple(row for file in files for row in file.history)

    def _read(self, generation: int) -> Checkpoint:
        directory = self._directory
        path = directory.start if generation == START else directory.checkpoint(generation)
        try:
            return load_checkpoint(path)
        except DamagedCheckpoint as error:
            raise RunDirectoryFault(
                fault(
                    str(path),
                    "the candidates after it cannot be told",
                    str(error),
                    cure="Let the run go on once: it makes its checkpoints whole again",
                )
            ) from error
