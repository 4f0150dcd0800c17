"""The doctor's children, real ones: that hang, die, and look at a real file system."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from mpinas.doctor import storage_checks
from mpinas.doctor.children import ask
from mpinas.doctor.findings import Level
from mpinas.doctor.storage_checks import storage_findings


def program(folder: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> str:
    """A module with that ``main``, for children."""
    (folder / "sick_program.py").write_text(text)
    monkeypatch.syspath_prepend(str(folder))
    return "sick_program"


def test_a_child_tells_until_it_dies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (
        "import os, signal, sys\nfrom mpinas.doctor.children import tell\n"
        "def main(argument):\n    tell('first', got=argument)\n    print('no JSON', flush=True)\n"
        "    sys.stderr.write('last\\nwords\\n')\n    sys.stderr.flush()\n"
        "    os.kill(os.getpid(), signal.SIGSEGV)\n"
    )
    found = ask(program(tmp_path, monkeypatch, text), {"a": 1}, os.environ, 30.0)
    assert found.find("first") == {"stage": "first", "got": {"a": 1}}
    assert (found.ending, found.last_words, found.late) == ("signal=SIGSEGV", "words", False)


def test_a_child_that_hangs_is_ended_with_all_that_it_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (
        "import os, signal, time\nfrom mpinas.doctor.children import tell\n"
        "def main(argument):\n    signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "    pid = os.fork()\n    tell('pid', pid=os.getpid())\n    time.sleep(600)\n"
    )
    found = ask(program(tmp_path, monkeypatch, text), None, os.environ, 8.0)
    assert found.late
    pids = [line["pid"] for line in found.lines if line["stage"] == "pid"]
    assert len(pids) == 2
    deadline = time.monotonic() + 20
    while any(_lives(pid) for pid in pids):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_module_that_is_not_there_is_an_ending(tmp_path: Path) -> None:
    found = ask("no_such_module", None, os.environ, 30.0)
    assert found.ending == "exit code=1"
    assert "no_such_module" in found.last_words


def test_children_are_no_ranks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (
        "import os\nfrom mpinas.doctor.children import tell\n"
        "def main(argument):\n    tell('found', names=[n for n in os.environ if 'PMI' in n])\n"
    )
    environment = {**os.environ, "PMI_RANK": "1", "PMIX_RANK": "1", "OMPI_COMM_WORLD_RANK": "1"}
    found = ask(program(tmp_path, monkeypatch, text), None, environment, 30.0)
    assert (found.find("found") or {})["names"] == []


@pytest.mark.parametrize("below", ["", "runs/not/there"])
def test_the_place_of_runs_is_tried_in_a_child(tmp_path: Path, below: str) -> None:
    path = tmp_path / below
    found = ask(storage_checks.PROGRAM, str(path), os.environ, 60.0)
    findings = list(storage_findings(str(path), found))
    assert [finding.check for finding in findings if finding.level is Level.OK][-1] == "HDF5"
    assert (found.find("folder") or {})["path"] == str(tmp_path)


def test_a_file_is_no_place_for_runs(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("")
    found = ask(storage_checks.PROGRAM, str(tmp_path / "runs" / "a"), os.environ, 60.0)
    (finding,) = storage_findings("runs/a", found)
    assert finding.level is Level.WRONG
