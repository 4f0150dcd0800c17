"""Which candidates a generation tries: blueprints in turn, modules least used first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mpinas.evolution.genome import BlueprintGenome, Candidate, ChosenModule, ModuleGenome
from mpinas.evolution.species import Species
from mpinas.tuners.population import Population


@dataclass(frozen=True, slots=True, kw_only=True)
class Draw:
    """A candidate by ids.

    Attributes:
        blueprint: its id.
        modules: (species, module id) for each species the blueprint mentions, sorted.
    """

    blueprint: str
    modules: tuple[tuple[int, str], ...]

    @property
    def genome_ids(self) -> tuple[str, ...]:
        """Of all genomes in it, each once."""
        return (self.blueprint, *(module for _, module in self.modules))


class _Deck:
    """The members of a species: each is dealt once before any is dealt again."""

    def __init__(self, members: Sequence[str], rng: np.random.Generator) -> None:
        self._members = members
        self._rng = rng
        self._left: list[str] = []

    def deal(self) -> str:
        """A member that was dealt least often; among several a random one."""
        if not self._left:
            order = self._rng.permutation(len(self._members))
            self._left = [self._members[int(index)] for index in order]
        return self._left.pop()


def draw_candidates(
    blueprints: Sequence[BlueprintGenome],
    species: Sequence[Species[ModuleGenome]],
    individuals: int,
    rng: np.random.Generator,
) -> tuple[Draw, ...]:
    """Draws that many candidates, one module for each species of each.

    Every blueprint is used as often as every other, or once less; which, is drawn. The same
    holds for the modules of a species.
    """
    decks = {one.id: _Deck(one.members, rng) for one in species}
    by_id = {blueprint.id: blueprint for blueprint in blueprints}
    turns = _Deck([blueprint.id for blueprint in blueprints], rng)
    draws = []
    for _ in range(individuals):
        blueprint = by_id[turns.deal()]
        mentioned = sorted({node.species for node in blueprint.nodes})
        chosen = tuple((number, decks[number].deal()) for number in mentioned)
        draws.append(Draw(blueprint=blueprint.id, modules=chosen))
    return tuple(draws)


def assemble(
    draws: Sequence[Draw],
    blueprints: Population[BlueprintGenome],
    modules: Population[ModuleGenome],
) -> tuple[Candidate, ...]:
    """The candidates in full."""
    blueprint_by_id = {genome.id: genome for genome in blueprints.genomes}
    module_by_id = {genome.id: genome for genome in modules.genomes}
    return tuple(
        Candidate(
            blueprint=blueprint_by_id[draw.blueprint],
            modules=tuple(
                ChosenModule(species=species, module=module_by_id[module])
                for species, module in draw.modules
            ),
        )
        for draw in draws
    )
