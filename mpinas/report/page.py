"""A report as one HTML file that needs nothing else, with its figures as files beside it.

Comes in: sections of figures, tables and texts. Goes out: ``index.html`` and a PNG for each figure.
Knows no run and no comparison. The page has no script, and its own policy forbids the browser to
load anything; every text goes through autoescape.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mpinas.errors import RunDirectoryFault, fault
from mpinas.run_directory import write_whole

TEMPLATES = Path(__file__).parent / "templates"
INDEX = "index.html"


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A drawing.

    Attributes:
        name: of its file, without an ending; unique in the page.
        title: above it; ``caption`` is below.
        alternative: what it shows, for those who cannot see it.
        png: its bytes.
        width_in: as it was drawn, in inches; text in it is 8 to 10 points.
    """

    name: str
    title: str
    caption: str
    alternative: str
    png: bytes
    width_in: float

    @property
    def source(self) -> str:
        """The picture itself, as the address of an image."""
        return "data:image/png;base64," + base64.b64encode(self.png).decode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A cell that leads to another file. ``address`` is relative to the page, and quoted."""

    text: str
    address: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Cells as text; line ends in numbers and short cells are kept.

    Attributes:
        numbers: indices of columns that are aligned right.
    """

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str | Link, ...], ...]
    numbers: frozenset[int] = frozenset()
    caption: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """A sentence, as where a figure would be."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Folded:
    """A long text that opens on demand; lines are kept."""

    title: str
    text: str


Block = Figure | Table | Note | Folded


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """Part of a page. ``name`` is its anchor; figures stand side by side where there is room."""

    name: str
    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """All of it.

    Attributes:
        lead: lines below the title.
        facts: (what, value), in a small table at the beginning.
        files: names of files beside the page that it links to.
    """

    title: str
    lead: tuple[str, ...]
    facts: tuple[tuple[str, str], ...]
    sections: tuple[Section, ...]
    files: tuple[str, ...] = ()


def render(page: Page) -> str:
    """The HTML text."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.tests["figure"] = lambda block: isinstance(block, Figure)
    environment.tests["table"] = lambda block: isinstance(block, Table)
    environment.tests["link"] = lambda cell: isinstance(cell, Link)
    environment.tests["folded"] = lambda block: isinstance(block, Folded)
    text: str = environment.get_template("page.html").render(page=page)
    # The name of a directory may hold bytes that are no text.
    return text.encode("utf-8", "replace").decode()


def figures(sections: Sequence[Section]) -> Iterator[Figure]:
    """All figures of some sections, in order."""
    for section in sections:
        yield from (block for block in section.blocks if isinstance(block, Figure))


def save_page(page: Page, folder: Path, files: Mapping[str, str]) -> Path:
    """Writes the page, its figures and other files; gives the page's place.

    Args:
        files: text by name, what ``page.files`` names.

    Raises:
        RunDirectoryFault: they cannot be written there.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for figure in figures(page.sections):
            write_whole(folder / f"{figure.name}.png", figure.png)
        for name, text in files.items():
            write_whole(folder / name, text)
        write_whole(folder / INDEX, render(page))
    except OSError as error:
        raise RunDirectoryFault(
            fault(
                str(folder),
                f"the report cannot be written: {error.strerror}",
                cure="Give another directory with --out",
            )
        ) from error
    return folder / INDEX
