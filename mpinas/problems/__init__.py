"""What to learn: named data sets, loaded, checked and prepared for the workers to map.

Comes in: the ``problem`` section of the configuration. Comes out: one prepared file (``prepare``)
that trials open (``open_prepared``), and lines that say what is wrong with section and data.
Knows numpy, h5py, Pillow and file formats; knows no network and no trial.
"""

from __future__ import annotations

import importlib
import pathlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from mpinas.config import ProblemConfig
from mpinas.errors import DataFault, fault, unknown_name
from mpinas.problems.images import ImageData, first_classes
from mpinas.problems.overlap import count_shared_images
from mpinas.problems.prepared import (
    PreparedProblem,
    is_prepared,
    open_prepared,
    write_prepared,
)
from mpinas.problems.presets import FORMS
from mpinas.problems.splits import part_sizes, split

__all__ = [
    "DATA_FOLDER",
    "PROBLEMS",
    "PreparedProblem",
    "ProblemEntry",
    "check_problem",
    "check_problem_section",
    "default_path",
    "is_prepared",
    "load",
    "open_prepared",
    "parts_of",
    "prepare",
    "split",
]

DATA_FOLDER = "data"
"""Where ``prepare`` writes and a run looks, below the current folder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProblemEntry:
    """A line of the registry.

    Attributes:
        loader: the module of this package that reads the data, imported when it does: each rank of
            a job imports the package, and one of them reads.
        needs_path: whether ``problem.path`` has to be given.
        needs_files: whether there is anything to read; otherwise no path is needed ever.
    """

    loader: str = "layouts"
    needs_path: bool = False
    needs_files: bool = True

    def load(self, problem: ProblemConfig) -> ImageData:
        """Reads and checks the data at ``problem.path``; raises DataFault."""
        data: ImageData = importlib.import_module(f"{__name__}.{self.loader}").load(problem)
        return data


PROBLEMS: Mapping[str, ProblemEntry] = {
    "digits": ProblemEntry(loader="digits", needs_files=False),
    "mnist": ProblemEntry(),
    "fashion_mnist": ProblemEntry(),
    "cifar10": ProblemEntry(),
    "cifar100": ProblemEntry(),
    "tiny_imagenet": ProblemEntry(),
    "images": ProblemEntry(needs_path=True),
    "arrays": ProblemEntry(loader="arrays", needs_path=True),
    "python": ProblemEntry(loader="python_function", needs_path=True),
}


def check_problem_section(problem: ProblemConfig) -> Iterator[str]:
    """Yields one line for each fault that can be told without opening a file."""
    entry = PROBLEMS.get(problem.name)
    if entry is None:
        yield unknown_name("problem.name", problem.name, PROBLEMS, "problem")
    elif entry.needs_path and problem.path is None:
        cure = "Set problem.path, of 'prepare' --from, to the data or to a prepared file"
        yield fault("problem.path", f"problem {problem.name} needs data", "path=None", cure=cure)


def default_path(name: str) -> pathlib.Path | None:
    """Where the prepared file of a problem without a path is expected; None if it needs none."""
    entry = PROBLEMS[name]
    if entry.needs_path or not entry.needs_files:
        return None
    return pathlib.Path(DATA_FOLDER) / f"{name}.h5"


def load(problem: ProblemConfig) -> ImageData:
    """Reads, checks and names the data of a section.

    Raises:
        DataFault: the section or the data break a rule.
    """
    faults = list(check_problem_section(problem)) or list(_path_faults(problem))
    if faults:
        raise DataFault(*faults)
    data = first_classes(PROBLEMS[problem.name].load(problem), problem.classes)
    form = FORMS.get(problem.name)
    data = data if form is None else form.named(data)
    faults = list(_unlike(problem, data.source, data.x_train.shape[1:], len(data.class_names)))
    if faults:
        raise DataFault(*faults)
    return data


def missing_data(problem: ProblemConfig) -> Iterator[str]:
    """Yields a line where there is nothing that data could be read from; opens no file."""
    faults = list(_path_faults(problem))
    yield from faults
    path = (problem.path or "").rpartition(":")[0] if problem.name == "python" else problem.path
    if path and not faults and not pathlib.Path(path).expanduser().exists():
        cure = "Set problem.path to the data or to a prepared file"
        yield fault("problem.path", "there is no such file or folder", f"path={path}", cure=cure)


def _path_faults(problem: ProblemConfig) -> Iterator[str]:
    """Yields a line where a standard data set is not where it is expected, or needs no path."""
    received = f"path={problem.path}"
    if not PROBLEMS[problem.name].needs_files and problem.path is not None:
        rule = f"problem {problem.name} reads no files"
        yield fault("problem.path", rule, received, cure="Remove problem.path")
    default = default_path(problem.name)
    if default is None:
        return
    path = pathlib.Path(problem.path or default)
    if path.name == default.name and not path.expanduser().exists():
        cure = f"Run `python -m mpinas prepare {problem.name}` first, where there is internet"
        yield fault("problem.path", "there are no data", received, cure=cure)


def prepare(problem: ProblemConfig, file: pathlib.Path, source: str | None = None) -> None:
    """Loads the data set and writes its prepared file, whole or not at all.

    Images that stand in both the training and the test data are counted; that is a remark.

    Args:
        source: where the data came from, if not from ``problem.path``.

    Raises:
        DataFault: the section or the data break a rule, or the file cannot be written.
    """
    data = load(problem)
    data = data if source is None else replace(data, source=source)
    shared = count_shared_images(data.x_train, data.x_test)
    remarks = (
        *data.remarks,
        f"{shared:,} of {len(data.x_test):,} test images are also training images",
    )
    write_prepared(replace(data, remarks=remarks), file)


def parts_of(problem: ProblemConfig, images: int) -> tuple[int, int]:
    """Sizes of the training and the validation part, see :func:`part_sizes`."""
    return part_sizes(
        images,
        validation=problem.validation,
        train_images=problem.train_images,
        train_fraction=problem.train_fraction,
    )


def check_problem(problem: ProblemConfig, prepared: PreparedProblem, batch_size: int) -> None:
    """Refuses, before a run, prepared data, a split or a batch that the section does not mean.

    Raises:
        DataFault: the data are not those of the problem, there are not enough images for the
            parts, a class is missing from one, or there are fewer training images than one batch.
    """
    where = f"problem.path, data of {prepared.source}"
    faults = tuple(_unlike(problem, where, prepared.image_shape, prepared.classes))
    if faults:
        raise DataFault(*faults)
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


def _unlike(
    problem: ProblemConfig, where: str, image_shape: tuple[int, ...], classes: int
) -> Iterator[str]:
    """Yields a line for each thing that data have otherwise than the section wants."""
    form = FORMS.get(problem.name)
    wanted: dict[str, tuple[object, object]] = {
        "image_size": (problem.image_size, image_shape[:2]),
        "channels": (problem.channels, image_shape[2]),
    }
    if form is None:
        wanted["classes"] = (problem.classes, classes)
    else:
        yield from form.faults(where, image_shape, classes, problem.classes)
    for key, (asked, found) in wanted.items():
        if asked not in (None, found):
            yield fault(
                f"problem.{key}",
                "the data are otherwise, and only image files are changed",
                f"{key}={asked}, in the data={found}",
                cure="Remove the key, or prepare the data again with it",
            )
