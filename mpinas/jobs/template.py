"""Templates of batch scripts: text with blanks, looked at line by line.

A line may hold

- ``{{name}}``: a blank. No value: the line is left out. Several values: the line once for each.
- ``{{name?}}`` at its beginning: a condition. Of a blank, the line is there only where it has a
  value; of a part that users may leave out (``--without name``), only while they do not.
  ``{{name!}}``: only otherwise.
- ``{{include name}}`` alone: the lines of ``parts/name.sh``, each with the conditions before it.
- ``#: key: words, words``: a setting, such as the launchers that fit (:data:`SETTINGS`).

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

SETTINGS = {
    "launchers": "that fit, the default first; each template has some",
    "submit": "the program that takes a script",
    "nodes": "1, where there can be no more",
    "without": "what users may leave out",
}
"""Key of a setting -> what its words are."""

_SETTING = re.compile(r"#: (\w+): (.*)")
_CONDITIONS = re.compile(r"(?:\{\{\w+[?!]\}\})*")
_CONDITION = re.compile(r"\{\{(\w+)([?!])\}\}")
_BLANK = re.compile(r"\{\{(\w+)\}\}")
_INCLUDE = re.compile(r"((?:\{\{\w+[?!]\}\})*)\{\{include (\w+)\}\}")


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a template, and the file and number under which its author finds it."""

    text: str
    where: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """A script with blanks.

    Attributes:
        name: of the scheduler.
        lines: without the settings, parts put in.
        settings: by name, the texts between the commas.
    """

    name: str
    lines: tuple[Line, ...]
    settings: Mapping[str, tuple[str, ...]]

    def conditions(self) -> frozenset[str]:
        """Names of all conditions."""
        return frozenset(name for line in self.lines for name, _ in _CONDITION.findall(line.text))

    def optional(self) -> tuple[str, ...]:
        """Names of what a script can be written without."""
        return self.settings.get("without", ())

    def blanks(self) -> frozenset[str]:
        """Names of all blanks."""
        return frozenset(name for line in self.lines for name in _BLANK.findall(line.text))


def schedulers(folder: Path = TEMPLATES) -> tuple[str, ...]:
    """Names of all templates."""
    return tuple(sorted(file.stem for file in folder.glob("*.sh")))


def read_template(name: str, folder: Path = TEMPLATES) -> Template:
    """The template of a scheduler, with its parts.

    Raises:
        UserMustChange: there is none of that name, or it includes a part that is not there, or it
            has a setting that nobody knows, or no launcher.
    """
    known = schedulers(folder)
    if name not in known:
        raise UserMustChange(unknown_name("job", name, known, "scheduler"))
    lines = tuple(_lines(folder, (f"{name}.sh",)))
    found = [(match, line) for line in lines if (match := _SETTING.fullmatch(line.text))]
    settings = {match[1]: tuple(match[2].split(", ")) for match, _ in found}
    unknown = [
        unknown_name(line.where, match[1], SETTINGS, "setting")
        for match, line in found
        if match[1] not in SETTINGS
    ]
    if unknown:
        raise UserMustChange(*unknown)
    if "launchers" not in settings:
        rule = "a template names the launchers that fit"
        raise UserMustChange(fault(f"{name}.sh", rule, cure="Write a line '#: launchers: mpiexec'"))
    script = tuple(line for line in lines if not _SETTING.fullmatch(line.text))
    return Template(name=name, lines=script, settings=settings)


def _lines(folder: Path, files: tuple[str, ...]) -> Iterator[Line]:
    """Of the last of the files, each of which includes the next.

    Raises:
        UserMustChange: a part is not there, or includes itself.
    """
    text = (folder / files[-1]).read_text(encoding="utf-8")
    for number, words in enumerate(text.splitlines(), start=1):
        line = Line(words, f"{files[-1]}, line {number}")
        include = _INCLUDE.fullmatch(words)
        if include is None:
            yield line
            continue
        part = f"parts/{include[2]}.sh"
        if part in files:
            raise UserMustChange(fault(line.where, "a part includes itself", f"part={include[2]}"))
        parts = [file.stem for file in (folder / "parts").glob("*.sh")]
        if include[2] not in parts:
            raise UserMustChange(unknown_name(line.where, include[2], parts, "part"))
        for one in _lines(folder, (*files, part)):
            yield Line(f"{include[1]}{one.text}", one.where)


def fill(template: Template, values: Mapping[str, Value], without: Collection[str]) -> str:
    """The script.

    Args:
        values: of all blanks there can be; those that a template does not use are no fault.
        without: names of what is left out.

    Raises:
        UserMustChange: the template has a blank or a condition that nobody knows, or something
            that is neither, or a name to leave out means nothing to it.
    """
    faults = [
        *_blank_faults(template, values),
        *_condition_faults(template, values),
        *_without_faults(template, without),
    ]
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
        conditions, text = _split(line.text)
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


def _blank_faults(template: Template, values: Mapping[str, Value]) -> Iterator[str]:
    for line in template.lines:
        _, text = _split(line.text)
        for name in _BLANK.findall(text):
            if name not in values:
                yield unknown_name(line.where, name, values, "blank")
        rest = _BLANK.sub("", text)
        if "{{" in rest or "}}" in rest:
            allowed = (
                "Allowed: {{name}}, {{name?}} or {{name!}} at the beginning of a line, and "
                "{{include name}} alone"
            )
            yield fault(line.where, "not a blank", f"line={text!r}", allowed)


def _condition_faults(template: Template, values: Mapping[str, Value]) -> Iterator[str]:
    """A condition that is misspelt would hold for ever; a part that no line has, never."""
    known = {*values, *template.optional()}
    for line in template.lines:
        for name, _ in _split(line.text)[0]:
            if name not in known:
                yield unknown_name(line.where, name, known, "condition")
    for name in template.optional():
        if name in values:
            yield fault(f"{template.name}.sh", "a blank is no part to leave out", f"without={name}")
        elif name not in template.conditions():
            rule = "no line has the condition of what may be left out"
            yield fault(f"{template.name}.sh", rule, f"without={name}")


def _without_faults(template: Template, without: Collection[str]) -> Iterator[str]:
    for name in without:
        if name not in template.optional():
            yield unknown_name("--without", name, template.optional(), f"part of {template.name}")
