"""The operators one by one: what each does, and where it does nothing."""

from __future__ import annotations

import pytest
from genetics import CONV, ONLY_GRAPHS, around, blueprint, generator, module, new_table, space_of

from mpinas.evolution.genome import LayerNode
from mpinas.evolution.graph import enabled_edges
from mpinas.evolution.operators import (
    OPERATORS,
    add_connection,
    add_node,
    change_layer_kind,
    change_species,
    perturb_hyperparameter,
    perturb_layer,
    remove_connection,
    remove_node,
)


def test_the_registry_holds_the_operators_of_the_method() -> None:
    assert list(OPERATORS) == [
        "add_node",
        "add_connection",
        "remove_node",
        "remove_connection",
        "change_species",
        "change_layer_kind",
        "perturb_layer",
        "perturb_hyperparameter",
    ]
    assert all(operator.__name__ == name for name, operator in OPERATORS.items())


def test_add_node_splits_an_enabled_connection_and_disables_it() -> None:
    table = new_table()
    genome = module(table, off=[(0, 1)])
    change = add_node(genome, around(table=table), generator())
    assert change is not None
    assert len(change.genome.nodes) == 2
    disabled = {(gene.start, gene.end) for gene in change.genome.connections if not gene.enabled}
    assert len(disabled) == 2
    assert disabled != {(0, 1)}
    assert len(enabled_edges(change.genome.connections)) == 3


def test_add_node_stops_at_the_size_limit() -> None:
    table = new_table()
    tight = around(space_of(max_module_layers=1, max_blueprint_nodes=1), table=table)
    assert add_node(module(table), tight, generator()) is None
    assert add_node(blueprint(table, {2: 0}), tight, generator()) is None


def test_add_connection_adds_exactly_one() -> None:
    """TFNE asked for 1 and added 3."""
    table = new_table()
    genome = module(table, [(0, 2), (2, 3), (3, 4), (4, 1)], [2, 3, 4])
    for seed in range(30):
        change = add_connection(genome, around(table=table), generator(seed))
        assert change is not None
        assert len(change.genome.connections) == len(genome.connections) + 1
        assert len(change.genes) == 1


def test_add_connection_enables_a_disabled_one_without_doubling_it() -> None:
    table = new_table()
    genome = module(table, off=[(0, 1)])
    change = add_connection(genome, around(table=table), generator())
    assert change is not None
    assert len(change.genome.connections) == 3
    assert all(gene.enabled for gene in change.genome.connections)
    assert change.genes == (f"connection {table.connection(0, 1)}",)


def test_add_connection_has_nothing_to_add_to_a_complete_graph() -> None:
    table = new_table()
    genome = module(table, [(0, 2), (2, 1), (0, 1)])
    assert add_connection(genome, around(table=table), generator()) is None


def test_remove_node_bridges_a_chain() -> None:
    table = new_table()
    genome = module(table, [(0, 2), (2, 3), (3, 1)], [2, 3])
    for seed in range(10):
        change = remove_node(genome, around(table=table), generator(seed))
        assert change is not None
        (left,) = (node.id for node in change.genome.nodes)
        assert set(enabled_edges(change.genome.connections)) == {(0, left), (left, 1)}


def test_remove_node_adds_no_edge_where_nothing_hangs_in_the_air() -> None:
    table = new_table()
    genome = module(table, [(0, 2), (2, 1), (0, 3), (3, 1)], [2, 3])
    change = remove_node(genome, around(table=table), generator())
    assert change is not None
    assert len(enabled_edges(change.genome.connections)) == 2


def test_the_last_node_and_the_last_ways_stay() -> None:
    table = new_table()
    assert remove_node(module(table), around(table=table), generator()) is None
    assert remove_connection(module(table), around(table=table), generator()) is None


def test_remove_connection_takes_only_what_is_not_needed() -> None:
    table = new_table()
    genome = module(table, [(0, 2), (2, 3), (3, 1), (0, 3), (2, 1)], [2, 3])
    gone = set()
    for seed in range(60):
        change = remove_connection(genome, around(table=table), generator(seed))
        assert change is not None
        left = enabled_edges(change.genome.connections)
        gone |= set(enabled_edges(genome.connections)) - set(left)
        assert len(change.genome.connections) == len(left) == 4
    assert gone == {(2, 3), (0, 3), (2, 1)}


def test_change_species_points_to_another_living_one() -> None:
    table = new_table()
    seen = set()
    for seed in range(60):
        change = change_species(
            blueprint(table, {2: 4}), around(species=(4, 6, 9), table=table), generator(seed)
        )
        assert change is not None
        seen.add(change.genome.nodes[0].species)
    assert seen == {6, 9}


def test_change_species_needs_another_species_and_a_blueprint() -> None:
    table = new_table()
    assert change_species(blueprint(table, {2: 4}), around(species=(4,)), generator()) is None
    assert change_species(module(table), around(), generator()) is None


def test_change_layer_kind_keeps_what_both_kinds_share() -> None:
    space = space_of(
        {
            "layers": {
                "conv2d": {"filters": 32, "kernel_size": 3, "rate": {"min": 0.0, "max": 0.5}},
                "dense": {"units": 8, "rate": {"min": 0.0, "max": 0.5}},
            }
        }
    )
    table = new_table()
    genome = module(table, nodes=[LayerNode(id=2, kind="conv2d", parameters={**CONV, "rate": 0.3})])
    change = change_layer_kind(genome, around(space, table=table), generator())
    assert change is not None
    assert change.genome.nodes == (
        LayerNode(id=2, kind="dense", parameters={"units": 8, "rate": 0.3}),
    )


def test_change_layer_kind_needs_another_kind_and_a_module() -> None:
    table = new_table()
    only = around(space_of(ONLY_GRAPHS), table=table)
    genome = module(table, nodes=[LayerNode(id=2, kind="identity", parameters={})])
    assert change_layer_kind(genome, only, generator()) is None
    assert change_layer_kind(blueprint(table, {2: 0}), around(table=table), generator()) is None


@pytest.mark.parametrize(
    ("follow", "acting"),
    [("none", set()), ("dropout", {"rate"}), ("max_pool", {"pool_size"})],
)
def test_perturb_layer_moves_one_parameter_that_acts(follow: str, acting: set[str]) -> None:
    """A rate that no dropout follows was moved once: a trial of the parent's network."""
    table = new_table()
    rows = {
        "conv2d": {
            "filters": {"min": 16, "max": 68},
            "kernel_size": (1, 3, 5),
            "follow": ("none", "max_pool", "dropout"),
            "pool_size": (2, 3),
            "rate": {"min": 0.0, "max": 0.5},
        }
    }
    surroundings = around(space_of({"layers": rows}), table=table)
    layer = LayerNode(id=2, kind="conv2d", parameters={**CONV, "follow": follow})
    genome, seen = module(table, nodes=[layer]), set()
    for seed in range(200):
        change = perturb_layer(genome, surroundings, generator(seed))
        assert change is not None
        before, after = genome.nodes[0].parameters, change.genome.nodes[0].parameters
        moved = [name for name in before if before[name] != after[name]]
        assert change.genes == (f"node 2 {moved[0]}",)
        assert len(moved) == 1
        seen.update(moved)
    assert seen == {"filters", "kernel_size", "follow"} | acting


def test_perturbations_need_a_domain_of_more_than_one_value() -> None:
    table = new_table()
    only = around(space_of(ONLY_GRAPHS, learning_rate=0.1), table=table)
    genome = module(table, nodes=[LayerNode(id=2, kind="identity", parameters={})])
    assert perturb_layer(genome, only, generator()) is None
    assert perturb_hyperparameter(genome, only, generator()) is None
    assert perturb_layer(blueprint(table, {2: 0}), around(table=table), generator()) is None


def test_merge_is_moved_only_where_something_is_merged() -> None:
    table = new_table()
    chain = module(table, off=[(0, 1)])
    fork = module(table, [(0, 2), (2, 1), (0, 1)])
    for seed in range(30):
        assert perturb_hyperparameter(chain, around(table=table), generator(seed)) is None
        change = perturb_hyperparameter(fork, around(table=table), generator(seed))
        assert change is not None
        assert change.genes == ("merge",)


def test_perturb_hyperparameter_reaches_every_one() -> None:
    table = new_table()
    genome = blueprint(table, {2: 0}, [(0, 2), (2, 1), (0, 1)])
    seen = set()
    for seed in range(100):
        change = perturb_hyperparameter(genome, around(table=table), generator(seed))
        assert change is not None
        seen.update(change.genes)
    assert seen == {"merge", "learning_rate", "head_reduce", "head_units_0"}


@pytest.mark.parametrize("name", OPERATORS)
def test_no_operator_touches_the_genome_it_is_given(name: str) -> None:
    table = new_table()
    for genome in (
        module(table, [(0, 2), (2, 3), (3, 1), (0, 3), (2, 1)], [2, 3]),
        blueprint(table, {2: 0, 3: 1}, [(0, 2), (2, 3), (3, 1), (0, 3), (2, 1)]),
    ):
        before = repr(genome)
        for seed in range(5):
            OPERATORS[name](genome, around(table=table), generator(seed))
        assert repr(genome) == before
