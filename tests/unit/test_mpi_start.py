"""How MPI is initialised where mpi4py is built in a way that nobody here has."""

from __future__ import annotations

import types
from pathlib import Path

import pytest
from numpy.random import mtrand

from mpinas.dispatch import mpi


@pytest.mark.parametrize("file", [mtrand.__file__, "nowhere.so"])
def test_where_the_function_is_not_found_mpi4py_calls_it(file: str) -> None:
    """A library without it, and no library."""
    assert file == "nowhere.so" or Path(file).exists()
    levels: list[int] = []
    module = types.SimpleNamespace(__file__=file, THREAD_FUNNELED=1, Init_thread=levels.append)
    mpi._initialise(module)
    assert levels == [1]
