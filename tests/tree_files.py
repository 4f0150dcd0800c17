"""The same few files in a folder and in every kind of archive, and what comes back of them."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

import pytest
from data_files import save_files

from mpinas.errors import DataFault
from mpinas.problems.tree import open_tree

Files = dict[str, bytes]
FILES: Files = {
    "data/train/b/2.png": b"second",
    "data/train/a/1.png": b"first" * 1000,
    "data/notes.txt": b"",
    "data/train/a/größe 1.png": "größe".encode(),
}
HIDDEN: Files = {
    "data/.DS_Store": b"x",
    "__MACOSX/data/train/a/1.png": b"x",
    "data/.git/config": b"x",
    "data/train/a/._1.png": b"x",
}
LONG = f"data/{'long' * 40}/{'name' * 40}.png"
ARCHIVES = ["zip", "zip stored", "tar", "gz", "bz2", "xz"]
TARS = ["tar", "gz", "bz2", "xz"]


def save_folder(files: Files, folder: Path) -> Path:
    return save_files(files, folder / "folder")


def save_zip(files: Files, folder: Path, *, compression: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(folder / "data.zip", "w", compression) as archive:
        for path, content in files.items():
            archive.writestr(path, content)
    return folder / "data.zip"


def save_tar(
    files: Files, folder: Path, kind: str = "tar", *, form: int = tarfile.PAX_FORMAT
) -> Path:
    with tarfile.open(folder / "data.bin", f"w:{'' if kind == 'tar' else kind}", format=form) as a:
        for path, content in files.items():
            member = tarfile.TarInfo(path)
            member.size = len(content)
            a.addfile(member, io.BytesIO(content))
    return folder / "data.bin"


def save(kind: str, files: Files, folder: Path) -> Path:
    """The files as a folder or in one of ``ARCHIVES``."""
    if kind == "folder":
        return save_folder(files, folder)
    if kind.startswith("zip"):
        stored = kind == "zip stored"
        compression = zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED
        return save_zip(files, folder, compression=compression)
    return save_tar(files, folder, kind)


def read_all(path: Path) -> dict[str, bytes]:
    with open_tree(path) as tree:
        pairs = list(tree.contents(tree.paths))
    assert len(pairs) == len(dict(pairs)), "a file came twice"
    return dict(pairs)


def faults_of(path: Path) -> tuple[str, ...]:
    with pytest.raises(DataFault) as caught:
        read_all(path)
    for line in caught.value.faults:
        assert line.isprintable()
        assert line.startswith(str(path))
    return caught.value.faults
