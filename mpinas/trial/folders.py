"""Folders for the temporary files of trials, and what is left of those nobody can remove any more.

Every trial has one: TensorFlow writes the code it generates to temporary files and removes them
only at an orderly end, which a child that is killed or leaves by ``os._exit`` does not have. The
forkserver removes the folder then; where it was killed itself, the next one does. For that the
name says which process on which machine made the folder.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import socket
import tempfile
from pathlib import Path

PREFIX = "mpinas-trial"
_NAME = re.compile(PREFIX + r"-([0-9]+)-([0-9a-f]{8})-.+")


def make() -> str:
    """A new folder of this process. Raises OSError where there can be none."""
    return tempfile.mkdtemp(prefix=f"{PREFIX}-{os.getpid()}-{_machine()}-")


def shared() -> Path:
    """Where this machine's trials have their folders, asked by one of them or by anybody else."""
    folder = Path(tempfile.gettempdir())
    return folder.parent if _NAME.fullmatch(folder.name) else folder


def remove(folder: str | None) -> None:
    """Removes it with all that is in it, as far as that can be."""
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)


def sweep() -> None:
    """Removes what this user's processes on this machine left here and cannot remove any more."""
    with contextlib.suppress(OSError):
        for folder in Path(tempfile.gettempdir()).iterdir():
            if _is_left(folder):
                remove(str(folder))


def _is_left(folder: Path) -> bool:
    match = _NAME.fullmatch(folder.name)
    if match is None or match[2] != _machine():
        return False
    with contextlib.suppress(OSError):
        own = folder.lstat().st_uid == os.getuid()
        return own and not os.path.exists(f"/proc/{match[1]}")
    return False


def _machine() -> str:
    """Where a process number means something: the host and its pid namespace.

    A folder for temporary files may be shared by several of them.
    """
    namespace = ""
    with contextlib.suppress(OSError):
        namespace = os.readlink("/proc/self/ns/pid")
    return hashlib.sha256(f"{socket.gethostname()} {namespace}".encode()).hexdigest()[:8]
