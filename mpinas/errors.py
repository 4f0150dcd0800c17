"""The errors a user of mpinas can meet, named for what the reader must do.

Every message has the form
``<where>: <rule broken>. Received: <name>=<value>. <what is allowed>. <what to do>.``
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


class MpinasError(Exception):
    """Base of all errors that mpinas raises on purpose."""


class UserMustChange(MpinasError):
    """The input has to change before this can work: exit code 2, one line a fault, no traceback.

    Args:
        faults: one complete line for each thing that is wrong, at least one.
    """

    def __init__(self, *faults: str) -> None:
        super().__init__("\n".join(faults))
        self.faults: tuple[str, ...] = faults


class ConfigurationFaults(UserMustChange):
    """Everything that is wrong with one configuration, all of it at once."""


class DeviceFault(MpinasError):
    """The device that a worker was given is not there: no fault of the candidate's."""


class DataFault(UserMustChange):
    """A data file cannot be read or does not hold what it must."""


class RunDirectoryFault(UserMustChange):
    """The run directory belongs to another search, or to a job that still lives."""


class LaunchFault(UserMustChange):
    """The processes were started in a way that cannot work (MPI world, devices)."""


class Infeasible(MpinasError):
    """A candidate cannot or may not be built. It is data of the search, not an error of the user.

    Args:
        reason: one line, stored with the trial.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class NoWorkerLeft(MpinasError):
    """No worker is left that can run a trial: exit code 1."""


class DiskFault(MpinasError):
    """The disk of the run is full, read-only or failing: exit code 1. What is written stands."""


def fault(where: str, rule: str, received: str = "", allowed: str = "", cure: str = "") -> str:
    """Puts the parts of a message into the project's one form.

    Args:
        where: the file or key the reader has to look at.
        rule: the rule that was broken, without a full stop.
        received: ``name=value``, or empty where there is nothing to quote.
        allowed: what would have been accepted, without a full stop.
        cure: what to do, without a full stop.
    """
    parts: Sequence[str] = (rule, f"Received: {received}" if received else "", allowed, cure)
    return f"{where}: " + " ".join(f"{part.rstrip('.')}." for part in parts if part)


def unknown_name(where: str, name: str, known: Iterable[str], noun: str) -> str:
    """The line for a name that nobody knows, with the nearest known one.

    Args:
        noun: what kind of name it is: ``key``, ``tuner``, ``layer kind``.
    """
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1)
    hint = f" Did you mean '{near[0]}'?" if near else ""
    known_names = f" Known: {', '.join(names)}." if names else ""
    return f"{where}: unknown {noun} '{name}'.{hint}{known_names}"
