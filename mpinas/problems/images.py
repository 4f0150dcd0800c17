"""Image data in memory, and the rules that every loader's arrays are held to.

Comes in: whatever arrays a file held. Comes out: ``ImageData`` with uint8 images (N, height,
width, channels) and int32 labels (N,), or lines that say what is wrong. Knows no file format.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mpinas.errors import DataFault, fault

Images = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int32]
Array = npt.NDArray[Any]

ARRAY_NAMES = ("x_train", "y_train", "x_test", "y_test")
MOST_CHANNELS = 4
_IMAGE_SHAPES = "Images are (N, height, width) or (N, height, width, channels), 1 to 4 channels"
_LABEL_SHAPES = "Labels are (N,) or (N, 1)"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ImageData:
    """A data set, checked.

    Attributes:
        x_train, x_test: uint8 (N, height, width, channels), 0..255, equal but for N.
        y_train, y_test: int32 (N,), from 0 to ``len(class_names) - 1``; each class is in y_train.
        class_names: in the order of their labels, at least two.
        source: where it came from, for people.
        remarks: lines for people on what was decided while reading: files left out, sizes changed.
    """

    x_train: Images
    y_train: Labels
    x_test: Images
    y_test: Labels
    class_names: tuple[str, ...]
    source: str
    remarks: tuple[str, ...] = ()


def checked(
    arrays: Mapping[str, Array],
    *,
    source: str,
    class_names: tuple[str, ...] = (),
    remarks: tuple[str, ...] = (),
) -> ImageData:
    """Brings four arrays into the one form.

    Args:
        arrays: all of ``ARRAY_NAMES``. Images may be integers in 0..255 or floats in 0..1 (which
            are scaled to 0..255); labels may be any numeric type that holds whole numbers.
        source: names the file in messages.
        class_names: by default the labels themselves, ``"0"``, ``"1"``, ...
        remarks: see ``ImageData``.

    Raises:
        DataFault: with a line for each thing that is wrong.
    """
    faults = list(_array_faults(source, arrays))
    if not faults:
        faults = list(_agreement_faults(source, arrays, len(class_names)))
    if faults:
        raise DataFault(*faults)
    labels = {name: arrays[name].reshape(-1).astype(np.int32) for name in ("y_train", "y_test")}
    names = class_names or numbered_names(int(labels["y_train"].max()) + 1)
    return ImageData(
        x_train=_to_uint8(arrays["x_train"]),
        y_train=labels["y_train"],
        x_test=_to_uint8(arrays["x_test"]),
        y_test=labels["y_test"],
        class_names=names,
        source=source,
        remarks=remarks,
    )


def numbered_names(classes: int) -> tuple[str, ...]:
    """``"0"``, ``"1"``, ...: the names of classes that have none."""
    return tuple(str(label) for label in range(classes))


def first_classes(data: ImageData, classes: int | None) -> ImageData:
    """Only the images of the first so many classes; all of them where that is None.

    Raises:
        DataFault: there are not that many, or the test data have no image of those.
    """
    if classes is None or classes == len(data.class_names):
        return data
    if classes > len(data.class_names):
        received = f"classes={classes}, in the data={len(data.class_names)}"
        raise DataFault(fault(data.source, "there are not that many classes", received))
    arrays = {
        f"{kind}_{part}": getattr(data, f"{kind}_{part}")[getattr(data, f"y_{part}") < classes]
        for part in ("train", "test")
        for kind in ("x", "y")
    }
    return checked(
        arrays,
        source=data.source,
        class_names=data.class_names[:classes],
        remarks=data.remarks,
    )


def _to_uint8(images: Array) -> Images:
    if images.dtype.kind == "f":
        images = np.rint(images * 255.0)
    images = images if images.ndim == 4 else images[..., np.newaxis]
    return np.ascontiguousarray(images, dtype=np.uint8)


def _array_faults(source: str, arrays: Mapping[str, Array]) -> Iterator[str]:
    for name in ARRAY_NAMES:
        check = _image_faults if name.startswith("x_") else _label_faults
        yield from check(f"{source}, array {name}", arrays[name])


def _image_faults(where: str, images: Array) -> Iterator[str]:
    if images.dtype.kind not in "uif":
        yield _wrong_type(where, images, "Images are whole numbers in 0..255 or floats in 0..1")
    elif images.ndim not in (3, 4):
        yield fault(where, "wrong rank", f"shape={images.shape}", _IMAGE_SHAPES)
    elif images.ndim == 4 and not 1 <= images.shape[3] <= MOST_CHANNELS:
        yield fault(where, "wrong number of channels", f"shape={images.shape}", _IMAGE_SHAPES)
    elif images.size == 0:
        yield fault(where, "the array is empty", f"shape={images.shape}", _IMAGE_SHAPES)
    else:
        highest = 1 if images.dtype.kind == "f" else 255
        cure = "Divide floats by 255, or store them as uint8" if highest == 1 else ""
        yield from _range_faults(where, images, highest, cure)


def _range_faults(where: str, images: Array, highest: int, cure: str) -> Iterator[str]:
    low, high = images.min(), images.max()
    if not (np.isfinite(low) and np.isfinite(high)):
        bad = int(images.size - np.isfinite(images).sum())
        yield fault(where, "values are not finite", f"not finite={bad} of {images.size}", cure=cure)
    elif low < 0 or high > highest:
        allowed = f"Values of type {images.dtype} lie in 0..{highest}"
        yield fault(where, "values out of range", f"min={low}, max={high}", allowed, cure)


def _label_faults(where: str, labels: Array) -> Iterator[str]:
    if labels.dtype.kind not in "uif":
        yield _wrong_type(where, labels, "Labels are whole numbers from 0")
    elif labels.ndim not in (1, 2) or (labels.ndim == 2 and labels.shape[1] != 1):
        cure = "Turn one-hot labels into class numbers" if labels.ndim == 2 else ""
        yield fault(where, "wrong shape", f"shape={labels.shape}", _LABEL_SHAPES, cure)
    elif labels.size == 0:
        yield fault(where, "the array is empty", f"shape={labels.shape}", _LABEL_SHAPES)
    else:
        yield from _label_value_faults(where, labels.reshape(-1))


def _label_value_faults(where: str, labels: Array) -> Iterator[str]:
    broken = labels[~np.isfinite(labels) | (labels != np.floor(labels))]
    if broken.size:
        yield fault(where, "labels are not whole numbers", f"label={broken[0]}")
    elif labels.min() < 0:
        yield fault(where, "labels are negative", f"min={labels.min()}", "Classes count from 0")


def _wrong_type(where: str, array: Array, allowed: str) -> str:
    return fault(where, "wrong type of values", f"dtype={array.dtype}", allowed)


def _agreement_faults(source: str, arrays: Mapping[str, Array], named: int) -> Iterator[str]:
    """What is wrong between arrays that are each well-formed."""
    for part in ("train", "test"):
        images, labels = len(arrays[f"x_{part}"]), len(arrays[f"y_{part}"])
        if images != labels:
            where = f"{source}, arrays x_{part} and y_{part}"
            yield fault(where, "lengths differ", f"images={images}, labels={labels}")
    shapes = {part: _image_shape(arrays[f"x_{part}"]) for part in ("train", "test")}
    if shapes["train"] != shapes["test"]:
        yield fault(
            f"{source}, array x_test",
            "test images have another shape than training images",
            f"x_train={shapes['train']}, x_test={shapes['test']}",
        )
    yield from _class_faults(source, arrays["y_train"], arrays["y_test"], named)


def _image_shape(images: Array) -> tuple[int, ...]:
    return images.shape[1:] if images.ndim == 4 else (*images.shape[1:], 1)


def _class_faults(source: str, y_train: Array, y_test: Array, named: int) -> Iterator[str]:
    present = np.unique(y_train)
    classes = named or int(present[-1]) + 1
    missing = next((i for i, label in enumerate(present) if label != i), len(present))
    where = f"{source}, array y_train"
    if present[-1] >= classes:
        yield _outside(where, int(present[-1]), classes)
    elif missing < classes:
        received = f"class={missing}, classes={classes}"
        cure = "Number the classes from 0 without gaps"
        yield fault(where, "a class has no training image", received, cure=cure)
    elif classes < 2:
        yield fault(where, "there is only one class", f"classes={classes}", "At least two")
    if y_test.max() >= classes:
        yield _outside(f"{source}, array y_test", int(y_test.max()), classes)


def _outside(where: str, label: int, classes: int) -> str:
    allowed = f"Classes of the training data are 0 to {classes - 1}"
    return fault(where, "labels outside the classes", f"label={label}", allowed)
