"""The standard data sets on the internet, and how one is fetched and checked.

Comes in: a line of ``DOWNLOADS`` and a folder. Comes out: files that are, byte for byte, those
that are known. Knows no layout of data and prints nothing.

Sources of the checksums: ``keras.datasets`` (MNIST, CIFAR-10, CIFAR-100); the ``url_checksums`` of
TensorFlow Datasets (Fashion-MNIST); the archive as Stanford's CS231n publishes it (Tiny ImageNet).
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import os
import pathlib
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from urllib.error import HTTPError, URLError

from mpinas.errors import DataFault, fault

TIMEOUT_S = 60.0
"""Without a single byte."""

_PART_BYTES = 1 << 18
_LONGEST_REASON = 200
_FASHION = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Download:
    """One file of a data set.

    Attributes:
        address: http or https.
        sha256: of the whole file, 64 hexadecimal digits.
        size_bytes: of the whole file; not a byte more is accepted.
    """

    address: str
    sha256: str
    size_bytes: int

    @property
    def name(self) -> str:
        """Of the file, as the address ends."""
        return self.address.rpartition("/")[2]


DOWNLOADS: Mapping[str, tuple[Download, ...]] = {
    "mnist": (
        Download(
            address="https://storage.googleapis.com/tensorflow/tf-keras-datasets/mnist.npz",
            sha256="731c5ac602752760c8e48fbffcf8c3b850d9dc2a2aedcf2cc48468fc17b673d1",
            size_bytes=11_490_434,
        ),
    ),
    "fashion_mnist": (
        Download(
            address=_FASHION + "train-images-idx3-ubyte.gz",
            sha256="3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
            size_bytes=26_421_880,
        ),
        Download(
            address=_FASHION + "train-labels-idx1-ubyte.gz",
            sha256="a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
            size_bytes=29_515,
        ),
        Download(
            address=_FASHION + "t10k-images-idx3-ubyte.gz",
            sha256="346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
            size_bytes=4_422_102,
        ),
        Download(
            address=_FASHION + "t10k-labels-idx1-ubyte.gz",
            sha256="67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
            size_bytes=5_148,
        ),
    ),
    "cifar10": (
        Download(
            address="https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
            sha256="6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
            size_bytes=170_498_071,
        ),
    ),
    "cifar100": (
        Download(
            address="https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",
            sha256="85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7",
            size_bytes=169_001_437,
        ),
    ),
    "tiny_imagenet": (
        Download(
            address="http://cs231n.stanford.edu/tiny-imagenet-200.zip",
            sha256="6198c8ae015e2b3e007c7841da39ec069199b9aa3bfa943a462022fe5e43c821",
            size_bytes=248_100_043,
        ),
    ),
}
"""The files of each problem that can be downloaded."""


def download(
    files: Sequence[Download], folder: pathlib.Path, report: Callable[[int, int], None]
) -> tuple[pathlib.Path, ...]:
    """Fetches the files of a data set, through the proxy that ``https_proxy`` names if any.

    Args:
        folder: exists; a file of the same name in it is replaced.
        report: is called with the bytes that have come and the bytes of all files together.

    Returns:
        The files, in the order asked for. A file has its name only once it is whole and checked.

    Raises:
        DataFault: there is no connection, or it breaks; the file is not there, has another length
            or another SHA-256; or it cannot be written. What came of it is removed.
    """
    total = sum(one.size_bytes for one in files)
    before = 0
    paths = []
    for one in files:
        parts = _checked(one, _cure(files))
        path = folder / one.name
        _write(path, _reported(parts, report, before, total), one)
        paths.append(path)
        before += one.size_bytes
    return tuple(paths)


def _cure(files: Sequence[Download]) -> str:
    addresses = ", ".join(one.address for one in files)
    what = "the file" if len(files) == 1 else "the folder they are in"
    return f"On a machine with internet download {addresses}, and give {what} with --from"


def _write(path: pathlib.Path, parts: Iterator[bytes], one: Download) -> None:
    partial = path.with_name(f"{path.name}.part")
    try:
        with partial.open("wb") as target:
            for part in parts:
                target.write(part)
        os.replace(partial, path)
    except OSError as error:
        raise DataFault(
            fault(
                str(path),
                f"the download of {one.address} cannot be written",
                f"error={error.strerror or error}",
                cure=f"Make room for {one.size_bytes / 1e6:.0f} MB and give write permission",
            )
        ) from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink()


def _reported(
    parts: Iterator[bytes], report: Callable[[int, int], None], done: int, total: int
) -> Iterator[bytes]:
    for part in parts:
        yield part
        done += len(part)
        report(done, total)


def _checked(one: Download, cure: str) -> Iterator[bytes]:
    """Yields the file's bytes; raises where they are not what is known of it."""
    came = 0
    digest = hashlib.sha256()
    for part in _received(one, cure):
        came += len(part)
        digest.update(part)
        if came > one.size_bytes:
            rule = f"longer than the {one.size_bytes} bytes it must have; the rest was not read"
            raise DataFault(fault(one.address, rule, cure=cure))
        yield part
    if came < one.size_bytes:
        rule = f"ended before the {one.size_bytes} bytes it must have"
        raise DataFault(fault(one.address, rule, f"bytes={came}", cure=cure))
    if digest.hexdigest() != one.sha256:
        received, needed = f"SHA-256={digest.hexdigest()}", f"Needed: {one.sha256}"
        raise DataFault(fault(one.address, "not the file that is known", received, needed, cure))


def _received(one: Download, cure: str) -> Iterator[bytes]:
    try:
        # Not urlopen, which keeps to the proxies of its first call.
        opener = urllib.request.build_opener()
        with opener.open(one.address, timeout=TIMEOUT_S) as response:
            while part := response.read(_PART_BYTES):
                yield part
    # A proxy's address that is none ends in a ValueError.
    except (OSError, http.client.HTTPException, ValueError) as error:
        received = f"error={_reason(error)}"
        raise DataFault(fault(one.address, "cannot be downloaded", received, cure=cure)) from error


def _reason(error: Exception) -> str:
    """One short line: a server can write anything here."""
    if isinstance(error, HTTPError):
        error.close()
        reason = f"HTTP {error.code} {error.reason}"
    else:
        reason = str(error.reason if isinstance(error, URLError) else error)
    printable = "".join(character if character.isprintable() else " " for character in reason)
    return " ".join(printable.split())[:_LONGEST_REASON] or type(error).__name__
