"""Runs code that may crash, loop or call ``exit`` in a process of its own; arrays come back.

Comes in: a module of ours with ``deliver(argument, folder)``, which the child calls. Comes out: the
arrays that it saved into a temporary folder, or a ``DataFault``, however the child ended. Knows
neither HDF5 nor users' functions. A process that MPI started stays the only one of its rank: the
child's environment says nothing of MPI.
"""

from __future__ import annotations

import importlib
import json
import os
import pathlib
import resource
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mpinas.environment import scrubbed
from mpinas.errors import DataFault, fault
from mpinas.problems.images import ARRAY_NAMES, Array
from mpinas.problems.plausible import memory_bytes
from mpinas.signals import STOP_SIGNALS, die_with_parent, let_signals_in

_PROGRAM = """\
import json, sys
path, *arguments = json.loads(sys.argv[1])
sys.path[:] = path
from mpinas.problems.isolated import serve
serve(*arguments)
"""
_ENDED = "ended.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a child may use before it is ended. Its memory is limited to what is believed of data.

    Attributes:
        processor_s: time of the processor, which a slow disk does not use up.
        wall_s: time by the clock.
    """

    processor_s: int
    wall_s: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """What a child made: arrays, all of ``ARRAY_NAMES``, and texts that are names of classes."""

    arrays: dict[str, Array]
    class_names: tuple[str, ...]


def delivered(
    module: str, argument: str, *, where: str, rule: str, cure: str, limits: Limits | None = None
) -> Delivery:
    """Lets a child call ``deliver(argument, folder)`` of a module and waits for it.

    Args:
        where, rule, cure: of the line that is said when the child ends by itself or is ended.
        limits: None for none, and for letting the user see what the child says.

    Raises:
        DataFault: what the child refused, or how it ended.
    """
    try:
        with tempfile.TemporaryDirectory(prefix="mpinas-") as name:
            folder = pathlib.Path(name)
            ending = _run_child(module, argument, folder, limits)
            said = _said(folder)
            if said is None:
                raise DataFault(fault(where, rule, ending, cure=cure))
            if said["faults"]:
                raise DataFault(*said["faults"])
            return Delivery(
                arrays={
                    array: np.load(folder / f"{array}.npy", allow_pickle=False)
                    for array in ARRAY_NAMES
                },
                class_names=tuple(said["class_names"]),
            )
    except OSError as error:
        received = f"error={error.strerror or error}"
        raise DataFault(_no_room(received)) from error


def _run_child(module: str, argument: str, folder: pathlib.Path, limits: Limits | None) -> str:
    """How the child ended, for people."""
    processor_s = limits.processor_s if limits else None
    orders = [sys.path, module, argument, str(folder), os.getpid(), processor_s]
    try:
        ended = subprocess.run(
            [sys.executable, "-c", _PROGRAM, json.dumps(orders)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL if limits else None,
            stderr=subprocess.DEVNULL if limits else None,
            env=scrubbed(os.environ),
            timeout=limits.wall_s if limits else None,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        return f"it took longer than {error.timeout:.0f} s"
    if ended.returncode >= 0:
        return f"exit code={ended.returncode}"
    number = -ended.returncode
    if number == signal.SIGXCPU and limits:
        return f"it took more than {limits.processor_s} s of the processor"
    name = signal.Signals(number).name if number in list(signal.Signals) else str(number)
    return f"signal={name}" + (", perhaps for lack of memory" if name == "SIGKILL" else "")


def _said(folder: pathlib.Path) -> dict[str, list[str]] | None:
    """What the child wrote last; None if it did not come to that."""
    try:
        said: dict[str, list[str]] = json.loads((folder / _ENDED).read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    return said


def _no_room(received: str) -> str:
    cure = "Give it room, or set TMPDIR to another folder"
    return fault(
        tempfile.gettempdir(), "arrays cannot be kept there for a moment", received, "", cure
    )


def save_array(folder: str, name: str, array: Array) -> None:
    """In the child: saves one of ``ARRAY_NAMES``.

    Raises:
        DataFault: there is no room.
    """
    try:
        np.save(pathlib.Path(folder) / f"{name}.npy", array, allow_pickle=False)
    except OSError as error:
        raise DataFault(_no_room(f"error={error.strerror or error}")) from error


def serve(
    module: str, argument: str, folder: str, parent_pid: int, processor_s: int | None
) -> None:
    """The child's whole life: ``deliver`` of the module, then a note of how it went.

    ``deliver`` returns names of classes, and raises DataFault. What it prints becomes error output.
    """
    _become_a_child(parent_pid, processor_s)
    ended: dict[str, Sequence[str]] = {"faults": (), "class_names": ()}
    try:
        ended["class_names"] = importlib.import_module(module).deliver(argument, folder)
    except DataFault as error:
        ended["faults"] = error.faults
    (pathlib.Path(folder) / _ENDED).write_text(json.dumps(ended))
    # Threads that the user's function started are not waited for.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _become_a_child(parent_pid: int, processor_s: int | None) -> None:
    die_with_parent(parent_pid)
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    let_signals_in()
    os.dup2(2, 1)
    if processor_s is not None:
        used = resource.getrusage(resource.RUSAGE_SELF)
        _lower(resource.RLIMIT_CPU, int(used.ru_utime + used.ru_stime) + processor_s)
        _lower(resource.RLIMIT_CORE, 0)
        _lower(resource.RLIMIT_DATA, memory_bytes())


def _lower(kind: int, limit: int) -> None:
    soft, hard = resource.getrlimit(kind)
    if soft == resource.RLIM_INFINITY or limit < soft:
        resource.setrlimit(kind, (limit, hard))
