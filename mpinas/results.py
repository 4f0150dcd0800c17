"""The results of a run as its journals tell them, and which of them is best."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from mpinas.journal import read_results
from mpinas.records import TrialResult, trial_id, trial_number
from mpinas.run_directory import RunDirectory


def better(one: TrialResult, other: TrialResult | None) -> bool:
    """Whether the first result beats the second; of equal ones the earlier trial does."""
    if one.fitness is None:
        return False
    if other is None or other.fitness is None or one.fitness != other.fitness:
        return other is None or other.fitness is None or one.fitness > other.fitness
    return trial_number(one.trial_id) < trial_number(other.trial_id)


def ending(result: TrialResult) -> str:
    """How a trial ended, in a word: its class of failure, or else its status."""
    return result.failure.value if result.failure else result.status.value


def named_trial(name: str) -> str:
    """The id that a person means: ``g3-t17`` is ``g003-t017``; what is no id stays as it is."""
    try:
        return trial_id(*trial_number(name))
    except ValueError:
        return name


def best_of(results: Iterable[TrialResult]) -> TrialResult | None:
    """The best of these trials, or None where none is complete."""
    best: TrialResult | None = None
    for result in results:
        best = result if better(result, best) else best
    return best


def within(results: Iterable[TrialResult], generations: int) -> Iterator[TrialResult]:
    """Those of a search of so many generations: one can be made shorter while it is in the next."""
    return (one for one in results if trial_number(one.trial_id)[0] < generations)


def results_of(directory: RunDirectory) -> Iterator[TrialResult]:
    """The results in the journals of a run, generation by generation."""
    for file in directory.journals():
        yield from read_results(file)
