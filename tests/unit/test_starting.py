"""New genomes: large ones too, without looking at the whole graph for each of its edges."""

from __future__ import annotations

import pytest
from genetics import WIDE, around, generator, new_table, space_of
from pydantic import ValidationError

from mpinas.config import SpaceConfig
from mpinas.evolution import starting
from mpinas.evolution.starting import grow_blueprint, grow_module
from mpinas.evolution.validity import genome_faults

LARGEST = 64


@pytest.mark.parametrize("density", [0.0, 0.5, 1.0])
def test_the_largest_genomes_are_valid(density: float) -> None:
    space = space_of(max_module_layers=LARGEST, max_blueprint_nodes=LARGEST)
    surroundings = around(space, table=new_table())
    for grow in (grow_module, grow_blueprint):
        genome = grow("m0000", LARGEST, density, surroundings, generator())
        assert len(genome.nodes) == LARGEST
        assert genome_faults(genome, space) == ()


def test_the_whole_graph_is_looked_at_once_and_not_for_every_edge(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A genome of 80 nodes took 3.8 s."""
    asked = []
    removable = starting.removable_connections

    def counted(connections: object) -> object:
        asked.append(connections)
        return removable(connections)

    monkeypatch.setattr(starting, "removable_connections", counted)
    grow_module("m0000", 20, 0.5, around(table=new_table()), generator())
    assert len(asked) == 1


@pytest.mark.parametrize("key", ["max_module_layers", "max_blueprint_nodes"])
def test_a_space_has_a_largest_size(key: str) -> None:
    SpaceConfig.model_validate({**WIDE, key: LARGEST})
    with pytest.raises(ValidationError, match=f"{key}\n.*less than or equal to {LARGEST}"):
        SpaceConfig.model_validate({**WIDE, key: LARGEST + 1})
