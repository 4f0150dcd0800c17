"""What docs/clusters.md says of nodes without a network: a folder of wheels is enough.

The folder is filled as on a login node, with all that mpinas depends on (0.7 GB with TensorFlow),
and a new environment is made from it with no index to ask. About a minute, most of it TensorFlow.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from searching import config_file

CHECKOUT = Path(__file__).parents[2]
LIMIT_S = 3600.0
"""Of a slow network and a loaded machine."""
pytestmark = pytest.mark.timeout(LIMIT_S)
NO_NETWORK = re.compile(r"after connection broken by|NewConnectionError|NameResolutionError")
"""What pip says where it reaches no index; that an index lacks a package is another matter."""


def run(*command: object, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """The program, in an environment in which nothing leads back to the checkout."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        [str(word) for word in command],
        env={**kept, "PIP_QUIET": "0", "PIP_DISABLE_PIP_VERSION_CHECK": "1", **variables},
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )


def documented(beginning: str) -> list[str]:
    """The words of the one command of the page that begins so, with an MPI and without GPUs."""
    text = (CHECKOUT / "docs/clusters.md").read_text()
    (line,) = re.findall(rf"^{re.escape(beginning)}.*$", text, re.MULTILINE)
    return shlex.split(line.replace("gpu,", ""), comments=True)[1:]


def fill_wheels(folder: Path, **variables: str) -> Path:
    """What a login node downloads.

    Raises:
        pytest.skip.Exception: there is no network.
    """
    words = documented("pip wheel -w wheels")
    words = [str(folder / "wheels") if word == "wheels" else word for word in words]
    built = run(sys.executable, "-m", "pip", *words, cwd=CHECKOUT, **variables)
    if built.returncode != 0 and NO_NETWORK.search(built.stdout + built.stderr):
        pytest.skip("no network: what mpinas depends on cannot be downloaded")
    assert built.returncode == 0, built.stderr
    return folder / "wheels"


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A new environment, installed from a folder of wheels alone; removed for its size."""
    folder = tmp_path_factory.mktemp("offline")
    try:
        fill_wheels(folder)
        made = run(sys.executable, "-m", "venv", folder / "venv", cwd=folder)
        assert made.returncode == 0, made.stderr
        words = documented("pip install --no-index --find-links wheels")
        # No index can be asked, whatever options a site's configuration has.
        nowhere = {"PIP_INDEX_URL": "http://127.0.0.1:9", "PIP_CONFIG_FILE": os.devnull}
        installed = run(folder / "venv/bin/pip", *words, "--no-compile", cwd=folder, **nowhere)
        assert installed.returncode == 0, installed.stderr
        yield folder / "venv"
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def mpinas(environment: Path, *arguments: object, cwd: Path) -> str:
    """What a command prints."""
    done = run(environment / "bin/python", "-m", "mpinas", *arguments, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return done.stdout


def site_packages(environment: Path) -> Path:
    (folder,) = environment.glob("lib/python*/site-packages")
    return folder


def test_commands_work(environment: Path, tmp_path: Path) -> None:
    assert "Start a search" in mpinas(environment, "--help", cwd=tmp_path)
    assert "json-schema.org" in mpinas(environment, "config", "schema", cwd=tmp_path)


def test_a_search_runs_on_its_own_mpi(environment: Path, tmp_path: Path) -> None:
    config_file(tmp_path)
    command = ("python", "-m", "mpinas", "run", "search.yaml", "--set", "tuner.generations=1")
    path = f"{environment / 'bin'}:{os.environ['PATH']}"
    launcher = environment / "bin/mpiexec"
    done = run(launcher, "-n", "2", *command, cwd=tmp_path, PATH=path)
    assert done.returncode == 0, done.stderr
    assert '"status": "done"' in mpinas(environment, "show", "runs/small", "--json", cwd=tmp_path)
    assert "index.html" in mpinas(environment, "report", "runs/small", cwd=tmp_path)


def test_it_writes_the_same_job_script(environment: Path, tmp_path: Path) -> None:
    """Its templates come with it, those of the checkout are not there."""
    config_file(tmp_path)
    arguments = ("job", "lsf", "search.yaml", "--workers", "3", "--environment", tmp_path)
    script = mpinas(environment, *arguments, cwd=tmp_path)
    own = run(sys.executable, "-m", "mpinas", *arguments, cwd=tmp_path, PYTHONPATH=str(CHECKOUT))
    assert script == own.stdout
    assert "#BSUB -n 4\n" in script


def test_all_files_of_the_package_are_in_the_wheel(environment: Path) -> None:
    def files(package: Path) -> set[Path]:
        found = (path.relative_to(package) for path in package.rglob("*") if path.is_file())
        return {path for path in found if "__pycache__" not in path.parts}

    assert files(site_packages(environment) / "mpinas") == files(CHECKOUT / "mpinas")


def test_that_there_is_no_network_is_noticed(tmp_path: Path) -> None:
    nowhere = {"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_RETRIES": "1"}
    alone = {"PIP_CONFIG_FILE": os.devnull, "PIP_NO_CACHE_DIR": "1"}
    with pytest.raises(pytest.skip.Exception, match="no network"):
        fill_wheels(tmp_path, **nowhere, **alone)
