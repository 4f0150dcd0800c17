"""What the search itself costs: ask, expand, tell and checkpoint of 1,000 individuals.

    python tests/benchmarks/search_cost.py [GENERATIONS]

Prints CPU seconds of each part per generation, and what the last generations cost in checkpoints
over what the first ones did. Trials are answered at once with a fitness known in closed form, and
are not counted; neither is writing the journal, whose time is the disk's.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any
from unittest import mock

sys.path.insert(0, str(Path(__file__).parents[1]))

from searching import new_run, search_in

from mpinas import journal, search
from mpinas.records import Finished, TrialResult, TrialSpec, TrialStatus
from mpinas.trial.fake import closed_form_fitness

OVERRIDES = (
    "tuner.individuals=1000",
    "tuner.modules={population: 1000, species: 10}",
    "tuner.blueprints={population: 1000, species: 5}",
    "space=small_kernels",
    "space.max_flops=1000000000",
)


class Meter:
    """CPU seconds of named parts, a list of them each."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = defaultdict(list)

    def time(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, with each call's CPU seconds noted."""

        def timed(*arguments: Any, **named: Any) -> Any:
            began_s = time.process_time()
            value = function(*arguments, **named)
            self.seconds[name].append(time.process_time() - began_s)
            return value

        return timed


def answer(spec: TrialSpec) -> Finished:
    return Finished(
        result=TrialResult(
            trial_id=spec.trial_id,
            network_hash=spec.network.hash,
            status=TrialStatus.COMPLETE,
            fitness=closed_form_fitness(spec.network),
        )
    )


def measure(folder: Path, generations: int) -> dict[str, list[float]]:
    """Runs a search of so many generations; CPU seconds by part, one for each generation."""
    directory = new_run(folder, "run", f"tuner.generations={generations}", *OVERRIDES)
    meter = Meter()
    running = search_in(directory)
    tuner = running._setting.tuner
    save = search.checkpoint.save_checkpoint
    whole = meter.time("ask and expand", running.next_specs)
    with (
        mock.patch.object(tuner, "ask", meter.time("of these, ask", tuner.ask)),
        mock.patch.object(tuner, "tell", meter.time("tell", tuner.tell)),
        mock.patch.object(search.checkpoint, "save_checkpoint", meter.time("checkpoint", save)),
        mock.patch.object(journal, "append_result", return_value=None),
    ):
        while not running.done:
            for spec in whole(10**6):
                running.take(answer(spec))
    return dict(meter.seconds)


def report(seconds: dict[str, Sequence[float]], generations: int) -> None:
    """Prints the table."""
    print(f"CPU seconds a generation of 1,000 individuals, median (largest) of {generations}")
    for name, values in seconds.items():
        print(f"  {name:16} {median(values):.3f} ({max(values):.3f})")
    parts = [values for name, values in seconds.items() if name != "of these, ask"]
    totals = [sum(one) for one in zip(*parts, strict=False)]
    print(f"  {'in all':16} {median(totals):.3f} ({max(totals):.3f})")
    fifth = max(1, generations // 5)
    checkpoints = seconds["checkpoint"]
    ratio = median(checkpoints[-fifth:]) / median(checkpoints[:fifth])
    print(f"checkpoint, last {fifth} generations over first {fifth}: {ratio:.2f}")


def main() -> None:
    generations = int(sys.argv[1]) if len(sys.argv) > 1 else 30
    with tempfile.TemporaryDirectory() as folder:
        report(measure(Path(folder), generations), generations)


if __name__ == "__main__":
    main()
