"""Options and marks of the whole suite."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import pytest

_MARKS_OF_FOLDERS = {name: name for name in ("browser", "keras", "mpi", "slurm", "soak")}


def pytest_configure() -> None:
    """Lets the programs that tests start be signalled, however the suite itself was started.

    What a shell starts in the background ignores SIGINT, what ``nohup`` starts SIGHUP, and so do
    all programs below it; what a process handles is at its default in those. Not a ``preexec_fn``:
    beside TensorFlow's threads the copy of a process can hang before it becomes the program.
    """
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, lambda *_: None)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--soak", action="store_true", help="run the whole soak, not only its seeded sample"
    )
    parser.addoption(
        "--require-slurm", action="store_true", help="tests on a real Slurm fail rather than skip"
    )
    parser.addoption(
        "--require-browser", action="store_true", help="tests in a browser fail rather than skip"
    )
    parser.addoption(
        "--update-golden", action="store_true", help="write the committed files that tests compare"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Marks tests by their folder, so that nobody can forget to; a whole soak has no time limit.

    Those that start jobs of MPI are run again where its launcher crashed (``mpi_launcher``), unless
    a debugger is to look at the first time.
    """
    again = pytest.mark.flaky(reruns=2, only_rerun="LauncherCrashed")
    root = Path(__file__).parent
    for item in items:
        folder = item.path.relative_to(root).parts[0]
        if folder in _MARKS_OF_FOLDERS:
            item.add_marker(_MARKS_OF_FOLDERS[folder])
        if folder == "soak" and config.getoption("--soak"):
            item.add_marker(pytest.mark.timeout(0))
        starts_jobs = any(item.get_closest_marker(name) for name in ("mpi", "soak"))
        if starts_jobs and not config.getoption("usepdb"):
            item.add_marker(again)


@pytest.fixture
def golden(pytestconfig: pytest.Config) -> Callable[[Path, str], None]:
    """Compares a committed file with what it has to be; with ``--update-golden``, writes it."""

    def compare(file: Path, text: str) -> None:
        if pytestconfig.getoption("--update-golden"):
            file.write_text(text, encoding="utf-8")
        assert file.read_text(encoding="utf-8") == text, f"{file.name}: pytest --update-golden"

    return compare


@pytest.fixture
def no_scheduler(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the tests did not run in a job: a command looks whether it is one of many ranks."""
    for name in ("SLURM_NTASKS", "SLURM_STEP_NUM_TASKS", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def whole_soak(pytestconfig: pytest.Config) -> bool:
    """Whether ``--soak`` was given: all rounds rather than the sample."""
    return bool(pytestconfig.getoption("--soak"))
