"""What to learn: named data sets, loaded, checked and prepared for the workers to map.

Comes in: the ``problem`` section of the configuration. Comes out: one prepared file (``prepare``)
that trials open (``open_prepared``), and lines that say what is wrong with section and data.
Knows numpy, h5py and file formats; knows no network and no trial.
"""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from mpinas.config import ProblemConfig
from mpinas.errors import DataFault, fault, unknown_name
from mpinas.problems import arrays, digits, mnist
from mpinas.problems.images import ImageData
from mpinas.problems.prepared import PreparedProblem, open_prepared, write_prepared
from mpinas.problems.splits import part_sizes, split

__all__ = [
    "PROBLEMS",
    "PreparedProblem",
    "ProblemEntry",
    "check_problem",
    "check_problem_section",
    "open_prepared",
    "parts_of",
    "prepare",
    "split",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProblemEntry:
    """A line of the registry.

    Attributes:
        load: reads and checks the data; raises DataFault.
        needs_path: whether ``problem.path`` has to be given; otherwise it must not be.
    """

    load: Callable[[ProblemConfig], ImageData]
    needs_path: bool


PROBLEMS: Mapping[str, ProblemEntry] = {
    "digits": ProblemEntry(load=digits.load, needs_path=False),
    "arrays": ProblemEntry(load=arrays.load, needs_path=True),
    "mnist": ProblemEntry(load=mnist.load, needs_path=True),
}


def check_problem_section(problem: ProblemConfig) -> Iterator[str]:
    """Yields one line for each fault that can be told without opening a file."""
    entry = PROBLEMS.get(problem.name)
    if entry is None:
        yield unknown_name("problem.name", problem.name, PROBLEMS, "problem")
    elif entry.needs_path and problem.path is None:
        cure = "Set problem.path to a .npz file"
        yield fault("problem.path", f"problem {problem.name} needs a file", "path=None", cure=cure)
    elif not entry.needs_path and problem.path is not None:
        rule = f"problem {problem.name} reads no file"
        yield fault("problem.path", rule, f"path={problem.path}", cure="Remove problem.path")


def prepare(problem: ProblemConfig, file: pathlib.Path) -> None:
    """Loads the data set and writes its prepared file, whole or not at all.

    Raises:
        DataFault: the section or the data break a rule, or the file cannot be written.
    """
    faults = tuple(check_problem_section(problem))
    if faults:
        raise DataFault(*faults)
    write_prepared(PROBLEMS[problem.name].load(problem), file)


def parts_of(problem: ProblemConfig, images: int) -> tuple[int, int]:
    """Sizes of the training and the validation part, see :func:`part_sizes`."""
    return part_sizes(
        images,
        validation=problem.validation,
        train_images=problem.train_images,
        train_fraction=problem.train_fraction,
    )


def check_problem(problem: ProblemConfig, prepared: PreparedProblem, batch_size: int) -> None:
    """Refuses, before a run, a split or batch that the data cannot give.

    Raises:
        DataFault: not enough images for the parts, a class missing from one, or fewer training
            images than one batch.
    """
    training_images, validation_images = parts_of(problem, len(prepared.y_train))
    split(
        prepared.y_train,
        training_images=training_images,
        validation_images=validation_images,
        seed=0,
    )
    if training_images < batch_size:
        raise DataFault(
            fault(
                "trial.batch_size",
                "there are fewer training images than one batch",
                f"batch_size={batch_size}, training images={training_images}",
                cure="Lower trial.batch_size, or use more images",
            )
        )
