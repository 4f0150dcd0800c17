"""What the kernel tells of a process: whether it lives, and what memory it takes. Linux only."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from mpinas.records import BYTES_PER_MB

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


def _pages(pid: int) -> tuple[int, int] | None:
    """Resident pages, and how many of them are of files and shared memory."""
    with contextlib.suppress(OSError, IndexError, ValueError):
        numbers = Path(f"/proc/{pid}/statm").read_text().split()
        return int(numbers[1]), int(numbers[2])
    return None


def _in_mb(pages: int) -> float:
    return pages * os.sysconf("SC_PAGE_SIZE") / BYTES_PER_MB
