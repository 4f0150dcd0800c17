"""Turns pydantic's errors into lines of the project's form, with the full key in front."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from mpinas.config import DOMAIN_TAGS
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
    "finite_number": "not a finite number",
    "union_tag_not_found": "wrong type: a range {min, max}, a list of choices or a single value",
}


def describe_errors(
    error: ValidationError,
    model: type[BaseModel],
    section: str,
    skip: Collection[str] = (),
) -> Iterator[str]:
    """Yields one line a faulty key.

    Args:
        section: dotted key of the model, or empty for the whole configuration.
        skip: top-level keys whose faults have been told already.
    """
    told: set[str] = set()
    for detail in error.errors(include_url=False):
        steps = [step for step in detail["loc"] if step not in DOMAIN_TAGS]
        key = ".".join(str(step) for step in (section, *steps) if step != "")
        # A list with a bad item is reported as too short as well.
        has_bad_items = any(other.startswith(f"{key}.") for other in told)
        if key in told or has_bad_items or (steps and steps[0] in skip):
            continue
        told.add(key)
        yield _line(key, steps, detail, model)


def _line(key: str, steps: list[Any], detail: Any, model: type[BaseModel]) -> str:
    kind = detail["type"]
    name = str(steps[-1]) if steps else key
    if kind == "extra_forbidden":
        return unknown_name(key, name, _known_keys(model, steps[:-1]), "key")
    if kind == "missing":
        return fault(key, "missing key", cure="Add it")
    if kind == "value_error":
        return f"{key}: {str(detail['ctx']['error']).rstrip('.')}."
    rule = _RULES.get(kind) or "wrong type: " + detail["msg"].lower()
    allowed = _ALLOWED.get(kind, "").format_map(detail.get("ctx", {}))
    return fault(key, rule, f"{name}={_short(detail['input'])}", allowed)


def _short(value: Any, limit: int = 60) -> str:
    text = str(value) if isinstance(value, Mapping) else repr(value)
    return text if len(text) <= limit else text[: limit - 3] + "..."


def _known_keys(model: type[BaseModel], steps: list[Any]) -> list[str]:
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
