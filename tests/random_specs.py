"""Network specs of random candidates."""

from __future__ import annotations

from genetics import generator, space_of

from mpinas.assembly.expand import expand
from mpinas.records import NetworkSpec
from mpinas.tuners.random_search import RandomSearch, RandomSearchConfig

CLASSES = 4
_LAYERS = {
    "conv2d": {
        "filters": {"min": 2, "max": 9},
        "kernel_size": (1, 3),
        "follow": ("none", "max_pool", "dropout"),
        "rate": {"min": 0.1, "max": 0.5},
    },
    "dense": {"units": {"min": 2, "max": 9}},
    "identity": {},
}


def random_spec(seed: int) -> NetworkSpec:
    """Small, on 12x12 images; with additions, concatenations, pools; batch norm at odd seeds."""
    space = space_of(
        {"layers": _LAYERS, "merge": ("add", "concatenate"), "batch_norm": bool(seed % 2)}
    )
    tuner = RandomSearch(RandomSearchConfig(generations=1, individuals=1), space)
    (candidate,) = tuner.init(generator(seed)).candidates
    return expand(candidate, space, input_shape=(12, 12, 3), classes=CLASSES)
