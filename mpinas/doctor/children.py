"""Programs of the doctor in processes of their own, which may hang, crash or be killed.

A program is a module of ours with ``main(argument)``; it prints a JSON object a line, and what it
printed before its end is what is known. The child is no MPI rank, and dies with the doctor.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import IO, Any

from mpinas.environment import scrubbed
from mpinas.signals import STOP_SIGNALS, die_with_parent, let_signals_in

PROGRAM = """\
import json, sys
path, *arguments = json.loads(sys.argv[1])
sys.path[:] = path
from mpinas.doctor.children import serve
serve(*arguments)
"""
LONGEST_WORDS = 300
DEATH_LIMIT_S = 5.0
LATE = "it had not ended after"


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What became of a program.

    Attributes:
        lines: that it printed, whole ones.
        ending: how it ended otherwise than by itself and well; else empty.
        last_words: the last line that it wrote to standard error.
    """

    lines: tuple[Mapping[str, Any], ...] = ()
    ending: str = ""
    last_words: str = ""

    @property
    def late(self) -> bool:
        """Whether it was killed for its time."""
        return self.ending.startswith(LATE)

    def find(self, stage: str) -> Mapping[str, Any] | None:
        """The first line of that stage."""
        return next((line for line in self.lines if line.get("stage") == stage), None)


def ask(module: str, argument: Any, environment: Mapping[str, str], limit_s: float) -> Told:
    """Runs a program to its end, or to the end of its time.

    Args:
        module: dotted name.
        argument: of its ``main``, in JSON.
        environment: of this process, with what the child shall have in addition.
    """
    orders = json.dumps([sys.path, module, argument, os.getpid()])
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        try:
            child = subprocess.Popen(
                [sys.executable, "-c", PROGRAM, orders],
                env=scrubbed(environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
                start_new_session=True,
            )
        except OSError as error:
            return Told(ending=f"error={error.strerror}")
        ending = _ending(child, limit_s)
        return Told(lines=_lines(output), ending=ending, last_words=_last_words(errors))


def _ending(child: subprocess.Popen[bytes], limit_s: float) -> str:
    """Waits for the child; kills it and what it started when its time is over.

    One that waits for a dead file system outlives even that, and is not waited for.
    """
    try:
        code = child.wait(limit_s)
    except subprocess.TimeoutExpired:
        return f"{LATE} {limit_s:g} s"
    finally:
        if child.returncode is None:
            os.killpg(child.pid, signal.SIGKILL)
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(DEATH_LIMIT_S)
    if code < 0:
        return f"signal={signal.Signals(-code).name}"
    return f"exit code={code}" if code else ""


def _lines(output: IO[bytes]) -> tuple[Mapping[str, Any], ...]:
    output.seek(0)
    found: list[Mapping[str, Any]] = []
    for line in output.read().decode(errors="replace").splitlines():
        with contextlib.suppress(json.JSONDecodeError):
            said = json.loads(line)
            found += [said] if isinstance(said, dict) else []
    return tuple(found)


def _last_words(errors: IO[bytes]) -> str:
    errors.seek(0)
    lines = [line.strip() for line in errors.read().decode(errors="replace").splitlines()]
    return next((line[:LONGEST_WORDS] for line in reversed(lines) if line), "")


def serve(module: str, argument: Any, parent_pid: int) -> None:
    """In the child: its whole life."""
    die_with_parent(parent_pid)
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    let_signals_in()
    tell("started")
    importlib.import_module(module).main(argument)


def tell(stage: str, **what: Any) -> None:
    """In the child: prints a line for the doctor, at once."""
    os.write(1, json.dumps({"stage": stage, **what}).encode() + b"\n")


def one_line(error: BaseException) -> str:
    """An exception for people: its name and the beginning of what it says."""
    said = " ".join(str(error).split())
    return f"{type(error).__name__}: {said}"[:LONGEST_WORDS]
