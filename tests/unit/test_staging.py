"""A node's copy of the prepared file: made once, whole, by whoever comes first, or not at all."""

from __future__ import annotations

import errno
import logging
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from mpinas.files import user_block
from mpinas.problems import staging
from mpinas.problems.prepared import FORMAT
from mpinas.problems.staging import staged
from mpinas.trial import folders

DIGEST = "0123456789abcdef" * 4
CONTENT = bytes(range(256)) * 4096


@pytest.fixture
def file(tmp_path) -> Path:
    """Says of itself what a prepared file says; what is behind that does not matter here."""
    path = tmp_path / "shared" / "prepared.h5"
    path.parent.mkdir()
    path.write_bytes(user_block(FORMAT, DIGEST) + CONTENT)
    return path


@pytest.fixture
def node(tmp_path) -> Path:
    folder = tmp_path / "node"
    folder.mkdir()
    return folder


def own_folder(node: Path) -> Path:
    return node / f"mpinas-data-{os.getuid()}"


def left_in(node: Path) -> set[str]:
    return {path.name for path in own_folder(node).iterdir()}


def test_the_copy_is_named_by_its_content_and_nobody_elses(file, node):
    copy = staged(file, node)
    assert copy == own_folder(node) / f"{DIGEST}.h5"
    assert copy.read_bytes() == file.read_bytes()
    for path, mode in ((copy.parent, 0o700), (copy, 0o600)):
        assert stat.S_IMODE(path.stat().st_mode) == mode
    assert left_in(node) == {f"{DIGEST}.h5", f"{DIGEST}.lock"}


def test_a_copy_that_is_there_is_used(file, node):
    first = staged(file, node)
    before = first.stat()
    other_name = file.with_name("other.h5")
    other_name.write_bytes(file.read_bytes())
    for source in (file, other_name):
        assert staged(source, node) == first
    after = first.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_other_data_get_another_copy(file, node):
    first = staged(file, node)
    file.write_bytes(user_block(FORMAT, DIGEST[::-1]) + CONTENT[::-1])
    second = staged(file, node)
    assert first != second
    assert second.read_bytes() == file.read_bytes()


@pytest.mark.parametrize("damage", ["short", "other block", "empty"])
def test_what_is_no_whole_copy_is_replaced(file, node, damage):
    copy = staged(file, node)
    content = copy.read_bytes()
    copy.write_bytes(
        {
            "short": content[:-1],
            "other block": user_block(FORMAT, DIGEST[::-1]) + content[512:],
            "empty": b"",
        }[damage]
    )
    assert staged(file, node) == copy
    assert copy.read_bytes() == file.read_bytes()


def test_what_is_no_prepared_file_is_left_to_who_opens_it(tmp_path, node, caplog):
    other = tmp_path / "other.h5"
    for content in (b"", b"something else" * 100, user_block(FORMAT, "no digest")):
        other.write_bytes(content)
        assert staged(other, node) == other
    assert list(node.iterdir()) == []
    assert caplog.text == ""
    absent = tmp_path / "absent.h5"
    assert staged(absent, node) == absent


CHILD = """
import os, shutil, signal, sys, time
from pathlib import Path
from mpinas.problems import staging
file, folder, copies, how = Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4]
plain = shutil.copyfileobj
def copyfileobj(source, target, length):
    (copies / str(os.getpid())).touch()
    if how == "killed":
        target.write(source.read(1000))
        target.flush()
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.2)
    plain(source, target, length)
shutil.copyfileobj = copyfileobj
print("ready", flush=True)
sys.stdin.read()
print(staging.staged(file, folder))
"""


def child(file: Path, node: Path, copies: Path, how: str) -> subprocess.Popen:
    copies.mkdir(exist_ok=True)
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, str(file), str(node), str(copies), how],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_of_many_that_start_at_once_one_copies_and_all_use_it(file, node, tmp_path):
    children = [child(file, node, tmp_path / "copies", "slow") for _ in range(6)]
    assert [one.stdout.readline() for one in children] == ["ready\n"] * 6
    for one in children:
        one.stdin.close()
    answers = {one.stdout.read().strip() for one in children}
    assert [one.wait(timeout=60) for one in children] == [0] * 6
    assert answers == {str(own_folder(node) / f"{DIGEST}.h5")}
    assert len(list((tmp_path / "copies").iterdir())) == 1
    assert Path(answers.pop()).read_bytes() == file.read_bytes()


def test_what_a_killed_process_left_is_replaced(file, node, tmp_path):
    killed = child(file, node, tmp_path / "copies", "killed")
    assert killed.communicate(timeout=60)[0] == "ready\n"
    assert killed.returncode == -9
    assert not (own_folder(node) / f"{DIGEST}.h5").exists()
    assert staged(file, node).read_bytes() == file.read_bytes()
    assert left_in(node) == {f"{DIGEST}.h5", f"{DIGEST}.lock"}


def refused(file: Path, node: Path, caplog) -> str:
    """The warning with which the shared file is used."""
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        assert staged(file, node) == file
    assert len(caplog.records) == 1
    assert caplog.records[0].levelno == logging.WARNING
    return caplog.records[0].getMessage()


def test_where_there_is_no_folder_the_shared_file_is_used(file, node, caplog):
    message = refused(file, node / "absent", caplog)
    assert "No such file or directory" in message
    assert str(file) in message


@pytest.mark.parametrize("when", ["before", "while it is copied"])
def test_a_full_disk_leaves_nothing_behind(file, node, caplog, monkeypatch, when):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    place = (os, "posix_fallocate") if when == "before" else (staging.shutil, "copyfileobj")
    monkeypatch.setattr(*place, full)
    assert "No space left on device" in refused(file, node, caplog)
    assert left_in(node) == {f"{DIGEST}.lock"}


def test_locks_that_are_refused_are_no_failure(file, node, caplog, monkeypatch):
    def no_locks(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(staging.fcntl, "flock", no_locks)
    assert "No locks available" in refused(file, node, caplog)


def test_nothing_of_others_is_followed_or_used(file, node, tmp_path, caplog):
    """In a /tmp for all, another user may take the name of the folder first."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    own_folder(node).symlink_to(elsewhere)
    assert "not a folder of this user alone" in refused(file, node, caplog)
    own_folder(node).unlink()
    own_folder(node).write_bytes(b"")
    assert "not a folder of this user alone" in refused(file, node, caplog)
    own_folder(node).unlink()
    own_folder(node).mkdir()
    own_folder(node).chmod(0o770)
    assert "not a folder of this user alone" in refused(file, node, caplog)
    assert list(elsewhere.iterdir()) == list(own_folder(node).iterdir()) == []


def test_a_folder_of_another_user_is_not_used(file, node, caplog, monkeypatch):
    own_folder(node).mkdir(mode=0o700)
    own = own_folder(node)
    monkeypatch.setattr(os, "getuid", lambda: os.geteuid() + 1)
    own.rename(own_folder(node))
    assert "not a folder of this user alone" in refused(file, node, caplog)


def test_trials_share_a_copy_beside_their_own_folders(monkeypatch, tmp_path):
    monkeypatch.setattr(folders.tempfile, "tempdir", str(tmp_path))
    assert folders.shared() == tmp_path
    own = folders.make()
    monkeypatch.setattr(folders.tempfile, "tempdir", own)
    assert folders.shared() == tmp_path
