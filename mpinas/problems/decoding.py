"""Decodes one image file: PNG, JPEG, WebP, BMP, or the first picture of a GIF.

Comes in: the bytes of a file. Comes out: its form from the header, or its pixels as uint8 (height,
width, channels), or ``Unreadable``. Knows no files, no classes. The rules:

- It is turned the way its EXIF orientation says.
- Colours become grey or RGB as in Keras (Pillow's ``convert``): transparency is dropped, grey is
  0.299 red + 0.587 green + 0.114 blue. Of 16 bits a channel the upper 8 are kept.
- Where its size is not the wanted one, it is scaled until it covers that, its aspect ratio kept,
  and cropped around its centre (Pillow's ``ImageOps.fit``; bilinear, antialiased).
- An image that has the wanted form already keeps every byte.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from mpinas.errors import MpinasError
from mpinas.problems.images import Images

SUFFIXES = (".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".bmp", ".gif")
"""Of the names of image files, in small letters."""

MOST_PIXELS = 80_000_000
"""Of one image: 240 MB as RGB. Below the 89 million from which Pillow suspects a bomb."""

_PNG_START = b"\x89PNG"
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF")
_GREY_MODES = ("1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L")
_ORIENTATION = 0x0112
_TURNS: Mapping[int, Image.Transpose] = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SWAPS_SIDES = (5, 6, 7, 8)


class Unreadable(MpinasError):
    """A file that is no image, or a damaged one.

    Args:
        reason: one line.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """What the header of an image says.

    Attributes:
        height, width: pixels, after it was turned.
        is_grey: whether it has no colours: by its mode, or by all colours of its palette.
    """

    height: int
    width: int
    is_grey: bool


def form_of(content: bytes, *, whole: bool = False) -> Form:
    """Looks at the header.

    Args:
        whole: whether all of the image is looked at, as :func:`decode` does.

    Raises:
        Unreadable: it is no image, or of too many pixels; where ``whole``, also if it is cut short
            or damaged.
    """
    if whole:
        _refuse_wrong_checksums(content)
    with _opened(content) as image:
        if whole:
            image.load()
        width, height = image.size
        if _orientation(image) in _SWAPS_SIDES:
            width, height = height, width
        return Form(height=height, width=width, is_grey=_is_grey(image))


def decode(content: bytes, *, size: tuple[int, int], channels: int) -> Images:
    """Decodes an image by the rules above.

    Args:
        size: wanted height and width.
        channels: 1 or 3.

    Returns:
        uint8 (height, width, channels).

    Raises:
        Unreadable: it is no image, cut short, damaged, or of too many pixels.
    """
    _refuse_wrong_checksums(content)
    with _opened(content) as image:
        turn = _TURNS.get(_orientation(image))
        image.load()
        converted = _converted(image, "L" if channels == 1 else "RGB")
        turned = converted if turn is None else converted.transpose(turn)
        wanted = (size[1], size[0])
        if turned.size != wanted:
            turned = ImageOps.fit(turned, wanted, method=Image.Resampling.BILINEAR)
        return np.asarray(turned, dtype=np.uint8).reshape(*size, channels)


@contextlib.contextmanager
def _opened(content: bytes) -> Iterator[Image.Image]:
    """The image with its header read; whatever goes wrong with it inside is ``Unreadable``."""
    try:
        with warnings.catch_warnings():
            # About palettes and damaged EXIF: nothing depends on it.
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(content), formats=_FORMATS) as image:
                if image.width * image.height > MOST_PIXELS:
                    raise Unreadable(f"{image.width}x{image.height} pixels, {MOST_PIXELS} allowed")
                yield image
    except Unreadable:
        raise
    except UnidentifiedImageError as error:
        known = "no PNG, JPEG, WebP, BMP or GIF image"
        raise Unreadable(known if content else "the file is empty") from error
    except Exception as error:
        lines = str(error).splitlines()
        raise Unreadable(lines[0] if lines else type(error).__name__) from error


def _refuse_wrong_checksums(content: bytes) -> None:
    """Pillow decodes a PNG without them, and one bit may then be another picture.

    Raises:
        Unreadable: a checksum is wrong, or the file ends early.
    """
    if content.startswith(_PNG_START):
        with _opened(content) as image:
            image.verify()


def _orientation(image: Image.Image) -> int:
    """EXIF's number, 1 where there is none that can be read: many cameras write it wrongly.

    Of a PNG only what stands before its pixels counts; the rest is not read with the header.
    """
    if image.format == "PNG" and "exif" not in image.info:
        return 1
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:
        return 1


def _is_grey(image: Image.Image) -> bool:
    if image.mode not in ("P", "PA") or image.palette is None:
        return image.mode in _GREY_MODES
    order, values = image.palette.getdata()
    colours = np.frombuffer(values, np.uint8)
    colours = colours[: len(colours) // len(order) * len(order)].reshape(-1, len(order))[:, :3]
    return bool((colours == colours[:, :1]).all())


def _converted(image: Image.Image, mode: str) -> Image.Image:
    if image.mode.startswith("I"):  # 16 bits; Pillow's own conversion would clip at 255
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    return image if image.mode == mode else image.convert(mode)
