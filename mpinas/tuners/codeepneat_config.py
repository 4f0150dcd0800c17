"""The configuration section of CoDeepNEAT, with every default."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator
from typing_extensions import Self

from mpinas.config import TunerConfig
from mpinas.config_values import Section


class MutationOdds(Section):
    """Odds of the operators that every genome knows: shares of their sum.

    An operator that cannot change the genome at hand is drawn again. Odds of 0 mean never: where
    no operator with odds above 0 can change anything, the child is a clone of its parent.
    """

    add_node: float = Field(default=0.15, ge=0, description="a node in the middle of a connection")
    add_connection: float = Field(
        default=0.1, ge=0, description="a new one, or enable a disabled one"
    )
    remove_node: float = Field(
        default=0.1, ge=0, description="its neighbours are connected where they hung on it"
    )
    remove_connection: float = Field(
        default=0.08, ge=0, description="never one that a node's only way depends on"
    )
    perturb_hyperparameter: float = Field(
        default=0.1,
        ge=0,
        description="move one value of the whole genome: merge, learning rate, head",
    )

    @model_validator(mode="after")
    def _something_can_happen(self) -> Self:
        odds = self.model_dump()
        if sum(odds.values()) <= 0:
            raise ValueError(f"the odds must not all be 0. Received: {', '.join(odds)}=0")
        return self


class ModuleMutationOdds(MutationOdds):
    """Odds of a module's operators: shares of their sum, 0 for never."""

    change_layer_kind: float = Field(
        default=0.1, ge=0, description="draw the layer kind of one node anew"
    )
    perturb_layer: float = Field(default=0.5, ge=0, description="move one parameter of one layer")


class BlueprintMutationOdds(MutationOdds):
    """Odds of a blueprint's operators: shares of their sum, 0 for never."""

    change_species: float = Field(
        default=0.35, ge=0, description="point one node to another module species"
    )


SPECIES_ELITISM = (
    "best species that never die of stagnation; with as many as there are species, none ever does"
)


class PopulationConfig(Section):
    """How one of the two populations evolves."""

    population: int = Field(gt=0, description="genomes in every generation, exactly")
    species: int = Field(gt=0, description="wanted number of species")
    elites: int = Field(
        default=1,
        ge=0,
        description="best of each species, kept unchanged; every species has one child at least, "
        "so one with a single place keeps none",
    )
    survival: float = Field(
        default=0.3,
        gt=0,
        le=1,
        description="share of a species that may be parents; at least two of its members",
    )
    crossover: float = Field(
        default=0.25,
        ge=0,
        le=1,
        description="odds of two parents: from one species, or where that has no two different "
        "ones from two species",
    )
    further_change: float = Field(
        default=0.15, ge=0, le=1, description="odds of one more mutation, again and again"
    )
    strength: float = Field(
        default=0.2, gt=0, le=1, description="of a perturbation, as a share of the domain"
    )
    stagnation: int = Field(
        default=15, gt=0, description="generations without a better mean before a species dies"
    )
    species_elitism: int = Field(default=2, ge=0, description=SPECIES_ELITISM)
    start_nodes: int = Field(default=3, gt=0, description="most nodes of a starting genome")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        for name in ("species", "elites"):
            value = getattr(self, name)
            if value > self.population:
                raise ValueError(
                    f"{name} must not be above population. "
                    f"Received: {name}={value}, population={self.population}"
                )
        return self


class ModulesConfig(PopulationConfig):
    """The modules: small graphs of layers."""

    population: int = Field(default=20, gt=0, description="genomes in every generation, exactly")
    species: int = Field(default=4, gt=0, description="wanted number of species")
    mutation: ModuleMutationOdds = ModuleMutationOdds()


class BlueprintsConfig(PopulationConfig):
    """The blueprints: graphs of pointers to module species."""

    population: int = Field(default=10, gt=0, description="genomes in every generation, exactly")
    species: int = Field(default=2, gt=0, description="wanted number of species")
    species_elitism: int = Field(default=1, ge=0, description=SPECIES_ELITISM)
    mutation: BlueprintMutationOdds = BlueprintMutationOdds()


class CoDeepNeatConfig(TunerConfig):
    """The section ``tuner`` with ``name: codeepneat``."""

    name: Literal["codeepneat"] = Field(
        default="codeepneat", description="blueprints and modules that evolve"
    )
    modules: ModulesConfig = ModulesConfig()
    blueprints: BlueprintsConfig = BlueprintsConfig()
