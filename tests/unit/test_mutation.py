"""Which operator is applied: odds by count, bounded retries, the plain mutation, repair."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace

import pytest
from genetics import ONLY_GRAPHS, around, blueprint, generator, module, new_table, space_of

from mpinas.evolution import mutation
from mpinas.evolution.genome import LayerNode
from mpinas.evolution.mutation import (
    ATTEMPTS,
    draw_operator,
    mutate,
    plain_mutation,
    repair_species,
)
from mpinas.evolution.operators import OPERATORS
from mpinas.tuners.codeepneat_config import BlueprintsConfig, ModulesConfig

DRAWS = 4000
ALL_ALIKE = dict.fromkeys(OPERATORS, 1.0)
NEVER = dict.fromkeys(OPERATORS, 0.0)


def assert_near(count: int, odds: float, draws: int = DRAWS) -> None:
    """Within five standard deviations of a binomial count: by chance once in two million."""
    deviation = math.sqrt(draws * odds * (1 - odds))
    assert abs(count - draws * odds) <= 5 * deviation + 1e-9


@pytest.mark.parametrize("config", [ModulesConfig(), BlueprintsConfig()])
def test_operators_are_drawn_by_their_default_odds(
    config: ModulesConfig | BlueprintsConfig,
) -> None:
    odds = config.mutation.model_dump()
    rng = generator()
    counts = Counter(draw_operator(odds, rng) for _ in range(DRAWS))
    for name, share in odds.items():
        assert_near(counts[name], share / sum(odds.values()))


def test_odds_are_shares_of_their_sum_and_zero_means_never() -> None:
    rng = generator()
    odds = {"add_node": 0.0, "perturb_layer": 30.0, "remove_node": 10.0, "add_connection": 0.0}
    counts = Counter(draw_operator(odds, rng) for _ in range(DRAWS))
    assert set(counts) == {"perturb_layer", "remove_node"}
    assert_near(counts["perturb_layer"], 0.75)


def test_every_operator_that_is_drawn_changes_something() -> None:
    """In KCDN 3 of 5 operators never changed anything: the odds of what happens are counted."""
    table = new_table()
    genome = module(table, [(0, 2), (2, 3), (3, 1), (0, 3), (2, 1)], [2, 3])
    odds = dict.fromkeys(ModulesConfig().mutation.model_dump(), 1.0)
    rng = generator()
    counts: Counter[str] = Counter()
    for _ in range(DRAWS):
        done = mutate(genome, odds, around(table=table), rng)
        assert done.genome != genome
        assert done.genes
        counts[done.operator] += 1
    for name in odds:
        assert_near(counts[name], 1 / len(odds))


def test_an_operator_that_cannot_is_drawn_again_a_bounded_number_of_times(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tried = []

    def cannot(*arguments: object) -> None:
        tried.append(arguments)

    monkeypatch.setattr(mutation, "OPERATORS", {**mutation.OPERATORS, "remove_node": cannot})
    table = new_table()
    odds = {"remove_node": 1.0, "perturb_layer": 1e-12}
    done = mutate(module(table), odds, around(table=table), generator())
    assert len(tried) == ATTEMPTS
    assert done.operator == "perturb_layer"


@pytest.mark.parametrize("name", OPERATORS)
def test_odds_of_zero_mean_never_also_where_nothing_else_can_be_done(name: str) -> None:
    """The plain mutation once went through all operators, whatever the odds."""
    table = new_table()
    for genome in (module(table), blueprint(table, {2: 0})):
        for seed in range(20):
            done = mutate(genome, {**NEVER, name: 1.0}, around(table=table), generator(seed))
            assert done.operator in {name, "clone"}
            assert (done.genome == genome) == (done.operator == "clone")


def test_an_error_in_an_operator_is_not_swallowed(monkeypatch: pytest.MonkeyPatch) -> None:
    """KCDN's bare except hid a NameError in 3 of its 5 operators."""

    def broken(*arguments: object) -> None:
        raise NameError("a bug")

    monkeypatch.setattr(mutation, "OPERATORS", {**mutation.OPERATORS, "add_node": broken})
    with pytest.raises(NameError, match="a bug"):
        mutate(module(new_table()), {"add_node": 1.0}, around(), generator())


def test_the_plain_mutation_always_changes_something() -> None:
    table = new_table()
    for genome in (module(table), blueprint(table, {2: 0})):
        for seed in range(100):
            done = plain_mutation(genome, ALL_ALIKE, around(table=table), generator(seed))
            assert done.genome != genome


def test_the_plain_mutation_changes_the_graph_where_nothing_else_can_change() -> None:
    table = new_table()
    only = around(space_of(ONLY_GRAPHS, learning_rate=0.1), species=(0,), table=table)
    genome = module(table, nodes=[LayerNode(id=2, kind="identity", parameters={})])
    done = plain_mutation(genome, ALL_ALIKE, only, generator())
    assert done.genome.connections != genome.connections
    assert done.operator == "add_node"


def test_where_the_space_allows_no_change_the_mutation_is_a_clone() -> None:
    table = new_table()
    space = space_of(ONLY_GRAPHS, learning_rate=0.1, max_module_layers=1)
    genome = module(
        table,
        [(0, 2), (2, 1), (0, 1)],
        nodes=[LayerNode(id=2, kind="identity", parameters={})],
    )
    for operator in ("remove_connection", "add_connection"):
        done = mutate(genome, {operator: 1.0}, around(space, table=table), generator())
        assert (done.operator == "clone") == (done.genome == genome)


def test_repair_points_dead_nodes_to_the_heir_or_to_a_living_species() -> None:
    table = new_table()
    genome = blueprint(table, {2: 7, 3: 1, 4: 8}, [(0, 2), (2, 3), (3, 4), (4, 1)])
    change = repair_species(genome, {7: 2}, around(species=(1, 2)), generator())
    assert change is not None
    species = [node.species for node in change.genome.nodes]
    assert species[:2] == [2, 1]
    assert species[2] in (1, 2)
    assert change.genes == ("node 2", "node 4")
    assert replace(change.genome, nodes=genome.nodes) == genome


def test_repair_has_nothing_to_do_where_all_live() -> None:
    genome = blueprint(new_table(), {2: 1})
    assert repair_species(genome, {}, around(species=(1,)), generator()) is None
