"""Watching one supervised slot, for tests of what happens in it."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import psutil
from handmade import fake_spec

from mpinas.records import (
    Event,
    Finished,
    TrialResult,
    TrialSpec,
    TrialStatus,
    Worker,
)
from mpinas.trial.child import Supervisor

WORKER = Worker(host="here", rank=3, device="gpu:7")


def odd(what: str, **more: Any) -> TrialSpec:
    """Trial 5 for the odd runner, which does ``what``."""
    return replace(fake_spec(5, **more), candidate={"odd": what})


def watch(slot: Supervisor, spec: TrialSpec) -> list[Event]:
    slot.start(spec)
    events: list[Event] = []
    while slot.busy:
        events += slot.poll()
        time.sleep(0.002)
    return events


def outcome_of(slot: Supervisor, spec: TrialSpec) -> TrialResult:
    *before, last = watch(slot, spec)
    assert not any(isinstance(event, Finished) for event in before)
    assert isinstance(last, Finished)
    return last.result


def works(slot: Supervisor) -> bool:
    return outcome_of(slot, odd("ignored_signals")).status is TrialStatus.COMPLETE


def gone(pid: int) -> bool:
    """Whether the process ends, or has ended, without anybody's further doing."""
    try:
        process = psutil.Process(pid)
        process.wait(timeout=20)
    except psutil.NoSuchProcess:
        return True
    except psutil.TimeoutExpired:
        return process.status() == psutil.STATUS_ZOMBIE
    return True
