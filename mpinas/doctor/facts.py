"""What a process knows of itself and its machine, as it travels to rank 0. Judges nothing."""

from __future__ import annotations

import platform
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mpinas import __version__
from mpinas.dispatch.devices import MULTI_PROCESS_SERVICE
from mpinas.dispatch.placement import introduction
from mpinas.dispatch.post import Hello

LONG_MESSAGE = "mpinas " * 40_000
"""280 kB: longer than any MPI sends before the receiver has asked for it."""
CARD_LIMIT_S = 30.0
CARD_FIELDS = "index,name,memory.total,memory.used,compute_mode"


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """A GPU as the driver tells of it. Memory in MB of 2**20 bytes."""

    index: str
    name: str
    memory_mb: float
    used_mb: float
    compute_mode: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """One process.

    Attributes:
        time_s: its clock, seconds since the epoch, right after all ranks had met.
        tensorflow_loaded: whether this process, which is to be an MPI rank, has imported it.
        service_there: whether the directory of the multi-process service exists; None where
            none is named.
        cards: of the node, where this is the first worker on it.
        long_message: as it arrived; ``LONG_MESSAGE`` when it was sent.
    """

    rank: int
    time_s: float
    hello: Hello
    version: str
    python: str
    tensorflow_loaded: bool
    service_there: bool | None
    cards: tuple[Card, ...] = ()
    long_message: str = LONG_MESSAGE


def gather(
    environment: Mapping[str, str], *, rank: int, node: int, local_rank: int, local_size: int
) -> Facts:
    """The facts of this process."""
    time_s = time.time()
    hello = introduction(environment, node=node, local_rank=local_rank, local_size=local_size)
    service = environment.get(MULTI_PROCESS_SERVICE)
    return Facts(
        rank=rank,
        time_s=time_s,
        hello=hello,
        version=__version__,
        python=platform.python_version(),
        tensorflow_loaded="tensorflow" in sys.modules,
        service_there=None if service is None else Path(service).is_dir(),
        cards=_cards() if local_rank == 0 and hello.gpus_present else (),
    )


def _cards() -> tuple[Card, ...]:
    """All cards of the machine; none where the driver's program is missing or does not answer."""
    command = ["nvidia-smi", f"--query-gpu={CARD_FIELDS}", "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=CARD_LIMIT_S, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return ()
    return parse_cards(answer.stdout.decode(errors="replace"))


def parse_cards(text: str) -> tuple[Card, ...]:
    """Cards of the output of ``nvidia-smi``; lines that tell less than a card are left out."""
    cards = []
    for line in text.splitlines():
        parts = [part.strip() for part in line.split(",")]
        if len(parts) == len(CARD_FIELDS.split(",")):
            index, name, memory, used, mode = parts
            cards.append(
                Card(
                    index=index,
                    name=name,
                    memory_mb=_megabytes(memory),
                    used_mb=_megabytes(used),
                    compute_mode=mode,
                )
            )
    return tuple(cards)


def _megabytes(text: str) -> float:
    """0 where the driver says ``[N/A]``, as it does of MIG instances."""
    try:
        return float(text)
    except ValueError:
        return 0.0
