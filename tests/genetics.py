"""Search spaces, genomes and results for the tests of the genetics."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from mpinas.config import SpaceConfig, TrialConfig
from mpinas.evolution.distance import DistanceTable
from mpinas.evolution.genome import (
    AnyGenome,
    BlueprintGenome,
    Candidate,
    Connection,
    LayerNode,
    ModuleGenome,
    SpeciesNode,
)
from mpinas.evolution.innovation import InnovationTable
from mpinas.evolution.operators import Surroundings
from mpinas.records import Failure, TrialResult, TrialStatus, canonical_json, to_plain, trial_id
from mpinas.space.search_space import SearchSpace, build_space

WIDE = {
    "layers": {
        "conv2d": {
            "filters": {"min": 16, "max": 68},
            "kernel_size": (1, 3, 5),
            "follow": ("none", "max_pool", "dropout"),
            "rate": {"min": 0.0, "max": 0.5},
        },
        "dense": {"units": {"min": 8, "max": 64, "step": 8}},
        "identity": {},
    },
}
ONLY_GRAPHS = {
    "layers": {"identity": {}},
    "merge": ("add",),
    "head": {"layers": 0, "reduce": ("flatten",)},
}
"""A space in which nothing but the graph can change."""


def space_of(
    config: Mapping[str, object] = WIDE, learning_rate: object = None, **more: object
) -> SearchSpace:
    """The search space of a configuration section."""
    trial = TrialConfig() if learning_rate is None else TrialConfig(learning_rate=learning_rate)
    return build_space(SpaceConfig.model_validate({**config, **more}), trial)


def around(
    space: SearchSpace | None = None,
    species: Sequence[int] = (0, 1, 2),
    table: InnovationTable | None = None,
) -> Surroundings:
    """Surroundings with three living species and a table of their own."""
    return Surroundings(
        space=space or space_of(),
        innovations=table or new_table(),
        species=tuple(species),
        strength=0.2,
    )


def distance(one: AnyGenome, other: AnyGenome, space: SearchSpace) -> float:
    """The distance of two genomes of one sort."""
    return float(DistanceTable([one, other], space).row(0)[1])


def new_table() -> InnovationTable:
    """A table that has given nodes 2 to 5, for splitting input -> output four times."""
    table = InnovationTable()
    direct = table.connection(0, 1)
    for count in range(4):
        table.split(direct, count)
    return table


FOUR_SPLITS = ((0, 4),)
"""The split counts that go with nodes 2 to 5 of :func:`new_table`."""
CONV = {"filters": 32, "kernel_size": 3, "follow": "none", "pool_size": 2, "rate": 0.0}


def connections(
    table: InnovationTable, edges: Iterable[tuple[int, int]], off: Iterable[tuple[int, int]] = ()
) -> tuple[Connection, ...]:
    """Genes for these edges, sorted; those of ``off`` disabled."""
    genes = [Connection(innovation=table.connection(*e), start=e[0], end=e[1]) for e in edges]
    genes += [
        Connection(innovation=table.connection(*e), start=e[0], end=e[1], enabled=False)
        for e in off
    ]
    return tuple(sorted(genes, key=lambda gene: gene.innovation))


def module(
    table: InnovationTable,
    edges: Iterable[tuple[int, int]] = ((0, 2), (2, 1)),
    nodes: Iterable[LayerNode] | Iterable[int] = (2,),
    off: Iterable[tuple[int, int]] = (),
    **more: object,
) -> ModuleGenome:
    """A module of convolutions; ``nodes`` are layers, or ids of such convolutions."""
    layers = [
        node
        if isinstance(node, LayerNode)
        else LayerNode(id=node, kind="conv2d", parameters=dict(CONV))
        for node in nodes
    ]
    given = {
        "id": "m0000",
        "hyperparameters": {"merge": "add"},
        "splits": FOUR_SPLITS,
        **more,
    }
    return ModuleGenome(nodes=tuple(layers), connections=connections(table, edges, off), **given)


def blueprint(
    table: InnovationTable,
    species: Mapping[int, int],
    edges: Iterable[tuple[int, int]] = ((0, 2), (2, 1)),
    off: Iterable[tuple[int, int]] = (),
    **more: object,
) -> BlueprintGenome:
    """A blueprint; ``species`` gives each node's."""
    values = {
        "merge": "add",
        "learning_rate": 1e-3,
        "head_reduce": "flatten",
        "head_units_0": 64,
    }
    given = {"id": "b0000", "hyperparameters": values, "splits": FOUR_SPLITS, **more}
    nodes = tuple(SpeciesNode(id=node, species=one) for node, one in sorted(species.items()))
    return BlueprintGenome(nodes=nodes, connections=connections(table, edges, off), **given)


def generator(seed: int = 0) -> np.random.Generator:
    """A generator of its own."""
    return np.random.default_rng(seed)


def pretended_fitness(candidate: Candidate) -> float:
    """A number in 0..1 that looks random and depends on nothing but the candidate."""
    digest = hashlib.sha256(canonical_json(to_plain(candidate))).digest()
    return int.from_bytes(digest[:4], "big") / 2**32


def complete(generation: int, index: int, fitness: float) -> TrialResult:
    """A trial that ended well."""
    return TrialResult(
        trial_id=trial_id(generation, index),
        network_hash="0" * 16,
        status=TrialStatus.COMPLETE,
        fitness=fitness,
    )


def failed(generation: int, index: int, failure: Failure = Failure.CRASH) -> TrialResult:
    """A trial that did not."""
    return TrialResult(
        trial_id=trial_id(generation, index),
        network_hash="0" * 16,
        status=TrialStatus.FAILED,
        failure=failure,
    )


def infeasible(generation: int, index: int) -> TrialResult:
    """A candidate that may not be built."""
    return TrialResult(
        trial_id=trial_id(generation, index), network_hash="", status=TrialStatus.INFEASIBLE
    )
