"""One browser for all tests that need it, and a line at the end that says whether they ran."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from chromium import Browser, browsing, find_browser

INSTALL = "bash tests/browser/install.sh"


@pytest.fixture(scope="module")
def browser(
    pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Browser]:
    """A running Chromium; skips where there is none, unless ``--require-browser``.

    It ends with its tests: others look whether processes are left.
    """
    program = find_browser()
    if program is None:
        reason = f"no Chromium is installed: {INSTALL}"
        if pytestconfig.getoption("--require-browser"):
            pytest.fail(reason)
        pytest.skip(reason)
    with browsing(program, tmp_path_factory.mktemp("profile")) as running:
        yield running


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Says how many tests ran in a browser; ``tests/run.sh`` repeats the line at its end."""
    counts = []
    for outcome in ("passed", "failed", "error", "skipped"):
        reports = terminalreporter.getreports(outcome)
        number = sum("tests/browser/" in report.nodeid for report in reports)
        counts += [f"{number} {outcome}"] if number else []
    terminalreporter.write_line(f"Browser: {', '.join(counts) or 'no test was chosen'}")
