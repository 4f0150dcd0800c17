"""Which trials of a run are exported. Pure but for a log line.

Comes in: the results of a run, and what is wished. Comes out: results with a fitness.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence

from mpinas.errors import RunDirectoryFault, UserMustChange, fault, unknown_name
from mpinas.records import TrialResult, last_line, trial_number
from mpinas.results import ending, named_trial

logger = logging.getLogger(__name__)


def winners(
    results: Sequence[TrialResult], *, top: int, trials: Sequence[str], where: str
) -> list[TrialResult]:
    """The trials that were named, or the best ones of different networks, the best first.

    Args:
        top: how many, where none is named.
        trials: by id, ``g3-t17`` as well as ``g003-t017``.
        where: the run, for messages.

    Raises:
        RunDirectoryFault: there is none.
        UserMustChange: one that was named is not complete.
    """
    trials = [named_trial(name) for name in trials]
    complete = {one.trial_id: one for one in results if one.fitness is not None}
    if not complete:
        raise RunDirectoryFault(
            fault(
                where,
                "no trial is complete, so there is nothing to export",
                f"trials={len(results)}",
                cure=f"See why with 'python -m mpinas show {where}', and let the run go on",
            )
        )
    faults = [_not_complete(name, results) for name in trials if name not in complete]
    if faults:
        raise UserMustChange(*faults)
    if trials:
        return [complete[name] for name in dict.fromkeys(trials)]
    different: dict[str, TrialResult] = {}
    for result in sorted(complete.values(), key=_rank):
        different.setdefault(result.network_hash, result)
    if len(different) < top:
        logger.info("--top: only %d different networks are complete", len(different))
    return list(different.values())[:top]


def _rank(result: TrialResult) -> tuple[float, tuple[int, int]]:
    return -(result.fitness or 0.0), trial_number(result.trial_id)


def _not_complete(name: str, results: Iterable[TrialResult]) -> str:
    """Why a trial that was named is no choice."""
    found = {one.trial_id: one for one in results}
    if name not in found:
        complete = [one for one in found if found[one].fitness is not None]
        return unknown_name("--trial", name, complete, "complete trial")
    result = found[name]
    return fault(
        "--trial",
        "the trial has no fitness: its network could not be trained",
        f"trial={name}, {ending(result)}: {last_line(result.error)}",
        cure="Name a complete trial",
    )
