"""Layout: the batches of CIFAR-10 and CIFAR-100, for Python (pickles) and for C (binary).

Comes in: a tree with ``data_batch_1``, ..., ``test_batch``, or ``train`` and ``test``, or the same
with ``.bin``, in whatever folder. Comes out: ``ImageData``, rows in their order; of CIFAR-100 with
the 100 fine labels. Source: Krizhevsky 2009, https://www.cs.toronto.edu/~kriz/cifar.html.
"""

from __future__ import annotations

import pathlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mpinas.config import ProblemConfig
from mpinas.errors import DataFault, fault
from mpinas.problems.images import Array, ImageData, checked
from mpinas.problems.plausible import class_names
from mpinas.problems.tree import Tree
from mpinas.problems.unpickling import unpickled

_PLANES = (3, 32, 32)
_ROW_BYTES = 3 * 32 * 32
_BATCHES_OF_CIFAR10 = 5

Batch = tuple[Array, Array]
"""Images uint8 (N, 32, 32, 3) and labels (N,)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Form:
    """One of the four kinds of files.

    Attributes:
        training: base names of training files; a group holds the number of the batch.
        test, names: base names of the test file and of the one with class names.
        classes: labels are below it where there are no names.
        batch: reads one file; takes content, form and what to call the file.
        read_names: the same for the names.
        labels, label_names: keys in pickles.
        label_bytes: of a row in a binary file; the last of them is the label.
    """

    training: re.Pattern[str]
    test: str
    names: str
    classes: int
    batch: Callable[[bytes, _Form, str], Batch]
    read_names: Callable[[bytes, _Form, str], tuple[str, ...]]
    labels: str = ""
    label_names: str = ""
    label_bytes: int = 0

    def takes(self, name: str) -> bool:
        return name == self.test or self.training.fullmatch(name) is not None


def recognises(tree: Tree) -> bool:
    """Whether there are files of one of the four kinds."""
    return any(True for _ in _found(tree))


def read(tree: Tree, problem: ProblemConfig) -> ImageData:
    """Reads all batches that are there; nothing in ``problem`` changes them.

    Raises:
        DataFault: files are missing or there twice, or one of them is faulty.
    """
    form, paths = _only(tree)
    batches: dict[str, Batch] = {}
    names: tuple[str, ...] = ()
    faults: list[str] = []
    for path, content in tree.contents(paths):
        where = f"{tree.source}, file {path}"
        try:
            if _base(path) == form.names:
                names = form.read_names(content, form, where)
            else:
                batches[path] = form.batch(content, form, where)
        except DataFault as error:
            faults += error.faults
    faults += _label_faults(tree, batches, len(names) or form.classes)
    if faults:
        raise DataFault(*faults)
    (test,) = (path for path in batches if _base(path) == form.test)
    training = sorted(batches.keys() - {test}, key=lambda path: _number(form, path))
    arrays = {
        "x_train": np.concatenate([batches[path][0] for path in training]),
        "y_train": np.concatenate([batches[path][1] for path in training]),
        "x_test": batches[test][0],
        "y_test": batches[test][1],
    }
    remarks = _remarks(form, [_base(path) for path in training])
    return checked(arrays, source=tree.source, class_names=names, remarks=remarks)


def _base(path: str) -> str:
    return pathlib.PurePosixPath(path).name


def _number(form: _Form, path: str) -> tuple[int, str]:
    match = form.training.fullmatch(_base(path))
    return int(match[1] or 0) if match else 0, path


def _remarks(form: _Form, training: Sequence[str]) -> tuple[str, ...]:
    if form.classes != 10 or len(training) == _BATCHES_OF_CIFAR10:
        return ()
    return (f"{len(training)} training batches instead of 5: {', '.join(training)}",)


def _found(tree: Tree) -> Iterator[_Form]:
    names = {_base(path) for path in tree.paths}
    for form in _FORMS:
        taken = {name for name in names if form.takes(name)}
        # A lone file called "train" may be anything.
        if taken and (form.label_bytes or form.classes == 10 or len(taken) > 1):
            yield form


def _only(tree: Tree) -> tuple[_Form, list[str]]:
    """The kind of files there is, and the paths of them.

    Raises:
        DataFault: there are two kinds, two files of a name, no training or no test file.
    """
    form, *others = _found(tree)
    names = [_base(path) for path in tree.paths]
    paths = [path for path in tree.paths if form.takes(_base(path)) or _base(path) == form.names]
    twice = [path for path in paths if names.count(_base(path)) > 1]
    if others or twice:
        shown = twice or [path for path in tree.paths if any(f.takes(_base(path)) for f in others)]
        cure = "Set problem.path to the folder of one data set"
        received = f"files={', '.join([*paths[:1], *shown[:2]])}"
        raise DataFault(fault(tree.source, "more than one data set", received, cure=cure))
    present = {_base(path) for path in paths}
    if form.test not in present or not any(form.training.fullmatch(name) for name in present):
        allowed = f"Needed: {form.test} and {form.training.pattern}"
        received = f"files={', '.join(sorted(present))}"
        raise DataFault(fault(tree.source, "a file is missing", received, allowed))
    return form, paths


def _label_faults(tree: Tree, batches: Mapping[str, Batch], classes: int) -> Iterator[str]:
    for path, (_, labels) in batches.items():
        if labels.max() >= classes:
            where = f"{tree.source}, file {path}"
            allowed = f"Labels are 0 to {classes - 1}"
            yield fault(where, "labels outside the classes", f"label={labels.max()}", allowed)


def _images(rows: Array) -> Array:
    """(N, 3072) with one plane a colour -> (N, 32, 32, 3)."""
    return np.ascontiguousarray(rows.reshape(-1, *_PLANES).transpose(0, 2, 3, 1))


def _binary_batch(content: bytes, form: _Form, where: str) -> Batch:
    row_bytes = form.label_bytes + _ROW_BYTES
    if not content or len(content) % row_bytes:
        allowed = f"Rows are {row_bytes} bytes: {form.label_bytes} of labels, 3072 of an image"
        raise DataFault(fault(where, "wrong size", f"bytes={len(content)}", allowed))
    rows = np.frombuffer(content, np.uint8).reshape(-1, row_bytes)
    return _images(rows[:, form.label_bytes :]), rows[:, form.label_bytes - 1].copy()


def _binary_names(content: bytes, form: _Form, where: str) -> tuple[str, ...]:
    return class_names(where, [line.strip() for line in content.splitlines() if line.strip()])


def _pickled_batch(content: bytes, form: _Form, where: str) -> Batch:
    batch = _pickled_dict(content, where)
    rows, labels = _value(batch, "data", where), _value(batch, form.labels, where)
    if not isinstance(rows, np.ndarray) or rows.dtype != np.uint8 or rows.ndim != 2:
        allowed = "Needed: an array of uint8 (N, 3072)"
        raise DataFault(fault(where, "data are no images", f"data={_described(rows)}", allowed))
    if rows.shape[1] != _ROW_BYTES or not len(rows):
        allowed = "Images are rows of 3072 values"
        raise DataFault(fault(where, "wrong size", f"shape={rows.shape}", allowed))
    labels = labels.tolist() if isinstance(labels, np.ndarray) else labels
    if not isinstance(labels, list) or any(type(label) is not int for label in labels):
        allowed = "Needed: a list of whole numbers"
        received = f"{form.labels}={_described(labels)}"
        raise DataFault(fault(where, "labels are no whole numbers", received, allowed))
    if len(labels) != len(rows):
        received = f"images={len(rows)}, labels={len(labels)}"
        raise DataFault(fault(where, "lengths differ", received))
    if outside := [label for label in labels if not 0 <= label < form.classes]:
        received = f"label={str(outside[0])[:20]}"
        allowed = f"Labels are 0 to {form.classes - 1}"
        raise DataFault(fault(where, "labels outside the classes", received, allowed))
    return _images(rows), np.array(labels, np.int32)


def _pickled_names(content: bytes, form: _Form, where: str) -> tuple[str, ...]:
    names = _value(_pickled_dict(content, where), form.label_names, where)
    if not isinstance(names, (list, tuple)):
        received = f"{form.label_names}={_described(names)}"
        raise DataFault(fault(where, "names of classes are no list", received))
    return class_names(where, names)


def _pickled_dict(content: bytes, where: str) -> dict[Any, Any]:
    value = unpickled(content, where)
    if not isinstance(value, dict):
        raise DataFault(fault(where, "it is no batch", f"value={_described(value)}", "A dict"))
    return value


def _value(batch: Mapping[Any, Any], key: str, where: str) -> Any:
    """Python 2 wrote keys that are bytes for Python 3."""
    for written in (key, key.encode()):
        if written in batch:
            return batch[written]
    shown = ", ".join(sorted(ascii(key)[:40] for key in list(batch)[:8]))
    raise DataFault(fault(where, f"{key} is missing", f"keys={shown}"))


def _described(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"array of {value.dtype} {value.shape}"
    return type(value).__name__


_FORMS = (
    _Form(
        training=re.compile(r"data_batch_([0-9]{1,4})"),
        test="test_batch",
        names="batches.meta",
        classes=10,
        batch=_pickled_batch,
        read_names=_pickled_names,
        labels="labels",
        label_names="label_names",
    ),
    _Form(
        training=re.compile(r"data_batch_([0-9]{1,4})\.bin"),
        test="test_batch.bin",
        names="batches.meta.txt",
        classes=10,
        batch=_binary_batch,
        read_names=_binary_names,
        label_bytes=1,
    ),
    _Form(
        training=re.compile(r"train()"),
        test="test",
        names="meta",
        classes=100,
        batch=_pickled_batch,
        read_names=_pickled_names,
        labels="fine_labels",
        label_names="fine_label_names",
    ),
    _Form(
        training=re.compile(r"train\.bin()"),
        test="test.bin",
        names="fine_label_names.txt",
        classes=100,
        batch=_binary_batch,
        read_names=_binary_names,
        label_bytes=2,
    ),
)
