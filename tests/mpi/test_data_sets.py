"""The real data sets: each is prepared from the files people have, and searched under mpiexec.

They belong to others and are not part of this repository. ``MPINAS_TEST_DATA`` names a folder with
``mnist.npz`` and, as ``.tar.xz`` of ``train/<class>/`` and ``test/<class>/``, CIFAR-10, CIFAR-100
and 100 classes of Tiny ImageNet; Fashion-MNIST is Debian's package ``dataset-fashion-mnist``.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import mpi_launcher
import numpy as np
import pytest
import yaml
from test_same_search import shown

from mpinas.problems import open_prepared

FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSet:
    """A data set, where it is, and how many images of a class it must have (least, most)."""

    problem: str
    file: str
    shape: tuple[int, int, int]
    classes: int
    training: tuple[int, int]
    test: tuple[int, int]


DATA_SETS = {
    "digits": DataSet(
        problem="digits",
        file="",
        shape=(8, 8, 1),
        classes=10,
        training=(139, 146),
        test=(35, 37),
    ),
    "mnist": DataSet(
        problem="mnist",
        file="mnist.npz",
        shape=(28, 28, 1),
        classes=10,
        training=(5_421, 6_742),
        test=(892, 1_135),
    ),
    "fashion_mnist": DataSet(
        problem="fashion_mnist",
        file=str(FASHION_MNIST),
        shape=(28, 28, 1),
        classes=10,
        training=(6_000, 6_000),
        test=(1_000, 1_000),
    ),
    "cifar10": DataSet(
        problem="cifar10",
        file="cifar10.tar.xz",
        shape=(32, 32, 3),
        classes=10,
        training=(5_000, 5_000),
        test=(1_000, 1_000),
    ),
    "cifar100": DataSet(
        problem="cifar100",
        file="cifar100.tar.xz",
        shape=(32, 32, 3),
        classes=100,
        training=(500, 500),
        test=(100, 100),
    ),
    "tiny_imagenet, 100 classes in 32x32": DataSet(
        problem="images",
        file="tiny-imagenet-100.tar.xz",
        shape=(32, 32, 3),
        classes=100,
        training=(500, 500),
        test=(50, 50),
    ),
}

SEARCH = {
    "name": "short",
    "seed": 3,
    "space": {
        "layers": {"conv2d": {"filters": {"min": 4, "max": 8}, "kernel_size": 3}},
        "max_module_layers": 1,
        "max_blueprint_nodes": 2,
        "head": {"layers": 0, "reduce": ["global_average_pool"]},
    },
    "tuner": {
        "name": "codeepneat",
        "generations": 1,
        "individuals": 2,
        "modules": {"population": 4, "species": 1},
        "blueprints": {"population": 2, "species": 1},
    },
    "trial": {"epochs": 1, "batch_size": 100},
}


def source_of(data_set: DataSet) -> list[str]:
    """The arguments of ``prepare``; the test is skipped where the data are not on this machine."""
    if not data_set.file:
        return []
    folder = os.environ.get("MPINAS_TEST_DATA", "")
    path = Path(folder, data_set.file).absolute() if folder else Path(data_set.file)
    if not path.is_absolute():
        pytest.skip(f"MPINAS_TEST_DATA names no folder with {data_set.file}")
    if not path.exists():
        pytest.skip(f"{path} is not there")
    return ["--from", str(path)]


@pytest.mark.keras
@pytest.mark.parametrize("name", DATA_SETS)
def test_a_data_set_is_prepared_and_searched(name: str, tmp_path: Path) -> None:
    data_set = DATA_SETS[name]
    file = tmp_path / "prepared.h5"
    arguments = ["prepare", data_set.problem, *source_of(data_set), "--out", str(file)]
    prepared = mpi_launcher.run_alone(["-m", "mpinas", *arguments])
    assert prepared.returncode == 0, prepared.stderr

    problem = open_prepared(file, verify=True)
    assert problem.image_shape == data_set.shape
    assert problem.classes == data_set.classes
    parts = ((problem.y_train, data_set.training), (problem.y_test, data_set.test))
    for labels, (least, most) in parts:
        counts = np.bincount(labels, minlength=data_set.classes)
        assert (counts.min(), counts.max()) == (least, most)
    assert str(problem.classes) in prepared.stdout

    section = {"name": data_set.problem, "path": str(file), "train_images": 400, "validation": 200}
    config = tmp_path / "short.yaml"
    config.write_text(yaml.safe_dump({**SEARCH, "problem": section}))
    run = mpi_launcher.run(
        3, ["-m", "mpinas", "run", str(config), "--out", str(tmp_path / "run")], limit_s=240
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert [one["status"] for one in shown(tmp_path / "run")["trials"]] == ["complete"] * 2
    assert not (tmp_path / "run" / "problem.h5").exists(), "the prepared file was copied"
