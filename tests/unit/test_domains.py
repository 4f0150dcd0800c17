"""Domains: draws and moves stay inside and reach everything; distances are distances."""

from __future__ import annotations

import json
import math

import pytest
from genetics import generator

from mpinas.config import DomainConfig, RangeDomain
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
def test_distances_are_zero_to_itself_symmetric_and_at_most_one(config: DomainConfig) -> None:
    domain, rng = build_domain(config), generator()
    for _ in range(100):
        one, other = domain.sample(rng), domain.sample(rng)
        assert domain.distance(one, one) == 0
        assert domain.distance(one, other) == domain.distance(other, one)
        assert 0 <= domain.distance(one, other) <= 1
        assert (domain.distance(one, other) > 0) == (one != other)


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
