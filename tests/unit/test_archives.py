"""Archives: damage is seen, nothing leads out of them, and nothing they declare is believed."""

from __future__ import annotations

import bz2
import gzip
import lzma
import stat
import tarfile
import tracemalloc
import zipfile

import numpy as np
import pytest
from tree_files import (
    ARCHIVES,
    FILES,
    LONG,
    TARS,
    faults_of,
    read_all,
    save,
    save_tar,
    save_zip,
)

from mpinas.errors import DataFault
from mpinas.problems import archives, plausible

PACK = {"tar": bytes, "gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}


@pytest.mark.parametrize("kind", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT])
def test_forms_of_tar(tmp_path, kind):
    files = {"a/1.png": b"x" * 512, "a/2.png": b"y" * 513, "b/3.png": b"", "c/4.png": b"z"}
    files |= {} if kind == tarfile.USTAR_FORMAT else {LONG: b"deep", "größe/1": b"umlaut"}
    assert read_all(save_tar(files, tmp_path, form=kind)) == files


# Damage


@pytest.mark.parametrize("kind", ARCHIVES)
def test_a_shorter_archive_is_refused(tmp_path, kind):
    """Two kilobytes of a tar are only its padding; in front of that no cut may pass."""
    path = save(kind, {**FILES, "z/last.png": bytes(range(256)) * 40}, tmp_path)
    content = path.read_bytes()
    padding = 10_240 if kind == "tar" else 0
    for length in {*range(0, len(content) - padding, 97), len(content) - padding - 1}:
        path.write_bytes(content[:length])
        if kind == "tar" and length > len(content) - padding:
            continue
        faults_of(path)


def test_a_tar_cut_after_a_member_is_refused(tmp_path):
    path = save_tar(FILES, tmp_path)
    content = path.read_bytes()
    with tarfile.open(path) as archive:
        offsets = [member.offset for member in archive.getmembers()]
    for offset in offsets[1:]:
        path.write_bytes(content[:offset])
        assert "cut short or damaged" in faults_of(path)[0]


@pytest.mark.parametrize("kind", TARS)
def test_a_damaged_header_does_not_end_the_archive_early(tmp_path, kind):
    """Python's reader takes a header with a wrong checksum for the end."""
    path = save_tar(FILES, tmp_path)
    content = bytearray(path.read_bytes())
    with tarfile.open(path) as archive:
        content[archive.getmembers()[2].offset] ^= 1
    path.write_bytes(PACK[kind](bytes(content)))
    assert "cut short or damaged" in faults_of(path)[0]


@pytest.mark.parametrize("kind", ARCHIVES)
def test_flipped_bits_give_the_files_or_a_fault(tmp_path, kind):
    """A plain tar has no checksum of contents; there only names and sizes can be compared."""
    files = {f"n{number}/no.{number}.png": bytes([number]) * 30 * number for number in range(9)}
    path = save(kind, files, tmp_path)
    content = path.read_bytes()
    rng = np.random.default_rng(len(kind))
    refused = 0
    for _ in range(250):
        damaged = bytearray(content)
        for place in rng.integers(0, len(content), rng.integers(1, 3)):
            damaged[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        lines: tuple[str, ...] = ()
        try:
            found = read_all(path)
        except DataFault as error:
            lines = error.faults
        refused += bool(lines)
        assert all(line.isprintable() and len(line) < 1000 for line in lines)
        assert lines or set(found) == set(files)
        assert lines or kind == "tar" or found == files
    assert refused > 10


def zip_with(content, old: bytes, new: bytes) -> bytes:
    assert content.count(old) > 0
    return content.replace(old, new)


def test_an_encrypted_zip(tmp_path):
    path = save_zip(FILES, tmp_path)
    content = bytearray(path.read_bytes())
    for start, flags_at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        place = -1
        while (place := content.find(start, place + 1)) >= 0:
            content[place + flags_at] |= 1
    path.write_bytes(content)
    (line,) = faults_of(path)
    assert "it is encrypted" in line


@pytest.mark.parametrize("change", [-1, 1, 1000])
def test_a_zip_that_lies_about_a_size(tmp_path, change):
    path = save_zip({"a/1.png": bytes(5000)}, tmp_path)
    content = path.read_bytes()
    old, new = ((5000 + by).to_bytes(4, "little") for by in (0, change))
    path.write_bytes(content.replace(old, new))
    (line,) = faults_of(path)
    assert "file a/1.png" in line


def test_a_zip_that_lost_an_entry(tmp_path):
    """The size of the list of files is 64 bytes too small, as one wrong bit makes it."""
    path = save_zip({f"{number:018d}": b"" for number in range(4)}, tmp_path)
    content = bytearray(path.read_bytes())
    size_at = content.rindex(b"PK\x05\x06") + 12
    assert content[size_at] == 0x00
    assert content[size_at + 1] == 1
    content[size_at : size_at + 2] = (192).to_bytes(2, "little")
    path.write_bytes(content)
    with zipfile.ZipFile(path) as archive:
        assert len(archive.infolist()) == 3
    assert "its list of files is damaged" in faults_of(path)[0]


def test_a_zip_whose_list_hides_a_file(tmp_path):
    path = save_zip({"n1/1.png": b"", "n2/2.png": b""}, tmp_path)
    content = path.read_bytes()
    place = content.rindex(b"n2/2.png")
    path.write_bytes(content[:place] + b"." + content[place + 1 :])
    assert "its list of files is damaged" in faults_of(path)[0]


# Traps


@pytest.mark.parametrize("kind", ["zip", "tar", "xz"])
@pytest.mark.parametrize("name", ["../1.png", "a/../../1.png", "/etc/passwd", "a/..", "../.hidden"])
def test_paths_that_leave_the_archive(tmp_path, kind, name):
    (line,) = faults_of(save(kind, {"a/0.png": b"", name: b"x"}, tmp_path))
    assert "a path leads out of it" in line
    assert sorted(tmp_path.iterdir()) in ([tmp_path / "data.zip"], [tmp_path / "data.bin"])


def test_paths_that_leave_a_zip_of_windows(tmp_path):
    (line,) = faults_of(save_zip({"..\\1.png": b"x"}, tmp_path))
    assert "a path leads out of it" in line


@pytest.mark.parametrize("kind", ["zip", "tar"])
@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("second", ["a/1.png", "./a/1.png"])
def test_one_path_twice(tmp_path, kind, second):
    path = tmp_path / "data"
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("a/1.png", b"x")
            archive.writestr(second, b"y")
    else:
        with tarfile.open(path, "w") as archive:
            archive.addfile(tarfile.TarInfo("a/1.png"))
            archive.addfile(tarfile.TarInfo(second))
    (line,) = faults_of(path)
    assert "two files with one path" in line


def tar_with(folder, name, **attributes):
    member = tarfile.TarInfo(name)
    for key, value in attributes.items():
        setattr(member, key, value)
    path = folder / "data.tar"
    with tarfile.open(path, "w") as archive:
        archive.addfile(tarfile.TarInfo("a/0.png"))
        archive.addfile(member)
    return path


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
@pytest.mark.parametrize("target", ["0.png", "/etc/passwd"])
def test_links_in_a_tar(tmp_path, kind, target):
    (line,) = faults_of(tar_with(tmp_path, "a/1.png", type=kind, linkname=target))
    assert "file a/1.png: it is a link" in line
    assert "tar -h" in line
    path = tar_with(tmp_path, "a/.1.png", type=kind, linkname=target)
    assert set(read_all(path)) == {"a/0.png"}


@pytest.mark.parametrize("kind", [tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, b"V"])
def test_devices_in_a_tar(tmp_path, kind):
    (line,) = faults_of(tar_with(tmp_path, "a/1.png", type=kind))
    assert "neither a file nor a folder" in line


@pytest.mark.parametrize(
    ("mode", "rule"), [(stat.S_IFLNK, "it is a link"), (stat.S_IFIFO, "neither a file")]
)
def test_links_and_devices_in_a_zip(tmp_path, mode, rule):
    info = zipfile.ZipInfo("a/1.png")
    info.external_attr = (mode | 0o644) << 16
    with zipfile.ZipFile(tmp_path / "data.zip", "w") as archive:
        archive.writestr(info, "/etc/passwd")
    assert rule in faults_of(tmp_path / "data.zip")[0]


# Bombs and lies about sizes


@pytest.fixture
def small_limits(monkeypatch):
    monkeypatch.setattr(plausible, "UNSUSPICIOUS_BYTES", 1_000_000)
    monkeypatch.setattr(archives, "MOST_FILE_BYTES", 10_000_000)


@pytest.mark.parametrize("kind", ["zip", "gz", "bz2", "xz"])
def test_bombs(tmp_path, kind, small_limits):
    path = save(kind, {"a/1.png": bytes(2_000_000), "b/1.png": bytes(2_000_000)}, tmp_path)
    (line,) = faults_of(path)
    assert "it unpacks to far more than it holds" in line


@pytest.mark.parametrize("kind", ["zip", "gz"])
def test_bombs_of_many_small_files(tmp_path, kind, small_limits):
    path = save(kind, {f"a/{n}.png": bytes(40_000) for n in range(1000)}, tmp_path)
    (line,) = faults_of(path)
    assert "it unpacks to far more than it holds" in line


def test_a_zip_whose_files_share_their_bytes(tmp_path, small_limits):
    """The bomb of Fifield 2019 in small: many entries of the list, one content."""
    path = save_zip({"a": bytes(900_000)}, tmp_path)
    content = path.read_bytes()
    entry_at, end_at = content.index(b"PK\x01\x02"), content.rindex(b"PK\x05\x06")
    entry = content[entry_at:end_at]
    size = (30 * len(entry)).to_bytes(4, "little")
    end = content[end_at : end_at + 8] + b"\x1e\x00\x1e\x00" + size + content[end_at + 16 :]
    path.write_bytes(content[:entry_at] + 30 * entry + end)
    faults_of(path)


@pytest.mark.parametrize("size", [10**15, 2**62, -512, -1])
@pytest.mark.parametrize("kind", ["tar", "gz"])
@pytest.mark.parametrize(
    "type_", [tarfile.REGTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE, tarfile.DIRTYPE]
)
def test_a_tar_header_with_an_absurd_size(tmp_path, size, kind, type_):
    member = tarfile.TarInfo("a/1.png")
    member.size, member.type = size, type_
    header = bytearray(member.tobuf(tarfile.GNU_FORMAT))
    path = tmp_path / "data.tar"
    content = bytes(header) + bytes(20 * 512)
    path.write_bytes(PACK[kind](content))
    tracemalloc.start()
    faults_of(path)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 20_000_000


def test_a_sparse_file_is_not_blown_up(tmp_path):
    member = tarfile.TarInfo("a/1.png")
    member.type = tarfile.GNUTYPE_SPARSE
    header = bytearray(member.tobuf(tarfile.GNU_FORMAT))
    header[483:495] = b"77777777777\0"  # its size when blown up
    header[148:156] = b"        "
    header[148:156] = b"%06o\0 " % sum(header)
    path = tmp_path / "data.tar"
    path.write_bytes(bytes(header) + bytes(1024))
    (line,) = faults_of(path)
    assert "stored sparse" in line
