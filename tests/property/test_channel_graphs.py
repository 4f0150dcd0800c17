"""Whatever the network, the groups of its channels cost what the rebuilt network costs."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from shrink_networks import random_network, renamed, reordered

from mpinas.assembly.description import METRICS
from mpinas.assembly.narrow import narrow
from mpinas.assembly.shapes import network_costs, network_shapes
from mpinas.morphnet.channels import ChannelGraph, Mask, graph_of
from mpinas.morphnet.plan import Plan, make_plan
from mpinas.morphnet.sources import NothingToShrink, find_sources
from mpinas.records import NetworkSpec
from mpinas.space.layers import LAYERS, Channels

examples = settings(max_examples=60, deadline=None)


@st.composite
def networks(draw: st.DrawFn) -> NetworkSpec:
    return random_network(lambda low, high: draw(st.integers(low, high)))


def some_alive(graph: ChannelGraph, seed: int) -> tuple[Mask, np.ndarray]:
    """A random share of the groups, often of whole layers, and distinct sizes."""
    rng = np.random.default_rng(seed)
    alive = rng.random(graph.groups) < rng.random()
    for layer in graph.makers:
        if rng.random() < 0.2:
            alive[graph.outputs[layer.name]] = False
    return alive, rng.permutation(graph.groups) / graph.groups


def cut(graph: ChannelGraph, seed: int, **settings: Any) -> Plan:
    alive, sizes = some_alive(graph, seed)
    return make_plan(graph, alive, sizes=sizes, **settings)


seeds = st.integers(0, 2**32 - 1)
plan_settings = st.fixed_dictionaries(
    {
        "min_filters": st.integers(1, 3),
        "round_to": st.sampled_from([1, 2, 4]),
        "remove_layers": st.booleans(),
    }
)


@examples
@given(network=networks(), seed=seeds, settings=plan_settings)
def test_costs_by_alive_groups_are_those_of_the_narrower_network(network, seed, settings) -> None:
    graph = graph_of(network)
    plan = cut(graph, seed, **settings)
    costs = network_costs(narrow(network, plan.widths))
    assert graph.costs(plan.alive, plan.gone) == {
        "flops": costs.flops,
        "parameters": costs.parameters,
        "activations": costs.activations,
    }


@examples
@given(network=networks(), seed=seeds, settings=plan_settings)
def test_the_plan_names_the_layers_and_the_channels_of_the_narrower_network(
    network, seed, settings
) -> None:
    graph = graph_of(network)
    plan = cut(graph, seed, **settings)
    narrower = narrow(network, plan.widths)
    before, after = network_shapes(network), network_shapes(narrower)
    assert set(plan.keep_outputs) == {one.name for one in narrower.layers}
    assert plan.gone == {one.name for one in network.layers} - set(plan.keep_outputs)
    for layer in narrower.layers:
        kept = plan.keep_outputs[layer.name]
        assert len(kept) == after[layer.name][-1], layer.name
        assert sorted(set(kept)) == list(kept)
        assert kept.max() < before[layer.name][-1]
        if layer.inputs and layer.kind != "concatenate":
            assert len(plan.keep_inputs[layer.name]) == after[layer.inputs[0]][-1], layer.name


@examples
@given(network=networks(), seed=seeds, settings=plan_settings)
def test_frozen_channels_stay_and_no_layer_is_left_without_channels(
    network, seed, settings
) -> None:
    graph = graph_of(network)
    plan = cut(graph, seed, **settings)
    assert plan.alive[graph.frozen].all()
    after = network_shapes(narrow(network, plan.widths))
    assert min(shape[-1] for shape in after.values()) >= 1
    assert after["image"] == (6, 6, 2)
    assert list(after.values())[-1] == (3,)
    for layer in graph.makers:
        if layer.name not in plan.gone:
            assert plan.widths[layer.name] >= min(settings["min_filters"], layer.width)
            assert settings["remove_layers"] or plan.widths[layer.name]


@examples
@given(network=networks(), seed=seeds, round_to=st.sampled_from([2, 3, 4]))
def test_kept_channels_are_multiples_as_far_as_a_layer_has_them(network, seed, round_to) -> None:
    graph = graph_of(network)
    alive, sizes = some_alive(graph, seed)
    exact = make_plan(graph, alive, sizes=sizes)
    plan = make_plan(graph, alive, sizes=sizes, round_to=round_to)
    assert plan.gone != exact.gone or plan.alive[exact.alive].all()
    for layer in graph.makers:
        ids = graph.outputs[layer.name]
        if layer.name not in plan.gone and len(set(ids)) == len(ids):
            width = plan.widths[layer.name]
            assert width % round_to == 0 or width == layer.width, layer.name


@examples
@given(network=networks(), seed=seeds, settings=plan_settings)
def test_a_second_cut_with_nothing_newly_dead_cuts_nothing(network, seed, settings) -> None:
    graph = graph_of(network)
    alive, sizes = some_alive(graph, seed)
    plan = make_plan(graph, alive, sizes=sizes, **settings)
    narrower = narrow(network, plan.widths)
    small = graph_of(narrower)
    group_of = np.full(small.groups, -1)
    for name, ids in small.outputs.items():
        group_of[ids] = graph.outputs[name][plan.keep_outputs[name]]
    again = make_plan(small, alive[group_of], sizes=sizes[group_of], **settings)
    assert again.removes_nothing
    assert not again.gone
    assert narrow(narrower, again.widths) == narrower


@examples
@given(network=networks())
def test_all_alive_is_the_network_as_it_is(network) -> None:
    graph = graph_of(network)
    plan = make_plan(graph, graph.all_alive())
    assert plan.removes_nothing
    assert narrow(network, plan.widths) == network


@examples
@given(network=networks(), seed=seeds)
def test_the_price_of_a_group_is_the_difference_its_death_makes(network, seed) -> None:
    graph = graph_of(network)
    alive, _ = some_alive(graph, seed)
    alive |= graph.frozen
    for metric in ("flops", "parameters"):
        prices = graph.prices(alive, metric)
        for group in np.flatnonzero(alive):
            without = alive.copy()
            without[group] = False
            difference = graph.cost(alive, metric) - graph.cost(without, metric)
            if not is_read_and_made_at_once(graph, group):
                assert prices[group] == difference, (metric, group)
            assert prices[group] >= difference


def is_read_and_made_at_once(graph: ChannelGraph, group: int) -> bool:
    return any(
        group in graph.inputs[one.name][0] and group in graph.outputs[one.name]
        for one in graph.descriptions
        if one.channels in (Channels.NEW, Channels.DEPTHWISE) and one.inputs
    )


@examples
@given(network=networks(), seed=seeds, data=st.data())
def test_names_and_the_order_of_layers_change_nothing(network, seed, data) -> None:
    other = reordered(network, lambda low, high: data.draw(st.integers(low, high)))
    names = {one.name: f"x{index}" for index, one in enumerate(reversed(network.layers))}
    other = renamed(other, names)
    graph, twin = graph_of(network), graph_of(other)
    alive, _ = some_alive(graph, seed)
    alive |= graph.frozen
    twin_of = np.full(graph.groups, -1)
    for name, ids in graph.outputs.items():
        twin_of[ids] = twin.outputs[names[name]]
    assert sorted(twin_of) == list(range(twin.groups))
    twin_alive = np.zeros(twin.groups, bool)
    twin_alive[twin_of] = alive
    assert graph.costs(alive) == twin.costs(twin_alive)
    assert np.array_equal(graph.frozen, twin.frozen[twin_of])
    assert np.array_equal(graph.prices(alive), twin.prices(twin_alive)[twin_of])


@examples
@given(network=networks(), seed=seeds, settings=plan_settings)
def test_channels_that_change_places_change_places_in_the_plan(network, seed, settings) -> None:
    graph = graph_of(network)
    alive, sizes = some_alive(graph, seed)
    places = np.arange(graph.groups)
    rng = np.random.default_rng(seed)
    table = graph.incidence("flops")
    for bundle in range(table.read.shape[1]):
        alike = np.flatnonzero((table.bundle_of == bundle) & ~graph.frozen)
        places[alike] = rng.permutation(alike)
    plan = make_plan(graph, alive, sizes=sizes, **settings)
    moved = make_plan(graph, alive[places], sizes=sizes[places], **settings)
    assert np.array_equal(moved.alive, plan.alive[places])
    assert moved.widths == plan.widths


@examples
@given(network=networks(), mode=st.sampled_from(["auto", "gamma", "gate", "group_lasso"]))
def test_only_heard_channels_may_die_and_each_is_heard_by_its_sources(network, mode) -> None:
    graph = graph_of(network)
    try:
        sources = find_sources(graph, mode)
    except NothingToShrink:
        return
    heard = np.zeros(graph.groups, bool)
    for one in sources.layers:
        heard[one.ids] = True
        assert sources.may_die[one.ids].any()
    assert heard[sources.may_die].all()
    assert not (sources.may_die & graph.frozen).any()
    if mode in ("auto", "group_lasso"):
        made = np.zeros(graph.groups, bool)
        for layer in graph.makers:
            made[graph.outputs[layer.name]] = True
        assert np.array_equal(sources.may_die, made & ~graph.frozen)


@examples
@given(network=networks(), seed=seeds)
def test_costs_of_a_death_never_rise_and_all_alive_is_the_full_cost(network, seed) -> None:
    graph = graph_of(network)
    full = network_costs(network)
    everything = graph.all_alive()
    assert [graph.cost(everything, metric) for metric in METRICS] == [
        full.flops,
        full.parameters,
        full.activations,
    ]
    alive, _ = some_alive(graph, seed)
    for metric in METRICS:
        assert graph.cost(alive, metric) <= graph.cost(everything, metric)
    assert set(graph.outputs) == {one.name for one in network.layers}
    assert all(LAYERS[one.kind].channels is one.channels for one in graph.descriptions)
