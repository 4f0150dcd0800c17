"""What the shrinks of a run came to, in words. Above all, where they came to nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from statistics import fmean

from mpinas.records import Costs, ShrinkOutcome, TrialResult, TrialStatus


def shrink_cell(result: TrialResult) -> str:
    """Of one trial: MFLOPs after the shrink and their share, or why there are none."""
    if result.shrink is None:
        return "no shrink"
    if result.shrink.outcome is not ShrinkOutcome.SHRUNK:
        return outcome_words(result.shrink.outcome)
    if result.costs is None or result.shrunk_costs is None:
        return outcome_words(ShrinkOutcome.SHRUNK)
    after = result.shrunk_costs.flops
    return f"{after / 1e6:.2f} ({_share(after, result.costs.flops):.0%})"


def shrink_lines(results: Sequence[TrialResult]) -> Iterator[str]:
    """Of all trials: how the shrinks of complete ones ended, what they kept, and who warns."""
    complete = [result for result in results if result.status is TrialStatus.COMPLETE]
    outcomes = Counter(result.shrink.outcome for result in complete if result.shrink is not None)
    if outcomes:
        counts = (f"{outcomes[outcome]} {outcome_words(outcome)}" for outcome in ShrinkOutcome)
        yield f"shrink: {', '.join(counts)} and trained unshrunk"
    kept = [costs for result in complete if (costs := _before_and_after(result)) is not None]
    if kept:
        yield _mean_line(kept, any_broken=outcomes[ShrinkOutcome.BROKEN] > 0)
    yield from _warning_line(results)


def kept_shares(results: Iterable[TrialResult]) -> tuple[float, ...]:
    """FLOPs after the shrink over those before, in 0..1, of each complete trial with a shrink.

    One whose shrink broke was trained as it was: 1.
    """
    complete = (result for result in results if result.status is TrialStatus.COMPLETE)
    costs = (_before_and_after(result) for result in complete)
    return tuple(_share(one[1].flops, one[0].flops) for one in costs if one is not None)


def mean_kept(results: Iterable[TrialResult]) -> float | None:
    """In 0..1; None where no complete trial had a shrink."""
    shares = kept_shares(results)
    return fmean(shares) if shares else None


def _mean_line(kept: Sequence[tuple[Costs, Costs]], *, any_broken: bool) -> str:
    flops = fmean(_share(after.flops, before.flops) for before, after in kept)
    parameters = fmean(_share(after.parameters, before.parameters) for before, after in kept)
    means = f"{flops:.0%} of the FLOPs and {parameters:.0%} of the parameters kept on average"
    return f"{means} (broken: 100%)" if any_broken else means


def _warning_line(results: Sequence[TrialResult]) -> Iterator[str]:
    warned = [(one.trial_id, one.shrink) for one in results if one.shrink and one.shrink.warnings]
    if warned:
        trial_id, shrink = warned[0]
        first = f"the first, of {trial_id}: {shrink.warnings[0]}"
        yield f"trials with shrink warnings: {len(warned)}; {first}"


def _before_and_after(result: TrialResult) -> tuple[Costs, Costs] | None:
    """Of a trial with a shrink, if they are known; a broken one was trained as it was."""
    if result.shrink is None or result.costs is None:
        return None
    is_broken = result.shrink.outcome is ShrinkOutcome.BROKEN
    after = result.costs if is_broken else result.shrunk_costs
    return None if after is None else (result.costs, after)


def _share(after: int, before: int) -> float:
    """What is kept, in 0..1; of nothing all."""
    return after / before if before else 1.0


def outcome_words(outcome: ShrinkOutcome) -> str:
    """For people."""
    return outcome.value.replace("_", " ")
