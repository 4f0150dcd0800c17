"""What training costs whatever the machine: FLOPs of forward passes for one training image."""

from __future__ import annotations

from dataclasses import dataclass

from mpinas.config import RunConfig
from mpinas.records import TrialResult, trial_number


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingFlops:
    """In all epochs.

    Attributes:
        shrink: with the whole network, in the regularised epochs.
        training: with the network that was left.
    """

    shrink: float = 0.0
    training: float = 0.0

    @property
    def whole(self) -> float:
        return self.shrink + self.training


def training_flops(config: RunConfig, result: TrialResult) -> TrainingFlops:
    """Of one trial; nothing where its costs could not be told."""
    if result.costs is None:
        return TrainingFlops()
    trained = result.shrunk_costs or result.costs
    return TrainingFlops(
        shrink=result.costs.flops * shrink_epochs(config, result),
        training=float(trained.flops * len(result.curves.training_loss)),
    )


def shrink_epochs(config: RunConfig, result: TrialResult) -> float:
    """Regularised epochs that a trial made before those of its curves; 0 without a shrink, and
    where the network had no channel that could have died: it is trained at once then."""
    if result.shrink is None or result.shrink.steps == 0:
        return 0.0
    return config.trial_of(trial_number(result.trial_id)[0]).shrink.epochs
