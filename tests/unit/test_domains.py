"""Domains: draws and moves stay inside, reach everything, and favour no value."""

from __future__ import annotations

import json
import math

import pytest
from genetics import generator, space_of

from mpinas.config_values import DomainConfig, RangeDomain
from mpinas.space.domains import build_domain

DOMAINS: dict[str, DomainConfig] = {
    "whole": RangeDomain(min=16, max=68),
    "stepped": RangeDomain(min=8, max=64, step=8),
    "uneven step": RangeDomain(min=1, max=10, step=4),
    "float": RangeDomain(min=0.0, max=0.5),
    "stepped float": RangeDomain(min=0.1, max=0.7, step=0.2),
    "log": RangeDomain(min=1e-4, max=1e-1, scale="log"),
    "whole log": RangeDomain(min=1, max=512, scale="log"),
    "one value": RangeDomain(min=3, max=3),
    "choice": (1, 3, 5),
    "words": ("none", "max_pool"),
    "switch": (True, False),
    "fixed": "relu",
}
every_domain = pytest.mark.parametrize("config", DOMAINS.values(), ids=DOMAINS)


@every_domain
def test_draws_and_moves_stay_inside(config: DomainConfig) -> None:
    domain, rng = build_domain(config), generator()
    value = domain.sample(rng)
    for _ in range(300):
        assert domain.contains(value)
        assert domain.contains(domain.sample(rng))
        value = domain.perturb(value, rng, 0.3)


@every_domain
def test_a_move_always_moves_where_there_is_another_value(config: DomainConfig) -> None:
    domain, rng = build_domain(config), generator()
    for _ in range(300):
        value = domain.sample(rng)
        assert (domain.perturb(value, rng, 1e-6) != value) == (domain.size > 1)


@every_domain
def test_equal_values_and_only_they_lie_in_one_place(config: DomainConfig) -> None:
    domain, rng = build_domain(config), generator()
    for _ in range(100):
        one, other = domain.sample(rng), domain.sample(rng)
        assert (domain.place(one) == domain.place(other)) == (one == other)
        assert not domain.ordered or 0 <= domain.place(one) <= 1


@every_domain
def test_values_survive_json(config: DomainConfig) -> None:
    domain, rng = build_domain(config), generator()
    for _ in range(50):
        value = domain.sample(rng)
        back = json.loads(json.dumps(value))
        assert back == value
        assert type(back) is type(value)
        assert domain.contains(back)


@pytest.mark.parametrize(
    ("name", "size"),
    [("stepped", 8), ("uneven step", 3), ("choice", 3), ("one value", 1), ("whole", 53)],
)
def test_every_value_is_reached_by_draws_and_by_moves(name: str, size: int) -> None:
    domain, rng = build_domain(DOMAINS[name]), generator()
    assert domain.size == size
    assert len({domain.sample(rng) for _ in range(2000)}) == size
    value, reached = domain.sample(rng), set()
    for _ in range(4000):
        reached.add(value)
        value = domain.perturb(value, rng, 0.3)
    assert len(reached) == size


def test_a_log_scale_draws_evenly_in_the_logarithm() -> None:
    domain, rng = build_domain(DOMAINS["log"]), generator()
    logs = [math.log10(float(domain.sample(rng))) for _ in range(3000)]
    below = sum(value < -2.5 for value in logs)
    assert abs(below - 1500) < 5 * math.sqrt(750)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("whole", 17.0),
        ("whole", True),
        ("whole", 69),
        ("stepped", 12),
        ("float", 1),
        ("float", 0.6),
        ("choice", 2),
        ("switch", 1),
        ("words", "dropout"),
    ],
)
def test_what_is_no_value_is_not_contained(name: str, value: object) -> None:
    assert not build_domain(DOMAINS[name]).contains(value)


@pytest.mark.parametrize(
    ("low", "high", "step"), [(0.1, 0.9, 0.1), (0.1, 0.7, 0.2), (0.0, 0.5, 0.05), (1e-3, 1.0, 3e-3)]
)
def test_a_value_of_a_grid_has_one_float_however_it_is_reached(
    low: float, high: float, step: float
) -> None:
    """0.2 and 0.20000000000000004 were two networks."""
    domain, rng = build_domain(RangeDomain(min=low, max=high, step=step)), generator()
    drawn = {domain.sample(rng) for _ in range(8000)}
    assert len(drawn) == domain.size
    value, reached = low, set()
    for _ in range(8000):
        reached.add(value)
        value = domain.perturb(value, rng, 1e-9)
    assert reached <= drawn
    assert len(reached) > 3


@pytest.mark.parametrize("low", [1e-6, 1e-3])
def test_the_neighbour_on_a_log_scale_is_near_in_the_logarithm(low: float) -> None:
    """From 1e-6 the next value was 1e-4, a thousandth of the linear range away."""
    domain, rng = build_domain(RangeDomain(min=low, max=0.1, scale="log")), generator()
    for value in (low, 10 * low, 0.1):
        moved = float(domain.perturb(value, rng, 1e-300))
        assert abs(math.log(moved / value)) == pytest.approx(0.001 * math.log(0.1 / low))


def test_a_move_of_a_continuous_value_is_more_than_a_rounding() -> None:
    for name in ("float", "log"):
        domain, rng = build_domain(DOMAINS[name]), generator()
        for _ in range(300):
            value = domain.sample(rng)
            gap = abs(domain.place(domain.perturb(value, rng, 1e-9)) - domain.place(value))
            assert gap == pytest.approx(0.001) or 0 < min(domain.place(value), gap) < 0.001


def test_a_domain_of_two_neighbouring_floats_still_moves() -> None:
    low, high = 1.0, math.nextafter(1.0, 2.0)
    domain = build_domain(RangeDomain(min=low, max=high))
    assert domain.perturb(low, generator(), 0.1) == high
    assert domain.perturb(high, generator(), 0.1) == low


@pytest.mark.parametrize("name", ["float", "log"])
def test_moves_past_an_end_do_not_pile_up_there(name: str) -> None:
    domain, rng = build_domain(DOMAINS[name]), generator()
    value, seen = domain.sample(rng), []
    for _ in range(3000):
        value = domain.perturb(value, rng, 0.3)
        seen.append(domain.place(value))
    assert not {0.0, 1.0} & set(seen)
    for tenth in range(10):
        share = sum(tenth <= 10 * place < tenth + 1 for place in seen) / len(seen)
        assert 0.05 < share < 0.15


@pytest.mark.parametrize("name", ["stepped", "uneven step", "whole", "stepped float"])
def test_moves_favour_no_value_of_a_grid(name: str) -> None:
    domain, rng = build_domain(DOMAINS[name]), generator()
    value, seen = domain.sample(rng), []
    for _ in range(20000):
        value = domain.perturb(value, rng, 0.3)
        seen.append(value)
    counts = [seen.count(value) for value in sorted(set(seen))]
    assert len(counts) == domain.size
    assert max(counts[0], counts[-1]) < 1.25 * len(seen) / domain.size


def test_a_choice_that_is_given_twice_is_one_value() -> None:
    """``merge: [add, add]`` counted as two, and moving it changed nothing."""
    space = space_of(merge=("add", "add"), head={"reduce": ("flatten", "flatten")})
    for name in ("merge", "head_reduce"):
        domain = space.blueprint_hyperparameters[name]
        assert domain.size == 1
    assert space.module_hyperparameters["merge"].size == 1
