"""Which trained weights of a run are kept: the policy ``trial.save_weights``."""

from __future__ import annotations

from pathlib import Path

from mpinas.config import RunConfig
from mpinas.records import TrialResult
from mpinas.results import best_of, better, results_of
from mpinas.run_directory import RunDirectory


class KeptWeights:
    """The files in ``weights/``: none, those of the best trial so far, or the last generation's.

    Args:
        config: of the run; making it longer moves its last generation.
        directory: whose journals tell which trial is the best so far.
    """

    def __init__(self, config: RunConfig, directory: RunDirectory) -> None:
        self._policy = config.trial.save_weights
        self._last_generation = config.tuner.generations - 1
        self._directory = directory
        self._best = best_of(results_of(directory)) if self._policy == "best" else None

    def path(self, trial_id: str, generation: int) -> str | None:
        """Where the trial is to save its weights, or None where nobody wants them."""
        last = generation == self._last_generation
        if self._policy == "none" or (self._policy == "last_generation" and not last):
            return None
        self._directory.weights.mkdir(exist_ok=True)
        return str(self._file(trial_id).absolute())

    def take(self, result: TrialResult) -> None:
        """With ``best``, removes what is not the best any more; told again, nothing changes."""
        if self._policy != "best":
            return
        best = self._best
        if best is not None and best.trial_id == result.trial_id:
            return
        loser: TrialResult | None = result
        if better(result, best):
            self._best, loser = result, best
        if loser is not None:
            self._file(loser.trial_id).unlink(missing_ok=True)

    def _file(self, trial_id: str) -> Path:
        return self._directory.weights / f"{trial_id}.weights.h5"
