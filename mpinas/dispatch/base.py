"""The executor protocol: where trials run. An executor knows no genome and no Keras."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from mpinas.records import Event, TrialSpec


class Executor(Protocol):
    """Runs trials on workers and tells what happens, in the order it learns of it.

    Every submitted trial ends in exactly one ``Finished`` or one ``WorkerLost`` that names it,
    whatever its process does. A cancelled trial ends as ``INTERRUPTED``, unless its real result
    was under way already.

    One bad worker must not eat the search (``standing.py`` is the rule):

    - a trial goes, if it can, to a worker on which it has not failed by ``infrastructure`` yet;
    - a worker on which three different trials in a row have failed by ``infrastructure`` is set
      aside: it is no longer counted and gets no trial. A ``WorkerLost`` without a trial, with the
      last error, follows its last ``Finished``.

    To have a trial tried again is the caller's business.
    """

    def workers(self) -> int:
        """How many workers there are, busy or free; those that are lost or set aside are none."""

    def free(self) -> int:
        """How many workers have no trial. Nothing queues below this line."""

    def submit(self, spec: TrialSpec) -> None:
        """Gives the trial to a free worker; at once, without waiting for it.

        Raises:
            RuntimeError: no worker is free.
        """

    def events(self, timeout_s: float) -> Iterator[Event]:
        """Yields what has happened; waits at most ``timeout_s`` for the first event."""

    def cancel(self, trial_id: str) -> None:
        """Ends the trial's process. Unknown and finished trials are ignored."""

    def close(self, grace_s: float | None = None) -> None:
        """Ends all processes. May be called twice; nothing may be submitted afterwards.

        Args:
            grace_s: how long workers may take to end; None for what the settings say.
        """
