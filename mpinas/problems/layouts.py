"""Which layout the data at a path have, told from what is there and not from names of files.

Comes in: ``problem.path``. Comes out: ``ImageData``. Each layout has a module of its own.
"""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from mpinas.config import ProblemConfig
from mpinas.errors import DataFault, fault
from mpinas.problems import arrays, cifar_batches, idx, image_folder, tiny_imagenet
from mpinas.problems.images import ImageData
from mpinas.problems.tree import Tree, open_tree

_SHOWN_FILES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """How files of a folder or an archive make a data set.

    Attributes:
        recognises: whether the files are of this layout; opens none of them.
        read: reads and checks them; raises DataFault.
    """

    recognises: Callable[[Tree], bool]
    read: Callable[[Tree, ProblemConfig], ImageData]


TREE_LAYOUTS: Mapping[str, Layout] = {
    "IDX files": Layout(recognises=idx.recognises, read=idx.read),
    "CIFAR batches": Layout(recognises=cifar_batches.recognises, read=cifar_batches.read),
    "Tiny ImageNet": Layout(recognises=tiny_imagenet.recognises, read=tiny_imagenet.read),
    "train/<class>/image": Layout(recognises=image_folder.recognises, read=image_folder.read),
}
"""In the order in which they are tried."""


def load(problem: ProblemConfig) -> ImageData:
    """Reads ``problem.path``, whatever of the known layouts it has.

    Raises:
        DataFault: nothing is there, it has no known layout, or it is faulty.
    """
    path = pathlib.Path(problem.path or "").expanduser()
    if arrays.recognises(path):
        return arrays.read(path)
    with open_tree(path) as tree:
        for layout in TREE_LAYOUTS.values():
            if layout.recognises(tree):
                return layout.read(tree, problem)
        raise DataFault(_unknown(tree))


def _unknown(tree: Tree) -> str:
    shown = ", ".join(tree.paths[:_SHOWN_FILES]) or "none"
    more = len(tree.paths) - _SHOWN_FILES
    return fault(
        tree.source,
        "no layout that is known",
        f"files={shown}{f' and {more} more' if more > 0 else ''}",
        f"Known: .npz, HDF5, {', '.join(TREE_LAYOUTS)}",
    )
