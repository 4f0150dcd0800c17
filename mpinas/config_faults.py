"""Turns pydantic's errors into lines of the project's form, with the full key in front."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError

from mpinas.config_values import DOMAIN_TAGS
from mpinas.errors import fault, unknown_name

_ALLOWED = {
    "greater_than": "Allowed: above {gt}",
    "greater_than_equal": "Allowed: {ge} and above",
    "less_than": "Allowed: below {lt}",
    "less_than_equal": "Allowed: up to {le}",
    "literal_error": "Allowed: {expected}",
    "string_pattern_mismatch": "Allowed: letters, digits, '.', '_' and '-'",
    "too_short": "Allowed: at least {min_length}",
}
_RULES = {
    "greater_than": "value out of range",
    "greater_than_equal": "value out of range",
    "less_than": "value out of range",
    "less_than_equal": "value out of range",
    "literal_error": "not a choice of this key",
    "too_short": "it is empty",
    "missing": "missing key",
    "string_pattern_mismatch": "not a name",
    "string_unicode": "not a text in UTF-8",
    "finite_number": "not a finite number",
    "int_type": "wrong type: a whole number is wanted",
    "float_type": "wrong type: a number is wanted",
    "bool_type": "wrong type: true or false is wanted",
    "string_type": "wrong type: a text is wanted",
    "tuple_type": "wrong type: a list is wanted",
    "dict_type": "wrong type: a section with keys of its own is wanted",
    "model_type": "wrong type: a section with keys of its own is wanted",
    "union_tag_not_found": "wrong type: a range {min, max}, a list of choices or a single value",
}
_UNIONS = {
    "int": "wrong type: a number is wanted",
    "bool": "wrong type: a single value is wanted",
}
"""By the first member of a union, where none of them takes the value."""

NAMELESS_KEY = "[key]"
"""Pydantic's last step to a key, not a value, that a mapping does not know."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyFault:
    """One faulty key.

    Attributes:
        steps: from the section to the key; positions in a list are numbers.
        line: for the user.
        unknown: the key does not exist, so that nothing can depend on its value.
        too_few: there is nothing wrong but how many there are.
    """

    steps: tuple[str | int, ...]
    line: str
    unknown: bool
    too_few: bool = False


def describe_errors(
    error: ValidationError, model: type[BaseModel], section: str, raw: Any
) -> Iterator[KeyFault]:
    """Yields one fault a key.

    Args:
        section: dotted key of the model, or empty for the whole configuration.
        raw: what did not validate.
    """
    details: dict[tuple[str | int, ...], list[Any]] = {}
    for detail in error.errors(include_url=False):
        details.setdefault(_written_steps(detail["loc"], raw), []).append(detail)
    for steps, found in details.items():
        # Every type of a union has its say: one that knows the value says more than the others.
        detail = next((one for one in found if not one["type"].endswith("_type")), found[0])
        # A list with a bad item is reported as too short as well.
        has_bad_items = any(other[:-1] == steps for other in details if other)
        if detail["type"] == "too_short" and has_bad_items:
            continue
        unknown = detail["type"] == "extra_forbidden" or NAMELESS_KEY in detail["loc"][-1:]
        line = _line(dotted(section, steps), steps, detail, model)
        too_few = detail["type"] == "too_short"
        yield KeyFault(steps=steps, line=line, unknown=unknown, too_few=too_few)


def dotted(section: str, steps: tuple[str | int, ...]) -> str:
    """The full key."""
    return ".".join(str(step) for step in (section, *steps) if step != "")


def names_value_of(line: str, name: str | int) -> bool:
    """Whether a line quotes a value as ``name=value``."""
    return re.search(rf"(?<!\w){re.escape(str(name))}=", line) is not None


def _written_steps(location: tuple[str | int, ...], raw: Any) -> tuple[str | int, ...]:
    """The steps that the user wrote, without those that pydantic takes inside a union."""
    steps: list[str | int] = []
    for step in location:
        is_written = isinstance(raw, Mapping) and step in raw
        if step == NAMELESS_KEY or (step in DOMAIN_TAGS and not is_written):
            continue
        steps.append(step)
        if is_written or (
            isinstance(raw, (list, tuple)) and isinstance(step, int) and step < len(raw)
        ):
            raw = raw[step]
        else:
            raw = None
    return tuple(steps)


def _line(key: str, steps: tuple[str | int, ...], detail: Any, model: type[BaseModel]) -> str:
    kind = detail["type"]
    name = _name(steps) or key
    if kind == "extra_forbidden":
        return unknown_name(key, name, _known_keys(model, steps[:-1]), "key")
    if kind == "missing":
        return fault(key, "missing key", cure="Add it")
    if kind == "value_error":
        return f"{key}: {str(detail['ctx']['error']).rstrip('.')}."
    member = detail["loc"][-1] if detail["loc"][-1:] != steps[-1:] else ""
    rule = _UNIONS.get(str(member)) or _RULES.get(kind) or "wrong type: " + detail["msg"].lower()
    if kind == "too_short" and detail["input"]:
        rule = "too few"
    allowed = _ALLOWED.get(kind, "").format_map(detail.get("ctx", {}))
    return fault(key, rule, f"{name}={_short(detail['input'])}", allowed)


def _name(steps: tuple[str | int, ...]) -> str:
    """The key alone, with the position where it is an item of a list."""
    names = [index for index, step in enumerate(steps) if isinstance(step, str)]
    if not names:
        return ""
    return str(steps[names[-1]]) + "".join(f"[{step}]" for step in steps[names[-1] + 1 :])


def _short(value: Any, limit: int = 60) -> str:
    text = repr(list(value)) if isinstance(value, tuple) else repr(value)
    return text if len(text) <= limit else text[: limit - 3] + "..."


def _known_keys(model: type[BaseModel], steps: tuple[str | int, ...]) -> list[str]:
    """Field names of the model that the steps lead to, or none where there is no model."""
    current: Any = model
    for step in steps:
        field = current.model_fields.get(str(step)) if _is_model(current) else None
        candidates = _models_in(field.annotation) if field else []
        if not candidates:
            return []
        current = candidates[0]
    return list(current.model_fields)


def _is_model(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, BaseModel)


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if _is_model(annotation):
        return [annotation]
    arguments = getattr(annotation, "__args__", ())
    return [found for argument in arguments for found in _models_in(argument)]
