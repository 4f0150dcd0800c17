"""Damaged data files of every layout: a clean fault or a correct prepared file, nothing else."""

from __future__ import annotations

import shutil
from pathlib import Path

import data_files
import numpy as np
import pytest

from mpinas.config import ProblemConfig
from mpinas.errors import DataFault
from mpinas.problems import open_prepared, prepare

COLOUR = data_files.random_arrays((32, 32, 3))
GREY = data_files.random_arrays((9, 7, 1), seed=1)


def zipped(arrays, folder):
    return data_files.save_zip(data_files.save_image_folder(arrays, folder))


def tarred(packing):
    return lambda arrays, folder: data_files.save_tar(
        data_files.save_image_folder(arrays, folder), packing
    )


def packed_idx(arrays, folder):
    return data_files.save_idx(arrays, folder, packed=True)


def tarred_pickles(arrays, folder):
    return data_files.save_tar(data_files.save_cifar10_python(arrays, folder), "gz")


def zipped_tiny_imagenet(arrays, folder):
    return data_files.save_zip(data_files.save_tiny_imagenet(arrays, folder))


def prepared(arrays, folder):
    file = folder / "prepared.h5"
    prepare(ProblemConfig(name="arrays", path=str(data_files.save_npz(arrays, folder))), file)
    return file


LAYOUTS = {
    "npz": (data_files.save_npz, GREY, 30),
    "hdf5": (data_files.save_hdf5, GREY, 12),
    "prepared file as data": (prepared, GREY, 8),
    "idx": (data_files.save_idx, GREY, 30),
    "idx, packed": (packed_idx, GREY, 30),
    "cifar10 pickles": (data_files.save_cifar10_python, COLOUR, 30),
    "cifar10 pickles, tar.gz": (tarred_pickles, COLOUR, 15),
    "cifar100 pickles": (data_files.save_cifar100_python, COLOUR, 30),
    "cifar10 binary": (data_files.save_cifar10_binary, COLOUR, 20),
    "cifar100 binary": (data_files.save_cifar100_binary, COLOUR, 20),
    "image folder": (data_files.save_image_folder, GREY, 30),
    "image folder, zip": (zipped, GREY, 30),
    "image folder, tar": (tarred(""), GREY, 20),
    "image folder, tar.gz": (tarred("gz"), GREY, 15),
    "image folder, tar.bz2": (tarred("bz2"), GREY, 10),
    "image folder, tar.xz": (tarred("xz"), GREY, 15),
    "tiny imagenet": (data_files.save_tiny_imagenet, COLOUR, 15),
    "tiny imagenet, zip": (zipped_tiny_imagenet, COLOUR, 15),
}
"""Layout -> how to write it, what data, how many damaged copies are tried."""


def test_enough_damage_is_done():
    assert sum(copies for _, _, copies in LAYOUTS.values()) >= 300


def damage(file: Path, rng: np.random.Generator) -> str:
    """Cuts a file short, turns bits around, or overwrites a stretch; says what was done."""
    content = bytearray(file.read_bytes())
    kind = rng.choice(["cut", "bits", "header bits", "stretch", "grown"])
    if kind == "cut":
        del content[rng.integers(0, len(content)) :]
    elif kind == "grown":
        content += rng.bytes(int(rng.integers(1, 200)))
    elif kind == "stretch":
        start = int(rng.integers(0, len(content)))
        length = min(int(rng.integers(1, 64)), len(content) - start)
        content[start : start + length] = rng.bytes(length)
    else:
        last = len(content) if kind == "bits" else min(len(content), 256)
        for place in rng.integers(0, last, size=rng.integers(1, 4)):
            content[place] ^= 1 << int(rng.integers(0, 8))
    file.write_bytes(bytes(content))
    return f"{kind} in {file.name}"


@pytest.mark.parametrize("layout", LAYOUTS)
def test_damaged_files(layout, tmp_path):
    save, arrays, copies = LAYOUTS[layout]
    whole = tmp_path / "whole"
    whole.mkdir()
    original = save(arrays, whole)
    outcomes = {"fault": 0, "file": 0}
    for copy in range(copies):
        rng = np.random.default_rng([copy, len(layout)])
        folder = tmp_path / f"copy{copy}"
        folder.mkdir()
        data = folder / original.name
        shutil.copytree(original, data) if original.is_dir() else shutil.copy(original, data)
        files = sorted(path for path in [data, *data.rglob("*")] if path.is_file())
        done = damage(files[rng.integers(0, len(files))], rng)
        target = folder / "out.h5"
        try:
            prepare(ProblemConfig(name="images", path=str(data)), target)
        except DataFault as error:
            outcomes["fault"] += 1
            for line in error.faults:
                assert "\n" not in line, done
                assert "Traceback" not in line, done
                assert len(line) < 1000, done
            assert sorted(folder.iterdir()) == [data], f"{done}: something was left behind"
        else:
            outcomes["file"] += 1
            problem = open_prepared(target, verify=True)
            assert problem.x_train.shape[0] == len(problem.y_train), done
            assert problem.image_shape[:2] == arrays["x_train"].shape[1:3], done
        shutil.rmtree(folder)
    assert outcomes["fault"], "no damage was noticed"


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_whole_file_is_read(layout, tmp_path):
    """Without this the test above would pass for a loader that refuses everything."""
    save, arrays, _ = LAYOUTS[layout]
    prepare(ProblemConfig(name="images", path=str(save(arrays, tmp_path))), tmp_path / "out.h5")
    problem = open_prepared(tmp_path / "out.h5", verify=True)
    assert np.array_equal(np.bincount(problem.y_train), np.bincount(arrays["y_train"]))
    if "tiny imagenet" not in layout:  # whose images are JPEG
        assert np.array_equal(problem.x_train, arrays["x_train"])
        assert np.array_equal(problem.y_train, arrays["y_train"])
        assert np.array_equal(problem.x_test, arrays["x_test"])
