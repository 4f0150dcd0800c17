"""Where the processes of trials run: real children of local workers."""

from __future__ import annotations

import os
import time

import pytest
from handmade import fake_spec

from mpinas.dispatch.local import LocalExecutor
from mpinas.dispatch.settings import WorkerSettings
from mpinas.records import Started

LIMIT_S = 60.0


def affinities(workers: int) -> list[set[int]]:
    """Of the children of so many workers, all of which have a trial that has begun."""
    executor = LocalExecutor(WorkerSettings(runner="fake"), workers)
    try:
        for index in range(workers):
            executor.submit(fake_spec(index, seconds=LIMIT_S))
        begun, deadline = 0, time.monotonic() + LIMIT_S
        # A child may speak before the forkserver has told its number.
        while begun < workers or len(executor.process_ids()) <= workers:
            assert time.monotonic() < deadline
            begun += sum(isinstance(event, Started) for event in executor.events(0.1))
        server, *children = executor.process_ids()
        assert os.sched_getaffinity(server) == os.sched_getaffinity(0)
        return [os.sched_getaffinity(pid) for pid in children]
    finally:
        executor.close()


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one processor cannot be divided")
def test_two_workers_keep_to_halves_of_the_processors() -> None:
    first, second = affinities(2)
    assert first.isdisjoint(second)
    assert first | second == os.sched_getaffinity(0)


def test_a_worker_alone_and_too_many_workers_are_not_pinned() -> None:
    everywhere = os.sched_getaffinity(0)
    assert affinities(1) == [everywhere]
    if len(everywhere) < 8:
        workers = len(everywhere) + 1
        assert affinities(workers) == [everywhere] * workers
