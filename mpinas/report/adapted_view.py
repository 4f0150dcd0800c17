"""What ``python -m mpinas shrink`` did, in a few lines for people. Draws, prints nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from mpinas.trial.adaptation import Adapted


def adapted_lines(file: Path, adapted: Adapted) -> Iterator[str]:
    """Widths, costs, accuracies, layers that kept everything, warnings.

    Args:
        file: that was written.
    """
    before, after = adapted.before, adapted.after
    longest = max(map(len, before.widths))
    yield f"{'layer':<{longest}}  before   after"
    for name, width in before.widths.items():
        yield f"{name:<{longest}}  {width:>6}  {after.widths[name]:>6}"
    yield f"FLOPs       {before.flops:,} -> {after.flops:,} (target {adapted.target:,})"
    yield f"parameters  {before.parameters:,} -> {after.parameters:,}"
    if adapted.multiplier is not None:
        yield f"widened     times {adapted.multiplier:.3f}, new weights"
    yield f"reads       {adapted.pixels} pixels"
    yield "validation accuracy"
    steps = (
        ("as it came", adapted.accuracy_before),
        ("regularised", adapted.accuracy_regularised),
        ("after the cut", adapted.accuracy_after_cut),
        ("at the end", adapted.accuracy),
    )
    yield from (f"  {name:<13}  {value:.4f}" for name, value in steps if value is not None)
    if adapted.unknown:
        yield f"not known, all channels kept: {', '.join(adapted.unknown)}"
    yield from (f"warning: {line}" for line in adapted.warnings)
    yield f"written: {file}"
