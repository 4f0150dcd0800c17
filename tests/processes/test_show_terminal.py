"""``show`` on a real terminal: it draws over itself, and leaves the terminal as it was."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from searching import drive, new_run, search_in

from mpinas.ownership import claim, release
from mpinas.run_directory import RunDirectory, RunningTrial, Status, save_status

LIMIT_S = 120
SCREEN_ON, SCREEN_OFF = b"\x1b[?1049h", b"\x1b[?1049l"
CURSOR_OFF, CURSOR_ON = b"\x1b[?25l", b"\x1b[?25h"
COLOUR = re.compile(rb"\x1b\[[0-9;]*\b(3[0-7]|4[0-7]|38|48|9[0-7])\b[0-9;]*m")


@pytest.fixture
def living(tmp_path: Path) -> Iterator[RunDirectory]:
    """A run whose job is this process."""
    directory = new_run(tmp_path, "run")
    drive(search_in(directory), stop_after=8)
    owner = claim(directory, 10.0)
    running = (RunningTrial(trial_id="g001-t000", host="node7", rank=2, epoch=1, epochs=2),)
    save_status(directory, Status(workers=2, wall_time_s=60.0, running=running))
    yield directory
    release(directory, owner)


class Terminal:
    """A process on a terminal of its own, and all that it wrote there."""

    def __init__(
        self, *arguments: object, columns: int = 80, own_session: bool = True, **environment: str
    ) -> None:
        self._terminal, side = pty.openpty()
        fcntl.ioctl(side, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        self._settings = termios.tcgetattr(side)
        self.written = b""
        kept = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "mpinas", "show", *map(str, arguments)],
            stdin=side,
            stdout=side,
            stderr=side,
            env={**kept, "TERM": "xterm-256color", **environment},
            start_new_session=own_session,
            process_group=None if own_session else 0,
        )
        os.close(side)

    def wait_for(self, text: bytes, times: int = 1) -> None:
        give_up_s = time.monotonic() + LIMIT_S
        while self.written.count(text) < times:
            assert time.monotonic() < give_up_s, self.written
            self._read()

    def end(self) -> int:
        """Its exit code, when it has ended and all was read."""
        give_up_s = time.monotonic() + LIMIT_S
        while self.process.poll() is None:
            assert time.monotonic() < give_up_s, self.written
            self._read()
        while self._read():
            pass
        assert termios.tcgetattr(self._terminal) == self._settings
        os.close(self._terminal)
        return self.process.returncode

    def _read(self) -> bool:
        if not select.select([self._terminal], [], [], 0.1)[0]:
            return False
        try:
            text = os.read(self._terminal, 65536)
        except OSError:  # nobody has the other side any more
            return False
        self.written += text
        return bool(text)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_follows_until_it_is_asked_to_stop_and_restores_the_terminal(
    living: RunDirectory, number: int
) -> None:
    terminal = Terminal(living.path)
    terminal.wait_for(b"Ctrl-C")
    terminal.process.send_signal(number)
    assert terminal.end() == 0
    written = terminal.written
    assert COLOUR.search(written)
    assert (written.count(SCREEN_ON), written.count(SCREEN_OFF)) == (1, 1)
    assert written.index(CURSOR_OFF) < written.rindex(CURSOR_ON)
    after = written[written.index(SCREEN_OFF) :]
    assert b"small: running" in after, "what was seen last stays on the terminal"
    assert b"Traceback" not in written


def test_while_it_is_suspended_the_terminal_is_as_it_was(living: RunDirectory) -> None:
    """A shell with job control gives its children process groups of their own, in its session."""
    terminal = Terminal(living.path, own_session=False)
    terminal.wait_for(b"Ctrl-C")
    for times in (1, 2):
        terminal.process.send_signal(signal.SIGTSTP)
        _, status = os.waitpid(terminal.process.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status)
        terminal.wait_for(SCREEN_OFF, times)
        assert terminal.written.rindex(CURSOR_ON) > terminal.written.rindex(CURSOR_OFF)
        terminal.process.send_signal(signal.SIGCONT)
        terminal.wait_for(SCREEN_ON, times + 1)
        terminal.wait_for(b"Ctrl-C", times + 1)
    terminal.process.send_signal(signal.SIGINT)
    assert terminal.end() == 0
    assert (terminal.written.count(SCREEN_ON), terminal.written.count(SCREEN_OFF)) == (3, 3)


def test_where_nobody_could_have_it_go_on_it_is_not_suspended(living: RunDirectory) -> None:
    """The kernel keeps process groups without a shell from stopping."""
    terminal = Terminal(living.path)
    terminal.wait_for(b"Ctrl-C")
    terminal.process.send_signal(signal.SIGTSTP)
    terminal.wait_for(SCREEN_ON, 2)
    terminal.wait_for(b"Ctrl-C", 2)
    terminal.process.send_signal(signal.SIGINT)
    assert terminal.end() == 0


def test_it_ends_with_the_run_and_prints_it(living: RunDirectory) -> None:
    terminal = Terminal(living.path)
    terminal.wait_for(b"Ctrl-C")
    living.owner.unlink()
    assert terminal.end() == 0
    after = terminal.written[terminal.written.index(SCREEN_OFF) :]
    assert b"small: stopped" in after
    assert b"accuracy" in after


@pytest.mark.parametrize("name", ["dumb", ""])
def test_a_terminal_that_can_only_print_gets_lines(living: RunDirectory, name: str) -> None:
    terminal = Terminal(living.path, TERM=name)
    terminal.wait_for(b"generation 2 of 3")
    terminal.process.send_signal(signal.SIGINT)
    assert terminal.end() == 0
    assert b"\x1b[?" not in terminal.written


def test_without_colour_there_is_none(living: RunDirectory) -> None:
    terminal = Terminal(living.path, NO_COLOR="1", columns=40)
    terminal.wait_for(b"g001-t000")
    terminal.process.send_signal(signal.SIGINT)
    assert terminal.end() == 0
    assert SCREEN_ON in terminal.written
    assert not COLOUR.search(terminal.written)


def test_once_is_once(living: RunDirectory) -> None:
    terminal = Terminal(living.path, "--once")
    assert terminal.end() == 0
    assert SCREEN_ON not in terminal.written
    assert b"small: running" in terminal.written


def test_letters_that_the_terminal_has_not_end_nothing(living: RunDirectory) -> None:
    terminal = Terminal(living.path, PYTHONIOENCODING="ascii", columns=40)
    terminal.wait_for(b"Ctrl-C")
    terminal.process.send_signal(signal.SIGINT)
    assert terminal.end() == 0
