"""How long the report of a large search takes, and how large its page is.

Run by hand: ``python tests/benchmarks/report_cost.py [GENERATIONS] [INDIVIDUALS]``; fake trials of
eight workers, 50 generations of 100 by default. Nothing here is a test of time.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from reporting import whole_run


def main(generations: int, individuals: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        directory = whole_run(Path(folder), generations, individuals)
        command = [sys.executable, "-m", "mpinas", "report", str(directory.path)]
        began_s = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        took_s = time.perf_counter() - began_s
        page = (directory.path / "report" / "index.html").stat().st_size
        trials = generations * individuals
        sys.stdout.write(f"{trials} trials: {took_s:.1f} s, a page of {page / 1e6:.2f} MB\n")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:3])) if len(sys.argv) == 3 else main(50, 100)
