"""Reads image files whose labels are known into arrays of one size.

Comes in: a tree with paths and labels of the training and the test part. Comes out: ``ImageData``.
Knows no layout of folders. The files are gone through twice: the headers decide size and channels,
then each image is decoded into its place, so that no two stand in memory at their full size.
Where ``problem.image_size`` is not given, images have the size of their own, and where the training
images differ, their median height and median width.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from mpinas.config import ProblemConfig
from mpinas.errors import DataFault, fault
from mpinas.problems.decoding import Form, Unreadable, decode, form_of
from mpinas.problems.images import Array, ImageData, Images, checked
from mpinas.problems.plausible import class_names, memory_bytes
from mpinas.problems.splits import set_test_apart
from mpinas.problems.tree import Tree

MOST_NAMED = 10
"""Files or classes that a message names; of more it gives the number."""

_Found = TypeVar("_Found")
_NUMBERS = re.compile("([0-9]+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Files of the training or the test part, in the order in which they become rows.

    Attributes:
        paths: in the tree, each once.
        labels: of the same length.
    """

    paths: tuple[str, ...] = ()
    labels: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Target:
    """What all images become; ``is_median``: nobody asked for this size, and they differ."""

    size: tuple[int, int]
    channels: int
    is_median: bool


def number_key(digits: str) -> tuple[int, str]:
    """Sorts whole numbers of any length by their value; equal for ``7`` and ``007``."""
    value = digits.lstrip("0")
    return len(value), value


def natural_key(path: str) -> tuple[tuple[str | tuple[int, str], ...], str]:
    """Sorts texts with numbers in them by the values of these: ``a2`` before ``a10``."""
    texts_and_numbers = enumerate(_NUMBERS.split(path))
    return tuple(number_key(one) if place % 2 else one for place, one in texts_and_numbers), path


def first_names(tree: Tree, names: Sequence[str], problem: ProblemConfig) -> tuple[str, ...]:
    """The names of the classes that are used.

    Args:
        names: of all classes in the tree, in the order of their labels.

    Raises:
        DataFault: there are fewer than ``problem.classes``, or a name cannot be shown.
    """
    if problem.classes is not None and problem.classes > len(names):
        received = f"classes={problem.classes}, in the data={len(names)}"
        raise DataFault(fault(tree.source, "there are not that many classes", received))
    return class_names(tree.source, names[: problem.classes])


def listed(names: Collection[str]) -> str:
    """The first of many names, and how many more there are."""
    shown = ", ".join(list(names)[:MOST_NAMED])
    more = len(names) - MOST_NAMED
    return f"{shown} and {more:,} more" if more > 0 else shown


def read_labelled(
    tree: Tree,
    problem: ProblemConfig,
    *,
    training: Part,
    test: Part,
    names: tuple[str, ...],
    remarks: Iterable[str] = (),
) -> ImageData:
    """Decodes the files.

    Args:
        problem: ``image_size``, ``channels`` and ``skip_unreadable`` count here.
        training: of all classes.
        test: may be empty: then a stratified fifth of the training images is set apart as test,
            the same in every run.
        names: of the classes, in the order of their labels.
        remarks: what the reader of the layout has to say already.

    Raises:
        DataFault: images cannot be read, a class has none that can, or they do not fit into memory.
    """
    files = (*training.paths, *test.paths)
    unreadable: dict[str, str] = {}
    # What is left out must not count for size and channels, so it has to be known before.
    look = functools.partial(form_of, whole=problem.skip_unreadable)
    forms = dict(_each(tree, files, look, unreadable))
    readable = [forms[path] for path in training.paths if path in forms]
    if not readable:
        raise DataFault(_unreadable_fault(tree, unreadable, len(files)))
    target = _target(problem, readable, forms)
    images = _decoded(tree, files, forms, target, unreadable)
    if unreadable and not problem.skip_unreadable:
        raise DataFault(_unreadable_fault(tree, unreadable, len(files)))
    arrays = _arrays(images, training, test, unreadable)
    _refuse_lost_classes(tree, arrays["y_train"], names, needed=1 if test.paths else 2)
    said = [*remarks, *_form_remarks(forms, target), *_unreadable_remarks(unreadable, len(files))]
    if not test.paths:
        arrays = _with_test_apart(arrays)
        said.append(
            f"there are no test images: {len(arrays['y_test']):,} of {len(files):,} images, a "
            "fifth of each class, are set apart as test, the same in every run"
        )
    return checked(arrays, source=tree.source, class_names=names, remarks=tuple(said))


def _each(
    tree: Tree,
    paths: Collection[str],
    read: Callable[[bytes], _Found],
    unreadable: dict[str, str],
) -> Iterator[tuple[str, _Found]]:
    """Reads the files that can be read; notes the reason of the others in ``unreadable``."""
    for path, content in tree.contents(paths):
        try:
            found = read(content)
        except Unreadable as error:
            unreadable[path] = error.reason
        else:
            yield path, found


def _target(problem: ProblemConfig, training: Sequence[Form], all_: Mapping[str, Form]) -> _Target:
    sizes = {(form.height, form.width) for form in training}
    median = (_median([f.height for f in training]), _median([f.width for f in training]))
    are_grey = all(form.is_grey for form in all_.values())
    return _Target(
        size=problem.image_size or median,
        channels=problem.channels or (1 if are_grey else 3),
        is_median=problem.image_size is None and len(sizes) > 1,
    )


def _median(lengths: list[int]) -> int:
    """The lower of the two in the middle: a length that is there."""
    return sorted(lengths)[(len(lengths) - 1) // 2]


def _decoded(
    tree: Tree,
    files: Sequence[str],
    forms: Collection[str],
    target: _Target,
    unreadable: dict[str, str],
) -> Images:
    """All files as rows; what cannot be read leaves its row as it was."""
    shape = (len(files), *target.size, target.channels)
    wanted = int(np.prod(shape, dtype=object))
    if wanted > memory_bytes():
        received = f"images={len(files)}, height, width={target.size}, channels={target.channels}"
        allowed = f"At most half of this machine's memory, {memory_bytes()} bytes"
        rule = f"the images do not fit into memory: {wanted} bytes"
        cure = "Set problem.image_size smaller, or use fewer problem.classes"
        raise DataFault(fault(tree.source, rule, received, allowed, cure))
    images = np.zeros(shape, np.uint8)
    rows = {path: row for row, path in enumerate(files)}
    read = functools.partial(decode, size=target.size, channels=target.channels)
    for path, image in _each(tree, forms, read, unreadable):
        images[rows[path]] = image
    return images


def _arrays(
    images: Images, training: Part, test: Part, unreadable: Collection[str]
) -> dict[str, Array]:
    """The rows of both parts; without copies where all could be read."""
    arrays: dict[str, Array] = {}
    start = 0
    for name, part in (("train", training), ("test", test)):
        rows = images[start : start + len(part.paths)]
        labels = np.array(part.labels, np.int32)
        start += len(part.paths)
        keep = np.array([path not in unreadable for path in part.paths], bool)
        arrays[f"x_{name}"] = rows if keep.all() else rows[keep]
        arrays[f"y_{name}"] = labels[keep]
    return arrays


def _with_test_apart(arrays: Mapping[str, Array]) -> dict[str, Array]:
    indices = dict(zip(("train", "test"), set_test_apart(arrays["y_train"]), strict=True))
    return {
        f"{kind}_{part}": arrays[f"{kind}_train"][indices[part]]
        for part in indices
        for kind in ("x", "y")
    }


def _refuse_lost_classes(tree: Tree, labels: Array, names: Sequence[str], *, needed: int) -> None:
    counts = np.bincount(labels, minlength=len(names))
    lost = [name for name, count in zip(names, counts, strict=True) if count < needed]
    if lost:
        rule = f"a class has fewer than {needed} training images that can be read"
        allowed = "" if needed == 1 else "One of them becomes a test image, there are none"
        raise DataFault(fault(tree.source, rule, f"classes={listed(lost)}", allowed))


def _unreadable_fault(tree: Tree, unreadable: Mapping[str, str], files: int) -> str:
    rule = f"{len(unreadable):,} of {files:,} images cannot be read"
    named = [f"{path} ({unreadable[path]})" for path in sorted(unreadable, key=natural_key)]
    cure = "Mend or remove them, or leave them out with --skip-unreadable"
    return fault(
        tree.source, rule, f"files={listed(named)}", cure=f"{cure} (problem.skip_unreadable)"
    )


def _unreadable_remarks(unreadable: Collection[str], files: int) -> Iterator[str]:
    if unreadable:
        names = listed(sorted(unreadable, key=natural_key))
        yield f"{len(unreadable):,} of {files:,} images cannot be read and are left out: {names}"


def _form_remarks(forms: Mapping[str, Form], target: _Target) -> Iterator[str]:
    resized = sum((form.height, form.width) != target.size for form in forms.values())
    if resized:
        size = f"{target.size[0]}x{target.size[1]}"
        whose = ", median height and width of the training images" if target.is_median else ""
        yield f"{resized:,} of {len(forms):,} images are scaled and cropped to {size}{whose}"
    grey = sum(form.is_grey for form in forms.values())
    if target.channels == 3 and 0 < grey < len(forms):
        yield f"{grey:,} of {len(forms):,} images are grey and become RGB"
