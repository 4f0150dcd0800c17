"""The command line as it is, but the workers of some ranks cannot start a child.

Arguments: the ranks, with commas between; then those of the command line.
"""

from __future__ import annotations

import sys

from losing import environment_rank

from mpinas.cli import main
from mpinas.trial import handle

if __name__ == "__main__":
    broken = {int(rank) for rank in sys.argv.pop(1).split(",")}
    if environment_rank() in broken:
        handle.PROGRAM = "raise SystemExit(1)"
    main()
