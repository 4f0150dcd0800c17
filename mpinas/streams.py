"""The random streams of a run: one independent stream for each purpose, by spawn key.

``SeedSequence(seed, spawn_key=(role, ...))`` gives equal streams for equal keys whatever was drawn
before, so a resumed run draws what the unstopped one would have drawn.
"""

from __future__ import annotations

import numpy as np

STARTING_POPULATIONS = 1
ASK = 2
TRIAL = 3
EXPERIMENT = 4

SEED_LIMIT = 2**31


def stream(seed: int, *key: int) -> np.random.Generator:
    """The stream of a run's seed for a role, e.g. ``stream(seed, ASK, generation)``."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))


def trial_seed(seed: int, generation: int, index: int) -> int:
    """Seed of a trial, from 0 to 2**31 - 1; the same wherever and whenever it runs."""
    return _drawn(seed, TRIAL, generation, index)


def experiment_seed(seed: int, experiment: int) -> int:
    """Seed of the runs of an experiment, one for all its arms; from 0 to 2**31 - 1."""
    return _drawn(seed, EXPERIMENT, experiment)


def _drawn(seed: int, *key: int) -> int:
    sequence = np.random.SeedSequence(seed, spawn_key=key)
    return int(sequence.generate_state(1, np.uint64)[0] % SEED_LIMIT)
