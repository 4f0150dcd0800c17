"""What tests of whole trials share: a process that runs them, and data."""

from __future__ import annotations

import pytest
from keras_networks import Server

from mpinas.config import ProblemConfig
from mpinas.problems import prepare


@pytest.fixture(scope="module")
def server():
    server = Server()
    yield server
    server.close()


@pytest.fixture(scope="module")
def digits(tmp_path_factory) -> str:
    file = tmp_path_factory.mktemp("prepared") / "digits.h5"
    prepare(ProblemConfig(name="digits"), file)
    return str(file)
