"""What a gene of a layer stands for: which of its parameters act, and what is left out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from mpinas.space.layers import LAYERS, Gene

GENES: Mapping[str, Gene] = {kind: row.gene for kind, row in LAYERS.items() if row.gene is not None}
VALUES: Mapping[str, Mapping[str, tuple[Any, ...]]] = {
    "conv2d": {
        "filters": (8, 9),
        "kernel_size": (1, 3),
        "follow": ("none", "max_pool", "dropout"),
        "pool_size": (2, 3),
        "rate": (0.1, 0.3),
    },
    "dense": {"units": (8, 9), "rate": (0.1, 0.3)},
    "identity": {},
}
SHAPES = {"map": (12, 12, 3), "vector": (40,), "any": (40,)}


@pytest.mark.parametrize("kind", GENES)
def test_those_parameters_act_that_change_the_chain_and_no_others(kind: str) -> None:
    gene, values = GENES[kind], VALUES[kind]
    assert set(values) == set(gene.parameters)
    for follow in values.get("follow", ("none",)):
        base = {name: options[0] for name, options in values.items()}
        if "follow" in base:
            base["follow"] = follow
        chain = gene.chain(base, SHAPES[gene.reads], True)
        changing = {
            name
            for name, options in values.items()
            for option in options
            if gene.chain({**base, name: option}, SHAPES[gene.reads], True) != chain
        }
        assert set(gene.active(base)) == changing


@pytest.mark.parametrize("kind", ["conv2d", "dense"])
@pytest.mark.parametrize(("rate", "dropped"), [(0.0, 0), (0.2, 1)])
def test_a_dropout_of_rate_zero_is_no_layer(kind: str, rate: float, dropped: int) -> None:
    base = {name: options[0] for name, options in VALUES[kind].items()}
    gene = {**base, "rate": rate, **({"follow": "dropout"} if kind == "conv2d" else {})}
    chain = GENES[kind].chain(gene, SHAPES[GENES[kind].reads], True)
    assert [name for name, _ in chain].count("dropout") == dropped
