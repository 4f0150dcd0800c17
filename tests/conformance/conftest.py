"""A supervised slot whose runner is ``odd_runner``."""

from __future__ import annotations

import os
from collections.abc import Iterator

import psutil
import pytest
from handmade import ODD_PROGRAM
from supervising import WORKER

from mpinas.trial import handle
from mpinas.trial.child import Supervisor
from mpinas.trial.handle import ForkServer


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ForkServer]:
    monkeypatch.setattr(handle, "PROGRAM", ODD_PROGRAM)
    made = ForkServer("odd", 1, {**os.environ, "PMI_RANK": "1", "OMPI_COMM_WORLD_SIZE": "4"})
    yield made
    made.close()
    assert psutil.Process().children(recursive=True) == []


@pytest.fixture
def slot(server: ForkServer) -> Iterator[Supervisor]:
    made = Supervisor(server, WORKER, {"CUDA_VISIBLE_DEVICES": "7"})
    yield made
    made.close()
