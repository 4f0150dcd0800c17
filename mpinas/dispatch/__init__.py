"""Where trials run: executors, and what a worker's processes may see."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from mpinas.dispatch.base import Executor
from mpinas.dispatch.inline import InlineExecutor
from mpinas.dispatch.local import LocalExecutor
from mpinas.dispatch.mpi import MpiExecutor

EXECUTORS: Mapping[str, Callable[..., Executor]] = {
    "inline": InlineExecutor,
    "local": LocalExecutor,
    "mpi": MpiExecutor,
}
"""Each takes what it needs to reach its workers; see the classes."""
