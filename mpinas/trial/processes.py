"""What the kernel tells of a process: whether it lives, what memory it takes and where it may run.
Linux only."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path

from mpinas.records import BYTES_PER_MB

PROCESSORS = "MPINAS_PROCESSORS"
"""Variable with the numbers of the processors that a trial keeps to: ``0,1,8``."""
TOPOLOGY = Path("/sys/devices/system/cpu")
BADNESS = 500
"""Of -1000 to 1000; counts like half of the machine's memory, taken beside its own."""
STATISTICS = Path("/proc/vmstat")

DEAD_STATES = ("Z", "X")


def is_alive(pid: int | None) -> bool:
    """Whether a process can still do something; one that only waits to be reaped cannot."""
    return process_start(pid) is not None


def process_start(pid: int | None) -> int | None:
    """When a living process began, in clock ticks since boot, which no two with one number share;
    None where there is none."""
    with contextlib.suppress(OSError, IndexError, ValueError):
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
        fields = text.rpartition(")")[2].split()
        return None if fields[0] in DEAD_STATES else int(fields[19])
    return None


def resident_mb(pid: int) -> float | None:
    """Resident memory of a process in MB of 2**20 bytes; None where it is gone."""
    pages = _pages(pid)
    return None if pages is None else _in_mb(pages[0])


def own_mb(pid: int) -> float | None:
    """Resident memory in MB that no file and no shared memory stands behind; None where it is gone.

    What counts against ``memory_limit_mb``: the mapped data set and the libraries are shared by
    all trials of a machine and cost none of them anything.
    """
    pages = _pages(pid)
    return None if pages is None else _in_mb(pages[0] - pages[1])


def memory_kills(statistics: Path = STATISTICS) -> int | None:
    """How many processes of this machine the kernel has killed for lack of memory since it began,
    of the machine's or of a job's share; None where it does not tell (before Linux 4.13)."""
    with contextlib.suppress(OSError, ValueError):
        for line in statistics.read_text().splitlines():
            name, _, number = line.partition(" ")
            if name == "oom_kill":
                return int(number)
    return None


def die_before_others() -> None:
    """Has the kernel choose this process where memory runs out, and not the worker that would end
    a whole job with it."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(str(BADNESS))


def usable_processors(topology: Path = TOPOLOGY) -> tuple[int, ...]:
    """Where this process may run: threads of a core side by side, and cores of a socket."""
    return tuple(sorted(os.sched_getaffinity(0), key=lambda one: (*core_of(one, topology), one)))


def core_of(processor: int, topology: Path = TOPOLOGY) -> tuple[int, int]:
    """Socket and core of a processor; where the kernel does not tell, each is its own core."""
    try:
        folder = topology / f"cpu{processor}" / "topology"
        socket, core = (
            int((folder / name).read_text()) for name in ("physical_package_id", "core_id")
        )
    except (OSError, ValueError):
        return 0, processor
    return socket, core


def keep_to_processors(environment: Mapping[str, str]) -> None:
    """Pins this process as its environment says; not where the kernel has taken some away."""
    numbers = environment.get(PROCESSORS, "")
    if numbers:
        with contextlib.suppress(OSError):
            os.sched_setaffinity(0, {int(number) for number in numbers.split(",")})


def _pages(pid: int) -> tuple[int, int] | None:
    """Resident pages, and how many of them are of files and shared memory."""
    with contextlib.suppress(OSError, IndexError, ValueError):
        numbers = Path(f"/proc/{pid}/statm").read_text().split()
        return int(numbers[1]), int(numbers[2])
    return None


def _in_mb(pages: int) -> float:
    return pages * os.sysconf("SC_PAGE_SIZE") / BYTES_PER_MB
