"""Random search, the baseline: every generation is drawn afresh from the whole search space.

Candidates come from the same builders as the starting genomes of ``codeepneat``, up to the full
size limits, and nothing is learned from results. See ``base.py`` for the protocol.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from pydantic import Field, field_validator

from mpinas.config import TunerConfig
from mpinas.evolution.genome import (
    BlueprintGenome,
    Candidate,
    ChosenModule,
    LineageRecord,
    ModuleGenome,
)
from mpinas.evolution.innovation import HistoryRow, InnovationTable
from mpinas.evolution.operators import Surroundings
from mpinas.evolution.starting import draw_density, draw_size, grow_blueprint, grow_module
from mpinas.records import TrialResult
from mpinas.space.search_space import SearchSpace
from mpinas.tuners.codeepneat_config import BlueprintsConfig, ModulesConfig, PopulationConfig
from mpinas.tuners.population import Register
from mpinas.tuners.scoring import Outcome, add_results
from mpinas.tuners.state import check_genomes, plain_without_history, with_history


class RandomSearchConfig(TunerConfig):
    """The section ``tuner`` with ``name: random_search``.

    There are no populations. What ``codeepneat`` says of them is checked and forgotten, so that
    the baseline of a configuration is one key away from it.
    """

    name: Literal["random_search"] = Field(
        default="random_search", description="every network drawn afresh: the baseline"
    )
    modules: ModulesConfig | None = Field(default=None, exclude=True, description="ignored")
    blueprints: BlueprintsConfig | None = Field(default=None, exclude=True, description="ignored")

    @field_validator("modules", "blueprints")
    @classmethod
    def _forget(cls, population: PopulationConfig | None) -> None:
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class RandomSearchState:
    """All there is to save.

    Attributes:
        history: always empty: genomes are never compared, so their markings are their own.
        generation: of ``candidates``, from 0.
        proposed: whether ``ask`` has handed the candidates out.
        outcomes: told so far in this generation, sorted by index.
        next_module, next_blueprint: numbers of genomes not used yet.
    """

    history: tuple[HistoryRow, ...] = ()
    lineage: tuple[LineageRecord, ...]
    generation: int
    proposed: bool
    candidates: tuple[Candidate, ...]
    outcomes: tuple[Outcome, ...] = ()
    next_module: int
    next_blueprint: int


class RandomSearch:
    """The tuner. Holds its settings only; everything that changes is in the state."""

    def __init__(self, config: RandomSearchConfig, space: SearchSpace) -> None:
        self._config = config
        self._space = space

    def init(self, rng: np.random.Generator) -> RandomSearchState:
        """The first candidates."""
        return self._generation(0, 0, 0, rng)

    def ask(
        self, state: RandomSearchState, rng: np.random.Generator, wanted: int
    ) -> tuple[tuple[Candidate, ...], RandomSearchState]:
        """A whole generation, or nothing while one is out; the first draws nothing."""
        if state.proposed and len(state.outcomes) < len(state.candidates):
            return (), state
        if state.proposed:
            state = self._generation(
                state.generation + 1, state.next_module, state.next_blueprint, rng
            )
        else:
            state = replace(state, lineage=())
        return state.candidates, replace(state, proposed=True)

    def tell(self, state: RandomSearchState, results: Sequence[TrialResult]) -> RandomSearchState:
        """Counts the results and forgets what they say.

        Raises:
            ValueError: see ``scoring.add_results``.
        """
        size = len(state.candidates) if state.proposed else 0
        outcomes = add_results(state.outcomes, results, state.generation, size)
        return replace(state, outcomes=outcomes)

    def state_to_plain(self, state: RandomSearchState) -> dict[str, Any]:
        """See ``base.Tuner``."""
        return plain_without_history(state)

    def state_from_plain(
        self, plain: Mapping[str, Any], history: Sequence[HistoryRow]
    ) -> RandomSearchState:
        """See ``base.Tuner``. Raises ValueError where it is no state of this search space."""
        state = with_history(RandomSearchState, plain, history)
        for candidate in state.candidates:
            chosen = [one.module for one in candidate.modules]
            check_genomes((candidate.blueprint, *chosen), self._space)
        return state

    def _generation(
        self, generation: int, next_module: int, next_blueprint: int, rng: np.random.Generator
    ) -> RandomSearchState:
        modules = Register("m", next_module, generation)
        blueprints = Register("b", next_blueprint, generation)
        candidates = tuple(
            self._candidate(modules, blueprints, rng) for _ in range(self._config.individuals)
        )
        return RandomSearchState(
            lineage=(*modules.lineage, *blueprints.lineage),
            generation=generation,
            proposed=False,
            candidates=candidates,
            next_module=modules.next_number,
            next_blueprint=blueprints.next_number,
        )

    def _candidate(
        self, modules: Register, blueprints: Register, rng: np.random.Generator
    ) -> Candidate:
        """A blueprint of any size over any number of species, each with a module of its own."""
        size = draw_size(self._space.max_blueprint_nodes, rng)
        species = tuple(range(draw_size(size, rng)))
        around = Surroundings(
            space=self._space, innovations=InnovationTable(), species=species, strength=1.0
        )
        blueprint = blueprints.enrol_start(self._blueprint(size, around, rng))
        mentioned = sorted({node.species for node in blueprint.nodes})
        chosen = tuple(
            ChosenModule(species=one, module=modules.enrol_start(self._module(around, rng)))
            for one in mentioned
        )
        return Candidate(blueprint=blueprint, modules=chosen)

    def _blueprint(
        self, size: int, around: Surroundings, rng: np.random.Generator
    ) -> BlueprintGenome:
        return grow_blueprint("", size, draw_density(rng), around, rng)

    def _module(self, around: Surroundings, rng: np.random.Generator) -> ModuleGenome:
        size = draw_size(self._space.max_module_layers, rng)
        return grow_module("", size, draw_density(rng), around, rng)
