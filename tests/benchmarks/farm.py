"""What the farm costs: share of a core while it waits, trials a second, utilisation.

Run by hand: ``python tests/benchmarks/farm.py``; it starts itself under the mpiexec of its Python
environment. Nothing here is a test of time.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).parents[1]))

import mpi_launcher
from handmade import fake_spec, farm

from mpinas.dispatch.ending import abort_on_error, leave, leave_as_worker
from mpinas.dispatch.mpi import MpiExecutor, join
from mpinas.dispatch.servant import ignore_signals, serve
from mpinas.dispatch.settings import WorkerSettings
from mpinas.records import Finished

RANKS = 3
WAIT_S = 8.0
EMPTY_TRIALS = 200
MEAN_TRIAL_S = 0.5
TRIALS_PER_WORKER = 12


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


@contextmanager
def shares_of_a_core(title: str, processes: Mapping[str, int]) -> Iterator[None]:
    """Tells how much of a core each process used meanwhile."""
    watched = {name: psutil.Process(pid) for name, pid in processes.items()}
    before = {name: _cpu_s(process) for name, process in watched.items()}
    begun_at = time.monotonic()
    yield
    passed_s = time.monotonic() - begun_at
    used = {name: _cpu_s(process) - before[name] for name, process in watched.items()}
    shares = ", ".join(f"{name} {used_s / passed_s:.2%}" for name, used_s in used.items())
    say(f"{title}: {shares}")


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def wait(executor: MpiExecutor, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        list(executor.events(0.5))


def measure_waiting(executor: MpiExecutor) -> None:
    processes = {"rank 0": os.getpid()}
    processes.update({f"worker {rank}": pid for rank, pid in executor.process_ids().items()})
    list(farm(executor, [fake_spec(index) for index in range(RANKS)]))
    with shares_of_a_core("idle", processes):
        wait(executor, WAIT_S)
    for index in range(executor.workers()):
        executor.submit(fake_spec(index, seconds=WAIT_S + 1, epochs=1))
    wait(executor, 0.5)
    with shares_of_a_core("while trials run", processes):
        wait(executor, WAIT_S - 1)
    while executor.free() < executor.workers():
        list(executor.events(0.5))


def measure_rate(executor: MpiExecutor) -> None:
    begun_at = time.monotonic()
    list(farm(executor, [fake_spec(index, epochs=1) for index in range(EMPTY_TRIALS)]))
    passed_s = time.monotonic() - begun_at
    say(f"empty trials: {EMPTY_TRIALS / passed_s:.0f} a second on {executor.workers()} workers")


def measure_utilisation(executor: MpiExecutor) -> None:
    """Sleeping trials of one length: running time of children over workers x wall time."""
    count = TRIALS_PER_WORKER * executor.workers()
    specs = [fake_spec(index, seconds=MEAN_TRIAL_S, epochs=1) for index in range(count)]
    begun_at = time.monotonic()
    results = [event.result for event in farm(executor, specs) if isinstance(event, Finished)]
    passed_s = time.monotonic() - begun_at
    slept_s = sum(result.times.train_s for result in results)
    starts_s = sorted(result.times.start_s for result in results)
    say(f"trials of {MEAN_TRIAL_S} s: {slept_s / passed_s / executor.workers():.1%} utilisation")
    say(f"from the order to the child's first line: {starts_s[count // 2] * 1000:.1f} ms (median)")


def inside() -> None:
    world = join(os.environ)
    abort_on_error(world)
    if world.rank > 0:
        ignore_signals()
        serve(world)
        leave_as_worker(world, 0)
    executor = MpiExecutor(world, WorkerSettings(runner="fake", gpus=0))
    measure_waiting(executor)
    measure_rate(executor)
    measure_utilisation(executor)
    executor.close()
    leave(world, executor.unanswered, 0)


def main() -> int:
    if sys.argv[1:] == ["inside"]:
        inside()
        return 0
    say(f"{'Open MPI' if mpi_launcher.is_open_mpi() else 'MPICH'}, {RANKS} ranks")
    job = mpi_launcher.run(RANKS, [__file__, "inside"])
    say(job.stdout + job.stderr)
    return job.returncode


if __name__ == "__main__":
    sys.exit(main())
