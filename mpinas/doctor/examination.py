"""The whole examination: of this machine alone, or of all ranks of a job.

Comes in: settings, and the world where there is one. Comes out: a ``Report``. Workers of a job send
their facts, are told on what to try TensorFlow, and send what came of it; who does not answer in
time is a finding.
"""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mpinas.dispatch.placement import Place
from mpinas.dispatch.post import PostOffice, World
from mpinas.dispatch.roll_call import hear, say
from mpinas.dispatch.settings import WorkerSettings
from mpinas.doctor import storage_checks, tensorflow_checks
from mpinas.doctor.children import Told, ask
from mpinas.doctor.clock_checks import walltime_finding
from mpinas.doctor.device_checks import gpu_findings, places_of
from mpinas.doctor.facts import Facts, gather
from mpinas.doctor.findings import Finding, Level, fine
from mpinas.doctor.findings import told as findings_of
from mpinas.doctor.world_checks import (
    Launch,
    launch_findings,
    rank_findings,
    silence_findings,
    skew_findings,
)
from mpinas.records import from_json, to_json
from mpinas.trial.handle import thread_environment
from mpinas.trial.visible_devices import VISIBLE
from mpinas.walltime import ask_scheduler, in_a_job, scheduled_end

MEETING_S = 60.0
"""For the facts of ranks, which have just met; a driver may need half of it to tell of cards."""
ANSWER_S = 30.0
"""For messages alone, on top of the time of children."""
SIGHT_S = 5.0
"""For a new file to be seen on another node: NFS keeps what it knows of a folder for seconds."""
LOG_LEVEL = {"TF_CPP_MIN_LOG_LEVEL": "1", "KERAS_BACKEND": "tensorflow"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What is to be examined.

    Attributes:
        out: the run directory.
        missing_data: a line where there are no data for the run.
        limit_s: for each child, and for ranks to answer.
    """

    settings: WorkerSettings
    out: Path
    workers: int
    limit_s: float
    missing_data: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What the doctor has found.

    Attributes:
        facts: of all processes that answered, by rank; of local workers where there is no job.
        places: where workers would run; none where devices do not suffice.
        unanswered: ranks that MPI's orderly end would wait for.
    """

    findings: tuple[Finding, ...]
    facts: Mapping[int, Facts]
    places: Mapping[int, Place]
    launch: Launch
    unanswered: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What a worker is told to do.

    Attributes:
        environment: of its trials, beyond what they inherit; None for trying nothing.
        look_for: a folder that rank 0 made; empty for none.
    """

    environment: Mapping[str, str] | None
    threads: int
    limit_s: float
    look_for: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came of an order.

    Attributes:
        told: by the child that tried TensorFlow; None where none was to.
        sees: whether the folder was seen; None where there was none.
    """

    told: Told | None
    sees: bool | None


def examine_alone(launch: Launch, wish: Wish) -> Report:
    """Of this machine, with local workers."""
    environment = launch.environment
    facts = {
        index + 1: gather(
            environment, rank=index + 1, node=0, local_rank=index, local_size=wish.workers
        )
        for index in range(wish.workers)
    }
    findings = [*launch_findings(launch), *rank_findings(facts, [*facts], 0.0)]
    places, found = places_of(facts, wish.settings)
    findings += [*found, *gpu_findings(facts, places, wish.settings)]
    if _tries_tensorflow(wish):
        told = _try_tensorflow(environment, {}, wish.settings.threads, wish.limit_s)
        gpus = _distinct_gpus(places)
        where = facts[1].hello.host
        findings += tensorflow_checks.tensorflow_findings(where, told, gpus)
    else:
        findings.append(_needs_no_tensorflow())
    storage = _look_at_storage(environment, wish)
    findings += storage_checks.storage_findings(str(wish.out), storage)
    findings += findings_of("data", Level.WRONG, wish.missing_data)
    _clean_up(storage)
    findings += _clock_findings(environment, facts)
    return Report(findings=tuple(findings), facts=facts, places=places, launch=launch)


def examine_job(world: World, launch: Launch, wish: Wish) -> Report:
    """Of all ranks, which have to be in :func:`answer`. For rank 0."""
    environment, post = launch.environment, world.post_office()
    own = _own_facts(world, environment)
    heard = hear(post, world.workers, MEETING_S)
    workers = {rank: from_json(Facts, text) for rank, text in heard.items()}
    facts = {0: own, **workers}
    findings = [*launch_findings(launch)]
    findings += rank_findings(facts, range(world.size), MEETING_S)
    places, found = places_of(workers, wish.settings)
    findings += [*found, *gpu_findings(workers, places, wish.settings)]
    storage = _look_at_storage(environment, wish)
    findings += storage_checks.storage_findings(str(wish.out), storage)
    findings += findings_of("data", Level.WRONG, wish.missing_data)
    answers = _order_all(post, workers, places, wish, _folder_of(storage))
    _clean_up(storage)
    findings += _answer_findings(workers, places, answers, wish)
    findings += _clock_findings(environment, facts)
    return Report(
        findings=tuple(findings),
        facts=facts,
        places=places,
        launch=launch,
        unanswered=tuple(rank for rank in world.workers if rank not in answers),
    )


def answer(world: World, environment: Mapping[str, str], limit_s: float) -> bool:
    """What a worker does; tells whether rank 0 has heard all of it.

    Args:
        limit_s: as of the job's ``Wish``.
    """
    post = world.post_office()
    patience_s = MEETING_S + ANSWER_S + limit_s
    if not say(post, {0: to_json(_own_facts(world, environment))}, patience_s):
        return False
    heard = hear(post, [0], patience_s)
    if 0 not in heard:
        return False
    order = from_json(Order, heard[0])
    told = None
    if order.environment is not None:
        told = _try_tensorflow(environment, order.environment, order.threads, order.limit_s)
    sees = _sees(Path(order.look_for)) if order.look_for else None
    return say(post, {0: to_json(Answer(told=told, sees=sees))}, patience_s)


def _own_facts(world: World, environment: Mapping[str, str]) -> Facts:
    return gather(
        environment,
        rank=world.rank,
        node=world.node,
        local_rank=world.local_rank,
        local_size=world.local_size,
    )


def _device_of(rank: int, place: Place | None) -> str:
    """What tells a device of a node from its others; where a launcher has given each worker one of
    its own, all are called alike."""
    if place is None:
        return ""
    binding = place.binding
    is_own = binding.device.startswith("gpu:") and VISIBLE not in binding.environment
    return f"{binding.device} of rank {rank}" if is_own else binding.device


def _order_all(
    post: PostOffice,
    workers: Mapping[int, Facts],
    places: Mapping[int, Place],
    wish: Wish,
    look_for: str,
) -> dict[int, Answer]:
    """Has the first worker of each device of each node try it, and all look for the folder."""
    tried: set[tuple[int, str]] = set()
    orders: dict[int, bytes] = {}
    for rank, one in workers.items():
        place = places.get(rank)
        device = (one.hello.node, _device_of(rank, place))
        first = _tries_tensorflow(wish) and device not in tried
        tried.add(device)
        order = Order(
            environment=(place.environment if place else {}) if first else None,
            threads=wish.settings.threads,
            limit_s=wish.limit_s,
            look_for=look_for,
        )
        orders[rank] = to_json(order)
    say(post, orders, ANSWER_S)
    heard = hear(post, orders, _patience_s(wish))
    return {rank: from_json(Answer, text) for rank, text in heard.items()}


def _patience_s(wish: Wish) -> float:
    """For answers to orders."""
    return 2 * ANSWER_S + (wish.limit_s if _tries_tensorflow(wish) else 0.0)


def _answer_findings(
    workers: Mapping[int, Facts],
    places: Mapping[int, Place],
    answers: Mapping[int, Answer],
    wish: Wish,
) -> list[Finding]:
    findings: list[Finding] = []
    silent = [rank for rank in workers if rank not in answers]
    findings += silence_findings(silent, _patience_s(wish))
    for rank, one in answers.items():
        if one.told is not None:
            device = places[rank].binding.device if rank in places else "cpu"
            where = f"{workers[rank].hello.host} (rank {rank}, {device})"
            gpus = tensorflow_checks.gpus_of(device)
            findings += tensorflow_checks.tensorflow_findings(where, one.told, gpus)
    if not _tries_tensorflow(wish):
        findings.append(_needs_no_tensorflow())
    sights = {workers[rank].hello.host: one.sees for rank, one in answers.items()}
    findings += storage_checks.sight_findings(sights)
    return findings


def _try_tensorflow(
    environment: Mapping[str, str], more: Mapping[str, str], threads: int, limit_s: float
) -> Told:
    together = {**LOG_LEVEL, **environment, **thread_environment(threads), **more}
    return ask(tensorflow_checks.PROGRAM, threads, together, limit_s)


def _tries_tensorflow(wish: Wish) -> bool:
    return wish.settings.runner == "keras"


def _needs_no_tensorflow() -> Finding:
    check = tensorflow_checks.CHECK
    return fine(check, f"{check}: not tried, trials of this configuration do without")


def _distinct_gpus(places: Mapping[int, Place]) -> int:
    devices = {place.binding.device for place in places.values()}
    return sum(tensorflow_checks.gpus_of(device) for device in devices)


def _look_at_storage(environment: Mapping[str, str], wish: Wish) -> Told:
    return ask(storage_checks.PROGRAM, str(wish.out), environment, wish.limit_s)


def _folder_of(told: Told) -> str:
    made = told.find("folder")
    return made["folder"] if made is not None and not told.late else ""


def _clean_up(told: Told) -> None:
    """Removes what the child made; by a process, as the file system may not answer."""
    made = told.find("folder")
    if made is not None:
        remover = subprocess.Popen(["rm", "-rf", made["folder"]], stderr=subprocess.DEVNULL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            remover.wait(ANSWER_S)


def _sees(folder: Path) -> bool:
    deadline = time.monotonic() + SIGHT_S
    while not folder.is_dir():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def _clock_findings(environment: Mapping[str, str], facts: Mapping[int, Facts]) -> list[Finding]:
    now_s = time.time()
    end = scheduled_end(environment, now_s=now_s, ask=ask_scheduler)
    found = walltime_finding(end, now_s, in_a_job=in_a_job(environment))
    return [*skew_findings(facts), found]
