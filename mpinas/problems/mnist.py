"""Loader ``mnist``: Keras's ``mnist.npz``, or any data set of the same form (Fashion-MNIST is one).

The file is read as by ``arrays``. Source: LeCun, Cortes and Burges 1998, the MNIST database.
"""

from __future__ import annotations

from mpinas.config import ProblemConfig
from mpinas.errors import DataFault, fault
from mpinas.problems import arrays
from mpinas.problems.images import ImageData

IMAGE_SHAPE = (28, 28, 1)
CLASSES = 10


def load(problem: ProblemConfig) -> ImageData:
    """Reads ``problem.path``.

    Raises:
        DataFault: see ``arrays.load``; or the images are not 28x28 and grey, or not of ten classes.
    """
    data = arrays.load(problem)
    shape, classes = data.x_train.shape[1:], len(data.class_names)
    if (shape, classes) != (IMAGE_SHAPE, CLASSES):
        raise DataFault(
            fault(
                data.source,
                "not of the form of MNIST",
                f"image shape={shape}, classes={classes}",
                f"Needed: image shape={IMAGE_SHAPE}, classes={CLASSES}",
                "For other images set problem.name to arrays",
            )
        )
    return data
