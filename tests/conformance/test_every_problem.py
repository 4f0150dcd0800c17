"""Every problem of the registry keeps its contract, from the section to the prepared file."""

from __future__ import annotations

import data_files
import numpy as np
import pytest

from mpinas.config import ProblemConfig
from mpinas.problems import (
    PROBLEMS,
    check_problem,
    check_problem_section,
    default_path,
    load,
    open_prepared,
    prepare,
)
from mpinas.problems.presets import FORMS

USER_FUNCTION = """
import numpy as np

def load():
    with np.load({file!r}) as arrays:
        return dict(arrays)
"""


def section_for(name: str, folder) -> ProblemConfig:
    """The smallest section that works, with random images of the form the problem has."""
    if not PROBLEMS[name].needs_files:
        return ProblemConfig(name=name)
    form = FORMS.get(name)
    shape, classes = (form.image_shape, form.classes) if form else ((6, 5, 1), 4)
    arrays = data_files.random_arrays(shape, classes=classes, training=3 * classes, test=classes)
    if name == "images":
        path = str(data_files.save_image_folder(arrays, folder))
    else:
        path = str(data_files.save_npz(arrays, folder))
    if name == "python":
        (folder / "my_data.py").write_text(USER_FUNCTION.format(file=path))
        path = str(folder / "my_data.py:load")
    return ProblemConfig(name=name, path=path, validation=0.4)


@pytest.mark.parametrize("name", sorted(PROBLEMS))
def test_problem(name, tmp_path):
    section = section_for(name, tmp_path)
    assert list(check_problem_section(section)) == []
    data, again = load(section), load(section)
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
def test_a_path_is_wanted_or_has_a_default_or_is_not_needed(name):
    lines = list(check_problem_section(ProblemConfig(name=name)))
    if PROBLEMS[name].needs_path:
        assert lines[0].startswith("problem.path: ")
        assert default_path(name) is None
    else:
        assert not lines
        assert (default_path(name) is not None) == PROBLEMS[name].needs_files


def test_every_form_is_of_a_problem():
    assert set(FORMS) <= set(PROBLEMS)
