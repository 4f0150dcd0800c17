"""A comparison on a terminal while it is followed: where it is, and as much of what it came to as
there is room for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.text import Text

from mpinas.report.comparison_tables import (
    Rows,
    drawn,
    headline,
    progress_rows,
    remarks,
    tables,
    titled,
)
from mpinas.report.comparison_view import ComparisonView

ORDER = ("running", "stopped", "waiting", "done")
"""Of the states of searches: what goes on stands above."""
LEAST_SEARCHES = 4
FOOTNOTE = "What did not fit stands in 'python -m mpinas show RUN | less', and in 'report'."


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparisonScreen:
    """A comparison on a terminal of any size: what does not fit is counted or left out."""

    view: ComparisonView

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        left = (options.height or console.height) - 2  # the headline, and the footnote
        yield Text(headline(self.view), no_wrap=True, overflow="crop")
        results = list(self._results())
        sizes = [_lines(console, options, one) for one in results]
        wanted = left - 2 - (sizes[0] if sizes else 0)  # a blank line, and the table's head
        searches = progress_rows(self.view)
        shown = _fitting(searches, max(wanted, LEAST_SEARCHES))
        progress = Group(Text(), drawn(shown))
        left -= _lines(console, options, progress)
        yield progress
        is_whole = len(shown) == len(searches)
        for size, one in zip(sizes, results, strict=True):
            if size > left:
                is_whole = False
                break
            left -= size
            yield one
        if not is_whole:
            yield Text(FOOTNOTE, style="dim", no_wrap=True, overflow="crop")

    def _results(self) -> Iterator[RenderableType]:
        """Tables, and what has to be known to read them."""
        if self.view.arms:
            for heading, rows in tables(self.view):
                yield titled(heading, rows)
        yield Group(*map(Text, remarks(self.view)))


def _lines(console: Console, options: ConsoleOptions, one: RenderableType) -> int:
    return len(console.render_lines(one, options.update(height=None), pad=False))


def _fitting(rows: Rows, most: int) -> Rows:
    """The head and so many searches, those that go on above; the last line may count the others."""
    head, *searches = rows
    state = head.index("state")
    searches.sort(key=lambda row: ORDER.index(row[state]))
    if len(searches) <= most:
        return [head, *searches]
    more = len(searches) - most + 1
    return [head, *searches[: most - 1], (f"and {more} more", *("" for _ in head[1:]))]
