"""What the doctor finds: one line each, with the cure where something is not as it should be."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass

from mpinas.errors import fault


class Level(enum.Enum):
    """How bad it is. A run may be started in spite of ``WARN``; ``WRONG`` will not work."""

    OK = "ok"
    WARN = "warn"
    WRONG = "wrong"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        check: what was looked at, a word.
        message: one line; where it is not ``OK``, with the cure.
    """

    check: str
    level: Level
    message: str

    def __post_init__(self) -> None:
        if "\n" in self.message:
            object.__setattr__(self, "message", " ".join(self.message.split()))


def fine(check: str, message: str) -> Finding:
    """It is as it should be."""
    return Finding(check=check, level=Level.OK, message=message)


def doubtful(check: str, rule: str, received: str = "", *, cure: str) -> Finding:
    """It may work; the message has the form of ``errors.fault``."""
    return Finding(check=check, level=Level.WARN, message=fault(check, rule, received, cure=cure))


def wrong(check: str, rule: str, received: str = "", *, cure: str) -> Finding:
    """It will not work."""
    return Finding(check=check, level=Level.WRONG, message=fault(check, rule, received, cure=cure))


def told(check: str, level: Level, lines: Iterable[str]) -> list[Finding]:
    """Findings of lines that name their cure already."""
    return [Finding(check=check, level=level, message=line) for line in lines]


def is_wrong(findings: Iterable[Finding]) -> bool:
    """Whether anything has to be changed before a run can work."""
    return any(finding.level is Level.WRONG for finding in findings)
