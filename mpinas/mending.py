"""What is lost or damaged in a run directory is named, and what another file still tells is put
back.

Each result stands twice once its generation is told: in the journal and in the checkpoint. The
search goes on from the chain of checkpoints and replays the journals after it by itself; here
journals are brought back from checkpoints, since everything that reports of a run reads journals.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mpinas.checkpoint import START, DamagedCheckpoint, load_checkpoint
from mpinas.errors import RunDirectoryFault, fault
from mpinas.journal import append_result, cut_torn_line, read_results
from mpinas.records import TrialResult, from_plain
from mpinas.run_directory import RunDirectory

logger = logging.getLogger(__name__)


def mend_directory(directory: RunDirectory) -> None:
    """Names what is missing and restores journals, before the search reads them.

    Raises:
        RunDirectoryFault: something else stands where a file has to be.
        OSError: a journal cannot be read or written.
    """
    begun = _generations_begun(directory)
    _refuse_what_is_no_file(directory, begun)
    for generation, file in enumerate(_checkpoints(directory, begun), start=START):
        results = _results_in(file)
        if results is not None and generation != START:
            _restore(directory.journal(generation), results)


def _generations_begun(directory: RunDirectory) -> int:
    """How many generations have left a file behind."""
    files = directory.journals()
    return max(directory.told(), int(files[-1].stem[1:]) + 1 if files else 0)


def _checkpoints(directory: RunDirectory, begun: int) -> list[Path]:
    """Those that have to be there: the last generation begun may not be told yet."""
    told = max(directory.told(), begun - 1)
    start = [directory.start] if begun else []
    return [*start, *(directory.checkpoint(generation) for generation in range(told))]


def _refuse_what_is_no_file(directory: RunDirectory, begun: int) -> None:
    journals = [directory.journal(generation) for generation in range(begun)]
    for file in (*_checkpoints(directory, begun), *journals):
        if file.exists() and not file.is_file():
            raise RunDirectoryFault(
                fault(
                    str(file),
                    "is no file",
                    allowed="The run goes on without it as far as other files tell the same",
                    cure="Move it away",
                )
            )


def _results_in(file: Path) -> Sequence[Any] | None:
    """Of the checkpoint; None where there is none that can be read, which is said."""
    if not file.exists():
        logger.warning("%s: is missing", file)
        return None
    try:
        return load_checkpoint(file).results
    except DamagedCheckpoint as error:
        logger.warning("%s", error)
        return None


def _restore(journal: Path, results: Sequence[Any]) -> None:
    """Appends what the checkpoint of a generation tells and its journal does not."""
    told = [from_plain(TrialResult, result) for result in results]
    known = {(one.trial_id, one.network_hash) for one in read_results(journal)}
    lost = [one for one in told if (one.trial_id, one.network_hash) not in known]
    if not lost:
        return
    logger.warning("%s: %d results are brought back from the checkpoint", journal, len(lost))
    cut_torn_line(journal)
    for result in lost:
        append_result(journal, result)
