"""What makes files survive a kill and tell of damage. Knows no format but the user block."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

USER_BLOCK_BYTES = 512
"""In front of an HDF5 file; HDF5 leaves them to the user."""
DISK_ERRORS = (
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EROFS,
    errno.EFBIG,
    errno.EIO,
    errno.ESTALE,
)
"""What a disk does to a job, and no change of the input would mend."""


def user_block(title: str, digest: str) -> bytes:
    """A user block that says what the file is and which SHA-256 all bytes behind the block have.

    It is compared before the HDF5 library sees a file: on damaged metadata the library may loop
    for ever or end the process.

    Args:
        title: one line.
        digest: 64 hexadecimal digits.
    """
    return f"{title}\n{digest}\n".encode().ljust(USER_BLOCK_BYTES)


def fsync_directory(path: Path) -> None:
    """Makes a new or renamed file in the directory survive a power loss."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Puts the file into an OSError from inside: one of ``write`` or ``fsync`` names none."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


def remove(path: Path) -> None:
    """Removes a file or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def no_file(path: Path) -> str:
    """Why this is no file that could be opened, for a message."""
    return "it is a folder, not a file" if path.is_dir() else "there is no such file"
