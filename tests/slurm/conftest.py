"""One Slurm for all tests that need it, and a line at the end that says whether they ran."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster import Cluster, missing_programs
from mpi_launcher import is_open_mpi

INSTALL = "bash tests/slurm/install.sh"


@pytest.fixture(scope="session")
def cluster(pytestconfig: pytest.Config) -> Iterator[Cluster]:
    """A running Slurm with two nodes; skips where it cannot be, unless ``--require-slurm``."""
    if is_open_mpi():
        _do_without(pytestconfig, "Slurm: its PMI-2 starts MPICH, this environment has Open MPI")
    missing = missing_programs()
    if missing:
        _do_without(pytestconfig, f"Slurm is not installed ({', '.join(missing)}): {INSTALL}")
    # Not below pytest's own folder: what a socket's path may be long is 107 characters.
    with tempfile.TemporaryDirectory(prefix="mpinas-slurm-") as folder:
        with Cluster(Path(folder)) as running:
            yield running
        assert not running.leftovers(), "processes of the cluster outlived it"


def _do_without(config: pytest.Config, reason: str) -> None:
    if config.getoption("--require-slurm"):
        pytest.fail(reason)
    pytest.skip(reason)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Says how many tests ran on a real Slurm; ``tests/run.sh`` repeats the line at its end."""
    counts = []
    for outcome in ("passed", "failed", "error", "skipped"):
        reports = terminalreporter.getreports(outcome)
        number = sum("tests/slurm/" in report.nodeid for report in reports)
        counts += [f"{number} {outcome}"] if number else []
    terminalreporter.write_line(f"Slurm: {', '.join(counts) or 'no test was chosen'}")
