"""Folders and archives: the same files whatever holds them, and a line for each trap in them."""

from __future__ import annotations

import os
import subprocess
import tarfile
import zipfile

import pytest
from tree_files import (
    ARCHIVES,
    FILES,
    HIDDEN,
    LONG,
    TARS,
    faults_of,
    read_all,
    save,
    save_folder,
    save_tar,
    save_zip,
)

from mpinas.errors import DataFault
from mpinas.problems import archives
from mpinas.problems.tree import open_tree


@pytest.mark.parametrize("kind", ["folder", *ARCHIVES])
def test_all_hold_the_same(tmp_path, kind):
    path = save(kind, {**FILES, **HIDDEN, LONG: b"deep"}, tmp_path)
    with open_tree(path) as tree:
        assert tree.source == str(path)
        assert tree.paths == tuple(sorted([*FILES, LONG]))
        assert dict(tree.contents(tree.paths)) == {**FILES, LONG: b"deep"}
        assert dict(tree.contents(["data/notes.txt"])) == {"data/notes.txt": b""}
        assert dict(tree.contents([])) == {}
        assert tree.read("data/train/b/2.png") == b"second"


@pytest.mark.parametrize("kind", ["zip", "tar", "xz"])
def test_contents_come_in_the_order_in_which_they_are_stored(tmp_path, kind):
    path = save(kind, FILES, tmp_path)
    with open_tree(path) as tree:
        assert [name for name, _ in tree.contents(tree.paths)] == list(FILES)


def test_two_readings_at_a_time_do_not_disturb_each_other(tmp_path):
    with open_tree(save_tar(FILES, tmp_path, "gz")) as tree:
        for path, content in tree.contents(tree.paths):
            assert content == FILES[path]
            assert tree.read("data/train/b/2.png") == b"second"


def test_needless_parts_of_paths_are_dropped(tmp_path):
    assert set(read_all(save_tar({"./a//1.png": b"", "b/./2.png": b""}, tmp_path))) == {
        "a/1.png",
        "b/2.png",
    }
    assert set(read_all(save_zip({"a\\1.png": b""}, tmp_path))) == {"a/1.png"}


@pytest.mark.parametrize("kind", ["folder", "zip", "gz"])
def test_empty_folders_are_known(tmp_path, kind):
    folder = save_folder(FILES, tmp_path)
    (folder / "data/train/empty").mkdir()
    (folder / "data/.hidden").mkdir()
    path = folder
    if kind == "zip":
        path = tmp_path / "data.zip"
        with zipfile.ZipFile(path, "w") as archive:
            for one in folder.rglob("*"):
                archive.write(one, one.relative_to(folder))
    elif kind == "gz":
        path = tmp_path / "data.tar.gz"
        with tarfile.open(path, "w:gz") as archive:
            archive.add(folder, ".")
    with open_tree(path) as tree:
        assert tree.folders == (
            "data",
            "data/train",
            "data/train/a",
            "data/train/b",
            "data/train/empty",
        )
        assert tree.paths == tuple(sorted(FILES))


# Nothing there


def test_nothing_to_read(tmp_path):
    assert "there is no such file or folder" in faults_of(tmp_path / "absent")[0]
    assert "there are no files in it" in faults_of(tmp_path)[0]
    for name, content in (("empty.zip", b""), ("a.csv", b"a,b\n" * 200), ("a.7z", b"7z\xbc\xaf")):
        (tmp_path / name).write_bytes(content)
        (line,) = faults_of(tmp_path / name)
        assert "not an archive that is known" in line
        assert ".tar.xz" in line
    os.mkfifo(tmp_path / "fifo")
    assert "neither a file nor a folder" in faults_of(tmp_path / "fifo")[0]


@pytest.mark.parametrize("kind", ARCHIVES)
def test_archives_without_files(tmp_path, kind):
    (line,) = faults_of(save(kind, {}, tmp_path))
    assert "there are no files in it" in line or "not an archive" in line
    (line,) = faults_of(save(kind, HIDDEN, tmp_path))
    assert "there are no files in it" in line


@pytest.mark.parametrize("kind", ["folder", "zip", "gz"])
@pytest.mark.parametrize("name", ["a\nb.png", "a\x1b[31m.png", "a\u2028b.png"])
def test_names_that_would_break_a_message(tmp_path, kind, name):
    (line,) = faults_of(save(kind, {name: b"x"}, tmp_path))
    assert "characters that cannot be shown" in line


def test_a_name_that_is_no_text(tmp_path):
    (tmp_path / os.fsdecode(b"caf\xe9.png")).touch()
    (line,) = faults_of(tmp_path)
    assert "characters that cannot be shown" in line
    assert "udce9" in line


def test_links_in_a_folder(tmp_path):
    folder = save_folder({"a/1.png": b"one", ".store/2.png": b"two", "b/3.png": b"three"}, tmp_path)
    (folder / "a/2.png").symlink_to("../.store/2.png")
    (folder / "c").symlink_to("b")
    (tmp_path / "other").symlink_to(folder)
    wanted = {"a/1.png": b"one", "a/2.png": b"two", "b/3.png": b"three", "c/3.png": b"three"}
    assert read_all(folder) == wanted
    assert read_all(tmp_path / "other") == wanted


@pytest.mark.parametrize(
    ("target", "rule"),
    [
        ("../../outside.png", "leads out of the folder"),
        ("/etc/passwd", "leads out of the folder"),
        ("../../folder-beside", "leads out of the folder"),
        ("nothing.png", "leads nowhere"),
        ("link.png", "leads nowhere"),
        (".", "leads to a folder that it stands in"),
        ("..", "leads to a folder that it stands in"),
    ],
)
def test_bad_links_in_a_folder(tmp_path, target, rule):
    folder = save_folder({"a/1.png": b"one"}, tmp_path)
    (tmp_path / "outside.png").touch()
    (tmp_path / "folder-beside").mkdir()
    (folder / "a/link.png").symlink_to(target)
    (line,) = faults_of(folder)
    assert "a/link.png: a link" in line
    assert rule in line


def test_links_in_a_circle_do_not_hang(tmp_path):
    folder = save_folder({"a/1.png": b"one", "b/1.png": b"one"}, tmp_path)
    (folder / "a/b").symlink_to("../b")
    (folder / "b/a").symlink_to("../a")
    assert "a link leads to a folder that it stands in" in faults_of(folder)[0]


def test_a_fifo_in_a_folder_does_not_hang(tmp_path):
    folder = save_folder({"a/1.png": b"one"}, tmp_path)
    os.mkfifo(folder / "a/.hidden")
    assert set(read_all(folder)) == {"a/1.png"}
    os.mkfifo(folder / "a/2.png")
    assert "file a/2.png: neither a file nor a folder" in faults_of(folder)[0]


@pytest.fixture
def deep_path(tmp_path):
    """A folder that may become deeper than Python 3.11's own functions can remove."""
    folder = tmp_path / "deep"
    folder.mkdir()
    yield folder
    subprocess.run(["rm", "-rf", folder], check=True)


def test_a_deep_folder(deep_path):
    """Deeper than Python's functions may call themselves."""
    folder = str(deep_path)
    for _ in range(1200):
        folder = f"{folder}/d"
        os.mkdir(folder)
    with open(f"{folder}/1.png", "wb") as file:
        file.write(b"one")
    assert read_all(deep_path) == {"d/" * 1200 + "1.png": b"one"}


def test_a_folder_deeper_than_any_path(deep_path):
    """Linux opens no path above 4,096 characters; one can be made step by step nevertheless."""
    script = f"cd {deep_path}; for i in $(seq 20); do mkdir {'d' * 250}; cd {'d' * 250}; done"
    subprocess.run(["bash", "-c", script], check=True)
    (line,) = faults_of(deep_path)
    assert "it cannot be read" in line


@pytest.mark.parametrize("kind", ["folder", *ARCHIVES])
def test_a_file_too_large_to_hold(tmp_path, kind, monkeypatch):
    monkeypatch.setattr(archives, "MOST_FILE_BYTES", 100)
    path = save(kind, {"a/1.png": bytes(100), "a/2.png": bytes(101)}, tmp_path)
    (line,) = faults_of(path)
    assert "file a/2.png: a file is larger than can be read" in line
    with open_tree(path) as tree:
        assert tree.read("a/1.png") == bytes(100), "a large file that nobody wants is no fault"


def test_a_file_that_goes_while_others_are_read(tmp_path):
    folder = save_folder({"a/1.png": b"one"}, tmp_path)
    with open_tree(folder) as tree:
        (folder / "a/1.png").unlink()
        with pytest.raises(DataFault, match=r"file a/1.png: it cannot be read"):
            tree.read("a/1.png")


def test_a_tar_of_before_posix_has_no_mark(tmp_path):
    path = save_tar({"a/1.png": b"one"}, tmp_path, form=tarfile.USTAR_FORMAT)
    content = bytearray(path.read_bytes())
    content[257:265] = bytes(8)
    content[148:156] = b" " * 8
    content[148:156] = b"%06o\0 " % sum(content[:512])
    path.write_bytes(content)
    assert read_all(path) == {"a/1.png": b"one"}


@pytest.mark.parametrize("kind", TARS)
def test_joined_tars_are_no_tar(tmp_path, kind):
    path = save_tar({"a/1.png": b"one"}, tmp_path, kind)
    path.write_bytes(2 * path.read_bytes())
    assert "there is more behind its end" in faults_of(path)[0]
