"""The journal of a generation: one line per result, on disk the moment it arrives.

A line is ``{"crc":"<8 hex digits>","result":<TrialResult as JSON>}``; the CRC-32 is that of the
result's bytes. Appending is one write and one fsync. A torn last line is what a kill leaves behind
and is cut off by the next writer; any other damaged line, and one of another generation, is named
and not used.
"""

from __future__ import annotations

import logging
import os
import re
import zlib
from contextlib import suppress
from pathlib import Path

from mpinas.files import fsync_directory, naming
from mpinas.records import TrialResult, from_json, to_json

logger = logging.getLogger(__name__)

_GENERATION = re.compile(r"g\d+")
_LINE = re.compile(rb'\{"crc":"([0-9a-f]{8})","result":(.*)\}')


def append_result(path: Path, result: TrialResult) -> None:
    """Appends one result and returns when it is on disk.

    Raises:
        OSError: the disk is full or gone; the journal is as it was, but for a torn last line where
            not even that could be had. The journal is named in it.
    """
    payload = to_json(result)
    line = b'{"crc":"%08x","result":%s}\n' % (zlib.crc32(payload), payload)
    is_new = not path.exists()
    with naming(path):
        with path.open("ab", buffering=0) as file:
            before = file.tell()
            try:
                while line:
                    line = line[file.write(line) :]
                os.fsync(file.fileno())
            except OSError:
                with suppress(OSError):
                    file.truncate(before)
                raise
        if is_new:
            fsync_directory(path.parent)


def read_results(path: Path) -> list[TrialResult]:
    """The intact results of a journal, in the order they arrived; none if there is no file.

    Of a trial that stands twice, the last counts: it was run again because the first could not be
    used.
    """
    results: dict[str, TrialResult] = {}
    for number, line in enumerate(_complete_lines(path), start=1):
        result = _parse(line)
        if result is None:
            logger.warning("%s: line %d is damaged and not used", path, number)
        elif _GENERATION.fullmatch(path.stem) and not result.trial_id.startswith(f"{path.stem}-"):
            logger.warning("%s: line %d is of %s and not used", path, number, result.trial_id)
        else:
            results[result.trial_id] = result
    return list(results.values())


def cut_torn_line(path: Path) -> None:
    """Cuts off a last line without an end, so that the next one starts on a line of its own."""
    if not path.exists():
        return
    text = path.read_bytes()
    end = text.rfind(b"\n") + 1
    if end < len(text):
        logger.warning("%s: a torn last line of %d bytes is cut off", path, len(text) - end)
        with path.open("r+b") as file:
            file.truncate(end)
            os.fsync(file.fileno())


def _complete_lines(path: Path) -> list[bytes]:
    return path.read_bytes().split(b"\n")[:-1] if path.exists() else []


def _parse(line: bytes) -> TrialResult | None:
    match = _LINE.fullmatch(line)
    if not match or int(match[1], 16) != zlib.crc32(match[2]):
        return None
    try:
        return from_json(TrialResult, match[2])
    except ValueError:
        return None
