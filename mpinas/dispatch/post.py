"""Messages between the ranks of an MPI job: JSON bytes, sent and received without ever waiting.

A blocking receive would burn a core and hold back Python's signal handlers until the next
message; a blocking send would wait for a receiver that sleeps. The communicator comes in as an
argument, so that this file needs no MPI to be imported.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mpinas.records import Worker

SHORTEST_SLEEP_S = 0.001
LONGEST_SLEEP_S = 0.01
SLEEP_GROWTH = 1.25
"""Between two looks for messages: short after news, longer the longer there are none."""


class Kind(enum.IntEnum):
    """What a message is; its MPI tag.

    Workers send ``HELLO`` once, then ``STARTED``, ``PROGRESS`` and ``RESULT`` of each trial,
    ``UNFIT`` if they can run no more, and ``FAREWELL`` last. Rank 0 sends ``SETUP`` once, then
    ``TASK`` and ``CANCEL``, and ``STOP`` last; a second ``STOP`` where a worker that leaves is a
    lost one to MPI, so that its farewell must have been read before. ``REPORT`` is of
    ``roll_call``, both ways, in jobs that run no trials.
    """

    HELLO = 1
    SETUP = 2
    TASK = 3
    STARTED = 4
    PROGRESS = 5
    RESULT = 6
    CANCEL = 7
    UNFIT = 8
    STOP = 9
    FAREWELL = 10
    REPORT = 11


@dataclass(frozen=True, slots=True, kw_only=True)
class Hello:
    """A worker introduces itself.

    Attributes:
        node: world rank of the first worker on the same node.
        local_rank, local_size: among the workers of the node.
        environment: what ``devices.bind`` reads of it.
        gpus_present: of the node.
        processors: that the process may use, neighbours in the machine side by side.
        cores: how many these are; a core may have two processors.
        processors_online: of the node.
    """

    host: str
    process_id: int
    node: int
    local_rank: int
    local_size: int
    environment: Mapping[str, str]
    gpus_present: int
    processors: tuple[int, ...]
    cores: int
    processors_online: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What a worker is told before its first trial.

    Attributes:
        environment: of its children, beyond what they inherit.
    """

    worker: Worker
    environment: Mapping[str, str]
    runner: str
    threads: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancel:
    """The trial is to be ended, if it still runs."""

    trial_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Unfit:
    """The worker can run no more trials."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Farewell:
    """The last word of a worker.

    Attributes:
        tensorflow_loaded: whether the MPI process has imported it; it must not.
        memory_mb: resident.
    """

    tensorflow_loaded: bool
    memory_mb: float


@dataclass(slots=True, kw_only=True)
class _Sending:
    request: Any
    text: bytes
    rank: int


@dataclass(slots=True, kw_only=True)
class _Receiving:
    request: Any
    text: bytearray
    kind: Kind


@dataclass(slots=True, kw_only=True)
class PostOffice:
    """Sends to and receives from the other ranks.

    Attributes:
        communicator: an ``mpi4py.MPI.Comm``.
        mpi: the module ``mpi4py.MPI``.
        gone: ranks that MPI says have failed, with its words. Nothing comes from them any more
            and what is sent to them is dropped.
    """

    communicator: Any
    mpi: Any
    gone: dict[int, str] = field(default_factory=dict)
    _sending: list[_Sending] = field(default_factory=list)
    _receiving: dict[int, _Receiving] = field(default_factory=dict)

    def send(self, rank: int, kind: Kind, text: bytes) -> None:
        """Begins to send; :meth:`push` must be called until :attr:`empty`."""
        if rank in self.gone:
            return
        try:
            request = self.communicator.Isend([text, self.mpi.BYTE], dest=rank, tag=int(kind))
        except self.mpi.Exception as error:
            self._lose(rank, error)
            return
        self._sending.append(_Sending(request=request, text=text, rank=rank))

    def push(self) -> None:
        """Lets go of what has been sent."""
        waiting: list[_Sending] = []
        for sending in self._sending:
            try:
                done = sending.request.Test()
            except self.mpi.Exception as error:
                self._lose(sending.rank, error)
                continue
            if not done:
                waiting.append(sending)
        self._sending = [sending for sending in waiting if sending.rank not in self.gone]

    @property
    def empty(self) -> bool:
        """Whether everything has been sent."""
        return not self._sending

    def receive(self, rank: int) -> tuple[Kind, bytes] | None:
        """The next message of that rank, in the order it sent them; None where there is none."""
        if rank in self.gone:
            return None
        try:
            return self._receive(rank)
        except self.mpi.Exception as error:
            self._lose(rank, error)
            return None

    def _receive(self, rank: int) -> tuple[Kind, bytes] | None:
        receiving = self._receiving.get(rank)
        if receiving is None:
            status = self.mpi.Status()
            if not self.communicator.Iprobe(source=rank, tag=self.mpi.ANY_TAG, status=status):
                return None
            text = bytearray(status.Get_count(self.mpi.BYTE))
            tag = status.Get_tag()
            request = self.communicator.Irecv([text, self.mpi.BYTE], source=rank, tag=tag)
            receiving = _Receiving(request=request, text=text, kind=Kind(tag))
            self._receiving[rank] = receiving
        if not receiving.request.Test():
            return None
        del self._receiving[rank]
        return receiving.kind, bytes(receiving.text)

    def _lose(self, rank: int, error: BaseException) -> None:
        self.gone[rank] = str(error)
        self._receiving.pop(rank, None)


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """The processes of this job, seen from one of them.

    Attributes:
        mpi: the module ``mpi4py.MPI``.
        node: rank of the first worker on the same node; rank 0 is no worker.
        local_rank, local_size: among the workers of the node.
        fault_tolerant: the job outlives its workers; see ``ending.py``.
    """

    mpi: Any
    rank: int
    size: int
    node: int
    local_rank: int
    local_size: int
    fault_tolerant: bool = False

    def post_office(self) -> PostOffice:
        """A new way to send and receive; one at a time."""
        return PostOffice(communicator=self.mpi.COMM_WORLD, mpi=self.mpi)

    @property
    def workers(self) -> range:
        """Their ranks."""
        return range(1, self.size)
