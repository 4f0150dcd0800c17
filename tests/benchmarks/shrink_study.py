"""What the shrink does to random networks: FLOPs, accuracy, time, and their ranking.

Run by hand, e.g. on prepared CIFAR-10:

    python tests/benchmarks/shrink_study.py configs/cifar10.yaml --prepared data/cifar10.h5 \
        --networks 16 --arms plain half_epoch one_epoch --results study.jsonl

Every network is trained plainly for all epochs, and in each arm of the shrink, with two seeds each;
no two runs share a seed. Scores are validation accuracies. The *reference* of a network is a plain
run with another seed: a score's Kendall tau against it says how well the score ranks networks. The
ceiling is a plain run's own tau against the other seed. The sceptic's rival of an arm is the plain
run after fewer epochs, at the same cost, interpolated between whole epochs. Costs are processor
seconds of whole trials, as a ratio to the plain ones; intervals are bootstrapped over networks.
A run that was stopped goes on: results are kept in the file, one line each.
"""

from __future__ import annotations

import argparse
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import kendalltau

from mpinas.assembly.expand import expand
from mpinas.assembly.shapes import network_costs
from mpinas.config import RunConfig
from mpinas.config_file import load_config
from mpinas.dispatch.local import LocalExecutor
from mpinas.dispatch.settings import WorkerSettings
from mpinas.errors import Infeasible
from mpinas.opening import KNOWLEDGE
from mpinas.problems import open_prepared
from mpinas.records import (
    Finished,
    NetworkSpec,
    ProblemSpec,
    TrialResult,
    TrialSpec,
    from_json,
    to_json,
)
from mpinas.space.search_space import build_space
from mpinas.tuners import TUNERS

Floats = npt.NDArray[np.float64]

PLAIN = "plain"
ARMS: Mapping[str, Mapping[str, Any]] = {
    PLAIN: {"enabled": False},
    "one_epoch": {"enabled": True},
    "half_epoch": {"enabled": True, "epochs": 0.5},
    "quarter_epoch": {"enabled": True, "epochs": 0.25},
    "half_gentle": {"enabled": True, "epochs": 0.5, "strength": 0.3},
    "half_careful": {"enabled": True, "epochs": 0.5, "threshold": {"gamma": 0.1, "gate": 0.05}},
    "half_fresh": {"enabled": True, "epochs": 0.5, "inherit_weights": False},
}
SEEDS = 2
RESAMPLES = 2000
INTERVAL = (5, 95)
"""Percentiles: a 90 % interval."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """One network of the study, with the learning rate it was drawn with."""

    spec: NetworkSpec
    learning_rate: float


def draw_networks(config: RunConfig, wanted: int, bounds: tuple[float, float]) -> list[Network]:
    """Random networks of the search space whose MFLOPs are within the bounds."""
    prepared = open_prepared(pathlib.Path(str(config.problem.path)))
    space = build_space(config.space, config.trial)
    entry = TUNERS["random_search"]
    settings = {"name": "random_search", "generations": 1, "individuals": 4}
    tuner = entry.build(entry.config.model_validate(settings), space)
    found: list[Network] = []
    rng = np.random.default_rng(config.seed)
    while len(found) < wanted:
        for candidate in tuner.ask(tuner.init(rng), rng, 4)[0]:
            try:
                spec = expand(
                    candidate, space, input_shape=prepared.image_shape, classes=prepared.classes
                )
            except Infeasible:
                continue
            if bounds[0] <= network_costs(spec).flops / 1e6 <= bounds[1]:
                rate = float(candidate.blueprint.hyperparameters["learning_rate"])
                found.append(Network(spec=spec, learning_rate=rate))
    return found[:wanted]


def trials(
    config: RunConfig, networks: Sequence[Network], arms: Sequence[str], options: Any
) -> Iterator[TrialSpec]:
    """All of them, named by arm, network and seed; arms one after the other."""
    problem = ProblemSpec(
        name=config.problem.name,
        path=str(pathlib.Path(str(config.problem.path)).resolve()),
        training_images=options.images,
        validation_images=options.validation,
        split_seed=0,
    )
    settings = config.trial.model_dump(mode="json", exclude={"shrink", "learning_rate"})
    settings |= {"epochs": options.epochs, "batch_size": options.batch_size}
    for arm in arms:
        for (index, network), seed in product(enumerate(networks), range(SEEDS)):
            yield TrialSpec(
                trial_id=f"{arm}-{index:02d}-{seed}",
                candidate={},
                network=network.spec,
                problem=problem,
                learning_rate=network.learning_rate,
                settings={**settings, "shrink": ARMS[arm]},
                seed=list(ARMS).index(arm) * SEEDS + seed,
            )


def run_missing(specs: Sequence[TrialSpec], file: pathlib.Path, workers: int) -> None:
    """Runs what the file has no result of."""
    waiting = [spec for spec in specs if spec.trial_id not in load(file)]
    if not waiting:
        return
    executor = LocalExecutor(WorkerSettings(runner="keras", gpus=0), workers)
    left = len(waiting)
    while left:
        while waiting and executor.free():
            executor.submit(waiting.pop(0))
        for event in executor.events(1.0):
            if isinstance(event, Finished):
                left -= 1
                with file.open("ab") as lines:
                    lines.write(to_json(event.result) + b"\n")
    executor.close()


def load(file: pathlib.Path) -> dict[str, TrialResult]:
    """Results by trial id."""
    lines = file.read_bytes().splitlines() if file.exists() else []
    results = [from_json(TrialResult, line) for line in lines]
    return {result.trial_id: result for result in results}


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """Scores and costs, each of shape (networks, seeds)."""

    name: str
    scores: Floats
    seconds: Floats
    kept: Floats
    results: Sequence[Sequence[TrialResult]]

    @classmethod
    def of(cls, name: str, results: Mapping[str, TrialResult], networks: Sequence[int]) -> Arm:
        rows = [[results[f"{name}-{one:02d}-{seed}"] for seed in range(SEEDS)] for one in networks]

        def table(value: Callable[[TrialResult], float]) -> Floats:
            return np.array([[value(result) for result in row] for row in rows])

        return cls(
            name=name,
            scores=table(lambda result: result.fitness or 0.0),
            seconds=table(lambda result: result.times.cpu_s),
            kept=table(_kept),
            results=rows,
        )


def _kept(result: TrialResult) -> float:
    assert result.costs is not None
    return (result.shrunk_costs or result.costs).flops / result.costs.flops


@dataclass(frozen=True, slots=True, kw_only=True)
class Plain:
    """The plain arm after each epoch: scores (networks, seeds, epochs), costs (epochs,)."""

    arm: Arm
    scores: Floats
    costs: Floats

    @classmethod
    def of(cls, arm: Arm) -> Plain:
        scores = [[result.curves.validation_accuracy for result in row] for row in arm.results]
        shares = [_shares(result) for row in arm.results for result in row]
        seconds = arm.seconds.reshape(-1, 1)
        return cls(
            arm=arm,
            scores=np.array(scores),
            costs=(np.array(shares) * seconds).sum(axis=0) / seconds.sum(),
        )

    def taus(self, chosen: Sequence[int]) -> Floats:
        """After each epoch, against the last epoch of the other seed."""
        return np.array(
            [
                np.mean(
                    [
                        tau(self.scores[chosen, seed, epoch], self.scores[chosen, 1 - seed, -1])
                        for seed in range(SEEDS)
                    ]
                )
                for epoch in range(len(self.costs))
            ]
        )


def _shares(result: TrialResult) -> Floats:
    """Of the trial's cost, what was spent by the end of each epoch."""
    times = result.times
    epochs = np.array(times.epochs_s) + times.evaluate_s / len(times.epochs_s)
    return 1 - (epochs.sum() - np.cumsum(epochs)) / times.wall_time_s


def tau(one: Floats, other: Floats) -> float:
    """Kendall's tau-b; 0 where one of them is constant."""
    return float(np.nan_to_num(kendalltau(one, other).statistic))


def interval(statistic: Callable[[Sequence[int]], float], networks: int) -> str:
    """The statistic over all networks, and its bootstrap interval over networks."""
    rng = np.random.default_rng(0)
    draws = [statistic(rng.integers(networks, size=networks)) for _ in range(RESAMPLES)]
    low, high = np.percentile(draws, INTERVAL)
    return f"{statistic(range(networks)):.3f} [{low:.3f}, {high:.3f}]"


def arm_tau(arm: Arm, plain: Plain, chosen: Sequence[int]) -> float:
    """Of an arm's scores against both references."""
    pairs = product(range(SEEDS), range(SEEDS))
    return float(
        np.mean([tau(arm.scores[chosen, a], plain.scores[chosen, b, -1]) for a, b in pairs])
    )


def rival_tau(arm: Arm, plain: Plain, chosen: Sequence[int]) -> float:
    """Of plain training for as many epochs as the arm's cost pays for."""
    return float(np.interp(cost_of(arm, plain), plain.costs, plain.taus(chosen)))


def cost_of(arm: Arm, plain: Plain) -> float:
    return float(arm.seconds.sum() / plain.arm.seconds.sum())


def tell(results: Mapping[str, TrialResult], arms: Sequence[str], networks: int) -> None:
    """Prints the tables, over networks whose trials are all there and complete."""
    there = [
        one
        for one in range(networks)
        if all(
            (result := results.get(f"{arm}-{one:02d}-{seed}")) is not None
            and result.fitness is not None
            for arm, seed in product(arms, range(SEEDS))
        )
    ]
    plain = Plain.of(Arm.of(PLAIN, results, there))
    count = len(there)
    print(f"{count} of {networks} networks, {SEEDS} seeds in each arm")
    print(f"plain accuracy {plain.arm.scores.mean():.4f}, over networks {_spread(plain):.4f}")
    print("\n| plain epochs | cost | tau |\n|---|---|---|")
    for epoch, cost in enumerate(plain.costs):
        told = interval(lambda chosen, at=epoch: float(plain.taus(chosen)[at]), count)
        print(f"| {epoch + 1} | {cost:.3f} | {told} |")
    print(
        "\n| arm | FLOPs kept | step time | speed-up | accuracy - plain | tau | tau of the rival "
        "| difference |\n|---|---|---|---|---|---|---|---|"
    )
    for name in arms:
        if name != PLAIN:
            print(_row(Arm.of(name, results, there), plain, count))


def _spread(plain: Plain) -> float:
    return float(plain.arm.scores.mean(axis=1).std(ddof=1))


def _row(arm: Arm, plain: Plain, networks: int) -> str:
    def gain(chosen: Sequence[int]) -> float:
        return float((arm.scores[chosen] - plain.arm.scores[chosen]).mean())

    cells = [
        arm.name,
        f"{arm.kept.mean():.3f}",
        f"{_epoch_s(arm) / _epoch_s(plain.arm):.3f}",
        f"{1 / cost_of(arm, plain):.2f}",
        interval(gain, networks),
        interval(lambda chosen: arm_tau(arm, plain, chosen), networks),
        interval(lambda chosen: rival_tau(arm, plain, chosen), networks),
        interval(
            lambda chosen: arm_tau(arm, plain, chosen) - rival_tau(arm, plain, chosen), networks
        ),
    ]
    return f"| {' | '.join(cells)} |"


def _epoch_s(arm: Arm) -> float:
    """The fastest epoch of each trial, all together: the first one has the tracing in it."""
    return sum(min(result.times.epochs_s) for row in arm.results for result in row)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("config", type=pathlib.Path)
    parser.add_argument("--prepared", required=True)
    parser.add_argument("--set", action="append", default=[], dest="overrides")
    parser.add_argument("--networks", type=int, default=16)
    parser.add_argument("--mflops", type=float, nargs=2, default=(1.5, 16.0))
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--validation", type=int, default=5_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--results", type=pathlib.Path, default=pathlib.Path("study.jsonl"))
    options = parser.parse_args()
    overrides = (*options.overrides, f"problem.path={options.prepared}")
    config = load_config(options.config, overrides, KNOWLEDGE)
    networks = draw_networks(config, options.networks, tuple(options.mflops))
    run_missing(
        list(trials(config, networks, options.arms, options)), options.results, options.workers
    )
    tell(load(options.results), options.arms, options.networks)


if __name__ == "__main__":
    main()
