"""A copy of the prepared file on a node's own disk, made once for all trials of the node.

Random reads through a mapping are slow on parallel file systems. Nothing here fails a trial:
where no copy can be made, the shared file is used, and a warning says why.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import re
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from mpinas.files import USER_BLOCK_BYTES
from mpinas.problems.prepared import FORMAT

_LOG = logging.getLogger(__name__)
_OWNER_ONLY = 0o700
_COPY_BYTES = 1 << 24


def staged(file: Path, folder: Path) -> Path:
    """The node's copy of a prepared file, or the file itself where there can be none.

    The copy is named by the file's SHA-256, so equal data are copied once whatever run wants
    them, and other data never take their place. Of many processes that start at once one copies
    and the others wait. The copy stays for the next job; schedulers clear ``$TMPDIR`` themselves.

    Args:
        file: prepared; what is none is given back as it is, to be refused by who opens it.
        folder: for temporary files, on a disk of the node's own, possibly shared with other users.
    """
    try:
        block = _user_block(file)
        match = re.match(rf"{re.escape(FORMAT)}\n([0-9a-f]{{64}})\n".encode(), block)
        if match is None:
            return file
        digest = match[1].decode()
        own = _own_folder(folder)
        copy = own / f"{digest}.h5"
        if not _is_copy(copy, file, block):
            with _locked(own / f"{digest}.lock"):
                if not _is_copy(copy, file, block):
                    _copy(file, copy)
    except OSError as error:
        reason = error.strerror or str(error)
        _LOG.warning("%s is used where it is; it cannot be copied to %s: %s", file, folder, reason)
        return file
    return copy


def _user_block(file: Path) -> bytes:
    with file.open("rb", buffering=0) as stream:
        return stream.read(USER_BLOCK_BYTES)


def _own_folder(folder: Path) -> Path:
    """This user's folder below one where others may have laid traps.

    Raises:
        OSError: it cannot be made, or the name is taken by something that others can write to.
    """
    own = folder / f"mpinas-data-{os.getuid()}"
    with contextlib.suppress(FileExistsError):
        own.mkdir(mode=_OWNER_ONLY)
    found = own.lstat()
    others = stat.S_IMODE(found.st_mode) & ~_OWNER_ONLY
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or others:
        raise PermissionError(f"{own} is not a folder of this user alone")
    return own


@contextlib.contextmanager
def _locked(file: Path) -> Iterator[None]:
    """Waits for the lock, which the kernel releases when its holder dies, however it dies."""
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _is_copy(copy: Path, file: Path, block: bytes) -> bool:
    """Whether there is a whole copy: as long as the file, and saying the same SHA-256."""
    try:
        return copy.stat().st_size == file.stat().st_size and _user_block(copy) == block
    except FileNotFoundError:
        return False


def _copy(file: Path, copy: Path) -> None:
    """Copies whole or not at all, also if the process is killed meanwhile. The lock is held."""
    part = copy.with_suffix(".part")
    part.unlink(missing_ok=True)  # of a process that was killed while it had the lock
    try:
        with file.open("rb") as source, part.open("xb") as target:
            os.fchmod(target.fileno(), 0o600)
            # A disk that is too small says so at once, and is not filled for others first.
            os.posix_fallocate(target.fileno(), 0, max(1, os.fstat(source.fileno()).st_size))
            shutil.copyfileobj(source, target, _COPY_BYTES)
            target.flush()
            os.fsync(target.fileno())
        part.replace(copy)
    finally:
        part.unlink(missing_ok=True)
