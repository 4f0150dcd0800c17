"""When a job ends: as the user says (``run.walltime``) or as the scheduler does (Slurm by a
variable or ``squeue``, LSF by ``bjobs``), whichever comes first.

Comes in: the settings, the environment, and a way to ask a program of the scheduler. Comes out: the
job's clock. All but :func:`ask_scheduler` and :func:`job_clock` is pure.
"""

from __future__ import annotations

import logging
import math
import re
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from mpinas.clock import Clock
from mpinas.config import RunSettings
from mpinas.config_values import parse_walltime_s
from mpinas.errors import LaunchFault, fault

logger = logging.getLogger(__name__)

RESERVED_SHARE = 0.1
"""Of the time a job has, for its end; ``run.grace_s`` and ``EXIT_S`` where that is shorter."""
EXIT_S = 2.0
"""From the end of the grace time to the end of the process."""
ASK_LIMIT_S = 10.0
"""A controller under load answers late; the search can begin without knowing its end."""

Ask = Callable[[Sequence[str]], "str | None"]

_SLURM_LEFT = re.compile(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)")
_LSF_LEFT = re.compile(r"(\d+):(\d+)(?::(\d+))?\s*L")
_LSF_LIMIT = re.compile(r"(?:(\d+):(\d+):(\d+)|(\d+(?:\.\d+)?))")
_LSF_USED = re.compile(r"(?:(\d+):(\d+):(\d+)|(\d+) second\(s\))")


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduledEnd:
    """When the scheduler ends the job.

    Attributes:
        end_s: seconds since the epoch; infinite for a job without a limit.
        source: the variable or program that says so.
    """

    end_s: float
    source: str


class _Limit(NamedTuple):
    """``deadline_s`` is a reading of ``time.monotonic``; ``length_s`` what the job has in all."""

    deadline_s: float
    length_s: float
    source: str


def job_clock(
    run: RunSettings,
    environment: Mapping[str, str],
    *,
    began_s: float,
    ask: Ask | None = None,
) -> Clock:
    """The clock of this job, by whichever limit comes first; without one where nobody tells any.

    Args:
        began_s: when the job began, as far as this process knows (``time.monotonic``);
            ``run.walltime`` is counted from it, while a scheduler tells a time of day.
        ask: see :func:`scheduled_end`; by default the scheduler's own program is run.

    Raises:
        LaunchFault: the job is over already.
    """
    limits: list[_Limit] = []
    if run.walltime is not None:
        length_s, source = parse_walltime_s(run.walltime), f"run.walltime={run.walltime}"
        limits.append(_Limit(began_s + length_s, length_s, source))
    now_s = time.time()
    end = scheduled_end(environment, now_s=now_s, ask=ask or ask_scheduler)
    if end is None and not limits and in_a_job(environment):
        logger.warning("the scheduler does not say when the job ends; --walltime can say it")
    if end is not None and not math.isinf(end.end_s):
        left_s = end.end_s - now_s
        logger.info("the job ends in %.0f s (%s)", left_s, end.source)
        source = f"{end.source}={end.end_s:.0f}"
        limits.append(_Limit(time.monotonic() + left_s, left_s, source))
    if not limits:
        return Clock(deadline_s=None, reserve_s=0.0, now_s=time.monotonic)
    return _clock(run, *min(limits))


def _clock(run: RunSettings, deadline_s: float, length_s: float, source: str) -> Clock:
    reserve_s = max(0.0, min(run.grace_s + EXIT_S, RESERVED_SHARE * length_s))
    clock = Clock(deadline_s=deadline_s, reserve_s=reserve_s, now_s=time.monotonic)
    if clock.over():
        line = fault(
            "walltime",
            "the job is over before a trial could begin",
            f"{source}, {max(0.0, deadline_s - time.monotonic()):.0f} s left",
            cure="Submit it again with more time, or say with --walltime how much this one has",
        )
        raise LaunchFault(line)
    return clock


def in_a_job(environment: Mapping[str, str]) -> bool:
    """Whether a scheduler known here has started this process."""
    return bool(environment.get("SLURM_JOB_ID") or environment.get("LSB_JOBID"))


def scheduled_end(environment: Mapping[str, str], *, now_s: float, ask: Ask) -> ScheduledEnd | None:
    """When the job of this environment is over; None where there is none or nobody says.

    Args:
        now_s: seconds since the epoch.
        ask: runs a program and gives what it prints; None where it fails.
    """
    if environment.get("SLURM_JOB_ID"):
        return _of_slurm(environment, now_s, ask)
    if environment.get("LSB_JOBID"):
        return _of_lsf(environment["LSB_JOBID"], now_s, ask)
    return None


def ask_scheduler(command: Sequence[str]) -> str | None:
    """What the program prints; None where there is no such program, it fails or does not answer."""
    try:
        answer = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=ASK_LIMIT_S, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.decode(errors="replace")


def _of_slurm(environment: Mapping[str, str], now_s: float, ask: Ask) -> ScheduledEnd | None:
    """The variable (Slurm 23.02 and later), else ``squeue``.

    The variable is of the job's start: where it says that the job is over although it runs, its
    limit was changed since, and ``squeue`` is asked.
    """
    variable = "SLURM_JOB_END_TIME"
    text = environment.get(variable, "")
    end = ScheduledEnd(end_s=float(text), source=variable) if re.fullmatch(r"\d+", text) else None
    if end is not None and end.end_s > now_s:
        return end
    answer = ask(["squeue", "-h", "-j", _slurm_name(environment), "-o", "%L"])
    left_s = slurm_left_s(answer or "")
    return end if left_s is None else ScheduledEnd(end_s=now_s + left_s, source="squeue")


def _slurm_name(environment: Mapping[str, str]) -> str:
    """Of this job alone: one task of an array has the number of the whole array."""
    array, task = environment.get("SLURM_ARRAY_JOB_ID"), environment.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{task}" if array and task else environment["SLURM_JOB_ID"]


def slurm_left_s(text: str) -> float | None:
    """Seconds of ``squeue -o %L``: ``[D-][HH:]MM:SS`` or ``UNLIMITED``; the least of several lines
    (a heterogeneous job), None where no line says."""
    found = [_slurm_line_s(line.strip()) for line in text.splitlines()]
    return min((left_s for left_s in found if left_s is not None), default=None)


def _slurm_line_s(line: str) -> float | None:
    if line == "UNLIMITED":
        return math.inf
    match = _SLURM_LEFT.fullmatch(line)
    if match is None:
        return None
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return float(((days * 24 + hours) * 60 + minutes) * 60 + seconds)


def _of_lsf(job: str, now_s: float, ask: Ask) -> ScheduledEnd | None:
    fields = "time_left runtimelimit run_time delimiter='|'"
    left_s = lsf_left_s(ask(["bjobs", "-noheader", "-o", fields, job]) or "")
    return None if left_s is None else ScheduledEnd(end_s=now_s + left_s, source="bjobs")


def lsf_left_s(text: str) -> float | None:
    """Seconds of ``bjobs -o "time_left runtimelimit run_time delimiter='|'"``; None where it does
    not say.

    ``time_left`` counts where it is of a limit (``0:12 L``); that of an estimate (``E``, ``X``)
    kills nobody. Else the limit in minutes less the seconds used; one that is scaled by the speed
    of a host (``5.0/hostA``) is none that a clock can follow. Source: IBM Spectrum LSF 10.1
    command reference, bjobs -o, -WL and -hms.
    """
    parts = [part.strip() for part in text.strip().split("|")]
    if len(parts) != 3:
        return None
    if match := _LSF_LEFT.fullmatch(parts[0]):
        return _hms_s(match[1], match[2], match[3])
    limit, used = _LSF_LIMIT.fullmatch(parts[1]), _LSF_USED.fullmatch(parts[2])
    if limit is None or used is None:
        return None
    limit_s = _hms_s(*limit.groups()[:3]) if limit[1] else 60 * float(limit[4])
    used_s = _hms_s(*used.groups()[:3]) if used[1] else float(used[4])
    return max(0.0, limit_s - used_s)


def _hms_s(hours: str, minutes: str, seconds: str | None) -> float:
    return float((int(hours) * 60 + int(minutes)) * 60 + int(seconds or 0))
