"""What was read of files and is not read again until they have changed."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from mpinas.journal import read_results
from mpinas.records import TrialResult
from mpinas.run_directory import RunDirectory

Value = TypeVar("Value")
Stamp = tuple[int, int, int]


def stamp_of(file: Path) -> Stamp | None:
    """Another one wherever the file may have another content; None where there is no file."""
    try:
        about = file.stat()
    except FileNotFoundError:
        return None
    return about.st_ino, about.st_size, about.st_mtime_ns


class Kept:
    """Values that are made anew only where what they follow from has changed."""

    def __init__(self) -> None:
        self._values: dict[Hashable, tuple[object, Any]] = {}

    def of(self, name: Hashable, sign: object, make: Callable[[], Value]) -> Value:
        """The value of that name.

        Args:
            sign: equal as long as the value is what it was; taken before it is made.
        """
        if name not in self._values or self._values[name][0] != sign:
            self._values[name] = sign, make()
        value: Value = self._values[name][1]
        return value

    def results_of(self, directory: RunDirectory) -> Iterator[TrialResult]:
        """The results of a run; of its journals those that have changed are read."""
        for file in directory.journals():
            yield from self.of(file, stamp_of(file), partial(read_results, file))
