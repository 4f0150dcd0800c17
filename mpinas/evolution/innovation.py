"""The innovation table: equal changes in different genomes get equal historical markings.

Comes in: the search's history, rows of whole numbers that are only ever appended. Comes out:
innovation numbers of connections, ids of nodes, and the longer history. One table serves module
and blueprint genomes alike. It knows no genome.

A node is marked by the split that made it: (innovation number of the connection, how often that
genome had split it before). So two genomes that split the same connection get the same node, and
a genome that splits it again, after it was enabled again, gets a new one.
"""

from __future__ import annotations

from collections.abc import Iterable

from mpinas.evolution.genome import FIRST_FREE_NODE

HistoryRow = tuple[int, ...]
"""(0, innovation, start, end) for a connection, (1, node, innovation, count) for a split."""

_CONNECTION = 0
_SPLIT = 1


class InnovationTable:
    """Dictionaries over a history, for the length of one ``init`` or ``ask``.

    Args:
        history: as :meth:`history` gave it, or nothing for a new search.

    Raises:
        ValueError: the rows are not a history.
    """

    def __init__(self, history: Iterable[HistoryRow] = ()) -> None:
        self._rows: list[HistoryRow] = []
        self._connections: dict[tuple[int, int], int] = {}
        self._nodes: dict[tuple[int, int], int] = {}
        self._splits: dict[int, tuple[int, int]] = {}
        for row in history:
            self._restore(tuple(row))

    def connection(self, start: int, end: int) -> int:
        """The innovation number of the edge; a new one for an edge never seen before."""
        edge = (start, end)
        if edge not in self._connections:
            number = len(self._connections)
            self._connections[edge] = number
            self._rows.append((_CONNECTION, number, start, end))
        return self._connections[edge]

    def split(self, innovation: int, count: int) -> int:
        """The id of the node that splits a connection.

        Args:
            innovation: of the connection.
            count: how often this genome has split it before, from 0.
        """
        key = (innovation, count)
        if key not in self._nodes:
            node = FIRST_FREE_NODE + len(self._nodes)
            self._nodes[key] = node
            self._splits[node] = key
            self._rows.append((_SPLIT, node, innovation, count))
        return self._nodes[key]

    def origin(self, node: int) -> tuple[int, int]:
        """The (innovation number, count) of the split that made the node.

        Raises:
            KeyError: the table never gave this id.
        """
        return self._splits[node]

    def history(self) -> tuple[HistoryRow, ...]:
        """All rows: those given at the start, unchanged, and then the new ones."""
        return tuple(self._rows)

    def _restore(self, row: HistoryRow) -> None:
        at = len(self._rows)
        kind, number, *key = row if len(row) == 4 else (None, None)
        if kind == _CONNECTION and tuple(key) not in self._connections:
            number_given = self.connection(key[0], key[1])
        elif kind == _SPLIT and tuple(key) not in self._nodes:
            number_given = self.split(key[0], key[1])
        else:
            number_given = None
        if number_given is None or number_given != number:
            raise ValueError(
                "history: not the next row of an innovation table. "
                f"Received: row={row} at position {at}."
            )
