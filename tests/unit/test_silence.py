"""What C++ libraries write is led into nothing, also where nobody reads it."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import os
from mpinas.trial.forkserver import silence
with silence():
    os.system("echo noise >&2")
os.system("echo words >&2")
print("done")
"""


@pytest.mark.parametrize(("redirection", "said"), [("", "words\n"), ("2>&-", "")])
def test_standard_error_is_silent_meanwhile_and_may_be_closed(redirection: str, said: str) -> None:
    command = f'exec "$0" -c "$1" {redirection}'
    ended = subprocess.run(
        ["sh", "-c", command, sys.executable, PROGRAM], capture_output=True, text=True, check=False
    )
    assert ended.stdout == "done\n"
    assert ended.returncode == 0
    assert ended.stderr == said
