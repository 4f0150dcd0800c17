"""Layout: Tiny ImageNet as it is distributed, ``tiny-imagenet-200``.

Comes in: a tree with ``wnids.txt`` (a class a line), ``train/<class>/images`` and ``val/images``
with ``val/val_annotations.txt`` (file, class and a box a line, between tabs). Comes out:
``ImageData`` whose test images are those of ``val``: the files of ``test`` have no labels.
Source: Le and Yang 2015, Tiny ImageNet Visual Recognition Challenge.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from mpinas.config import ProblemConfig
from mpinas.errors import DataFault, fault
from mpinas.problems.image_folder import is_image
from mpinas.problems.images import ImageData
from mpinas.problems.labelled_files import (
    MOST_NAMED,
    Part,
    first_names,
    listed,
    natural_key,
    read_labelled,
)
from mpinas.problems.tree import Tree

_CLASSES = "wnids.txt"
_ANNOTATIONS = "val/val_annotations.txt"
_REMARK = "val/ is the test part: the images of test/ have no labels"


def recognises(tree: Tree) -> bool:
    """Whether a folder has the list of classes and the annotations."""
    return _root(tree) is not None


def read(tree: Tree, problem: ProblemConfig) -> ImageData:
    """Reads the images of the first ``problem.classes`` classes, sorted; decodes no others.

    Raises:
        DataFault: the lists and the folders do not fit together; and see :func:`read_labelled`.
    """
    root = _root(tree) or ""
    contents = dict(tree.contents([f"{root}{_CLASSES}", f"{root}{_ANNOTATIONS}"]))
    lines = {path: _lines(tree, path, content) for path, content in contents.items()}
    all_names = sorted({line.strip() for line in lines[f"{root}{_CLASSES}"]})
    training = _in_folders(tree, f"{root}train/")
    test = _annotated(lines[f"{root}{_ANNOTATIONS}"], f"{root}val/images/")
    faults = [
        *_training_faults(tree, root, training, all_names),
        *_test_faults(tree, root, test, all_names),
    ]
    if faults:
        raise DataFault(*faults)
    names = first_names(tree, all_names, problem)
    used = _part(test, names)
    if not used.paths:
        where, rule = f"{tree.source}, file {root}{_ANNOTATIONS}", "no image of the classes used"
        raise DataFault(fault(where, rule, f"classes={listed(names)}"))
    return read_labelled(
        tree,
        problem,
        training=_part(training, names),
        test=used,
        names=names,
        remarks=[_REMARK],
    )


def _root(tree: Tree) -> str | None:
    """The folder of the data set, with a slash at the end or empty; None if it is not there."""
    paths = set(tree.paths)
    roots = (path[: -len(_CLASSES)] for path in tree.paths if path.endswith(_CLASSES))
    return next((root for root in roots if f"{root}{_ANNOTATIONS}" in paths), None)


def _lines(tree: Tree, path: str, content: bytes) -> list[str]:
    """Those that are not empty."""
    try:
        return [line for line in content.decode("ascii").splitlines() if line.strip()]
    except UnicodeDecodeError as error:
        where = f"{tree.source}, file {path}"
        received = f"byte={content[error.start]:#x} at {error.start}"
        raise DataFault(fault(where, "the file is no text", received)) from error


def _in_folders(tree: Tree, folder: str) -> dict[str, str]:
    """Class by path, of the images below the class folders."""
    images = (path for path in tree.paths if path.startswith(folder) and is_image(path))
    return {path: path[len(folder) :].partition("/")[0] for path in images}


def _annotated(lines: list[str], folder: str) -> dict[str, str]:
    """Class by path; a line that is none has an empty class, and so has a file that comes twice."""
    classes: dict[str, str] = {}
    for line in lines:
        name, _, rest = line.partition("\t")
        path = f"{folder}{name}"
        classes[path] = "" if path in classes else rest.partition("\t")[0]
    return classes


def _training_faults(
    tree: Tree, root: str, training: Mapping[str, str], names: list[str]
) -> Iterator[str]:
    without = sorted(set(names) - set(training.values()))
    if without:
        rule = "a class has no training images"
        yield fault(f"{tree.source}, folder {root}train", rule, f"classes={listed(without)}")
    unknown = sorted(set(training.values()) - set(names))
    if unknown:
        where, rule = f"{tree.source}, file {root}{_CLASSES}", "a class is not in the list"
        yield fault(where, rule, f"classes={listed(unknown)}", "Each folder of train is in it")


def _test_faults(tree: Tree, root: str, test: Mapping[str, str], names: list[str]) -> Iterator[str]:
    """Lines of the annotations that are wrong, and images without a line."""
    where = f"{tree.source}, file {root}{_ANNOTATIONS}"
    allowed = "A line is a file of val/images, a tab, a class of wnids.txt, a tab, and a box"
    known, images = set(names), set(_in_folders(tree, f"{root}val/images/"))
    wrong = [path for path in test if test[path] not in known]
    for path in wrong[:MOST_NAMED]:
        rule = "a file has no class, an unknown one, or comes twice"
        yield fault(where, rule, f"file={path!a}, class={test[path]!a}", allowed)
    for rule, paths in (
        ("files that it names are missing", set(test) - images),
        ("images are not in it", images - set(test)),
    ):
        if paths:
            received = f"files={listed(sorted(paths, key=natural_key))!a}"
            yield fault(where, rule, received)
    if not test:
        yield fault(where, "there are no validation images")


def _part(classes: Mapping[str, str], names: tuple[str, ...]) -> Part:
    """The files of the used classes, by class and in natural order."""
    labels = {name: label for label, name in enumerate(names)}
    rows = sorted(
        (labels[name], natural_key(path), path) for path, name in classes.items() if name in labels
    )
    return Part(paths=tuple(row[2] for row in rows), labels=tuple(row[0] for row in rows))
