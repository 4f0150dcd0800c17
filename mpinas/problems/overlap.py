"""Images that stand in both the training and the test data: a test score counts them as learned."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from mpinas.problems.images import Images

_DIGEST_BYTES = 16


def count_shared_images(x_train: Images, x_test: Images) -> int:
    """How many test images are, to the last bit, also training images.

    Args:
        x_train, x_test: uint8 (N, height, width, channels), equal but for N.
    """
    training = set(_digests(x_train))
    return sum(digest in training for digest in _digests(x_test))


def _digests(images: Images) -> Iterator[bytes]:
    for image in images:
        yield hashlib.blake2b(image.tobytes(), digest_size=_DIGEST_BYTES).digest()
