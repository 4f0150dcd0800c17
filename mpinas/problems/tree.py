"""All files of a folder, a zip or a tar archive as one thing, read and never unpacked to disk.

Comes in: a path that a user gave. Comes out: a ``Tree``. Knows no images and no layouts.
"""

from __future__ import annotations

import collections
import contextlib
import os
import pathlib
import tarfile
import zipfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass

from mpinas.errors import DataFault
from mpinas.problems.archives import (
    PACKINGS,
    TarReader,
    ZipReader,
    inner_path,
    refuse,
    refuse_large,
    shown,
    unreadable,
)

_KINDS = "A folder, or an archive: .zip, .tar, .tar.gz, .tar.bz2 or .tar.xz"
_ZIP_START = b"PK"
_TAR_MARK, _TAR_MARK_AT = b"ustar", 257


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """The files of a folder or of an archive.

    Attributes:
        source: the path, for messages.
        paths: of the files, relative, with slashes, sorted. Hidden ones are left out.
        folders: the same of the folders, as far as the archive names them; may be empty ones.
        reading: yields path and content of those that are asked for, in the order in which they
            are stored.
    """

    source: str
    paths: tuple[str, ...]
    folders: tuple[str, ...]
    reading: Callable[[Set[str]], Iterator[tuple[str, bytes]]]

    def contents(self, wanted: Collection[str]) -> Iterator[tuple[str, bytes]]:
        """Reads each wanted file once, in the order in which they are stored.

        Args:
            wanted: of ``paths``.

        Raises:
            DataFault: a file cannot be read, or is not there any more.
        """
        left = set(wanted)
        for path, content in self.reading(frozenset(left)):
            left.discard(path)
            yield path, content
        if left:
            refuse(self.source, "a file has gone while others were read", f"file={min(left)}")

    def read(self, path: str) -> bytes:
        """Reads one file.

        Raises:
            DataFault: it cannot be read.
        """
        ((_, content),) = self.contents([path])
        return content


@contextlib.contextmanager
def open_tree(path: pathlib.Path) -> Iterator[Tree]:
    """Looks at the files of a folder or an archive; what an archive is, its first bytes tell.

    Raises:
        DataFault: there is nothing or nothing of this kind, it holds no files, one path twice, a
            link that leads out of a folder or any link in an archive, a device, a path that leads
            out of it; it is encrypted, cut short, damaged, or unpacks to far more than it holds.
    """
    source = str(path)
    try:
        entries, reading = _looked_at(path)
        counts = collections.Counter(entries)
    except OSError as error:
        raise DataFault(unreadable(source, error)) from error
    folders = sorted(path.rstrip("/") for path in counts if path.endswith("/"))
    paths = tuple(sorted(path for path in counts if not path.endswith("/")))
    _refuse_none_or_twice(source, paths, counts)
    yield Tree(source=source, paths=paths, folders=tuple(folders), reading=reading)


def _looked_at(
    path: pathlib.Path,
) -> tuple[Iterator[str], Callable[[Set[str]], Iterator[tuple[str, bytes]]]]:
    if path.is_dir():
        folder = _Folder(path)
        return folder.paths(), folder.contents
    if not path.exists():
        refuse(str(path), "there is no such file or folder", allowed=_KINDS)
    if not path.is_file():
        refuse(str(path), "neither a file nor a folder", allowed=_KINDS)
    with path.open("rb") as file:
        start = file.read(tarfile.BLOCKSIZE)
    if start.startswith(tuple(PACKINGS)) or _is_tar(start):
        tar = TarReader(path)
        return tar.paths(), tar.contents
    if start.startswith(_ZIP_START) or zipfile.is_zipfile(path):
        archive = ZipReader(path)
        return archive.paths(), archive.contents
    received = f"first bytes={start[:4].hex(' ') or 'none'}"
    refuse(str(path), "not an archive that is known", received, allowed=_KINDS)


def _is_tar(start: bytes) -> bool:
    """By its mark, which may stand in a damaged header; before 1988 there was a checksum only."""
    if start[_TAR_MARK_AT:].startswith(_TAR_MARK):
        return True
    with contextlib.suppress(tarfile.HeaderError):
        tarfile.TarInfo.frombuf(start, "utf-8", "surrogateescape")
        return True
    return False


def _refuse_none_or_twice(source: str, paths: Sequence[str], counts: Mapping[str, int]) -> None:
    if not paths:
        refuse(source, "there are no files in it", allowed=_KINDS)
    twice = next((path for path in paths if counts[path] > 1), None)
    if twice:
        refuse(source, "it has two files with one path", f"path={twice}")


class _Folder:
    """A folder and everything below it.

    Args:
        path: of the folder; may be a link to it.
    """

    def __init__(self, path: pathlib.Path) -> None:
        self._source = str(path)
        self._root = os.path.realpath(path)

    def paths(self) -> Iterator[str]:
        """Paths of its files, and of its folders with a slash at the end.

        Raises:
            DataFault: a link leads out of the folder, nowhere, or into a circle; something is
                neither a file nor a folder.
            OSError: a folder cannot be listed.
        """
        waiting: list[tuple[str, tuple[str, ...]]] = [("", (self._root,))]
        while waiting:
            prefix, above = waiting.pop()
            with os.scandir(os.path.join(self._root, prefix)) as entries:
                for entry in entries:
                    path = inner_path(self._source, prefix + entry.name)
                    if path is None:
                        continue
                    if entry.is_symlink():
                        self._refuse_bad_link(path, entry.path)
                    if entry.is_dir():
                        waiting.append((f"{path}/", self._deeper(path, entry, above)))
                        yield f"{path}/"
                    elif entry.is_file():
                        yield path
                    else:
                        refuse(f"{self._source}, file {path}", "neither a file nor a folder")

    def contents(self, wanted: Set[str]) -> Iterator[tuple[str, bytes]]:
        """Each wanted file, sorted by path.

        Raises:
            DataFault: one is too large or cannot be read.
        """
        for path in sorted(wanted):
            where = f"{self._source}, file {path}"
            try:
                with open(os.path.join(self._root, path), "rb") as file:
                    refuse_large(where, os.fstat(file.fileno()).st_size)
                    content = file.read()
            except OSError as error:
                raise DataFault(unreadable(where, error)) from error
            yield path, content

    def _refuse_bad_link(self, path: str, link: str) -> None:
        where = f"{self._source}, file {path}"
        target = os.path.realpath(link)
        if target != self._root and not target.startswith(os.path.join(self._root, "")):
            received = f"target={shown(target)}"
            cure = "Put the files themselves into the folder"
            refuse(where, "a link leads out of the folder", received, cure=cure)
        if not os.path.exists(link):
            refuse(where, "a link leads nowhere", f"target={shown(target)}", cure="Remove the link")

    def _deeper(
        self, path: str, folder: os.DirEntry[str], above: tuple[str, ...]
    ) -> tuple[str, ...]:
        """The real folders from the root to this one, none of them twice."""
        is_link = folder.is_symlink()
        real = os.path.realpath(folder) if is_link else os.path.join(above[-1], folder.name)
        if real in above:
            where = f"{self._source}, folder {path}"
            refuse(where, "a link leads to a folder that it stands in", cure="Remove the link")
        return (*above, real)
