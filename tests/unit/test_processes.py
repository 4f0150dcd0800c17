"""Where a process may run, and how much of a GPU's memory is its own."""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mpinas.trial.gpu_memory import memory_limit_mb
from mpinas.trial.processes import core_of, keep_to_processors, memory_kills, usable_processors


def machine(folder: Path, cores: dict[int, tuple[int, int]]) -> Path:
    for processor, (socket, core) in cores.items():
        place = folder / f"cpu{processor}" / "topology"
        place.mkdir(parents=True)
        (place / "physical_package_id").write_text(f"{socket}\n")
        (place / "core_id").write_text(f"{core}\n")
    return folder


def test_threads_of_a_core_and_cores_of_a_socket_are_neighbours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = {0: (0, 0), 1: (1, 0), 2: (0, 1), 3: (1, 1), 4: (0, 0), 5: (1, 0), 6: (0, 1)}
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {*places})
    assert usable_processors(machine(tmp_path, places)) == (0, 4, 2, 6, 1, 5, 3)


@pytest.mark.parametrize(
    ("text", "kills"),
    [("pgfault 12\noom_kill 3\noom_kill_total 9\n", 3), ("pgfault 12\n", None), ("", None)],
)
def test_the_kernel_counts_what_it_kills_for_lack_of_memory(
    tmp_path: Path, text: str, kills: int | None
) -> None:
    (tmp_path / "vmstat").write_text(text)
    assert memory_kills(tmp_path / "vmstat") == kills
    assert memory_kills(tmp_path / "none") is None


def test_where_nothing_is_told_every_processor_is_a_core(tmp_path: Path) -> None:
    assert [core_of(one, tmp_path) for one in (3, 9)] == [(0, 3), (0, 9)]
    assert set(usable_processors(tmp_path)) == os.sched_getaffinity(0)


PINNED = """
import json, os, sys
from mpinas.trial.processes import keep_to_processors
keep_to_processors(json.loads(sys.argv[1]))
print(json.dumps(sorted(os.sched_getaffinity(0))))
"""


@pytest.mark.parametrize("wanted", [{}, {"MPINAS_PROCESSORS": ""}])
def test_nothing_said_pins_nothing(wanted: dict[str, str]) -> None:
    before = os.sched_getaffinity(0)
    keep_to_processors(wanted)
    assert os.sched_getaffinity(0) == before


def test_a_process_keeps_to_its_processors() -> None:
    last = max(os.sched_getaffinity(0))
    for wanted, found in ((str(last), [last]), ("99999", sorted(os.sched_getaffinity(0)))):
        arguments = [sys.executable, "-c", PINNED, json.dumps({"MPINAS_PROCESSORS": wanted})]
        output = subprocess.run(arguments, capture_output=True, text=True, check=True).stdout
        assert json.loads(output) == found


class Driver:
    """A driver of a card with so many bytes, one of whose calls may fail."""

    def __init__(self, size: int, failing: str = "") -> None:
        self._size, self._failing = size, failing

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any) -> int:
            if name == "cuDeviceTotalMem_v2":
                arguments[0]._obj.value = self._size
            return 100 if name == self._failing else 0

        return call


def test_trials_that_share_a_card_have_equal_parts_and_leave_the_driver_some() -> None:
    limit_mb = memory_limit_mb({"MPINAS_WORKERS_PER_GPU": "2"}, lambda name: Driver(16 * 2**30))
    assert limit_mb is not None
    assert 0.85 * 16384 < 2 * limit_mb < 0.95 * 16384


def test_a_card_of_ones_own_is_not_asked_about() -> None:
    def load(name: str) -> Any:
        raise AssertionError("the driver was loaded")

    assert memory_limit_mb({}, load) is None


@pytest.mark.parametrize("failing", ["cuInit", "cuDeviceGet", "cuDeviceTotalMem_v2"])
def test_a_driver_that_does_not_tell_is_named(failing: str) -> None:
    with pytest.raises(RuntimeError, match=f"{failing} fails with error 100"):
        memory_limit_mb({"MPINAS_WORKERS_PER_GPU": "2"}, lambda name: Driver(1, failing))


def test_no_driver_is_an_error_and_not_a_crash() -> None:
    def load(name: str) -> Any:
        return ctypes.CDLL("no-such-library.so")

    with pytest.raises(RuntimeError, match="cannot be opened"):
        memory_limit_mb({"MPINAS_WORKERS_PER_GPU": "2"}, load)
