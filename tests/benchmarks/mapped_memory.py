"""What eight workers need of memory for one data set: its pages are there once.

    python tests/benchmarks/mapped_memory.py [--prepared FILE] [--workers N]

N trials train at once, each in a supervised process as in a search, on the same prepared file: by
default random images, as many and as large as CIFAR-10's. While all of them run, the proportional
set size of the mapped file (``Pss`` in /proc/PID/smaps: each page divided by how many processes
have it) is summed over the processes. Printed are the largest sum over the size of the training
images, which a copy for each would bring to N, and what each process has of its own beside it.
"""

from __future__ import annotations

import argparse
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np

from mpinas.config import TrialConfig
from mpinas.dispatch.local import LocalExecutor
from mpinas.dispatch.settings import WorkerSettings
from mpinas.problems.images import ImageData, numbered_names
from mpinas.problems.prepared import open_prepared, write_prepared
from mpinas.problems.splits import part_sizes
from mpinas.records import (
    BYTES_PER_MB,
    Finished,
    LayerSpec,
    NetworkSpec,
    ProblemSpec,
    Progress,
    TrialSpec,
    trial_id,
)

TRAINING, TEST, SHAPE, CLASSES = 50_000, 10_000, (32, 32, 3), 10
VALIDATION = 0.15
EPOCHS = 4
BETWEEN_LOOKS_S = 0.5
MAPPING = re.compile(r"^[0-9a-f]+-[0-9a-f]+ \S+ \S+ \S+ \S+ +(.*)$")


@dataclass(slots=True, kw_only=True)
class Memory:
    """Of one process, in bytes: its share of the mapped file, and what it has alone beside it."""

    mapped: int = 0
    own: int = 0


def memory_of(pid: int, file: Path) -> Memory:
    """Raises OSError where the process is gone."""
    memory = Memory()
    of_file = False
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        mapping = MAPPING.match(line)
        if mapping:
            of_file = mapping[1] == str(file)
            continue
        name, _, rest = line.partition(":")
        if of_file and name == "Pss":
            memory.mapped += 1024 * int(rest.split()[0])
        if not of_file and name in ("Private_Clean", "Private_Dirty"):
            memory.own += 1024 * int(rest.split()[0])
    return memory


def write_random_images(file: Path) -> None:
    rng = np.random.default_rng(0)
    arrays = {}
    for part, count in (("train", TRAINING), ("test", TEST)):
        arrays[f"x_{part}"] = rng.integers(0, 256, (count, *SHAPE), dtype=np.uint8)
        arrays[f"y_{part}"] = rng.integers(0, CLASSES, count, dtype=np.int32)
    data = ImageData(**arrays, class_names=numbered_names(CLASSES), source="random images")
    write_prepared(data, file)


def small_network(shape: tuple[int, int, int], classes: int) -> NetworkSpec:
    window = {"strides": (2, 2), "padding": "same", "use_bias": True, "kernel_size": (3, 3)}
    layers = [
        ("input", {"shape": shape}),
        ("conv2d", {"filters": 8, **window}),
        ("activation", {"function": "relu"}),
        ("flatten", {}),
        ("dense", {"units": classes, "use_bias": True}),
    ]
    specs = tuple(
        LayerSpec(name=f"l{i}", kind=kind, inputs=(f"l{i - 1}",) if i else (), parameters=given)
        for i, (kind, given) in enumerate(layers)
    )
    return NetworkSpec(input_shape=shape, layers=specs)


def trials(file: Path, count: int) -> Iterator[TrialSpec]:
    prepared = open_prepared(file)
    training, validation = part_sizes(len(prepared.y_train), validation=VALIDATION)
    settings = TrialConfig(epochs=EPOCHS).model_dump(mode="json")
    for index in range(count):
        yield TrialSpec(
            trial_id=trial_id(0, index),
            candidate={},
            network=small_network(prepared.image_shape, prepared.classes),
            problem=ProblemSpec(
                name="benchmark",
                path=str(file),
                training_images=training,
                validation_images=validation,
                split_seed=0,
            ),
            learning_rate=1e-3,
            settings=settings,
            seed=index,
        )


def watch(executor: LocalExecutor, workers: int, file: Path) -> Iterator[list[Memory]]:
    """Yields the memory of all children, as often as they are looked at while all of them train.

    They train from the end of everybody's first epoch to the first end of a trial.
    """
    begun: set[str] = set()
    while True:
        for event in executor.events(BETWEEN_LOOKS_S):
            if isinstance(event, Progress):
                begun.add(event.trial_id)
            if isinstance(event, Finished):
                if event.result.fitness is None:
                    raise RuntimeError(event.result.error)
                return
        if len(begun) == workers:
            try:
                yield [memory_of(pid, file) for pid in executor.process_ids()[1:]]
            except OSError:
                return  # one has ended since


def measure(file: Path, workers: int) -> list[list[Memory]]:
    """What was seen at each look."""
    specs = list(trials(file, workers))
    executor = LocalExecutor(WorkerSettings(runner="keras", gpus=0), workers)
    try:
        for spec in specs:
            executor.submit(spec)
        return list(watch(executor, workers, file))
    finally:
        executor.close()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--prepared", type=Path)
    parser.add_argument("--workers", type=int, default=8)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        file = given.prepared or Path(folder) / "random.h5"
        if given.prepared is None:
            write_random_images(file)
        file = file.resolve()
        size = open_prepared(file).x_train.nbytes
        looks = measure(file, given.workers)
    sums = [sum(memory.mapped for memory in look) for look in looks]
    own = [memory.own / BYTES_PER_MB for look in looks for memory in look]
    print(f"{len(looks)} looks at {given.workers} trials that train at once")
    print(f"training images: {size / BYTES_PER_MB:.0f} MB")
    print(f"mapped, summed over the processes: {max(sums) / BYTES_PER_MB:.0f} MB at most")
    print(f"over the size of the training images: {max(sums) / size:.3f}")
    print(f"a process's own memory beside it: {median(own):.0f} MB, at most {max(own):.0f} MB")


if __name__ == "__main__":
    main()
