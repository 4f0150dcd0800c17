"""What the shrink does to random networks: FLOPs, accuracy, time, and their ranking.

Run by hand, e.g. on prepared CIFAR-10:

    python tests/benchmarks/shrink_study.py configs/cifar10.yaml --prepared data/cifar10.h5 \
        --networks 16 --arms plain one_epoch half_epoch quarter_epoch:4 --results study.jsonl

Every network is trained plainly for all epochs, and in each arm of the shrink (``:4``: for 4
epochs in all), with two seeds each; no two runs of a network share a seed. Scores are validation
accuracies. The *reference* of a network is a plain run with another seed: a score's Kendall tau
against it says how well the score ranks networks. All scores are of the same validation images,
so that what these say of a network by chance is in every tau, the ceiling's included. The ceiling
is a plain run's own tau against the other seed. The sceptic's rival of an arm is the plain run
after fewer epochs, at the same cost, interpolated between whole epochs. As the learning rate is
constant, every run is judged after each of its epochs. Costs are processor seconds of whole
trials, as a ratio to the plain ones; intervals are bootstrapped over networks. A run that was
stopped goes on: results are kept in the file, one line each.
"""

from __future__ import annotations

import argparse
import math
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
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
Chosen = npt.NDArray[np.integer[Any]]
"""Indices of networks, some of them more than once."""

PLAIN = "plain"
ARMS: Mapping[str, Mapping[str, Any]] = {
    PLAIN: {"enabled": False},
    "one_epoch": {"enabled": True},
    "half_epoch": {"enabled": True, "epochs": 0.5},
    "quarter_epoch": {"enabled": True, "epochs": 0.25},
    "half_gentle": {"enabled": True, "epochs": 0.5, "strength": 0.3},
    "half_careful": {"enabled": True, "epochs": 0.5, "threshold": {"gamma": 0.1, "gate": 0.05}},
    "half_fresh": {"enabled": True, "epochs": 0.5, "inherit_weights": False},
    "half_bold": {"enabled": True, "epochs": 0.5, "threshold": {"gamma": 0.3, "gate": 0.2}},
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
    drawn = 0
    rng = np.random.default_rng(config.seed)
    while len(found) < wanted:
        for candidate in tuner.ask(tuner.init(rng), rng, 4)[0]:
            try:
                spec = expand(
                    candidate, space, input_shape=prepared.image_shape, classes=prepared.classes
                )
            except Infeasible:
                continue
            drawn += 1
            if bounds[0] <= network_costs(spec).flops / 1e6 <= bounds[1]:
                rate = float(str(candidate.blueprint.hyperparameters["learning_rate"]))
                found.append(Network(spec=spec, learning_rate=rate))
    print(f"{len(found)} of {drawn} networks drawn have {bounds[0]:g} to {bounds[1]:g} MFLOPs")
    return found[:wanted]


def trials(
    config: RunConfig, networks: Sequence[Network], arms: Mapping[str, int], options: Any
) -> Iterator[TrialSpec]:
    """All of them, named by arm, network and seed; what loads the machine loads all arms alike.

    Args:
        arms: and the epochs of each.
    """
    problem = ProblemSpec(
        name=config.problem.name,
        path=str(pathlib.Path(str(config.problem.path)).resolve()),
        training_images=options.images,
        validation_images=options.validation,
        split_seed=0,
    )
    settings = config.trial.model_dump(mode="json", exclude={"shrink", "learning_rate"})
    for (index, network), seed, (arm, epochs) in product(
        enumerate(networks), range(SEEDS), arms.items()
    ):
        yield TrialSpec(
            trial_id=f"{arm}-{index:02d}-{seed}",
            candidate={},
            network=network.spec,
            problem=problem,
            learning_rate=network.learning_rate,
            settings={
                **settings,
                "epochs": epochs,
                "batch_size": options.batch_size,
                "shrink": ARMS[arm],
            },
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
    """One way to score networks, after each epoch that is not the shrink's.

    Attributes:
        scores: shape (networks, seeds, epochs).
        costs: of all trials up to each epoch, as a share of whole plain ones, shape (epochs,).
        before: epochs that went into the shrink.
        kept: share of the FLOPs, shape (networks, seeds).
        step_s: the fastest epoch of each trial, all together: the first has the tracing in it.
    """

    name: str
    scores: Floats
    costs: Floats
    before: int
    kept: Floats
    step_s: float

    @classmethod
    def of(
        cls, name: str, results: Mapping[str, TrialResult], networks: Sequence[int], whole_s: float
    ) -> Arm:
        """Args: whole_s: processor seconds of all plain trials."""
        rows = [[results[f"{name}-{one:02d}-{seed}"] for seed in range(SEEDS)] for one in networks]
        every = [result for row in rows for result in row]
        epochs = min(len(result.curves.validation_accuracy) for result in every)
        scores = [[result.curves.validation_accuracy[-epochs:] for result in row] for row in rows]
        return cls(
            name=name,
            scores=np.array(scores),
            costs=np.sum([_seconds(result)[-epochs:] for result in every], axis=0) / whole_s,
            before=_epochs_before(ARMS[name]),
            kept=np.array([[_kept(result) for result in row] for row in rows]),
            step_s=sum(min(result.times.epochs_s) for result in every),
        )


def _epochs_before(shrink: Mapping[str, Any]) -> int:
    """Epochs of the trial that the shrink counts as."""
    if not shrink["enabled"] or not shrink.get("inherit_weights", True):
        return 0
    return math.ceil(float(shrink.get("epochs", 1.0)))


def _kept(result: TrialResult) -> float:
    assert result.costs is not None
    return (result.shrunk_costs or result.costs).flops / result.costs.flops


def _seconds(result: TrialResult) -> Floats:
    """Processor seconds of the trial up to the end of each epoch; a wall clock splits them."""
    times = result.times
    epochs = np.array(times.epochs_s) + times.evaluate_s / len(times.epochs_s)
    seconds: Floats = times.cpu_s * (1 - (epochs.sum() - np.cumsum(epochs)) / times.wall_time_s)
    return seconds


def tau(one: Floats, other: Floats) -> float:
    """Kendall's tau-b; 0 where one of them is constant."""
    return float(np.nan_to_num(kendalltau(one, other).statistic))


def plain_taus(plain: Arm, chosen: Chosen) -> Floats:
    """After each epoch, against the last epoch of the other seed."""
    scores = plain.scores[chosen]
    return np.array(
        [
            np.mean([tau(scores[:, seed, at], scores[:, 1 - seed, -1]) for seed in range(SEEDS)])
            for at in range(scores.shape[2])
        ]
    )


def _plain_tau(plain: Arm, at: int, chosen: Chosen) -> float:
    return float(plain_taus(plain, chosen)[at])


def arm_tau(arm: Arm, plain: Arm, at: int, chosen: Chosen) -> float:
    """Of an arm's scores against both references."""
    mine, theirs = arm.scores[chosen][:, :, at], plain.scores[chosen][:, :, -1]
    pairs = product(range(SEEDS), range(SEEDS))
    return float(np.mean([tau(mine[:, one], theirs[:, other]) for one, other in pairs]))


def rival_tau(arm: Arm, plain: Arm, at: int, chosen: Chosen) -> float:
    """Of plain training for as many epochs as the arm's cost pays for."""
    return float(np.interp(arm.costs[at], plain.costs, plain_taus(plain, chosen)))


def interval(statistic: Callable[[Chosen], float], networks: int) -> str:
    """The statistic over all networks, and its bootstrap interval over networks."""
    rng = np.random.default_rng(0)
    draws = [statistic(rng.integers(networks, size=networks)) for _ in range(RESAMPLES)]
    low, high = np.percentile(draws, INTERVAL)
    return f"{statistic(np.arange(networks)):.3f} [{low:.3f}, {high:.3f}]"


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
    whole_s = sum(
        results[f"{PLAIN}-{one:02d}-{seed}"].times.cpu_s
        for one, seed in product(there, range(SEEDS))
    )
    plain, *others = (Arm.of(name, results, there, whole_s) for name in arms)
    print(f"{len(there)} of {networks} networks, {SEEDS} seeds in each arm")
    last = plain.scores[:, :, -1]
    print(
        f"plain: accuracy {last.mean():.4f}, its deviation between networks "
        f"{last.mean(axis=1).std(ddof=1):.4f}, between seeds "
        f"{np.sqrt(last.var(axis=1, ddof=1).mean()):.4f}; {whole_s / last.size:.1f} s a trial"
    )
    print("\n| plain epochs | cost | accuracy | tau |\n|---|---|---|---|")
    for at, cost in enumerate(plain.costs):
        told = interval(partial(_plain_tau, plain, at), len(there))
        print(f"| {at + 1} | {cost:.3f} | {plain.scores[:, :, at].mean():.4f} | {told} |")
    print("\n| arm | FLOPs kept | step time |\n|---|---|---|")
    for arm in others:
        print(f"| {arm.name} | {arm.kept.mean():.3f} | {arm.step_s / plain.step_s:.3f} |")
    print(
        "\n| arm | epochs | speed-up | accuracy - plain | tau | tau of the rival | difference |"
        "\n|---|---|---|---|---|---|---|"
    )
    for arm in others:
        for at in range(len(arm.costs)):
            print(_row(arm, plain, at))


def _row(arm: Arm, plain: Arm, at: int) -> str:
    networks = len(arm.scores)

    def gain(chosen: Chosen) -> float:
        return float((arm.scores[chosen][:, :, at] - plain.scores[chosen][:, :, -1]).mean())

    def mine(chosen: Chosen) -> float:
        return arm_tau(arm, plain, at, chosen)

    def rival(chosen: Chosen) -> float:
        return rival_tau(arm, plain, at, chosen)

    cells = [
        arm.name,
        str(arm.before + at + 1),
        f"{1 / arm.costs[at]:.2f}",
        interval(gain, networks),
        interval(mine, networks),
        interval(rival, networks),
        interval(lambda chosen: mine(chosen) - rival(chosen), networks),
    ]
    return f"| {' | '.join(cells)} |"


def named_arms(given: Sequence[str], epochs: int) -> dict[str, int]:
    """``name`` or ``name:epochs``, the plain one first."""
    arms = {PLAIN: epochs}
    for one in given:
        name, _, told = one.partition(":")
        if name not in ARMS:
            raise SystemExit(f"no arm {name}; there are {', '.join(ARMS)}")
        arms[name] = int(told or epochs)
    return arms


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("config", type=pathlib.Path)
    parser.add_argument("--prepared", required=True)
    parser.add_argument("--set", action="append", default=[], dest="overrides")
    parser.add_argument("--networks", type=int, default=16)
    parser.add_argument("--first", type=int, default=0, help="networks passed over")
    parser.add_argument("--mflops", type=float, nargs=2, default=(1.5, 16.0))
    parser.add_argument("--arms", nargs="+", default=list(ARMS))
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--validation", type=int, default=5_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--results", type=pathlib.Path, default=pathlib.Path("study.jsonl"))
    options = parser.parse_args()
    overrides = (*options.overrides, f"problem.path={options.prepared}")
    config = load_config(options.config, overrides, KNOWLEDGE)
    drawn = draw_networks(config, options.first + options.networks, tuple(options.mflops))
    arms = named_arms(options.arms, options.epochs)
    specs = trials(config, drawn[options.first :], arms, options)
    run_missing(list(specs), options.results, options.workers)
    tell(load(options.results), list(arms), options.networks)


if __name__ == "__main__":
    main()
