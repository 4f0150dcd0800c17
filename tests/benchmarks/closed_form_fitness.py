"""CoDeepNEAT against random search at equal trials, on a fitness known in closed form.

Both go through the tuner protocol, without processes, on the paper's MNIST search space; the best
fitness a search ever met is compared, seed by seed. Run by hand:
``python tests/benchmarks/closed_form_fitness.py``. Nothing here is a test of time.
"""

from __future__ import annotations

import argparse
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mpinas.assembly.expand import expand
from mpinas.config import SpaceConfig, TrialConfig
from mpinas.errors import Infeasible
from mpinas.evolution.genome import Candidate
from mpinas.records import TrialResult, TrialStatus, trial_id
from mpinas.space.presets import SPACES
from mpinas.space.search_space import SearchSpace, build_space
from mpinas.streams import ASK, STARTING_POPULATIONS, stream
from mpinas.trial.fake import closed_form_fitness
from mpinas.tuners import TUNERS
from mpinas.tuners.codeepneat_config import CoDeepNeatConfig

INPUT_SHAPE = (28, 28, 1)
CLASSES = 10
FIRST_SEED = 1000
"""Seeds 0 to 99 served for choosing the defaults; none of them is reported."""


def paper_space() -> SearchSpace:
    """The search space ``small_kernels`` with all other defaults."""
    config = SpaceConfig.model_validate({**SPACES["small_kernels"]}, strict=False)
    return build_space(config, TrialConfig())


def evaluate(candidate: Candidate, space: SearchSpace, generation: int, index: int) -> TrialResult:
    """The result of a trial, as a worker would send it."""
    name = trial_id(generation, index)
    try:
        network = expand(candidate, space, input_shape=INPUT_SHAPE, classes=CLASSES)
    except Infeasible as reason:
        return TrialResult(
            trial_id=name, network_hash="", status=TrialStatus.INFEASIBLE, error=reason.reason
        )
    return TrialResult(
        trial_id=name,
        network_hash=network.hash,
        status=TrialStatus.COMPLETE,
        fitness=closed_form_fitness(network),
    )


def best_by_generation(
    section: Mapping[str, Any],
    space: SearchSpace,
    seed: int,
    evaluate: Callable[[Candidate, SearchSpace, int, int], TrialResult] = evaluate,
) -> list[float]:
    """The best fitness met up to each generation of one search."""
    entry = TUNERS[section["name"]]
    config = entry.config.model_validate(section)
    tuner = entry.build(config, space)
    state = tuner.init(stream(seed, STARTING_POPULATIONS))
    best, curve = 0.0, []
    for generation in range(config.generations):
        candidates, state = tuner.ask(state, stream(seed, ASK, generation), config.individuals)
        results = [
            evaluate(candidate, space, generation, index)
            for index, candidate in enumerate(candidates)
        ]
        state = tuner.tell(state, results)
        best = max([best, *(result.fitness for result in results if result.fitness is not None)])
        curve.append(best)
    return curve


def sign_test(wins: int, losses: int) -> float:
    """Two-sided p of the exact sign test, ties left out."""
    trials = wins + losses
    tail = sum(math.comb(trials, count) for count in range(max(wins, losses), trials + 1))
    return min(1.0, 2 * tail / 2**trials)


def interval(differences: Sequence[float]) -> tuple[float, float]:
    """95 % interval of the mean difference, by the normal approximation."""
    mean = statistics.fmean(differences)
    half = 1.96 * statistics.stdev(differences) / math.sqrt(len(differences))
    return mean - half, mean + half


def contestants(individuals: int, generations: int) -> dict[str, dict[str, Any]]:
    """Tuner sections that make equally many trials.

    ``start genomes`` makes all of them in one first generation of CoDeepNEAT, from populations
    as much larger: what its way of drawing genomes is worth without any learning.
    """
    size = {"individuals": individuals, "generations": generations}
    defaults = CoDeepNeatConfig(**size)
    start = {
        "name": "codeepneat",
        "individuals": individuals * generations,
        "generations": 1,
        "modules": {"population": defaults.modules.population * generations},
        "blueprints": {"population": defaults.blueprints.population * generations},
    }
    return {
        "codeepneat": {"name": "codeepneat", **size},
        "random_search": {"name": "random_search", **size},
        "start genomes": start,
    }


def print_curves(name: str, runs: Sequence[Sequence[float]]) -> None:
    """One contestant's line: the best at the end, and the mean best by generation."""
    finals = [run[-1] for run in runs]
    means = " ".join(f"{statistics.fmean(values):.3f}" for values in zip(*runs, strict=True))
    print(
        f"{name:14} best fitness {statistics.fmean(finals):.4f} "
        f"(sd {statistics.stdev(finals):.4f}); by generation: {means}"
    )


def print_difference(name: str, ours: Sequence[float], theirs: Sequence[float]) -> None:
    """CoDeepNEAT against one other, seed by seed."""
    differences = [one - other for one, other in zip(ours, theirs, strict=True)]
    wins = sum(difference > 0 for difference in differences)
    losses = sum(difference < 0 for difference in differences)
    low, high = interval(differences)
    print(
        f"against {name}: wins {wins}, loses {losses} of {len(differences)}; sign test p = "
        f"{sign_test(wins, losses):.2g}; mean difference {statistics.fmean(differences):+.4f} "
        f"(95 % {low:+.4f} to {high:+.4f})"
    )


def main() -> None:
    """Runs the comparison and prints its numbers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first-seed", type=int, default=FIRST_SEED)
    parser.add_argument("--individuals", type=int, default=12)
    parser.add_argument("--generations", type=int, default=12)
    given = parser.parse_args()
    space = paper_space()
    seeds = range(given.first_seed, given.first_seed + given.seeds)
    print(
        f"{given.individuals} individuals x {given.generations} generations, "
        f"seeds {seeds.start} to {seeds.stop - 1}"
    )
    finals: dict[str, list[float]] = {}
    for name, section in contestants(given.individuals, given.generations).items():
        runs = [best_by_generation(section, space, seed) for seed in seeds]
        finals[name] = [run[-1] for run in runs]
        print_curves(name, runs)
    ours = finals.pop("codeepneat")
    for name, theirs in finals.items():
        print_difference(name, ours, theirs)


if __name__ == "__main__":
    main()
