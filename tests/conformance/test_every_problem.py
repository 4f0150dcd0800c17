"""Every problem of the registry keeps its contract, from the section to the prepared file."""

from __future__ import annotations

import numpy as np
import pytest

from mpinas.config import ProblemConfig
from mpinas.problems import PROBLEMS, check_problem, check_problem_section, open_prepared, prepare


def section_for(name: str, folder) -> ProblemConfig:
    """The smallest section that works. A problem with a file gets ten classes of bright rows."""
    if not PROBLEMS[name].needs_path:
        return ProblemConfig(name=name)
    labels = np.tile(np.arange(10), 10)
    images = np.zeros((100, 28, 28), np.uint8)
    images[np.arange(100), labels] = 255
    file = folder / "data.npz"
    np.savez(file, x_train=images, y_train=labels, x_test=images[:10], y_test=labels[:10])
    return ProblemConfig(name=name, path=str(file))


@pytest.mark.parametrize("name", sorted(PROBLEMS))
def test_problem(name, tmp_path):
    section = section_for(name, tmp_path)
    assert list(check_problem_section(section)) == []
    data = PROBLEMS[name].load(section)
    again = PROBLEMS[name].load(section)
    assert np.array_equal(data.x_train, again.x_train), "loading twice gives other data"

    file = tmp_path / "prepared.h5"
    prepare(section, file)
    problem = open_prepared(file, verify=True)
    check_problem(section, problem, batch_size=1)
    for images, labels in ((problem.x_train, problem.y_train), (problem.x_test, problem.y_test)):
        assert images.dtype == np.uint8
        assert images.shape == (len(labels), *problem.image_shape)
        assert labels.dtype == np.int32
        assert set(np.unique(labels)) <= set(range(problem.classes))
    assert set(np.unique(problem.y_train)) == set(range(problem.classes))
    assert len(set(problem.class_names)) == problem.classes
    assert problem.source


@pytest.mark.parametrize("name", sorted(PROBLEMS))
def test_a_path_is_wanted_or_refused(name):
    path = None if PROBLEMS[name].needs_path else "data.npz"
    (line,) = check_problem_section(ProblemConfig(name=name, path=path))
    assert line.startswith("problem.path: ")
