"""The standard data sets: what form each has, whatever files it comes in.

Sources: LeCun, Cortes and Burges 1998 (MNIST); Xiao, Rasul and Vollgraf 2017 (Fashion-MNIST);
Krizhevsky 2009 (CIFAR-10, CIFAR-100); Le and Yang 2015 (Tiny ImageNet).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from mpinas.errors import fault
from mpinas.problems.images import ImageData, numbered_names


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """What a data set of a name has to be.

    Attributes:
        image_shape: (height, width, channels).
        classes: how many there are; fewer only where the user asked for fewer.
        class_names: in the order of their labels, for files that hold numbers only; may be empty.
    """

    image_shape: tuple[int, int, int]
    classes: int
    class_names: tuple[str, ...] = ()

    def faults(
        self, where: str, image_shape: tuple[int, ...], classes: int, wanted: int | None
    ) -> Iterator[str]:
        """Yields a line where data are not of this form.

        Args:
            wanted: ``problem.classes``.
        """
        needed = min(self.classes, wanted or self.classes)
        if image_shape == self.image_shape and classes != needed and classes <= self.classes:
            yield fault(
                "problem.classes",
                "the data have another number of classes",
                f"classes={wanted}, in the data={classes}",
                f"Needed here: {needed}",
                f"Set problem.classes to {classes}, or prepare data that have {needed}",
            )
        elif (image_shape, classes) != (self.image_shape, needed):
            yield fault(
                where,
                "not a data set of the form its name says",
                f"image shape={image_shape}, classes={classes}",
                f"Needed: image shape={self.image_shape}, classes={needed}",
                "For other data, set problem.name to arrays or images",
            )

    def named(self, data: ImageData) -> ImageData:
        """The data with the known class names, where the files held none."""
        names = self.class_names[: len(data.class_names)]
        if not names or data.class_names != numbered_names(len(data.class_names)):
            return data
        return replace(data, class_names=names)


FORMS: Mapping[str, Form] = {
    "digits": Form(image_shape=(8, 8, 1), classes=10),
    "mnist": Form(image_shape=(28, 28, 1), classes=10),
    "fashion_mnist": Form(
        image_shape=(28, 28, 1),
        classes=10,
        class_names=(
            "T-shirt/top",
            "Trouser",
            "Pullover",
            "Dress",
            "Coat",
            "Sandal",
            "Shirt",
            "Sneaker",
            "Bag",
            "Ankle boot",
        ),
    ),
    "cifar10": Form(
        image_shape=(32, 32, 3),
        classes=10,
        class_names=(
            "airplane",
            "automobile",
            "bird",
            "cat",
            "deer",
            "dog",
            "frog",
            "horse",
            "ship",
            "truck",
        ),
    ),
    "cifar100": Form(image_shape=(32, 32, 3), classes=100),
    "tiny_imagenet": Form(image_shape=(64, 64, 3), classes=200),
}
"""By the problem's name; problems that are not here take images of any form."""
