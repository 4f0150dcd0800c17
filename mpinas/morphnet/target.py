"""Meeting a FLOP target after one regularised run: where to cut, and how far to widen again.

Comes in: a graph and how alive its groups are. Comes out: the plan of the largest network within
the target. numpy only.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from mpinas.errors import UserMustChange, fault
from mpinas.morphnet.channels import FREE, ChannelGraph, Mask
from mpinas.morphnet.plan import Plan, make_plan

Counts = npt.NDArray[np.int64]
WIDEST = 2.0**20
MULTIPLIER_STEP = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """A plan within a target.

    Attributes:
        threshold: groups up to this share were cut, as a multiple of each source's own threshold;
            -1 where all are left.
        flops: of the network by the plan.
    """

    plan: Plan
    threshold: float
    flops: int


def target_flops(wanted: float, full: int) -> int:
    """What ``--flops`` asks for: a share of the full FLOPs below 1, from 1 on a count.

    Raises:
        UserMustChange: it is not below the full FLOPs, or nothing.
    """
    target = int(wanted * full if wanted < 1 else wanted) if 0 < wanted < full else 0
    if target == 0:
        allowed = f"Allowed: a share between 0 and 1, or a count below the model's {full} FLOPs"
        rule = "the target is not above 0 and below what the model has"
        raise UserMustChange(fault("--flops", rule, f"flops={wanted:g}", allowed))
    return target


def meet_target(
    graph: ChannelGraph,
    shares: npt.NDArray[np.floating],
    target: int,
    *,
    min_filters: int = 1,
    round_to: int = 1,
) -> Cut:
    """The largest network within the target that cutting the least alive groups leaves.

    One threshold for all shares; of groups with equal shares the first ones go. The groups that are
    left where everything dies, ``min_filters`` of each layer, are always left, so that FLOPs never
    rise with the threshold. With ``round_to`` above 1 they may, where layers share some of their
    channels; the result is within the target all the same.

    Args:
        shares: of the groups, as ``regularizer.Reading`` has them.
        target: FLOPs that the network may have.

    Raises:
        UserMustChange: even the smallest network has more.
    """

    def plan_of(alive: Mask) -> Plan:
        return make_plan(
            graph,
            alive,
            sizes=shares,
            min_filters=min_filters,
            round_to=round_to,
            remove_layers=False,
        )

    def cut_of(count: int) -> Cut:
        alive = np.ones(graph.groups, bool)
        alive[order[:count]] = False
        plan = plan_of(alive | floor)
        threshold = float(shares[order[count - 1]]) if count else -1.0
        return Cut(plan=plan, threshold=threshold, flops=graph.cost(plan.alive, "flops"))

    floor = plan_of(np.isinf(shares)).alive
    finite = np.flatnonzero(np.isfinite(shares) & ~graph.frozen)
    order = finite[np.argsort(shares[finite], kind="stable")]
    best = cut_of(len(order))
    if best.flops > target:
        raise UserMustChange(_out_of_reach(graph, best.flops, target))
    low, high = -1, len(order)  # the plan at `high` is within the target, none at `low`
    while high - low > 1:
        middle = (low + high) // 2
        cut = cut_of(middle)
        if cut.flops <= target:
            best, high = cut, middle
        else:
            low = middle
    return best


def check_reach(graph: ChannelGraph, may_die: Mask, target: int, min_filters: int) -> None:
    """Raises UserMustChange where :func:`meet_target` will, whatever the shares come to be."""
    meet_target(graph, np.where(may_die, 0.0, np.inf), target, min_filters=min_filters)


def _out_of_reach(graph: ChannelGraph, smallest: int, target: int) -> str:
    unknown = f", all in those that are not known ({', '.join(graph.unknown)})"
    return fault(
        "--flops",
        "the model cannot be made that small: trial.shrink.min_filters channels are kept in every "
        "layer" + (unknown if graph.unknown else ""),
        f"target={target}",
        f"Smallest that can be reached: {smallest} FLOPs",
        "Ask for more FLOPs",
    )


def widened(graph: ChannelGraph, plan: Plan, target: int) -> tuple[Plan, float]:
    """MorphNet's expand step: all widths times the largest number within the target.

    Groups that no layer tells apart are multiplied together, rounded down, so that layers which
    are added or concatenated still agree. Frozen channels are not multiplied.

    Args:
        plan: within the target.

    Returns:
        A plan to rebuild by, with ``keep_outputs`` of the widths it wants; no weights can be
        carried by it. The width multiplier, at least 1.
    """
    classes = _Classes(graph, plan.alive)
    low, high = 1.0, 2.0
    while high < WIDEST and classes.flops(high) <= target:
        low, high = high, 2 * high
    while high - low > MULTIPLIER_STEP:
        middle = (low + high) / 2
        if classes.flops(middle) <= target:
            low = middle
        else:
            high = middle
    widths = dict(zip((one.name for one in graph.descriptions), classes.widths(low), strict=True))
    wider = replace(
        plan,
        widths={name: int(widths[name]) for name in plan.widths},
        keep_outputs={name: np.arange(widths[name]) for name in plan.keep_outputs},
    )
    return wider, low


class _Classes:
    """Groups by the layers that have them and how often; ``made`` is (layers, classes)."""

    def __init__(self, graph: ChannelGraph, alive: Mask) -> None:
        self._layers = graph.descriptions
        rows = np.zeros((len(self._layers) + 1, graph.groups), np.int32)
        for row, layer in zip(rows, self._layers, strict=False):
            np.add.at(row, graph.outputs[layer.name], 1)
        rows[-1] = graph.frozen
        columns, class_of = np.unique(rows[:, alive], axis=1, return_inverse=True)
        self._made = columns[:-1].astype(np.int64)
        self._fixed = columns[-1] > 0
        self._counts = np.bincount(class_of.reshape(-1), minlength=columns.shape[1])

    def widths(self, multiplier: float) -> Counts:
        """Of all layers."""
        wider = np.floor(self._counts * multiplier).astype(np.int64)
        widths: Counts = self._made @ np.where(self._fixed, self._counts, wider)
        return widths

    def flops(self, multiplier: float) -> int:
        """Of the network."""
        widths = self.widths(multiplier)
        width_of = dict(zip((one.name for one in self._layers), widths.tolist(), strict=True))
        total = 0
        for layer in self._layers:
            price = layer.prices.get("flops", FREE)
            read = width_of[layer.inputs[0]] if layer.inputs else 0
            total += width_of[layer.name] * (price.pair * read + price.each) + price.once
        return total
