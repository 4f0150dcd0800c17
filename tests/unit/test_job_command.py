"""``job`` on the command line: faults before output, submission, the uses that docs show."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner
from searching import config_file

from mpinas.cli import main
from mpinas.jobs.template import read_template, schedulers

CHECKOUT = Path(__file__).parents[2]
PAGE = (CHECKOUT / "docs/clusters.md").read_text(encoding="utf-8")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return config_file(tmp_path)


def invoke(*arguments: str):
    return CliRunner().invoke(main, ["job", *arguments])


def test_command_line_prints_a_script_with_absolute_paths(place: Path) -> None:
    result = invoke("slurm", "search.yaml", "--set", "tuner.generations=4", "--workers", "3")
    assert result.exit_code == 0, result.output
    assert f"run {place} --out {place.parent}/runs/small --set tuner.generations=4" in result.stdout
    assert "#SBATCH --ntasks=4\n" in result.stdout
    assert result.stdout.startswith("#!/bin/bash\n")
    assert not (place.parent / "runs").exists()


def test_command_line_checks_the_configuration_first(place: Path) -> None:
    result = invoke("slurm", "search.yaml", "--set", "tuner.generatoins=4", "--queue", "it's")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "Did you mean 'generations'?" in result.stderr


def test_command_line_leaves_out(place: Path) -> None:
    result = invoke("lsf", "search.yaml", "--without", "requeue,warning,rerun", "--walltime", "60")
    assert result.exit_code == 0, result.output
    assert not re.search(r"#BSUB -(Q|wa|r)\b", result.stdout)


def documented() -> list[str]:
    """The ``job`` commands of the page for users, each in one line."""
    text = PAGE.replace("\\\n", " ")
    return re.findall(r"^ *python -m mpinas job (.*?) > ", text, re.MULTILINE)


@pytest.mark.parametrize("command", documented())
def test_documented_commands(monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    monkeypatch.chdir(CHECKOUT)
    words = shlex.split(command.replace("CONFIG", "configs/quickstart.yaml").replace(" ...", ""))
    result = invoke(*words)
    assert result.exit_code == 0, result.output


def test_the_page_names_launchers_and_what_can_be_left_out() -> None:
    rows = re.findall(r"^\| `([\w-]+)` \| `.*FILE` \| (.*?) \| ?(.*?) ?\|$", PAGE, re.MULTILINE)
    documented = {name: [re.findall("`(.*?)`", cell) for cell in cells] for name, *cells in rows}
    templates = {name: read_template(name) for name in schedulers()}
    assert documented == {
        name: [list(template.settings["launchers"]), list(template.optional())]
        for name, template in templates.items()
    }


def test_there_are_documented_commands() -> None:
    assert {command.split()[0] for command in documented()} == {"slurm", "lsf", "lsf-jsrun"}


@pytest.mark.parametrize(("scheduler", "program"), [("slurm", "sbatch"), ("lsf", "bsub")])
def test_submit_hands_the_script_over(
    place: Path, monkeypatch: pytest.MonkeyPatch, scheduler: str, program: str
) -> None:
    printed = invoke(scheduler, "search.yaml").stdout
    fake = place.parent / program
    fake.write_text("#!/bin/bash\ncat >got\necho Submitted batch job 7\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{place.parent}:/usr/bin:/bin")
    result = invoke(scheduler, "search.yaml", "--submit")
    assert (result.exit_code, result.stdout) == (0, "Submitted batch job 7\n")
    assert (place.parent / "got").read_text() == printed


def test_submit_tells_what_the_scheduler_said(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = place.parent / "sbatch"
    fake.write_text("#!/bin/bash\necho 'error: no such\npartition' >&2\nexit 3\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{place.parent}:/usr/bin:/bin")
    result = invoke("slurm", "search.yaml", "--submit")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "sbatch: ended with 3. error: no such partition.\n"


@pytest.mark.parametrize(
    ("scheduler", "words"), [("slurm", "sbatch is not on the PATH"), ("local", "no scheduler")]
)
def test_submit_where_it_cannot(
    place: Path, monkeypatch: pytest.MonkeyPatch, scheduler: str, words: str
) -> None:
    monkeypatch.setenv("PATH", str(place.parent))
    result = invoke(scheduler, "search.yaml", "--submit")
    assert (result.exit_code, result.stdout) == (2, "")
    assert words in result.stderr


def test_a_comparison_is_a_job_as_well(place: Path) -> None:
    result = invoke("slurm", "search.yaml", "--compare", "--workers", "3")
    assert result.exit_code == 0, result.output
    folder = f"{place.parent}/runs/small-comparison"
    assert f"-m mpinas compare {place} --out {folder}" in result.stdout
    arms = "comparison.arms={a: {}, b: {trial.epoch: 2}}"
    refused = invoke("slurm", "search.yaml", "--compare", "--set", arms)
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert "comparison.arms.b: trial.epoch" in refused.stderr
