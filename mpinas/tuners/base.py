"""The tuner protocol: a policy that proposes candidates and learns from results, purely.

A tuner does no input or output, reads no clock and draws from no global random state. Given equal
arguments it returns equal values; it never changes a state it is given. Fitness is maximised.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from mpinas.config import TunerConfig
from mpinas.evolution.genome import Candidate, LineageRecord
from mpinas.evolution.innovation import HistoryRow
from mpinas.records import TrialResult
from mpinas.space.search_space import SearchSpace


class State(Protocol):
    """All there is to save of a tuner. A frozen dataclass; counters are plain ints.

    Attributes:
        history: rows that are only ever appended (the innovation table), so that a checkpoint
            writes the new ones only.
        lineage: of the genomes made by the latest ``init`` or ``ask``, and of no earlier ones.
    """

    @property
    def history(self) -> tuple[HistoryRow, ...]: ...

    @property
    def lineage(self) -> tuple[LineageRecord, ...]: ...


class Tuner(Protocol):
    """A search policy."""

    def init(self, rng: np.random.Generator) -> Any:
        """The starting populations, the first individuals included: two searches with equal
        starting states propose equal first candidates, whatever their seeds."""

    def ask(
        self, state: Any, rng: np.random.Generator, wanted: int
    ) -> tuple[tuple[Candidate, ...], Any]:
        """Proposes candidates; breeding happens here.

        Args:
            wanted: how many could start now. A generational tuner ignores it, proposes a whole
                generation, and nothing while it waits for results.
        """

    def tell(self, state: Any, results: Sequence[TrialResult]) -> Any:
        """Takes any number of results, sorted by trial number; assigns fitness, draws nothing.

        The trial with index i of an ask is the i-th candidate of it. ``FAILED`` by the
        candidate's own doing and ``INFEASIBLE`` count as the worst fitness of the generation,
        ``FAILED`` by infrastructure is no evidence, ``INTERRUPTED`` is never told.
        """

    def state_to_plain(self, state: Any) -> dict[str, Any]:
        """The state without its history, as plain JSON values, of bounded size."""

    def state_from_plain(self, plain: Mapping[str, Any], history: Sequence[HistoryRow]) -> Any:
        """The state again, equal to the one saved. Raises ValueError where it is not one."""


class TunerFactory(Protocol):
    """Builds a tuner from its configuration and the search space."""

    def __call__(self, config: Any, space: SearchSpace) -> Tuner: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class TunerEntry:
    """A line of the registry: the model of its configuration section and how to build it."""

    config: type[TunerConfig]
    build: TunerFactory
