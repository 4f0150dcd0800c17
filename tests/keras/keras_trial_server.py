"""Runs trials for the tests as workers do: TensorFlow is loaded once, each trial is a fork.

Reads one trial spec (JSON) a line; answers with one line: the result, the progress that was
reported, and how many threads the trial's process had at its end.
"""

from __future__ import annotations

import json
import os
import sys

from mpinas.records import TrialSpec, from_json, to_plain


def answer(line: str) -> str:
    from mpinas.trial.run import run_trial

    progress: list[object] = []
    result = run_trial(from_json(TrialSpec, line), lambda row: progress.append(to_plain(row)))
    threads = len(os.listdir("/proc/self/task"))
    return json.dumps({"result": to_plain(result), "progress": progress, "threads": threads})


def main() -> None:
    import mpinas.trial.run  # noqa: F401 (loaded before the forks)

    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            print(answer(line), flush=True)
            os._exit(0)
        if os.waitpid(child, 0)[1] != 0:
            print(json.dumps({"crashed": True}), flush=True)


if __name__ == "__main__":
    main()
