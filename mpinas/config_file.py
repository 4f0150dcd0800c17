"""Reading and writing configuration files.

Comes in: a YAML file, ``key=value`` overrides, and what lower layers know (:class:`Knowledge`).
Comes out: a ``RunConfig``, or ``ConfigurationFaults`` with every fault at once, each with its full
key. What YAML means here stands in ``config_yaml.py``.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pydantic import BaseModel, ValidationError

from mpinas.config import (
    ProblemConfig,
    RunConfig,
    RunSettings,
    SpaceConfig,
    TrialConfig,
    TunerConfig,
)
from mpinas.config_comparison import ComparisonConfig
from mpinas.config_faults import KeyFault, describe_errors, dotted, names_value_of
from mpinas.config_values import SearchableLayer
from mpinas.config_yaml import MOST_DEPTH, NotYaml, dump_yaml, parse_value, parse_yaml
from mpinas.errors import ConfigurationFaults, fault, unknown_name

Check = Callable[[Any], Iterator[str]]
Steps = tuple[str | int, ...]

NOT_DEFINING = (
    "name",
    "run",
    "comparison",
    "tuner.generations",
    "problem.path",
    "problem.stage",
    "problem.skip_unreadable",
    "trial.tensorboard",
)
"""Sections and keys that do not define a search: they may change when a run goes on."""

UNKNOWN_SPACE: Mapping[str, Any] = MappingProxyType({})
"""Stands for a space whose name has been told to be unknown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Knowledge:
    """The judgement of lower layers that a configuration needs.

    Attributes:
        tuners: configuration model of each tuner, by name.
        spaces: search spaces that can be called by name.
        problems: names of the data sets.
        layers: searchable layer kinds, by name.
        checks: section name -> what yields a line for each further fault of a valid section.
    """

    tuners: Mapping[str, type[TunerConfig]]
    spaces: Mapping[str, Any] = field(default_factory=dict)
    problems: Collection[str] = ()
    layers: Mapping[str, SearchableLayer] = field(default_factory=dict)
    checks: Mapping[str, Check] = field(default_factory=dict)


def load_config(path: Path, overrides: Sequence[str], knowledge: Knowledge) -> RunConfig:
    """Reads a configuration file.

    Args:
        overrides: ``dotted.key=value``, see ``config_yaml.parse_value``; later ones win.

    Raises:
        ConfigurationFaults: all that is wrong, one line each.
    """
    return load_plain(_read_yaml(path), overrides, knowledge, str(path))


def load_plain(
    plain: Mapping[str, Any], overrides: Sequence[str], knowledge: Knowledge, where: str
) -> RunConfig:
    """A whole configuration as plain values, wherever they come from.

    Args:
        overrides: as for :func:`load_config`.
        where: the file, for messages.

    Raises:
        ConfigurationFaults: all that is wrong, one line each.
    """
    raw = copy.deepcopy(dict(plain))
    faults = list(_name_to_space(raw, knowledge))
    for text in overrides:
        faults += _override(raw, text)
        faults += _name_to_space(raw, knowledge)
    config, more = _validate(raw, knowledge)
    faults += more
    if faults or config is None:
        raise ConfigurationFaults(*(f"{where}: {' '.join(line.splitlines())}" for line in faults))
    return config


def load_problem(raw: Mapping[str, Any], knowledge: Knowledge) -> ProblemConfig:
    """A ``problem`` section alone.

    Raises:
        ConfigurationFaults: all that is wrong, one line each.
    """
    problem, faults = _validate_section(ProblemConfig, "problem", raw, knowledge.checks)
    if faults or not isinstance(problem, ProblemConfig):
        raise ConfigurationFaults(*faults)
    return problem


def dump_config(config: RunConfig) -> str:
    """The resolved configuration as YAML, every default written out; loads back equal."""
    return dump_yaml(config.model_dump(mode="json"))


def differing_keys(one: RunConfig, other: RunConfig) -> list[str]:
    """Dotted keys in which two configurations define different searches, with both values.

    ``NOT_DEFINING`` does not count: the data are told by their checksum, not by their path.
    """
    first, second = (_flat(_defining(config)) for config in (one, other))
    return [
        f"{key} ({first.get(key)!r} there, {second.get(key)!r} here)"
        for key in sorted(first.keys() | second.keys())
        if first.get(key) != second.get(key)
    ]


def _defining(config: RunConfig) -> dict[str, Any]:
    plain = config.model_dump(mode="json")
    for key in NOT_DEFINING:
        section, _, last = key.rpartition(".")
        del (plain[section] if section else plain)[last]
    return plain


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(value, dict) or not value:
        return {prefix: value}
    nested = (_flat(part, f"{prefix}.{key}" if prefix else str(key)) for key, part in value.items())
    return {key: part for flat in nested for key, part in flat.items()}


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        raw = parse_yaml(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationFaults(
            fault(str(path), "cannot be read", cure=error.strerror or str(error))
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigurationFaults(fault(str(path), "not a text file in UTF-8")) from error
    except NotYaml as error:
        raise ConfigurationFaults(fault(str(path), str(error))) from error
    if not isinstance(raw, dict):
        raise ConfigurationFaults(
            fault(str(path), "a configuration is a mapping of keys", f"{type(raw).__name__}")
        )
    return raw


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
        yield fault("--set", "not of the form key=value", f"--set {_cut(text)!r}")
        return
    try:
        parsed = parse_value(value)
    except NotYaml as error:
        yield fault("--set", f"the value is not YAML: {error}", f"--set {_cut(text)!r}")
        return
    *sections, last = key.strip().split(".")
    if len(sections) > MOST_DEPTH:
        yield fault("--set", "no key lies that deep", f"--set {_cut(text)!r}")
        return
    target = raw
    for section in sections:
        nested = target.setdefault(section, {})
        if not isinstance(nested, dict):
            yield fault("--set", f"{section} is not a section", f"--set {_cut(text)!r}")
            return
        target = nested
    target[last] = parsed


def _cut(text: str, limit: int = 80) -> str:
    return text if len(text) <= limit else f"{text[: limit - 3]}..."


def _validate(raw: dict[str, Any], knowledge: Knowledge) -> tuple[RunConfig | None, list[str]]:
    """Validates section by section, so that one bad section hides no fault of another."""
    models: dict[str, type[BaseModel]] = {
        "problem": ProblemConfig,
        "space": SpaceConfig,
        "trial": TrialConfig,
        "run": RunSettings,
        "comparison": ComparisonConfig,
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
    """The section, or None, and its faults.

    A rule over several keys is looked at only where each of them is valid by itself. So what is
    faulty is taken out and the rest validated, until nothing new comes; then that is checked.
    """
    faults: list[KeyFault] = []
    removed: list[Steps] = []
    rest = raw
    while True:
        try:
            valid = model.model_validate(rest)
            break
        except ValidationError as error:
            found = list(describe_errors(error, model, section, rest))
        faults += [one for one in found if not _follows(one, faults, removed)]
        places = [_innermost(rest, one.steps) for one in found]
        if not all(places):
            return None, [one.line for one in faults]
        removed += places
        rest = _without(rest, places)
    lines = [one.line for one in faults]
    told = {dotted(section, steps) for steps in (*removed, *(one.steps for one in faults))}
    check = checks.get(section, lambda valid: iter(()))
    lines += [line for line in check(valid) if line.split(":", 1)[0] not in told]
    return (None if faults else valid), lines


def _follows(one: KeyFault, faults: Sequence[KeyFault], removed: Sequence[Steps]) -> bool:
    """Whether a fault is there only because others were taken out."""
    if any(one.steps == other.steps for other in faults):
        return True
    if any(one.steps[: len(place)] == place for place in removed):
        return True
    if one.too_few and any(place[: len(one.steps)] == one.steps for place in removed):
        return True
    return any(not other.unknown and names_value_of(one.line, other.steps[-1]) for other in faults)


def _innermost(raw: Any, steps: Steps) -> Steps:
    """The steps as far as mappings go; empty where there is nothing to take out."""
    reached = 0
    for step in steps:
        if not isinstance(raw, Mapping) or step not in raw:
            break
        raw = raw[step]
        reached += 1
    return steps[:reached]


def _without(raw: Any, places: Sequence[Steps]) -> Any:
    """A copy of the raw section without what stands at those places."""
    pruned = copy.deepcopy(raw)
    for *sections, last in places:
        target = pruned
        for step in sections:
            target = target.get(step, {})
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
        found = describe_errors(error, RunConfig, "", raw)
        faults += [one.line for one in found if not judged.intersection(one.steps[:1])]
    return (None if faults else config), faults
