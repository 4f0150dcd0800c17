"""What docs/clusters.md says of nodes without a network: a folder of wheels is enough.

The dependencies, gigabytes of them, are those of this environment.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from searching import config_file

CHECKOUT = Path(__file__).parents[2]
LIMIT_S = 120.0
NO_NETWORK = "No matching distribution found for flit_core"


def pip(*arguments: object, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input"]
    return subprocess.run(
        [*command, *map(str, arguments)],
        env={**os.environ, **variables},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with mpinas alone, installed from its wheel with no index to ask."""
    folder = tmp_path_factory.mktemp("offline")
    built = pip("wheel", "--no-deps", "-w", folder / "wheels", CHECKOUT)
    if NO_NETWORK in built.stderr:
        pytest.skip("no package index: flit cannot be had, and without it no wheel")
    assert built.returncode == 0, built.stderr
    into = ("--no-deps", "--target", folder / "site")
    offline = pip(
        "install",
        "--no-index",
        "--find-links",
        folder / "wheels",
        *into,
        "mpinas",
        PIP_INDEX_URL="",
    )
    assert offline.returncode == 0, offline.stderr
    return folder / "site"


def test_an_installed_mpinas_writes_the_same_script(installed: Path, tmp_path: Path) -> None:
    """Its templates come with it, those of the checkout are not there."""
    config_file(tmp_path)
    command = ["-m", "mpinas", "job", "lsf", "search.yaml", "--workers", "3"]
    scripts = []
    for path in (installed, CHECKOUT):
        environment = {**os.environ, "PYTHONPATH": str(path)}
        where = "import mpinas.jobs; print(mpinas.jobs.__file__)"
        answers = [
            subprocess.run(
                [sys.executable, *arguments],
                env=environment,
                cwd=tmp_path,
                capture_output=True,
                text=True,
                timeout=LIMIT_S,
                check=True,
            ).stdout
            for arguments in (["-c", where], command)
        ]
        assert Path(answers[0].strip()).is_relative_to(path)
        scripts.append(answers[1])
    assert scripts[0] == scripts[1]
    assert "#BSUB -n 4\n" in scripts[0]


def test_all_files_of_the_package_are_in_the_wheel(installed: Path) -> None:
    def files(package: Path) -> set[Path]:
        found = (path.relative_to(package) for path in package.rglob("*") if path.is_file())
        return {path for path in found if "__pycache__" not in path.parts}

    assert files(installed / "mpinas") == files(CHECKOUT / "mpinas")
