"""Layout: image files in class folders, ``train/<class>/image`` and ``test/<class>/image``.

Comes in: a tree with such folders, in whatever wrapping folders. Comes out: ``ImageData``. Files of
other kinds are ignored. What is not said by the folders' names is decided here:

- ``val`` is the test part where there is no ``test``, and more training images where there is one.
- Class folders without ``train`` above them are training images; without any test part, a
  stratified fifth is set apart.
- Classes are sorted by name, or by value if all names are whole numbers; images at any depth belong
  to the class folder they are in.
- Images of a part stand in the order of classes, in each class in natural order. But where all are
  named by number and no number comes twice, an array was written out: they stand in the order of
  these numbers.
"""

from __future__ import annotations

import pathlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from mpinas.config import ProblemConfig
from mpinas.errors import DataFault, fault
from mpinas.problems.decoding import SUFFIXES
from mpinas.problems.images import ImageData
from mpinas.problems.labelled_files import (
    Part,
    first_names,
    listed,
    natural_key,
    number_key,
    read_labelled,
)
from mpinas.problems.tree import Tree

_PARTS: Mapping[str, str] = {
    "train": "train",
    "training": "train",
    "test": "test",
    "testing": "test",
    "val": "val",
    "valid": "val",
    "validation": "val",
}
_WANTED = "Wanted: train/<class>/image and test/<class>/image, or <class>/image"


@dataclass(frozen=True, slots=True, kw_only=True)
class _ClassFolders:
    """What stands in one part.

    Attributes:
        folder: of the part, with a slash at the end; empty for the tree itself.
        images: paths by class; none for a class folder without images.
        loose: images that are in no class folder.
        others: how many files in class folders are no images.
    """

    folder: str
    images: Mapping[str, list[str]]
    loose: list[str] = field(default_factory=list)
    others: int = 0


def is_image(path: str) -> bool:
    """Whether the name of a file is that of an image."""
    return path.lower().endswith(SUFFIXES)


def recognises(tree: Tree) -> bool:
    """Whether there are image files at all; :func:`read` says what else is missing."""
    return any(is_image(path) for path in tree.paths)


def read(tree: Tree, problem: ProblemConfig) -> ImageData:
    """Reads the images of the first ``problem.classes`` classes; decodes no others.

    Raises:
        DataFault: the folders are not laid out like this, a class folder has no images, the test
            part has a class of its own; and see :func:`read_labelled`.
    """
    parts = {part: _class_folders(tree, folder) for part, folder in _part_folders(tree).items()}
    all_names = sorted(parts["train"].images, key=natural_key)
    if not all(name.isascii() and name.isdecimal() for name in all_names):
        all_names = sorted(all_names)
    names = first_names(tree, all_names, problem)
    faults = list(_faults(tree, parts, names))
    if faults:
        raise DataFault(*faults)
    test = "test" if "test" in parts else "val"
    training = [parts[part] for part in ("train", "val") if part in parts and part != test]
    return read_labelled(
        tree,
        problem,
        training=_joined([_part(one, names) for one in training]),
        test=_part(parts[test], names) if test in parts else Part(),
        names=names,
        remarks=_remarks(tree, parts),
    )


def _part_folders(tree: Tree) -> dict[str, str]:
    """The folder of each part that is there, with a slash at the end; ``train`` always is.

    Raises:
        DataFault: there are no training images, or two folders for one part.
    """
    images = [path.split("/") for path in tree.paths if is_image(path)]
    folders = [path.split("/") for path in tree.folders]
    root: list[str] = []
    children = _children(images, folders, root)
    while len(children) == 1 and (
        "train" not in _named(children)
        or _is_wrapper(_children(images, folders, [*root, *children]))
    ):
        root += children
        children = _children(images, folders, root)
    parts = _named(children)
    if any(len(names) > 1 for names in parts.values()):
        received = f"folders={listed(children)}"
        cure = "Keep one of them"
        raise DataFault(fault(tree.source, "two folders of one part", received, _WANTED, cure))
    prefix = "".join(f"{folder}/" for folder in root)
    if "train" in parts:
        in_order = [part for part in ("train", "val", "test") if part in parts]
        return {part: f"{prefix}{parts[part][0]}/" for part in in_order}
    if parts or any(folder.lower() in _PARTS for folder in root) or not children:
        received = f"folders={listed(children or root) or 'none'}"
        raise DataFault(fault(tree.source, "there is no train folder", received, _WANTED))
    return {"train": prefix}


def _children(
    images: Sequence[Sequence[str]], folders: Sequence[Sequence[str]], root: Sequence[str]
) -> list[str]:
    """Folders right below ``root`` that hold images, or that have the name of a part."""
    depth = len(root)
    found = {one[depth] for one in images if len(one) > depth + 1 and one[:depth] == root}
    empty = {one[depth] for one in folders if len(one) == depth + 1 and one[:depth] == root}
    return sorted(found | {name for name in empty if name.lower() in _PARTS})


def _named(children: Collection[str]) -> dict[str, list[str]]:
    """The folders that are named for a part, by the part."""
    parts: dict[str, list[str]] = {}
    for name in children:
        if name.lower() in _PARTS:
            parts.setdefault(_PARTS[name.lower()], []).append(name)
    return parts


def _is_wrapper(children: Collection[str]) -> bool:
    """Whether a folder that is called train holds parts: ``training/train``, ``training/test``."""
    parts = _named(children)
    return "train" in parts and sum(map(len, parts.values())) == len(children) > 1


def _class_folders(tree: Tree, folder: str) -> _ClassFolders:
    start = len(folder)
    images: dict[str, list[str]] = {
        path[start:]: []
        for path in tree.folders
        if path.startswith(folder) and "/" not in path[start:]
    }
    loose: list[str] = []
    others = 0
    for path in tree.paths:
        if not path.startswith(folder):
            continue
        name, slash, _ = path[start:].partition("/")
        if not slash:
            loose += [path] if is_image(path) else []
            continue
        images.setdefault(name, [])
        if is_image(path):
            images[name].append(path)
        else:
            others += 1
    return _ClassFolders(folder=folder, images=images, loose=loose, others=others)


def _faults(
    tree: Tree, parts: Mapping[str, _ClassFolders], names: Collection[str]
) -> Iterator[str]:
    if len(parts["train"].images) < 2:
        where = f"{tree.source}, folder {parts['train'].folder.rstrip('/') or '.'}"
        received = f"folders={listed(parts['train'].images) or 'none'}"
        yield fault(where, "there are fewer than two class folders", received, _WANTED)
    for part in parts.values():
        where = f"{tree.source}, folder {part.folder.rstrip('/') or '.'}"
        if part.loose:
            received = f"images={len(part.loose)}, the first={part.loose[0]}"
            cure = "Move them into the folders of their classes, or away"
            yield fault(where, "images are in no class folder", received, _WANTED, cure)
        empty = [name for name in names if part.images.get(name) == []]
        if empty:
            received = f"folders={listed(empty)}"
            cure = "Put its images there, or remove the folder"
            yield fault(where, "a class folder has no images", received, cure=cure)
        unknown = sorted(set(part.images) - set(parts["train"].images))
        if unknown:
            received = f"classes={listed(unknown)}"
            yield fault(where, "a class is not in the training part", received)
        if not part.loose and not any(part.images.get(name) for name in names):
            yield fault(where, "it has no image of the classes that are used", allowed=_WANTED)


def _part(part: _ClassFolders, names: Sequence[str]) -> Part:
    """The files of the used classes in the order of the rows."""
    labels = {path: label for label, name in enumerate(names) for path in part.images.get(name, ())}
    stems = {path: pathlib.PurePosixPath(path).stem for path in labels}
    numbers = {number_key(stem) for stem in stems.values() if stem.isascii() and stem.isdecimal()}
    if len(numbers) == len(labels):
        paths = sorted(labels, key=lambda path: number_key(stems[path]))
    else:
        paths = sorted(labels, key=lambda path: (labels[path], natural_key(path)))
    return Part(paths=tuple(paths), labels=tuple(labels[path] for path in paths))


def _joined(parts: Sequence[Part]) -> Part:
    return Part(
        paths=tuple(path for part in parts for path in part.paths),
        labels=tuple(label for part in parts for label in part.labels),
    )


def _remarks(tree: Tree, parts: Mapping[str, _ClassFolders]) -> Iterator[str]:
    if "val" in parts:
        folder = parts["val"].folder
        yield (
            f"{folder} is added to the training images, of which a validation part is drawn anyway"
            if "test" in parts
            else f"{folder} is the test part: there is no test folder"
        )
    if others := sum(part.others for part in parts.values()):
        yield f"{others:,} files in class folders are no images and are ignored"
    inside = tuple(part.folder for part in parts.values())
    outside = sum(is_image(path) and not path.startswith(inside) for path in tree.paths)
    if outside:
        yield f"{outside:,} images outside {', '.join(inside)} are ignored"
