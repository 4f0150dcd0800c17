"""Winners that are trained at once by the ranks of a real MPI job."""

from __future__ import annotations

import json
import re
from pathlib import Path

import mpi_launcher
from searching import drive, new_run, search_in


def test_two_winners_are_trained_at_once(tmp_path: Path) -> None:
    directory = new_run(tmp_path, "run")  # what it tries is real, its fitness is not
    drive(search_in(directory), stop_after=12)
    command = ["-m", "mpinas", "export", str(directory.path), "--top", "2", "--json"]
    command += ["--epochs", "3"]
    code, output, errors = run(command)
    assert code == 0, output + errors
    told = json.loads(output.splitlines()[-1])
    assert len({one["trial_id"] for one in told["models"]}) == 2
    assert len(set(re.findall(r"started on \S+, worker (\d)", errors))) == 2
    assert all(Path(one["file"]).exists() for one in told["models"])
    code, output, errors = run(command)  # nothing is to be trained: nobody is waited for
    assert code == 0, output + errors
    assert json.loads(output.splitlines()[-1])["models"] == told["models"]
    assert run([*command, "--format", "nonsense"])[0] == 2


def run(command: list[str]) -> tuple[int, str, str]:
    job = mpi_launcher.start(3, command)
    try:
        output, errors = mpi_launcher.communicate(job, limit_s=600)
    finally:
        mpi_launcher.stop(job)
    return job.returncode, output, errors
