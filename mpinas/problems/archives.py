"""Reads zip and tar archives without unpacking them to disk, and believes nothing they declare.

Comes in: a path. Comes out: paths of the files inside, and their contents in the order in which
they are stored. Whatever is wrong with an archive is a ``DataFault``. Knows no images.
"""

from __future__ import annotations

import bz2
import contextlib
import gzip
import lzma
import pathlib
import stat
import struct
import tarfile
import unicodedata
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from typing import IO, Any, BinaryIO, NoReturn, cast

from mpinas.errors import DataFault, fault
from mpinas.problems import plausible

MOST_FILE_BYTES = 2 << 30
"""Of one file inside: it is held in memory. The largest of a known data set is EMNIST's 547 MB."""

MOST_HEADER_BYTES = 64 << 10
"""Of one tar header with everything that belongs to it; a path on Linux has 4 KiB at most."""

_PART_BYTES = 1 << 20
_LONGEST_SHOWN = 200
_NEVER_SHOWN = ("Cc", "Cs", "Zl", "Zp")  # Unicode's controls, line ends, and bytes that are no text
_BLOCK_BYTES = 512
_ENCRYPTED = 0x2041  # bits of the flags: encrypted, strongly, with hidden names
_IS_UTF8 = 0x800
_ZIP_NAME_AT = 30
_ZIP_END = b"PK\x05\x06"
_ZIP_END_BYTES = 22 + 0xFFFF
PACKINGS: Mapping[bytes, Callable[[pathlib.Path], Any]] = {
    b"\x1f\x8b": gzip.GzipFile,
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ\x00": lzma.LZMAFile,
}
"""First bytes of what a tar can be packed with, and what unpacks it."""


def inner_path(source: str, name: str) -> str | None:
    """The path of a file below the root of its tree.

    Args:
        source: names the tree in messages.
        name: as it is stored, with slashes.

    Returns:
        It without needless parts; None for a hidden file and what macOS adds to archives.

    Raises:
        DataFault: it leads out of the tree, or has characters that cannot be shown.
    """
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if name.startswith("/") or ".." in parts:
        refuse(source, "a path leads out of it", f"path={shown(name)}")
    if not parts or any(part.startswith(".") or part == "__MACOSX" for part in parts):
        return None
    if not name.isprintable() and any(unicodedata.category(one) in _NEVER_SHOWN for one in name):
        rule, received = "a path has characters that cannot be shown", f"path={shown(name)}"
        refuse(source, rule, received, cure="Rename the file")
    return "/".join(parts)


def shown(name: str) -> str:
    """A name that fits into a line of a message."""
    text = name if name.isprintable() else ascii(name)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}..."


def refuse(
    where: str, rule: str, received: str = "", cure: str = "", allowed: str = ""
) -> NoReturn:
    """Raises a ``DataFault`` of one line."""
    raise DataFault(fault(where, rule, received, allowed, cure))


def unreadable(where: str, error: Exception) -> str:
    """The line for what Python could not read."""
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return fault(where, "it cannot be read", f"error={shown(reason)}", cure="Get it again")


@contextlib.contextmanager
def _damage_named(where: str) -> Iterator[None]:
    """Turns whatever the readers of the standard library raise on damaged bytes into a line."""
    try:
        yield
    except DataFault:
        raise
    except Exception as error:
        raise DataFault(unreadable(where, error)) from error


class _Unpacked:
    """Counts what really comes out of an archive in one pass.

    Args:
        source: names the archive in messages.
        packed_bytes: its size.
    """

    def __init__(self, source: str, packed_bytes: int) -> None:
        self._source = source
        self._packed_bytes = packed_bytes
        self._bytes = 0

    def add(self, count: int) -> None:
        """Raises DataFault when that is more than comes out of an honest archive."""
        self._bytes += count
        most = max(plausible.UNSUSPICIOUS_BYTES, plausible.MOST_PACKING * self._packed_bytes)
        if self._bytes > most:
            rule = "it unpacks to far more than it holds"
            received = f"packed bytes={self._packed_bytes}, unpacked bytes=more than {most}"
            cure = "If the data are really like this, set problem.path to the unpacked folder"
            refuse(self._source, rule, received, cure=cure)


def refuse_large(where: str, size: int) -> None:
    """Raises a ``DataFault`` for a file that would not fit into memory."""
    if size > MOST_FILE_BYTES:
        received, allowed = f"bytes={size}", f"At most {MOST_FILE_BYTES} bytes"
        refuse(where, "a file is larger than can be read", received, allowed=allowed)


class ZipReader:
    """A zip archive.

    Args:
        path: of the archive.
    """

    def __init__(self, path: pathlib.Path) -> None:
        self._path = path
        self._source = str(path)

    def paths(self) -> Iterator[str]:
        """Paths of its files, and of its folders with a slash at the end.

        Raises:
            DataFault: it is damaged or encrypted, or holds a link or a path that leads out of it.
        """
        with _damage_named(self._source), zipfile.ZipFile(self._path) as archive:
            refuse_damaged_directory(self._path, archive.infolist())
            for path, info in self._entries(archive):
                if not info.is_dir():
                    self._refuse_other_than_file(path, info)
                yield f"{path}/" if info.is_dir() else path

    def contents(self, wanted: Set[str]) -> Iterator[tuple[str, bytes]]:
        """Each wanted file, in the order in which they are stored.

        Raises:
            DataFault: one is damaged or not as large as it declares, or it is a bomb.
        """
        unpacked = _Unpacked(self._source, self._path.stat().st_size)
        with _damage_named(self._source), zipfile.ZipFile(self._path) as archive:
            entries = [entry for entry in self._entries(archive) if entry[0] in wanted]
            for path, info in sorted(entries, key=lambda entry: entry[1].header_offset):
                where = f"{self._source}, file {path}"
                with _damage_named(where):
                    content = _zip_content(archive, info, unpacked, where)
                yield path, content

    def _entries(self, archive: zipfile.ZipFile) -> Iterator[tuple[str, zipfile.ZipInfo]]:
        for info in archive.infolist():
            path = inner_path(self._source, info.filename.replace("\\", "/"))
            if path is not None:
                yield path, info

    def _refuse_other_than_file(self, path: str, info: zipfile.ZipInfo) -> None:
        where = f"{self._source}, file {path}"
        kind = stat.S_IFMT(info.external_attr >> 16)
        if info.flag_bits & _ENCRYPTED:
            refuse(where, "it is encrypted", cure="Set problem.path to the unpacked folder")
        if kind == stat.S_IFLNK:
            refuse(where, "it is a link", cure="Write the archive with `zip -r`, without -y")
        if kind not in (0, stat.S_IFREG):
            refuse(where, "neither a file nor a folder", cure="Leave it out of the archive")


def refuse_damaged_directory(path: pathlib.Path, entries: Sequence[zipfile.ZipInfo]) -> None:
    """Compares with what stands twice: the directory of a zip has no checksum.

    Raises:
        DataFault: the number of files, or the name of one, is not the same in both places.
    """
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _ZIP_END_BYTES))
        end = file.read()
        (declared,) = struct.unpack_from("<H", end, end.rindex(_ZIP_END) + 10)
        names_agree = all(_stands_before_content(file, entry) for entry in entries)
    if declared not in (0xFFFF, len(entries) & 0xFFFF) or not names_agree:
        received = f"files declared={declared}, found={len(entries)}"
        refuse(str(path), "its list of files is damaged", received, cure="Get the archive again")


def _stands_before_content(file: BinaryIO, entry: zipfile.ZipInfo) -> bool:
    """Whether the name in the directory is the one that stands before the content."""
    name = entry.orig_filename.encode("utf-8" if entry.flag_bits & _IS_UTF8 else "cp437")
    file.seek(entry.header_offset + _ZIP_NAME_AT)
    return file.read(len(name)) == name


def _zip_content(
    archive: zipfile.ZipFile, info: zipfile.ZipInfo, unpacked: _Unpacked, where: str
) -> bytes:
    refuse_large(where, info.file_size)
    bounded = info.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
    part_bytes = _PART_BYTES if bounded else 1  # of others all comes out that a part unpacks to
    content = bytearray()
    with archive.open(info) as stream:
        while part := stream.read(part_bytes):
            content += part
            unpacked.add(len(part))
    if len(content) != info.file_size:
        received = f"declared bytes={info.file_size}, bytes={len(content)}"
        refuse(where, "its size is not the one it declares", received, cure="Get the archive again")
    return bytes(content)


class TarReader:
    """A tar archive, packed with gzip, bzip2 or xz or not at all.

    Args:
        path: of the archive.
    """

    def __init__(self, path: pathlib.Path) -> None:
        self._path = path
        self._source = str(path)

    def paths(self) -> Iterator[str]:
        """Paths of its files, and of its folders with a slash at the end.

        All of the archive is looked at, checksums included.

        Raises:
            DataFault: it is damaged, is a bomb, or holds a link, a device, or a path that leads
                out of it.
        """
        with _damage_named(self._source):
            for path, member, _ in self._entries():
                if not member.isdir():
                    self._refuse_other_than_file(path, member)
                yield f"{path}/" if member.isdir() else path

    def contents(self, wanted: Set[str]) -> Iterator[tuple[str, bytes]]:
        """Each wanted file, in the order in which they are stored.

        Raises:
            DataFault: one is damaged, cut short or too large, or the archive is a bomb.
        """
        left = len(wanted)
        with _damage_named(self._source):
            for path, member, stream in self._entries() if left else ():
                if path in wanted:
                    where = f"{self._source}, file {path}"
                    refuse_large(where, member.size)
                    stream.seek(member.offset_data)
                    content = stream.take(member.size)
                    if len(content) < member.size:
                        refuse(where, "the archive ends inside it", cure="Get the archive again")
                    yield path, content
                    left -= 1
                if not left:
                    return

    def _refuse_other_than_file(self, path: str, member: tarfile.TarInfo) -> None:
        where = f"{self._source}, file {path}"
        if member.islnk() or member.issym():
            cure = "Write the archive with `tar -h --hard-dereference`"
            refuse(where, "it is a link", cure=cure)
        if not member.isreg():
            refuse(where, "neither a file nor a folder", cure="Leave it out of the archive")
        if member.issparse():
            refuse(where, "it is stored sparse", cure="Write the archive without --sparse")

    def _entries(self) -> Iterator[tuple[str, tarfile.TarInfo, _Forward]]:
        """Everything but hidden files, from the first byte to the last."""
        with self._path.open("rb") as file:
            start = file.read(max(map(len, PACKINGS)))
        opened = next((PACKINGS[magic] for magic in PACKINGS if start.startswith(magic)), None)
        packed_bytes = self._path.stat().st_size
        with opened(self._path) if opened else self._path.open("rb") as file:
            stream = _Forward(file, _Unpacked(self._source, packed_bytes), skips=opened is None)
            archive = tarfile.TarFile(
                fileobj=cast("IO[bytes]", stream), encoding="utf-8", errors="surrogateescape"
            )
            for member in archive:
                cast("Any", archive).members.clear()  # it keeps a million of them otherwise
                if member.size < 0:
                    raise ValueError("a size is negative")
                path = inner_path(self._source, member.name)
                if path is not None:
                    yield path, member, stream
            if stream.last_read.count(0) != _BLOCK_BYTES:
                refuse(self._source, "it is cut short or damaged", cure="Get the archive again")
            stream.drain()


class _Forward:
    """What ``tarfile`` reads from: goes forward only, counts, and hands out no endless header.

    Args:
        file: the tar, unpacked.
        unpacked: is told what comes out of ``file``.
        skips: whether ``file`` can leave bytes out without reading them.
    """

    def __init__(self, file: IO[bytes], unpacked: _Unpacked, *, skips: bool) -> None:
        self._file = file
        self._unpacked = unpacked
        self._skips = skips
        self._position = 0
        self.last_read = b""

    def tell(self) -> int:
        """Bytes from the start."""
        return self._position

    def read(self, size: int) -> bytes:
        """Part of a header.

        Raises:
            ValueError: a header of this size is none.
        """
        if not 0 <= size <= MOST_HEADER_BYTES:
            raise ValueError(f"a header has {size} bytes")
        self.last_read = self.take(size)
        return self.last_read

    def seek(self, position: int) -> None:
        """Goes there, or to the end if that comes first.

        Raises:
            ValueError: it lies behind.
        """
        if position < self._position:
            raise ValueError("a size is negative")
        if self._skips:
            self._file.seek(position)
            self._position = position
            return
        while (left := position - self._position) and self._part(left):
            pass

    def take(self, size: int) -> bytes:
        """The next bytes, fewer where the archive ends."""
        content = self._part(size)
        if len(content) < size:
            parts = [content]
            while (left := size - sum(map(len, parts))) and (part := self._part(left)):
                parts.append(part)
            content = b"".join(parts)
        return content

    def drain(self) -> None:
        """Goes to the end, where gzip, bzip2 and xz compare their checksums.

        Raises:
            ValueError: there is something behind the end of the tar: another one, for instance.
        """
        while part := self._part(_PART_BYTES):
            if part.count(0) != len(part):
                raise ValueError("there is more behind its end; two archives may have been joined")

    def _part(self, size: int) -> bytes:
        part = self._file.read(min(size, _PART_BYTES))
        self._position += len(part)
        self._unpacked.add(len(part))
        return part
