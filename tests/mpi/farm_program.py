"""A job for tests of the farm: rank 0 runs the scenario named by its first argument.

Rank 0 writes JSON lines; the last argument of a scenario is JSON as well.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import psutil
from executor_contract import (
    CLASS_OF_FAILURE,
    FOR_ALL,
    FOR_PROCESSES,
    WITH_TWO_DEVICES,
    Check,
    check_failure,
)
from handmade import ODD_PROGRAM, fake_spec, farm, farm_again
from losing import environment_rank

from mpinas.dispatch import mpi
from mpinas.dispatch.ending import abort_on_error, dismiss, leave, leave_as_worker
from mpinas.dispatch.mpi import MpiExecutor, World, join
from mpinas.dispatch.servant import ignore_signals, serve
from mpinas.dispatch.settings import WorkerSettings
from mpinas.errors import LaunchFault, NoWorkerLeft
from mpinas.records import Event, Finished, Started, WorkerLost, to_plain
from mpinas.trial import handle
from mpinas.trial.processes import resident_mb

Options = Mapping[str, Any]

LARGE_RESULT_S = 3.0
"""A child and its worker have a large result ready and begun to send after this; nobody reads."""


def say(**what: Any) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def executor_of(world: World, options: Options) -> MpiExecutor:
    return MpiExecutor(world, WorkerSettings(**{"runner": "fake", **options.get("settings", {})}))


def run_trials(world: World, options: Options) -> int:
    """Runs ``trials``, a list of arguments of ``fake_spec``; tells events and last words."""
    executor = executor_of(world, options)
    say(workers=executor.workers())
    for event in farm_again(executor, [fake_spec(**trial) for trial in options["trials"]]):
        say(kind=type(event).__name__, **to_plain(event))
    say(free=executor.free())
    executor.close()
    executor.close()
    say(unanswered=executor.unanswered)
    for rank, farewell in executor.farewells.items():
        say(rank=rank, **to_plain(farewell))
    say(tensorflow_on_rank_0="tensorflow" in sys.modules)
    leave(world, executor.unanswered, options.get("exit_code", 0))


def cancel_one(world: World, options: Options) -> int:
    """Cancels the endless trial 0 when it has started, then runs trial 1 on the same worker."""
    executor = executor_of(world, options)
    ended: list[str] = []
    executor.submit(fake_spec(0, failures={"hang": 1.0}))
    while len(ended) < 2:
        for event in executor.events(1.0):
            if isinstance(event, Started) and event.trial_id == "g000-t000":
                executor.cancel("g000-t000")
                executor.cancel("g000-t999")
            if isinstance(event, Finished):
                ended.append(event.result.trial_id)
                say(trial_id=event.result.trial_id, status=event.result.status.value)
                if len(ended) == 1:
                    executor.submit(fake_spec(1))
    executor.close()
    leave(world, executor.unanswered, 0)


def wait_in_trials(world: World, options: Options) -> int:
    """Starts an endless trial on every worker and tells all process ids, then waits."""
    executor = executor_of(world, options)
    for index in range(executor.workers()):
        executor.submit(fake_spec(index, failures={"hang": 1.0}))
    started = 0
    while started < executor.workers():
        started += sum(isinstance(event, Started) for event in executor.events(1.0))
    say(rank_0=os.getpid(), workers=executor.process_ids())
    while True:
        list(executor.events(1.0))


def leave_a_deaf_worker(world: World, options: Options) -> int:
    """Ends well, but a worker hears nothing of it."""
    executor = executor_of(world, options)
    os.kill(executor.process_ids()[2], signal.SIGSTOP)
    executor.close()
    say(unanswered=executor.unanswered)
    leave(world, executor.unanswered, options["exit_code"])


def raise_error(world: World, options: Options) -> int:
    """Rank 0 fails while its workers wait."""
    executor_of(world, options)
    raise ValueError("rank 0 fails on purpose")


def stop_at_once(world: World, options: Options) -> int:
    """There is a fault in the configuration: nobody makes an executor."""
    leave(world, dismiss(world, 30.0), 2)


def refuse_launch(world: World, options: Options) -> int:
    """The executor refuses its settings; the workers are sent home."""
    try:
        executor_of(world, options)
    except LaunchFault as error:
        say(fault=str(error))
        leave(world, dismiss(world, 30.0), 2)
    return 1


def run_contract(world: World, options: Options) -> int:
    """Every check of the executors' contract on one farm; tells what each found."""
    executor = executor_of(world, {"settings": {"gpus": 0}})
    checks: list[tuple[str, Check]] = [
        (check.__name__, check) for check in (*FOR_ALL, *FOR_PROCESSES)
    ]
    checks += [(kind, partial(check_failure, kind=kind)) for kind in CLASS_OF_FAILURE]
    for name, check in checks:
        try:
            check(executor)
            say(check=name, fault="")
        except AssertionError:
            say(check=name, fault=traceback.format_exc())
    executor.close()
    leave(world, executor.unanswered, 0)


def check_broken_workers(world: World, options: Options) -> int:
    """One check of the contract, named ``check``, on workers with the odd runner."""
    executor = executor_of(world, {"settings": {"runner": "odd"}})
    (check,) = (check for check in WITH_TWO_DEVICES if check.__name__ == options["check"])
    check(executor)
    executor.close()
    leave(world, executor.unanswered, 0)


def watch_memory(world: World, options: Options) -> int:
    """By how much each process of the job grows after the first trials, children left out."""
    executor = executor_of(world, {"settings": {"gpus": 0}})
    specs = [fake_spec(index, epochs=1) for index in range(options["trials"])]
    list(farm(executor, specs[: options["first"]]))
    processes = [os.getpid(), *executor.process_ids().values()]
    for pid in executor.process_ids().values():
        processes += [process.pid for process in psutil.Process(pid).children()]
    before = {pid: resident_mb(pid) or 0.0 for pid in processes}
    list(farm(executor, specs[options["first"] :]))
    say(grown_mb={pid: (resident_mb(pid) or 0.0) - before[pid] for pid in processes})
    executor.close()
    leave(world, executor.unanswered, 0)


def take_a_signal(world: World, options: Options) -> int:
    """Waits for USR1 while trials run, and takes their results afterwards."""
    taken: list[int] = []
    signal.signal(signal.SIGUSR1, lambda number, frame: taken.append(number))
    executor = executor_of(world, {"settings": {"gpus": 0}})
    for index in range(executor.workers()):
        executor.submit(fake_spec(index, seconds=2.0))
    started = ended = 0
    while ended < executor.workers():
        for event in executor.events(0.2):
            started += isinstance(event, Started)
            if isinstance(event, Started) and started == executor.workers():
                say(ready=True)
            if isinstance(event, Finished):
                ended += 1
                say(status=event.result.status.value)
    say(taken=taken)
    executor.close()
    leave(world, executor.unanswered, 0)


def lose_a_worker(world: World, options: Options) -> int:
    """Kills worker 1 as ``while`` says; the other one runs the next trials."""
    odd = options["while"] == "sending"
    settings = {"gpus": 0, "grace_s": 5.0, "runner": "odd" if odd else "fake"}
    executor = executor_of(world, {"settings": settings})
    if options["while"] != "idle":
        spec = fake_spec(0, failures={"hang": 1.0})
        executor.submit(replace(spec, candidate={"odd": "large"}) if odd else spec)
        while not any(isinstance(event, Started) for event in executor.events(1.0)):
            continue
    if odd:
        time.sleep(LARGE_RESULT_S)
    worker = psutil.Process(executor.process_ids()[1])
    below = worker.children(recursive=True)
    worker.kill()
    lost: list[Event] = []
    while not lost:
        lost += [event for event in executor.events(1.0) if isinstance(event, WorkerLost)]
    say(kind="WorkerLost", **to_plain(lost[0]))
    _, alive = psutil.wait_procs(below, timeout=10)
    say(below=len(below), alive=len(alive))
    specs = [replace(fake_spec(index), candidate={"odd": "large"}) for index in (1, 2)]
    for event in farm(executor, specs):
        if isinstance(event, Finished):
            say(ended=event.result.trial_id)
    executor.close()
    say(unanswered=executor.unanswered, farewells=list(executor.farewells))
    leave(world, executor.unanswered, options.get("exit_code", 0))


SCENARIOS: Mapping[str, Callable[[World, Options], int]] = {
    "run_trials": run_trials,
    "cancel_one": cancel_one,
    "wait_in_trials": wait_in_trials,
    "leave_a_deaf_worker": leave_a_deaf_worker,
    "raise_error": raise_error,
    "stop_at_once": stop_at_once,
    "refuse_launch": refuse_launch,
    "contract": run_contract,
    "check_broken_workers": check_broken_workers,
    "watch_memory": watch_memory,
    "take_a_signal": take_a_signal,
    "lose_a_worker": lose_a_worker,
}


def run_scenario(world: World, scenario: str, options: Options) -> int:
    """The scenario; where it finds no worker, the end that the command line makes of it."""
    try:
        return SCENARIOS[scenario](world, options)
    except NoWorkerLeft as error:
        say(fault=str(error))
        leave(world, dismiss(world, 5.0), 1)


def main() -> int:
    scenario, options = sys.argv[1], json.loads(sys.argv[2])
    mpi.INIT_LIMIT_S = options.get("init_limit_s", mpi.INIT_LIMIT_S)
    if "dies_before_init" in options and environment_rank() == options["dies_before_init"]:
        os.kill(os.getpid(), signal.SIGKILL)
    try:
        world = join(os.environ)
    except LaunchFault as error:
        say(fault=str(error))
        return 2
    abort_on_error(world)
    if world.rank == 0:
        return run_scenario(world, scenario, options)
    ignore_signals()
    if world.rank in options.get("die_before_hello", ()):
        os.kill(os.getpid(), signal.SIGKILL)
    if scenario == "check_broken_workers" or options.get("while") == "sending":
        handle.PROGRAM = ODD_PROGRAM
    if world.rank == options.get("broken_rank"):
        handle.PROGRAM = "raise SystemExit(1)"
    if world.rank == options.get("failing_rank"):
        raise ValueError(f"rank {world.rank} fails on purpose")
    serve(world)
    leave_as_worker(world, 0)


if __name__ == "__main__":
    sys.exit(main())
