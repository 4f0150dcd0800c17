"""Places of all workers of a job, and what is said about their processors."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import pytest

from mpinas.dispatch.placement import (
    introduction,
    local_introductions,
    place_all,
    processor_warnings,
)
from mpinas.dispatch.post import Hello
from mpinas.dispatch.settings import WorkerSettings
from mpinas.errors import LaunchFault
from mpinas.records import from_json, to_json

SETTINGS = WorkerSettings(runner="fake")


def hellos_of(
    processors: Sequence[Sequence[int]],
    visible: Sequence[str | None] = (),
    node: int = 1,
    **more: Any,
) -> dict[int, Hello]:
    """Workers of one node, whose first has the rank ``node``."""
    return {
        node + index: Hello(
            host=f"n{node}",
            process_id=index,
            node=node,
            local_rank=index,
            local_size=len(processors),
            environment={"CUDA_VISIBLE_DEVICES": visible[index]} if visible else {},
            processors=tuple(own),
            **{"gpus_present": 0, "cores": len(own), "processors_online": 64, **more},
        )
        for index, own in enumerate(processors)
    }


def test_a_place_is_a_device_and_processors() -> None:
    places = place_all(hellos_of([range(4)] * 2, ["2,3", "2,3"]), SETTINGS)
    assert [place.environment for place in places.values()] == [
        {"CUDA_VISIBLE_DEVICES": "2", "MPINAS_PROCESSORS": "0,1"},
        {"CUDA_VISIBLE_DEVICES": "3", "MPINAS_PROCESSORS": "2,3"},
    ]


def test_nodes_are_divided_each_by_itself() -> None:
    hellos = {**hellos_of([range(4)] * 2), **hellos_of([range(4)] * 4, node=3)}
    shares = [place.share.processors for place in place_all(hellos, SETTINGS).values()]
    assert shares == [(0, 1), (2, 3), (0,), (1,), (2,), (3,)]


def test_all_that_is_wrong_is_told_at_once_and_once() -> None:
    first = hellos_of([range(4)] * 2, ["0", "0"])
    second = hellos_of([range(4)] * 3, ["0,1"] * 3, node=3)
    with pytest.raises(LaunchFault) as error:
        place_all({**first, **second}, SETTINGS)
    assert len(error.value.faults) == 2


def test_a_lost_worker_leaves_its_place_to_the_others() -> None:
    hellos = hellos_of([range(4)] * 3, ["0,1"] * 3)
    del hellos[1]
    places = place_all(hellos, SETTINGS)
    assert [place.binding.device for place in places.values()] == ["gpu:0", "gpu:1"]
    assert [place.share.processors for place in places.values()] == [(0, 1), (2, 3)]
    assert processor_warnings(hellos, threads=2) == ()


def test_enough_processors_are_no_matter() -> None:
    assert processor_warnings(hellos_of([range(4)] * 2), threads=2) == ()


@pytest.mark.parametrize(
    ("processors", "threads", "received"),
    [
        ([range(4)] * 2, 3, "threads=3, processors=4, workers on them=2"),
        ([range(2)] * 3, 1, "threads=1, processors=2, workers on them=3"),
        ([(0, 1), (2, 3)], 4, "threads=4, processors=2, workers on them=1"),
    ],
)
def test_fewer_processors_than_threads_are_told_of_once(
    processors: list[Sequence[int]], threads: int, received: str
) -> None:
    (line,) = processor_warnings(hellos_of(processors), threads)
    assert received in line
    assert line.endswith(f"({len(processors)} workers)")
    assert "trial.threads stays as it is" in line


def test_workers_bound_to_a_core_each_are_told_how_to_be_free() -> None:
    """Open MPI's mpiexec does so by itself; the two processors of a core are one core."""
    for processors in ([(0,), (1,)], [(0, 32), (1, 33)]):
        (line,) = processor_warnings(hellos_of(processors, cores=1), threads=1)
        assert "--bind-to none" in line
        assert "bound to one core" in line


def test_a_machine_of_one_core_is_bound_to_nothing() -> None:
    assert processor_warnings(hellos_of([(0,)], cores=1, processors_online=1), threads=1) == ()


def test_an_introduction_is_of_this_process_and_travels() -> None:
    hello = introduction(
        {"CUDA_VISIBLE_DEVICES": "3", "HOME": "/"}, node=4, local_rank=1, local_size=2
    )
    assert set(hello.processors) == os.sched_getaffinity(0)
    assert hello.environment == {"CUDA_VISIBLE_DEVICES": "3"}
    assert 1 <= hello.cores <= len(hello.processors) <= hello.processors_online
    assert from_json(Hello, to_json(hello)) == hello


def test_local_workers_have_the_ranks_of_a_job() -> None:
    hellos = local_introductions(3, {})
    assert [(rank, hello.local_rank, hello.local_size) for rank, hello in hellos.items()] == [
        (1, 0, 3),
        (2, 1, 3),
        (3, 2, 3),
    ]
