"""Whether it is known when the job ends. Pure."""

from __future__ import annotations

import math
import time

from mpinas.doctor.findings import Finding, doubtful, fine, wrong
from mpinas.walltime import ScheduledEnd

CHECK = "walltime"
SHORT_S = 300.0


def walltime_finding(end: ScheduledEnd | None, now_s: float, *, in_a_job: bool) -> Finding:
    """On the end of the job.

    Args:
        end: what the scheduler says.
        now_s: seconds since the epoch.
    """
    if end is None and not in_a_job:
        return fine(CHECK, f"{CHECK}: no scheduler, no limit")
    if end is None:
        cure = "Give it to the run: --walltime HH:MM:SS"
        rule = "the scheduler does not say when the job ends, so the run cannot end before"
        return doubtful(CHECK, rule, cure=cure)
    left_s = end.end_s - now_s
    if math.isinf(left_s):
        return fine(CHECK, f"{CHECK}: the job has no limit ({end.source})")
    found = f"{end.source}={time.strftime('%Y-%m-%d %H:%M:%S UTC', time.gmtime(end.end_s))}"
    if left_s <= 0:
        cure = "Set the clock of the node right, or give the time that is left: --walltime HH:MM:SS"
        return wrong(CHECK, "by the clock of this node the job is over", found, cure=cure)
    if left_s < SHORT_S:
        cure = "Submit the job with more time"
        return doubtful(CHECK, f"only {left_s:.0f} s are left to the job", found, cure=cure)
    hours, minutes = divmod(round(left_s / 60), 60)
    return fine(CHECK, f"{CHECK}: {hours} h {minutes:02d} min are left to the job ({end.source})")
