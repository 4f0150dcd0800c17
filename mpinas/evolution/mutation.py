"""Which operator is applied: drawn by odds, tried again a bounded number of times, then plain.

Pure but for the innovation table in the surroundings. Comes in: a genome and the odds of the
operators. Comes out: the changed genome and what was done to it. It knows no fitness.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from mpinas.evolution.genome import AnyGenome, BlueprintGenome
from mpinas.evolution.operators import OPERATORS, Change, Surroundings, pick

ATTEMPTS = 10
"""How often a drawn operator or crossover may come to nothing before something else is tried."""

VALUE_OPERATORS = ("perturb_layer", "perturb_hyperparameter", "change_species", "change_layer_kind")
"""Those that leave the graph as it is."""

CLONE = "clone"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutation:
    """What became of a genome: its new form, the operator's name, the genes touched."""

    genome: AnyGenome
    operator: str
    genes: tuple[str, ...]


def draw_operator(odds: Mapping[str, float], rng: np.random.Generator) -> str:
    """A name, each as likely as its share of the sum of the odds (which is above 0)."""
    left = float(rng.random()) * sum(odds.values())
    for name, share in odds.items():
        left -= share
        if left < 0:
            return name
    return max(odds, key=lambda name: odds[name])


def mutate(
    genome: AnyGenome,
    odds: Mapping[str, float],
    around: Surroundings,
    rng: np.random.Generator,
) -> Mutation:
    """Applies one operator, drawn by its odds, that can change this genome.

    After ``ATTEMPTS`` operators that could not, :func:`plain_mutation`.
    """
    for _ in range(ATTEMPTS):
        name = draw_operator(odds, rng)
        change = OPERATORS[name](genome, around, rng)
        if change is not None:
            return Mutation(genome=change.genome, operator=name, genes=change.genes)
    return plain_mutation(genome, odds, around, rng)


def plain_mutation(
    genome: AnyGenome,
    odds: Mapping[str, float],
    around: Surroundings,
    rng: np.random.Generator,
) -> Mutation:
    """A change of one value, or of the graph where no value can change.

    However small the odds of an operator, but none that has odds of 0: where the others can
    change nothing, the operator is ``clone``.
    """
    values = [name for name in VALUE_OPERATORS if odds.get(name, 0) > 0]
    first = [pick(values, rng)] if values else []
    allowed = [name for name in OPERATORS if odds.get(name, 0) > 0]
    for name in dict.fromkeys((*first, *values, *allowed)):
        change = OPERATORS[name](genome, around, rng)
        if change is not None:
            return Mutation(genome=change.genome, operator=name, genes=change.genes)
    return Mutation(genome=genome, operator=CLONE, genes=())


def repair_species(
    blueprint: BlueprintGenome,
    heirs: Mapping[int, int],
    around: Surroundings,
    rng: np.random.Generator,
) -> Change | None:
    """Points nodes whose module species died to a living one.

    Args:
        heirs: dead species -> the living one most like it; a dead species that is not named
            there is replaced by a random one.

    Returns:
        None where nothing had to be repaired.
    """
    nodes, genes = [], []
    for node in blueprint.nodes:
        species = node.species
        if species not in around.species:
            species = heirs[species] if species in heirs else pick(around.species, rng)
            genes.append(f"node {node.id}")
        nodes.append(replace(node, species=species))
    if not genes:
        return None
    return Change(genome=replace(blueprint, nodes=tuple(nodes)), genes=tuple(genes))
