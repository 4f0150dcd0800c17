"""States as plain JSON values, the history apart from the rest, and back with a check."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

from mpinas.evolution.genome import AnyGenome
from mpinas.evolution.innovation import HistoryRow, InnovationTable
from mpinas.evolution.validity import genome_faults
from mpinas.records import from_plain, to_plain
from mpinas.space.search_space import SearchSpace

_State = TypeVar("_State")


def plain_without_history(state: Any) -> dict[str, Any]:
    """The state, which is a dataclass with a field ``history``, as plain values without it."""
    plain: dict[str, Any] = to_plain(dataclasses.replace(state, history=()))
    del plain["history"]
    return plain


def with_history(
    state_type: type[_State], plain: Mapping[str, Any], history: Sequence[HistoryRow]
) -> _State:
    """The state that :func:`plain_without_history` was given.

    Raises:
        ValueError: these are not the values of such a state, or the rows are no history.
    """
    rows = InnovationTable(tuple(int(value) for value in row) for row in history).history()
    return from_plain(state_type, {**plain, "history": rows})


def check_genomes(genomes: Iterable[AnyGenome], space: SearchSpace) -> None:
    """Raises ValueError where a genome is not valid in the search space: names the first."""
    for genome in genomes:
        faults = genome_faults(genome, space)
        if faults:
            raise ValueError(
                f"genome {genome.id} does not belong to this search space: {'; '.join(faults)}."
            )
