"""One image file: its form and its pixels, whatever it is written as; damage has a reason."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from mpinas.problems.decoding import MOST_PIXELS, Form, Unreadable, decode, form_of

HEIGHT, WIDTH = 6, 9
SIZE = (HEIGHT, WIDTH)
RGB = np.random.default_rng(3).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
GREY = RGB[..., 0]
ALPHA = RGB[..., 1]
DARK = GREY > 127
PALETTE = Image.fromarray(RGB).quantize(16)
COLOURS = np.array(PALETTE.getpalette(), np.uint8).reshape(-1, 3)[np.asarray(PALETTE)]
GREY_PALETTE = Image.fromarray(GREY).quantize(16)
GREYS = np.array(GREY_PALETTE.getpalette(), np.uint8).reshape(-1, 3)[np.asarray(GREY_PALETTE)]


def saved(image, form: str, **options) -> bytes:
    target = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(
        target, form, **options
    )
    return target.getvalue()


def rgb(content: bytes, size=SIZE) -> np.ndarray:
    return decode(content, size=size, channels=3)


def grey(content: bytes, size=SIZE) -> np.ndarray:
    return decode(content, size=size, channels=1)[..., 0]


def as_grey(colours: np.ndarray) -> np.ndarray:
    """The rule that docs/data.md states."""
    return colours @ np.array([0.299, 0.587, 0.114])


def threefold(image: np.ndarray) -> np.ndarray:
    return np.stack([image] * 3, axis=-1)


WITH_ALPHA = np.dstack([RGB, ALPHA])
GREY_WITH_ALPHA = np.dstack([GREY, ALPHA])
PNG_16 = Image.fromarray(GREY.astype(np.uint16) * 256 + 77)
EXACT = {
    "PNG RGB": (saved(RGB, "PNG"), RGB),
    "PNG RGBA": (saved(WITH_ALPHA, "PNG"), RGB),
    "PNG palette": (saved(PALETTE, "PNG"), COLOURS),
    "PNG palette of 4 bits": (saved(PALETTE, "PNG", bits=4), COLOURS),
    "PNG palette, transparent": (saved(PALETTE, "PNG", transparency=bytes(range(16))), COLOURS),
    "PNG transparent colour": (saved(RGB, "PNG", transparency=tuple(map(int, RGB[0, 0]))), RGB),
    "PNG not packed": (saved(RGB, "PNG", compress_level=0), RGB),
    "WebP lossless": (saved(RGB, "WEBP", lossless=True), RGB),
    "WebP lossless RGBA": (saved(WITH_ALPHA, "WEBP", lossless=True, exact=True), RGB),
    "BMP RGB": (saved(RGB, "BMP"), RGB),
    "BMP palette": (saved(PALETTE, "BMP"), COLOURS),
    "GIF": (saved(PALETTE, "GIF"), COLOURS),
}
EXACT_GREY = {
    "PNG grey": (saved(GREY, "PNG"), GREY),
    "PNG grey and alpha": (saved(Image.fromarray(GREY_WITH_ALPHA), "PNG"), GREY),
    "PNG 1 bit": (saved(DARK, "PNG"), DARK * 255),
    "PNG 16 bits": (saved(PNG_16, "PNG"), GREY),
    "PNG grey palette": (saved(GREY_PALETTE, "PNG"), GREYS[..., 0]),
    "BMP grey": (saved(GREY, "BMP"), GREY),
    "BMP 1 bit": (saved(DARK, "BMP"), DARK * 255),
    "BMP grey palette": (saved(GREY_PALETTE, "BMP"), GREYS[..., 0]),
    "GIF grey": (saved(GREY, "GIF"), GREY),
    "GIF grey palette": (saved(GREY_PALETTE, "GIF"), GREYS[..., 0]),
}


@pytest.mark.parametrize("kind", EXACT)
def test_colours_keep_every_byte(kind):
    content, pixels = EXACT[kind]
    assert form_of(content) == Form(height=HEIGHT, width=WIDTH, is_grey=False)
    found = rgb(content)
    assert found.dtype == np.uint8
    assert np.array_equal(found, pixels)
    assert np.abs(grey(content) - as_grey(pixels)).max() <= 1


@pytest.mark.parametrize("kind", EXACT_GREY)
def test_grey_keeps_every_byte(kind):
    content, pixels = EXACT_GREY[kind]
    assert form_of(content) == Form(height=HEIGHT, width=WIDTH, is_grey=True)
    assert np.array_equal(grey(content), pixels)
    assert np.array_equal(rgb(content), threefold(pixels))


def test_16_bits_of_colours():
    """Pillow writes none: two bytes a channel, the upper first."""
    rows = b"".join(
        b"\0" + np.stack([row, 255 - row], axis=-1).tobytes() for row in RGB.reshape(HEIGHT, -1)
    )
    assert np.array_equal(rgb(png(WIDTH, HEIGHT, rows, bits=16, kind=2)), RGB)


def png(width: int, height: int, rows: bytes, *, bits: int = 8, kind: int = 0) -> bytes:
    """A PNG whose header says what it is told to."""

    def chunk(name: bytes, content: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(name + content))
        return struct.pack(">I", len(content)) + name + content + checksum

    header = struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0)
    pixels = chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + pixels + chunk(b"IEND", b"")


SMOOTH = np.clip(np.add.outer(np.arange(32) * 4, np.arange(24) * 3), 0, 255).astype(np.uint8)
SMOOTH_RGB = np.dstack([SMOOTH, 255 - SMOOTH, SMOOTH // 2])
LOSSY = {
    "JPEG": saved(SMOOTH_RGB, "JPEG", quality=95),
    "JPEG progressive": saved(SMOOTH_RGB, "JPEG", quality=95, progressive=True),
    "JPEG CMYK": saved(Image.fromarray(SMOOTH_RGB).convert("CMYK"), "JPEG", quality=95),
    "JPEG of a camera with two pictures": saved(
        SMOOTH_RGB, "MPO", save_all=True, append_images=[Image.new("RGB", (4, 4))], quality=95
    ),
    "WebP": saved(SMOOTH_RGB, "WEBP", quality=95),
}


@pytest.mark.parametrize("kind", LOSSY)
def test_lossy_files_are_near(kind):
    assert form_of(LOSSY[kind]) == Form(height=32, width=24, is_grey=False)
    found = rgb(LOSSY[kind], (32, 24))
    assert np.abs(found.astype(int) - SMOOTH_RGB).mean() < 5


def test_a_grey_jpeg():
    content = saved(SMOOTH, "JPEG", quality=95)
    assert form_of(content) == Form(height=32, width=24, is_grey=True)
    assert np.abs(grey(content, (32, 24)).astype(int) - SMOOTH).mean() < 3


@pytest.mark.parametrize("form", ["GIF", "PNG", "WEBP"])
def test_of_moving_pictures_the_first_counts(form):
    frames = [Image.fromarray(COLOURS), Image.new("RGB", (WIDTH, HEIGHT), "white")]
    options = {"lossless": True} if form == "WEBP" else {}
    content = saved(frames[0], form, save_all=True, append_images=frames[1:], **options)
    with Image.open(io.BytesIO(content)) as image:
        assert image.n_frames == 2
    assert np.array_equal(rgb(content), COLOURS)


def test_a_palette_is_grey_only_if_all_of_its_colours_are():
    image = GREY_PALETTE.copy()
    image.putpalette([9, 9, 9, 200, 200, 200, 10, 10, 11])
    assert not form_of(saved(image, "PNG")).is_grey


# EXIF


TURNED = {
    1: RGB,
    2: RGB[:, ::-1],
    3: RGB[::-1, ::-1],
    4: RGB[::-1],
    5: RGB.transpose(1, 0, 2),
    6: RGB[::-1].transpose(1, 0, 2),
    7: RGB[::-1, ::-1].transpose(1, 0, 2),
    8: RGB[:, ::-1].transpose(1, 0, 2),
}


@pytest.mark.parametrize("form", ["PNG", "WEBP"])
@pytest.mark.parametrize("orientation", TURNED)
def test_images_are_turned_as_their_exif_says(form, orientation):
    """6 means: the first row is to be seen at the right side, the first column at the top."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = saved(RGB, form, exif=exif, **({"lossless": True} if form == "WEBP" else {}))
    wanted = TURNED[orientation]
    found = form_of(content)
    assert (found.height, found.width) == wanted.shape[:2]
    assert np.array_equal(rgb(content, wanted.shape[:2]), wanted)


def test_a_jpeg_is_turned():
    exif = Image.Exif()
    exif[0x0112] = 6
    content = saved(SMOOTH_RGB, "JPEG", quality=95, exif=exif)
    wanted = SMOOTH_RGB[::-1].transpose(1, 0, 2)
    assert form_of(content) == Form(height=24, width=32, is_grey=False)
    assert np.abs(rgb(content, (24, 32)).astype(int) - wanted).mean() < 5


@pytest.mark.parametrize(
    ("kind", "count", "value"),
    [(3, 1, 0), (3, 1, 9), (3, 1, 60000), (2, 4, 0x6E6F), (7, 1, 0x0600), (99, 1, 6)],
)
def test_an_orientation_that_is_none_is_ignored(kind, count, value):
    """A number that has no meaning, a text, bytes, and a type that there is not."""
    entry = struct.pack(">HHIHH", 0x0112, kind, count, value, 0)
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01" + entry + bytes(4)
    assert np.array_equal(rgb(saved(RGB, "PNG", exif=exif)), RGB)


def test_damaged_exif_is_ignored():
    for exif in (b"Exif\0\0", b"Exif\0\0MM\0*\xff\xff\xff\xff", b"Exif\0\0II*\0\x08\0\0\0\xff\xff"):
        assert np.array_equal(rgb(saved(RGB, "PNG", exif=exif)), RGB)


# Sizes


def test_an_image_is_scaled_until_it_covers_the_size_and_cropped_around_its_centre():
    """Twice as wide as high, left and right quarter in other colours: those are cut off."""
    image = np.zeros((20, 40, 3), np.uint8)
    image[:, 10:30] = (10, 200, 30)
    image[:, :10], image[:, 30:] = (255, 0, 0), (0, 0, 255)
    for size in ((20, 20), (10, 10)):
        found = rgb(saved(image, "PNG"), size)
        inner = found[:, 1:-1]
        assert found.shape == (*size, 3)
        assert (inner == (10, 200, 30)).all()
    upright = rgb(saved(image.transpose(1, 0, 2), "PNG"), (10, 10))
    assert (upright[1:-1] == (10, 200, 30)).all()


def test_a_small_image_is_enlarged_and_a_large_one_averaged():
    assert (rgb(saved(np.full((1, 1, 3), 7, np.uint8), "PNG"), (5, 3)) == 7).all()
    board = (np.indices((64, 64)).sum(axis=0) % 2 * 255).astype(np.uint8)
    inner = grey(saved(board, "PNG"), (8, 8))[1:-1, 1:-1]
    assert np.abs(inner.astype(int) - 127).max() <= 2, "without antialiasing it is 0 or 255"


# Damage


def reason(content: bytes, read) -> str:
    with pytest.raises(Unreadable) as caught:
        read(content)
    assert caught.value.reason.isprintable()
    return caught.value.reason


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "the file is empty"),
        (b"hello", "no PNG, JPEG, WebP, BMP or GIF image"),
        (saved(RGB, "TIFF"), "no PNG, JPEG, WebP, BMP or GIF image"),
        (saved(RGB, "PPM"), "no PNG, JPEG, WebP, BMP or GIF image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "no PNG"),
        (saved(RGB, "PNG")[:20], ""),
        (png(60000, 60000, b""), "3600000000 pixels"),
        (png(MOST_PIXELS // 1000 + 1, 1000, b""), f"80001x1000 pixels, {MOST_PIXELS} allowed"),
        (png(0, 5, b""), ""),
    ],
)
def test_what_the_header_tells(content, words):
    assert words in reason(content, form_of)
    assert words in reason(content, rgb)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "BMP", "GIF"])
def test_a_file_that_is_cut_short(form):
    content = saved(np.tile(RGB, (20, 20, 1)), form)
    assert reason(content[: len(content) // 2], rgb)


def test_a_png_that_unpacks_to_more_than_its_pixels():
    """What is too much is not unpacked."""
    content = png(4, 4, bytes(5 * 4) + bytes(50_000_000))
    assert (grey(content, (4, 4)) == 0).all()


@pytest.mark.parametrize("kind", ["PNG RGB", "PNG palette", "BMP RGB", "GIF", "WebP lossless"])
def test_flipped_bits_give_an_image_or_a_reason(kind):
    content = EXACT[kind][0]
    rng = np.random.default_rng(len(kind))
    for _ in range(150):
        damaged = bytearray(content)
        for place in rng.integers(0, len(content), 2):
            damaged[place] ^= 1 << int(rng.integers(8))
        try:
            form = form_of(bytes(damaged))
            image = decode(bytes(damaged), size=SIZE, channels=1 if form.is_grey else 3)
        except Unreadable as error:
            line = error.reason
        else:
            line = ""
            assert image.shape[:2] == SIZE
        assert line.isprintable()
        assert len(line) < 300


def test_one_wrong_bit_of_a_png_is_never_another_picture():
    """Pillow alone takes one in twenty for good: it looks at no checksum of the pixels."""
    content = saved(SMOOTH_RGB, "PNG")
    accepted = 0
    for bit in range(8 * len(content)):
        damaged = bytearray(content)
        damaged[bit // 8] ^= 1 << bit % 8
        try:
            image = rgb(bytes(damaged), (32, 24))
        except Unreadable:
            continue
        accepted += 1
        assert np.array_equal(image, SMOOTH_RGB)
    assert accepted < 200, "only in what follows the pixels"


@pytest.mark.parametrize("kind", ["PNG RGB", "GIF", "BMP RGB"])
def test_looking_at_the_whole_image_finds_what_decoding_finds(kind):
    content = EXACT[kind][0]
    assert form_of(content, whole=True) == form_of(content)
    short = content[: len(content) * 3 // 4]
    assert form_of(short) == form_of(content)
    assert reason(short, lambda one: form_of(one, whole=True)) == reason(short, rgb)
