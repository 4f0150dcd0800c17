"""From trial results to fitness: who gets credit for what.

Comes in: results of the trials of one generation, in any number of portions. Comes out: the
outcome of each, and the mean for each genome that has evidence. Nothing is drawn.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from mpinas.records import Failure, TrialResult, TrialStatus, trial_number


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What one trial showed.

    Attributes:
        index: of the candidate in its generation.
        fitness: None unless the trial is complete.
        evidence: False where the candidate was not to blame (``infrastructure``); a trial
            without fitness that is evidence counts as the worst complete one.
    """

    index: int
    fitness: float | None
    evidence: bool


def add_results(
    outcomes: Sequence[Outcome], results: Iterable[TrialResult], generation: int, size: int
) -> tuple[Outcome, ...]:
    """The outcomes with those of more results, sorted by index.

    Args:
        generation: that is being told.
        size: number of its candidates.

    Raises:
        ValueError: a result is of another generation, of no candidate, interrupted, or told
            before.
    """
    known = {outcome.index: outcome for outcome in outcomes}
    for result in results:
        number, index = trial_number(result.trial_id)
        if number != generation or index >= size:
            raise ValueError(
                f"tell: no trial of this generation. Received: trial_id={result.trial_id}. "
                f"Expected: generation {generation}, {size} trials."
            )
        if index in known or result.status is TrialStatus.INTERRUPTED:
            raise ValueError(
                "tell: each trial is told once, when it has ended. "
                f"Received: trial_id={result.trial_id}, status={result.status.value}."
            )
        known[index] = Outcome(
            index=index,
            fitness=result.fitness,
            evidence=result.failure is not Failure.INFRASTRUCTURE,
        )
    return tuple(known[index] for index in sorted(known))


def trial_scores(outcomes: Sequence[Outcome]) -> dict[int, float]:
    """Index -> fitness for each trial that is evidence.

    The candidate's own failures and infeasible ones get the worst complete fitness of the
    generation, 0.0 if none is complete.
    """
    complete = [outcome.fitness for outcome in outcomes if outcome.fitness is not None]
    worst = min(complete, default=0.0)
    return {
        outcome.index: worst if outcome.fitness is None else outcome.fitness
        for outcome in outcomes
        if outcome.evidence
    }


def mean_by_genome(scores: Mapping[int, float], uses: Sequence[Sequence[str]]) -> dict[str, float]:
    """Genome id -> mean score of the trials that used it; sorted by id.

    Args:
        scores: index -> score, as :func:`trial_scores` gives them.
        uses: for each index the ids of genomes used, each once.
    """
    found: dict[str, list[float]] = defaultdict(list)
    for index, score in sorted(scores.items()):
        for genome_id in uses[index]:
            found[genome_id].append(score)
    return {genome_id: mean(found[genome_id]) for genome_id in sorted(found)}


def mean(values: Sequence[float]) -> float:
    """The mean; exact summation, so that the order of the values does not matter."""
    return math.fsum(values) / len(values)
