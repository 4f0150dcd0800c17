"""Hands a script to the scheduler, as ``sbatch`` and ``bsub`` read it: from standard input."""

from __future__ import annotations

import subprocess
from pathlib import Path

from mpinas.errors import MpinasError, UserMustChange, fault
from mpinas.jobs.template import read_template


class SubmissionFailed(MpinasError):
    """The scheduler refused the job; its words are in the message."""


def submit(scheduler: str, script: str, directory: Path) -> str:
    """What the scheduler answers, with the number of the job in it. Impure.

    Args:
        directory: to submit from; jobs begin there and write their output there.

    Raises:
        UserMustChange: there is nothing to submit to, or its program is not on the PATH.
        SubmissionFailed: it refused the job.
    """
    program = read_template(scheduler).settings.get("submit", ("",))[0]
    if not program:
        rule = "there is no scheduler to submit to"
        cure = "Write the script to a file and run that: bash FILE"
        raise UserMustChange(fault("--submit", rule, f"scheduler={scheduler}", cure=cure))
    try:
        answer = subprocess.run(
            [program], input=script, cwd=directory, capture_output=True, text=True, check=False
        )
    except FileNotFoundError as error:
        cure = "Submit where the scheduler's programs are, on a login node, or load their module"
        raise UserMustChange(
            fault("--submit", f"{program} is not on the PATH", cure=cure)
        ) from error
    said = " ".join(f"{answer.stdout} {answer.stderr}".split())
    if answer.returncode != 0:
        raise SubmissionFailed(fault(program, f"ended with {answer.returncode}", cure=said))
    return said
