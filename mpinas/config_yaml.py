"""YAML as configurations use it: the scalars of version 1.2, lists, mappings, and nothing else.

Comes in: text. Comes out: None, bools, ints, floats, strings, lists and dictionaries with names as
keys, or ``NotYaml`` with one line; and the way back. ``no`` is a string, ``1e-3`` a number,
``12:30:00`` a string, ``010`` is ten. Knows no key of any configuration.
"""

from __future__ import annotations

import re
from collections.abc import Hashable
from typing import Any

import yaml

MOST_DEPTH = 32
"""Lists and mappings inside each other; what reads them further calls itself as often."""

MOST_DIGITS = 300
"""Of a whole number, so that it can always be turned into a float."""

_TAG = "tag:yaml.org,2002:"
_SCALARS = {
    "bool": (r"true|True|TRUE|false|False|FALSE", "tTfF"),
    "null": (r"~|null|Null|NULL|", "~nN"),
    "int": (r"[-+]?[0-9]+", "-+0123456789"),
    "float": (
        r"[-+]?(?:\.[0-9]+|[0-9]+\.[0-9]*|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?"
        r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        "-+.0123456789",
    ),
}
_PATTERNS = {kind: re.compile(rf"(?:{pattern})\Z") for kind, (pattern, _) in _SCALARS.items()}
_RESOLVERS: dict[str, list[tuple[str, re.Pattern[str]]]] = {}
for _kind, (_, _starts) in _SCALARS.items():
    for _start in (*_starts, *([""] if _kind == "null" else [])):
        _RESOLVERS.setdefault(_start, []).append((_TAG + _kind, _PATTERNS[_kind]))


class NotYaml(Exception):
    """The text is no YAML of this form. Its message is one line without a full stop."""


def parse_yaml(text: str) -> Any:
    """The value that a text stands for.

    Raises:
        NotYaml: with the number of the line.
    """
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        raise NotYaml(_reason(error)) from error


def parse_value(text: str) -> Any:
    """The value of one key as typed in a command line.

    Only what begins with a quote, a bracket or a tag is taken for YAML. Anything else is one plain
    scalar with all its characters: of ``/a b #2.npz`` nothing is a comment, and ``/x: y`` is no
    mapping.

    Raises:
        NotYaml: quotes, brackets or tag are wrong.
    """
    plain = text.strip()
    if plain.startswith(("{", "[", '"', "'", "!")):
        return parse_yaml(text)
    loader = _Loader("")
    tag = loader.resolve(yaml.ScalarNode, plain, (True, False))  # type: ignore[no-untyped-call]
    try:
        return loader.construct_document(yaml.ScalarNode(tag, plain))
    except yaml.YAMLError as error:
        raise NotYaml(_reason(error)) from error


def dump_yaml(value: Any) -> str:
    """The text of a value; :func:`parse_yaml` reads it back equal."""
    text: str = yaml.dump(value, Dumper=_Dumper, sort_keys=False, width=float("inf"))
    return text


def _reason(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    place = f"line {mark.line + 1}: " if mark else ""
    problem = getattr(error, "problem", None) or getattr(error, "reason", None)
    return f"{place}{problem or 'not YAML'}"


class _Dumper(yaml.SafeDumper):
    """Quotes each string that :class:`_Loader` would take for something else."""


_Dumper.yaml_implicit_resolvers = _RESOLVERS


class _Loader(yaml.SafeLoader):
    """Knows no tag but those of the types above, and checks what stands behind a tag."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.depth > MOST_DEPTH:
            raise yaml.composer.ComposerError(
                None,
                None,
                f"more than {MOST_DEPTH} lists and mappings inside each other",
                self.peek_event().start_mark,  # type: ignore[no-untyped-call]
            )
        self.depth += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self.depth -= 1


def _refuse(problem: str, node: yaml.Node) -> yaml.YAMLError:
    return yaml.constructor.ConstructorError(None, None, problem, node.start_mark)


def _scalar(node: yaml.Node, kind: str) -> str:
    text = node.value
    if not isinstance(node, yaml.ScalarNode) or not _PATTERNS[kind].match(text):
        raise _refuse(f"this is not of type {kind}", node)
    return str(text)


def _construct_null(loader: _Loader, node: yaml.Node) -> None:
    _scalar(node, "null")


def _construct_bool(loader: _Loader, node: yaml.Node) -> bool:
    return _scalar(node, "bool").lower() == "true"


def _construct_int(loader: _Loader, node: yaml.Node) -> int:
    text = _scalar(node, "int")
    if len(text) > MOST_DIGITS:
        raise _refuse(f"a whole number of more than {MOST_DIGITS} digits", node)
    return int(text)


def _construct_float(loader: _Loader, node: yaml.Node) -> float:
    text = _scalar(node, "float").lower()
    return float(text.replace(".inf", "inf").replace(".nan", "nan"))


def _construct_list(loader: _Loader, node: yaml.Node) -> list[Any]:
    if not isinstance(node, yaml.SequenceNode):
        raise _refuse("this is not of type seq", node)
    return loader.construct_sequence(node, deep=True)


def _construct_mapping(loader: _Loader, node: yaml.Node) -> dict[Hashable, Any]:
    if not isinstance(node, yaml.MappingNode):
        raise _refuse("this is not of type map", node)
    seen: set[str] = set()
    for key_node, _ in node.value:
        key = loader.construct_object(key_node, deep=True)
        if not isinstance(key, str):
            raise _refuse(f"keys are names. Received: {str(key)[:40]}", key_node)
        if key in seen:
            raise _refuse(f"duplicate key '{key}'", key_node)
        seen.add(key)
    return loader.construct_mapping(node, deep=True)


_Loader.yaml_implicit_resolvers = _RESOLVERS
_Loader.yaml_constructors = {
    f"{_TAG}null": _construct_null,
    f"{_TAG}bool": _construct_bool,
    f"{_TAG}int": _construct_int,
    f"{_TAG}float": _construct_float,
    f"{_TAG}str": yaml.SafeLoader.construct_yaml_str,
    f"{_TAG}seq": _construct_list,
    f"{_TAG}map": _construct_mapping,
    None: yaml.SafeLoader.construct_undefined,
}
