"""CoDeepNEAT: modules and blueprints evolve beside each other (Miikkulainen et al. 2017).

A generation is a number of candidates, each a blueprint with one module for each species it
mentions. When all are told, the mean fitness of the trials that used it is the fitness of a module
and of a blueprint; the next ask breeds both populations from it. See ``base.py`` for the protocol.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mpinas.evolution.genome import (
    BlueprintGenome,
    Candidate,
    GenomeType,
    LineageRecord,
    ModuleGenome,
)
from mpinas.evolution.innovation import HistoryRow, InnovationTable
from mpinas.evolution.mutation import repair_species
from mpinas.evolution.operators import Change, Surroundings
from mpinas.evolution.starting import draw_density, draw_size, grow_blueprint, grow_module
from mpinas.records import TrialResult
from mpinas.space.search_space import SearchSpace
from mpinas.tuners.breeding import Nursery, breed, start
from mpinas.tuners.codeepneat_config import CoDeepNeatConfig
from mpinas.tuners.drawing import Draw, assemble, draw_candidates
from mpinas.tuners.population import Population, Register
from mpinas.tuners.scoring import Outcome, add_results, mean_by_genome, trial_scores
from mpinas.tuners.state import check_genomes, plain_without_history, with_history


@dataclass(frozen=True, slots=True, kw_only=True)
class CoDeepNeatState:
    """All there is to save.

    Attributes:
        generation: of ``draws``, from 0.
        proposed: whether ``ask`` has handed the draws out.
        draws: the candidates of this generation, by ids.
        outcomes: told so far in this generation, sorted by index.
    """

    history: tuple[HistoryRow, ...]
    lineage: tuple[LineageRecord, ...]
    generation: int
    proposed: bool
    modules: Population[ModuleGenome]
    blueprints: Population[BlueprintGenome]
    draws: tuple[Draw, ...]
    outcomes: tuple[Outcome, ...] = ()


class CoDeepNeat:
    """The tuner. Holds its settings only; everything that changes is in the state."""

    def __init__(self, config: CoDeepNeatConfig, space: SearchSpace) -> None:
        self._config = config
        self._space = space

    def init(self, rng: np.random.Generator) -> CoDeepNeatState:
        """Starting modules, starting blueprints, and the first candidates made of them."""
        table = InnovationTable()
        module_nursery = self._module_nursery(table, Register("m", 0, 0), rng)
        modules = start(module_nursery)
        nursery = self._blueprint_nursery(table, Register("b", 0, 0), modules, {}, rng)
        blueprints = start(nursery)
        return CoDeepNeatState(
            history=table.history(),
            lineage=(*module_nursery.register.lineage, *nursery.register.lineage),
            generation=0,
            proposed=False,
            modules=modules,
            blueprints=blueprints,
            draws=self._draw(modules, blueprints, rng),
        )

    def ask(
        self, state: CoDeepNeatState, rng: np.random.Generator, wanted: int
    ) -> tuple[tuple[Candidate, ...], CoDeepNeatState]:
        """A whole generation, or nothing while one is out; the first draws nothing."""
        if state.proposed and len(state.outcomes) < len(state.draws):
            return (), state
        ready = self._next_generation(state, rng) if state.proposed else replace(state, lineage=())
        candidates = assemble(ready.draws, ready.blueprints, ready.modules)
        return candidates, replace(ready, proposed=True)

    def tell(self, state: CoDeepNeatState, results: Sequence[TrialResult]) -> CoDeepNeatState:
        """Takes results; with the last of the generation, all genomes get their fitness.

        Raises:
            ValueError: see ``scoring.add_results``.
        """
        size = len(state.draws) if state.proposed else 0
        outcomes = add_results(state.outcomes, results, state.generation, size)
        told = replace(state, outcomes=outcomes)
        return _credited(told) if outcomes and len(outcomes) == size else told

    def state_to_plain(self, state: CoDeepNeatState) -> dict[str, Any]:
        """See ``base.Tuner``."""
        return plain_without_history(state)

    def state_from_plain(
        self, plain: Mapping[str, Any], history: Sequence[HistoryRow]
    ) -> CoDeepNeatState:
        """See ``base.Tuner``. Raises ValueError where it is no state of this search space."""
        state = with_history(CoDeepNeatState, plain, history)
        check_genomes((*state.modules.genomes, *state.blueprints.genomes), self._space)
        return state

    def _next_generation(self, state: CoDeepNeatState, rng: np.random.Generator) -> CoDeepNeatState:
        table = InnovationTable(state.history)
        generation = state.generation + 1
        register = Register("m", state.modules.next_genome, generation)
        brood = breed(state.modules, self._module_nursery(table, register, rng), rng)
        blueprint_register = Register("b", state.blueprints.next_genome, generation)
        nursery = self._blueprint_nursery(
            table, blueprint_register, brood.population, brood.heirs, rng
        )
        blueprints = breed(state.blueprints, nursery, rng).population
        return CoDeepNeatState(
            history=table.history(),
            lineage=(*register.lineage, *blueprint_register.lineage),
            generation=generation,
            proposed=False,
            modules=brood.population,
            blueprints=blueprints,
            draws=self._draw(brood.population, blueprints, rng),
        )

    def _draw(
        self,
        modules: Population[ModuleGenome],
        blueprints: Population[BlueprintGenome],
        rng: np.random.Generator,
    ) -> tuple[Draw, ...]:
        return draw_candidates(blueprints.genomes, modules.species, self._config.individuals, rng)

    def _module_nursery(
        self, table: InnovationTable, register: Register, rng: np.random.Generator
    ) -> Nursery[ModuleGenome]:
        settings = self._config.modules
        around = self._surroundings(table, (), settings.strength)
        largest = min(settings.start_nodes, self._space.max_module_layers)

        def fresh() -> ModuleGenome:
            return grow_module("", draw_size(largest, rng), draw_density(rng), around, rng)

        return Nursery(
            settings=settings,
            odds=settings.mutation.model_dump(),
            around=around,
            register=register,
            fresh=fresh,
            repair=lambda genome: None,
        )

    def _blueprint_nursery(
        self,
        table: InnovationTable,
        register: Register,
        modules: Population[ModuleGenome],
        heirs: Mapping[int, int],
        rng: np.random.Generator,
    ) -> Nursery[BlueprintGenome]:
        settings = self._config.blueprints
        living = tuple(one.id for one in modules.species)
        around = self._surroundings(table, living, settings.strength)
        largest = min(settings.start_nodes, self._space.max_blueprint_nodes)

        def fresh() -> BlueprintGenome:
            return grow_blueprint("", draw_size(largest, rng), draw_density(rng), around, rng)

        def repair(genome: BlueprintGenome) -> Change | None:
            return repair_species(genome, heirs, around, rng)

        return Nursery(
            settings=settings,
            odds=settings.mutation.model_dump(),
            around=around,
            register=register,
            fresh=fresh,
            repair=repair,
        )

    def _surroundings(
        self, table: InnovationTable, species: tuple[int, ...], strength: float
    ) -> Surroundings:
        return Surroundings(
            space=self._space, innovations=table, species=species, strength=strength
        )


def _credited(state: CoDeepNeatState) -> CoDeepNeatState:
    """The state with the fitness of all genomes that have evidence."""
    scores = trial_scores(state.outcomes)
    fitness = mean_by_genome(scores, [draw.genome_ids for draw in state.draws])
    return replace(
        state,
        modules=_with_fitness(state.modules, fitness),
        blueprints=_with_fitness(state.blueprints, fitness),
    )


def _with_fitness(
    population: Population[GenomeType], fitness: Mapping[str, float]
) -> Population[GenomeType]:
    own = {genome.id: fitness[genome.id] for genome in population.genomes if genome.id in fitness}
    return replace(population, fitness=own)
