"""The command line in the process of a test.

Apart from the other helpers: programs of tests import those, and put something in the place of
what the command line takes when it is imported.
"""

from __future__ import annotations

from click.testing import CliRunner, Result

from mpinas.cli import main


def invoke(*arguments: object) -> Result:
    """The command of these arguments, in this process."""
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def compare(*arguments: object) -> Result:
    """The configuration of the current directory, into the folder ``here``."""
    return invoke("compare", "search.yaml", "--out", "here", *arguments)
