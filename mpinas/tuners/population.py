"""The records of a population, and the book that gives its genomes their ids.

Comes in: genomes as they are made. Comes out: the same with ids, and a lineage record for each.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Generic

from mpinas.evolution.genome import AnyGenome, GenomeType, LineageRecord
from mpinas.evolution.species import FIRST_THRESHOLD, Species


@dataclass(frozen=True, slots=True, kw_only=True)
class Population(Generic[GenomeType]):
    """The modules, or the blueprints, of one generation.

    Attributes:
        genomes: sorted by number.
        species: sorted by id; every genome is a member of exactly one.
        threshold: of the latest speciation.
        next_genome, next_species: numbers not used yet.
        fitness: genome id -> mean over the trials that used it this generation; a genome
            without evidence is not in it. Empty until the generation is told.
    """

    genomes: tuple[GenomeType, ...] = ()
    species: tuple[Species[GenomeType], ...] = ()
    threshold: float = FIRST_THRESHOLD
    next_genome: int = 0
    next_species: int = 0
    fitness: Mapping[str, float] = field(default_factory=dict)


class Register:
    """Gives ids in order and keeps the lineage, for the length of one ``init`` or ``ask``.

    Args:
        letter: ``m`` for modules, ``b`` for blueprints.
        next_number: the first that is free.
        generation: in which the genomes are made.
    """

    def __init__(self, letter: str, next_number: int, generation: int) -> None:
        self._letter = letter
        self._generation = generation
        self.next_number = next_number
        self.lineage: list[LineageRecord] = []

    def enrol(
        self,
        genome: GenomeType,
        parents: Sequence[str],
        operators: Sequence[str],
        genes: Sequence[str],
    ) -> GenomeType:
        """The genome under the next id; writes down where it came from."""
        genome_id = f"{self._letter}{self.next_number:04d}"
        self.next_number += 1
        self.lineage.append(
            LineageRecord(
                genome_id=genome_id,
                parents=tuple(parents),
                operator="+".join(operators),
                genes=tuple(dict.fromkeys(genes)),
                generation=self._generation,
            )
        )
        return replace(genome, id=genome_id)

    def enrol_start(self, genome: GenomeType) -> GenomeType:
        """The same for a genome made from nothing."""
        return self.enrol(genome, (), ("start",), gene_names(genome))


def gene_names(genome: AnyGenome) -> tuple[str, ...]:
    """All genes of a genome, in the words of the lineage."""
    return (
        *(f"node {node.id}" for node in genome.nodes),
        *(f"connection {gene.innovation}" for gene in genome.connections),
        *sorted(genome.hyperparameters),
    )
