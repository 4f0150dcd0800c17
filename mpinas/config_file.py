"""Reading and writing configuration files.

Comes in: a YAML file, ``key=value`` overrides, and what lower layers know (:class:`Knowledge`).
Comes out: a ``RunConfig``, or ``ConfigurationFaults`` with every fault at once, each with its full
key. Scalars follow YAML 1.2: ``no`` is a string, ``1e-3`` a number, ``12:30:00`` a string.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from mpinas.config import (
    DOMAIN_TAGS,
    ProblemConfig,
    RunConfig,
    RunSettings,
    SpaceConfig,
    TrialConfig,
    TunerConfig,
)
from mpinas.config_faults import describe_errors
from mpinas.errors import ConfigurationFaults, fault, unknown_name

Check = Callable[[Any], Iterator[str]]

UNKNOWN_SPACE: Mapping[str, Any] = MappingProxyType({})
"""Stands for a space whose name has been told to be unknown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Knowledge:
    """The judgement of lower layers that a configuration needs.

    Attributes:
        tuners: configuration model of each tuner, by name.
        spaces: search spaces that can be called by name.
        checks: section name -> what yields a line for each further fault of a valid section.
    """

    tuners: Mapping[str, type[TunerConfig]]
    spaces: Mapping[str, Any] = field(default_factory=dict)
    checks: Mapping[str, Check] = field(default_factory=dict)


def load_config(path: Path, overrides: Sequence[str], knowledge: Knowledge) -> RunConfig:
    """Reads a configuration file.

    Args:
        overrides: ``dotted.key=value``, the value in YAML; later ones win.

    Raises:
        ConfigurationFaults: all that is wrong, one line each.
    """
    raw = _read_yaml(path)
    faults = list(_name_to_space(raw, knowledge))
    for text in overrides:
        faults += _override(raw, text)
        faults += _name_to_space(raw, knowledge)
    config, more = _validate(raw, knowledge)
    faults += more
    if faults or config is None:
        raise ConfigurationFaults(*(f"{path}: {line}" for line in faults))
    return config


def dump_config(config: RunConfig) -> str:
    """The resolved configuration as YAML, every default written out; loads back equal."""
    text: str = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)
    return text


def differing_keys(one: RunConfig, other: RunConfig) -> list[str]:
    """Dotted keys in which two configurations define different searches, with both values.

    The name, the ``run`` section and the number of generations do not define a search.
    """
    first, second = (_flat(_defining(config)) for config in (one, other))
    return [
        f"{key} ({first.get(key)!r} there, {second.get(key)!r} here)"
        for key in sorted(first.keys() | second.keys())
        if first.get(key) != second.get(key)
    ]


def _defining(config: RunConfig) -> dict[str, Any]:
    plain = config.model_dump(mode="json", exclude={"name", "run"})
    del plain["tuner"]["generations"]
    return plain


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(value, dict) or not value:
        return {prefix: value}
    nested = (_flat(part, f"{prefix}.{key}" if prefix else str(key)) for key, part in value.items())
    return {key: part for flat in nested for key, part in flat.items()}


class _Loader(yaml.SafeLoader):
    """YAML with the scalars of version 1.2 and without duplicate keys."""


_Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("null", r"~|null|Null|NULL|", "~nN\0"),
    ("int", r"[-+]?[0-9]+", "-+0123456789"),
    (
        "float",
        r"[-+]?(?:\.[0-9]+|[0-9]+\.[0-9]*|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?"
        r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        "-+.0123456789",
    ),
):
    _Loader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_tag}",
        re.compile(f"^(?:{_pattern})$"),
        [*_first, ""] if _tag == "null" else list(_first),
    )


def _construct_int(loader: _Loader, node: yaml.ScalarNode) -> int:
    return int(loader.construct_scalar(node))


def _construct_mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: dict[Any, Any] = {}
    for key_node, _ in node.value:
        key = loader.construct_object(key_node, deep=True)
        if not isinstance(key, str):
            raise yaml.constructor.ConstructorError(
                None, None, f"keys are names. Received: {key!r}", key_node.start_mark
            )
        if key in seen:
            raise yaml.constructor.ConstructorError(
                None, None, f"duplicate key '{key}'", key_node.start_mark
            )
        seen[key] = None
    return yaml.SafeLoader.construct_mapping(loader, node, deep=True)


_Loader.add_constructor("tag:yaml.org,2002:int", _construct_int)
_Loader.add_constructor("tag:yaml.org,2002:map", _construct_mapping)


def _parse_yaml(text: str) -> Any:
    return yaml.load(text, Loader=_Loader)


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        raw = _parse_yaml(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationFaults(
            fault(str(path), "cannot be read", cure=error.strerror or str(error))
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigurationFaults(fault(str(path), "not a text file in UTF-8")) from error
    except yaml.YAMLError as error:
        raise ConfigurationFaults(f"{path}: {_yaml_fault(error)}") from error
    if not isinstance(raw, dict):
        raise ConfigurationFaults(
            fault(str(path), "a configuration is a mapping of keys", f"{type(raw).__name__}")
        )
    return raw


def _yaml_fault(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    place = f"line {mark.line + 1}: " if mark else ""
    problem = getattr(error, "problem", None) or getattr(error, "reason", None)
    return f"{place}{problem or 'not YAML'}."


def _name_to_space(raw: dict[str, Any], knowledge: Knowledge) -> Iterator[str]:
    """Puts the search space in place of its name; yields a line where nobody knows it."""
    name = raw.get("space")
    if not isinstance(name, str):
        return
    if name in knowledge.spaces:
        raw["space"] = copy.deepcopy(knowledge.spaces[name])
    else:
        yield unknown_name("space", name, knowledge.spaces, "search space")
        raw["space"] = UNKNOWN_SPACE


def _override(raw: dict[str, Any], text: str) -> Iterator[str]:
    """Puts one ``key=value`` into the raw configuration; yields a line where it cannot."""
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        yield fault("--set", "not of the form key=value", f"--set {text!r}")
        return
    try:
        parsed = _parse_yaml(value)
    except yaml.YAMLError as error:
        yield fault("--set", f"the value is not YAML: {_yaml_fault(error)}", f"--set {text!r}")
        return
    *sections, last = key.strip().split(".")
    target = raw
    for section in sections:
        nested = target.setdefault(section, {})
        if not isinstance(nested, dict):
            yield fault("--set", f"{section} is not a section", f"--set {text!r}")
            return
        target = nested
    target[last] = parsed


def _validate(raw: dict[str, Any], knowledge: Knowledge) -> tuple[RunConfig | None, list[str]]:
    """Validates section by section, so that one bad section hides no fault of another."""
    models: dict[str, type[BaseModel]] = {
        "problem": ProblemConfig,
        "space": SpaceConfig,
        "trial": TrialConfig,
        "run": RunSettings,
    }
    faults: list[str] = []
    tuner = raw.get("tuner")
    name = tuner.get("name") if isinstance(tuner, dict) else None
    if isinstance(name, str) and name not in knowledge.tuners:
        faults.append(unknown_name("tuner.name", name, knowledge.tuners, "tuner"))
    else:
        models["tuner"] = knowledge.tuners.get(str(name), TunerConfig)
    sections: dict[str, Any] = {}
    for section, model in models.items():
        if section not in raw or raw[section] is UNKNOWN_SPACE:
            continue
        valid, lines = _validate_section(model, section, raw[section], knowledge.checks)
        faults += lines
        if valid is not None:
            sections[section] = valid
    return _whole(raw, models, sections, faults)


def _validate_section(
    model: type[BaseModel], section: str, raw: Any, checks: Mapping[str, Check]
) -> tuple[BaseModel | None, list[str]]:
    """The section, or None, and its faults; what is valid in a faulty section is checked too."""
    check = checks.get(section, lambda valid: iter(()))
    try:
        valid = model.model_validate(raw)
    except ValidationError as error:
        lines = list(describe_errors(error, model, section))
        told = tuple(line.split(":", 1)[0] for line in lines)
        try:
            rest = model.model_validate(_without(raw, [item["loc"] for item in error.errors()]))
        except ValidationError:
            return None, lines
        return None, lines + [line for line in check(rest) if not line.startswith(told)]
    return valid, list(check(valid))


def _without(raw: Any, places: Sequence[tuple[Any, ...]]) -> Any:
    """A copy of the raw section without what stands at those places."""
    pruned = copy.deepcopy(raw)
    for place in places:
        *sections, last = [step for step in place if step not in DOMAIN_TAGS] or [None]
        target = pruned
        for step in sections:
            target = target.get(step) if isinstance(target, dict) else None
        if isinstance(target, dict):
            target.pop(last, None)
    return pruned


def _whole(
    raw: dict[str, Any],
    models: Mapping[str, type[BaseModel]],
    sections: Mapping[str, Any],
    faults: list[str],
) -> tuple[RunConfig | None, list[str]]:
    """Puts the valid sections together; keys of the top level are judged here."""
    judged = {section for section in models if section in raw and section not in sections}
    judged |= {"tuner"} if "tuner" not in models else set()
    judged |= {"space"} if raw.get("space") is UNKNOWN_SPACE else set()
    try:
        config = RunConfig.model_validate({**raw, **sections})
    except ValidationError as error:
        config = None
        faults += describe_errors(error, RunConfig, "", skip=judged)
    return (None if faults else config), faults
