"""Templates of batch scripts: text with blanks, looked at line by line.

A line may hold

- ``{{name}}``: a blank. No value: the line is left out. Several values: the line once for each.
- ``{{name?}}`` at its beginning: the line is there only while ``name`` is not left out
  (``--without name``) and, where it is a blank, has a value; ``{{name!}}``: only otherwise.
- ``{{include name}}`` alone: the lines of ``parts/name.sh``, each with the conditions before it.
- ``#: key: words, words``: a setting, such as the launchers that fit.

Values come quoted, for a shell or for a directive, and are not looked at again. Pure, except for
:func:`read_template` and :func:`schedulers`, which read the folder beside this file.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from mpinas.errors import UserMustChange, fault, unknown_name

Value = str | int | tuple[str, ...] | None
"""Of a blank; None and the empty tuple leave its lines out."""

TEMPLATES = Path(__file__).parent / "templates"

_SETTING = re.compile(r"#: (\w+): (.*)")
_CONDITIONS = re.compile(r"(?:\{\{\w+[?!]\}\})*")
_CONDITION = re.compile(r"\{\{(\w+)([?!])\}\}")
_BLANK = re.compile(r"\{\{(\w+)\}\}")
_INCLUDE = re.compile(r"((?:\{\{\w+[?!]\}\})*)\{\{include (\w+)\}\}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """A script with blanks.

    Attributes:
        name: of the scheduler.
        lines: without the settings, parts put in.
        settings: by name, the texts between the commas.
    """

    name: str
    lines: tuple[str, ...]
    settings: Mapping[str, tuple[str, ...]]

    def conditions(self) -> frozenset[str]:
        """Names of what a script can be written without."""
        return frozenset(name for line in self.lines for name, _ in _CONDITION.findall(line))

    def blanks(self) -> frozenset[str]:
        """Names of all blanks."""
        return frozenset(name for line in self.lines for name in _BLANK.findall(line))


def schedulers(folder: Path = TEMPLATES) -> tuple[str, ...]:
    """Names of all templates."""
    return tuple(sorted(file.stem for file in folder.glob("*.sh")))


def read_template(name: str, folder: Path = TEMPLATES) -> Template:
    """The template of a scheduler, with its parts.

    Raises:
        UserMustChange: there is none of that name.
    """
    known = schedulers(folder)
    if name not in known:
        raise UserMustChange(unknown_name("job", name, known, "scheduler"))
    lines = tuple(_lines(folder, Path(f"{name}.sh")))
    found = (_SETTING.fullmatch(line) for line in lines)
    settings = {match[1]: tuple(match[2].split(", ")) for match in found if match}
    script = tuple(line for line in lines if not _SETTING.fullmatch(line))
    return Template(name=name, lines=script, settings=settings)


def _lines(folder: Path, file: Path) -> Iterator[str]:
    for line in (folder / file).read_text(encoding="utf-8").splitlines():
        include = _INCLUDE.fullmatch(line)
        if include is None:
            yield line
        else:
            part = Path("parts") / f"{include[2]}.sh"
            yield from (f"{include[1]}{one}" for one in _lines(folder, part))


def fill(template: Template, values: Mapping[str, Value], without: Collection[str]) -> str:
    """The script.

    Args:
        values: of all blanks there can be; those that a template does not use are no fault.
        without: names of what is left out.

    Raises:
        UserMustChange: the template has a blank that nobody knows or that is not one, or a name to
            leave out means nothing to it.
    """
    faults = [*_unknown_blanks(template, values), *_unknown_without(template, without)]
    if faults:
        raise UserMustChange(*faults)
    present = {
        name: name not in without and values.get(name, "") not in (None, ())
        for name in template.conditions()
    }
    return "".join(f"{line}\n" for line in _filled(template, values, present))


def _filled(
    template: Template, values: Mapping[str, Value], present: Mapping[str, bool]
) -> Iterator[str]:
    for line in template.lines:
        conditions, text = _split(line)
        if all(present[name] == (mark == "?") for name, mark in conditions):
            yield from _line(text, values)


def _split(line: str) -> tuple[list[tuple[str, str]], str]:
    """The conditions at the beginning of a line, and the rest."""
    match = _CONDITIONS.match(line)
    end = match.end() if match else 0
    return _CONDITION.findall(line[:end]), line[end:]


def _line(text: str, values: Mapping[str, Value]) -> Iterator[str]:
    """The line with its blanks filled: not at all, once, or once for each of several values."""
    names = _BLANK.findall(text)
    if any(values[name] in (None, ()) for name in names):
        return
    lists = [value for name in names if isinstance(value := values[name], tuple)]
    for index in range(len(lists[0]) if lists else 1):
        chosen = {
            name: value[index] if isinstance(value, tuple) else value
            for name, value in values.items()
            if name in names
        }
        yield _put(text, chosen)


def _put(text: str, values: Mapping[str, str | int | None]) -> str:
    return _BLANK.sub(lambda blank: str(values[blank[1]]), text)


def _unknown_blanks(template: Template, values: Mapping[str, Value]) -> Iterator[str]:
    for number, line in enumerate(template.lines, start=1):
        where = f"template {template.name}, line {number}"
        _, text = _split(line)
        for name in _BLANK.findall(text):
            if name not in values:
                yield unknown_name(where, name, values, "blank")
        rest = _BLANK.sub("", text)
        if "{{" in rest or "}}" in rest:
            allowed = "Allowed: {{name}}, and {{name?}} or {{name!}} at the beginning of a line"
            yield fault(where, "not a blank", f"line={text!r}", allowed)


def _unknown_without(template: Template, without: Collection[str]) -> Iterator[str]:
    known = template.conditions()
    for name in without:
        if name not in known:
            yield unknown_name("--without", name, known, f"part of {template.name}")
