"""The page on the configuration, ``docs/configuration.md``, made from its JSON Schema.

Comes in: what lower layers know (``config_file.Knowledge``). Comes out: markdown, a table for
each section. What a key means stands in the models and nowhere here.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping
from typing import Any

from mpinas.config_file import NOT_DEFINING, Knowledge
from mpinas.config_schema import Schema, json_schema
from mpinas.config_yaml import dump_yaml

LEAD = """# Configuration

A search is one YAML file. `configs/` has one for each standard data set; copy the one that is
nearest and change it.

```yaml
name: first-look
problem: {name: cifar10}
space: small_kernels
tuner: {name: codeepneat, generations: 7, individuals: 12}
```

All other keys have defaults; the run directory's `config.yaml` has every one written out. A key
that nobody knows is a fault, and so is a value of another type: nothing is guessed or converted.
All faults of a file are told at once, before anything is started.

This page is written by `python -m mpinas config reference`. `python -m mpinas config schema` prints
the same for editors, as JSON Schema; it is `configs/schema.json`, and a file whose first line is
`# yaml-language-server: $schema=schema.json` is completed and checked while you type, in every
editor that has the YAML language server.

## On the command line

`--set key=value` changes one key, with its sections before it and a dot between; it may be given
many times, the last one counts. The value is YAML, so quote what the shell would read:

```
python -m mpinas run configs/cifar10.yaml --set trial.epochs=3 --set problem.train_fraction=0.2
python -m mpinas run configs/cifar10.yaml --set space.layers.conv2d.kernel_size='[3, 5]'
python -m mpinas run configs/cifar10.yaml --set trial.learning_rate='{min: 0.001, max: 0.01}'
```

A space that is given by its name can be changed in part in the same way. `--workers` and
`--walltime` are short for `run.workers` and `run.walltime`.

## Domains

Where the type is *domain*, the search may try more than one value. A domain has one of three forms:

| form | example | means |
|---|---|---|
| range | `{min: 16, max: 68}` | all numbers from `min` to `max`, both included; whole if both \
are |
| list | `[1, 3, 5]` | one of these values |
| value | `3` | always this one: nothing is searched |

"""

DEFINING = """## What defines a search

A run directory holds one search. A job that goes on with it must have the same configuration, or it
is refused with the keys that differ. Only these may change: {keys}.
All other keys define what is found.
"""


def reference(knowledge: Knowledge) -> str:
    """The whole page, ending with a line break."""
    schema = json_schema(knowledge)
    page = _Page(schema, knowledge.spaces)
    keys = ", ".join(f"`{key}`" for key in NOT_DEFINING)
    sections = "\n\n".join(page.sections())
    return f"{LEAD}{page.range_keys()}\n\n{DEFINING.format(keys=keys)}\n{sections}\n"


class _Page:
    """Walks the schema. What is yielded are blocks, to be parted by empty lines."""

    def __init__(self, schema: Schema, spaces: Mapping[str, Any]) -> None:
        self._schema = schema
        self._spaces = spaces
        self._definitions: Schema = schema["$defs"]

    def range_keys(self) -> str:
        """The table of the keys that a range has."""
        return "The keys of a range:\n\n" + self._table("", self._definitions["RangeDomain"])

    def sections(self) -> Iterator[str]:
        yield "## The whole file"
        yield self._table("", self._schema)
        for key, node in self._schema["properties"].items():
            branches = node.get("oneOf", [])
            if branches:
                yield from self._tuners(key, node)
            elif self._section_of(node):
                yield from self._section(key, node, 2)
            if key == "space":
                yield from self._named_spaces()

    def _named_spaces(self) -> Iterator[str]:
        for name, space in self._spaces.items():
            yield f"### space: {name}"
            yield f"Stands for:\n\n```yaml\n{dump_yaml(copy.deepcopy(space)).rstrip()}\n```"

    def _tuners(self, key: str, node: Schema) -> Iterator[str]:
        yield f"## {key}"
        yield f"{node['description']} Which keys there are depends on `{key}.name`."
        for branch in map(self._resolved, node["oneOf"]):
            yield f"### {key}, name: {branch['properties']['name']['const']}"
            yield from self._content(key, branch, 3)

    def _section(self, path: str, node: Schema, level: int) -> Iterator[str]:
        yield f"{'#' * min(level, 4)} {path}"
        yield from self._content(path, self._section_of(node), level)

    def _content(self, path: str, section: Schema, level: int) -> Iterator[str]:
        if "description" in section:
            yield _text(section["description"])
        if not section["properties"]:
            return
        yield self._table(path, section)
        for key, node in section["properties"].items():
            if self._has_own_table(node):
                yield from self._section(f"{path}.{key}", node, level + 1)

    def _table(self, path: str, section: Schema) -> str:
        rows = ["| key | type | default | allowed | meaning |", "|---|---|---|---|---|"]
        for key, node in section["properties"].items():
            full = f"{path}.{key}" if path else key
            is_required = key in section.get("required", ())
            rows.append(self._row(full, key, node, is_required))
        return "\n".join(rows)

    def _row(self, path: str, key: str, node: Schema, is_required: bool) -> str:
        meaning = _text(node.get("description") or self._resolved(node)["description"])
        kind, allowed, default = self._type(node), self._allowed(node), ""
        if "default" in node and not self._has_own_table(node):
            default = f"`{_yaml(node['default'])}`"
        cells = (f"`{key}`", kind, "**required**" if is_required else default, allowed, meaning)
        return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"

    def _has_own_table(self, node: Schema) -> bool:
        """A section whose description is its own; others are only mentioned."""
        return bool(self._section_of(node)) and ("$ref" not in node or "description" not in node)

    def _section_of(self, node: Schema) -> Schema:
        """The section that a key is or may be; empty where it is a value."""
        resolved = self._resolved(node)
        if "properties" in resolved:
            return resolved
        forms = [self._resolved(form) for form in resolved.get("anyOf", ())]
        if _is_domain(forms) or {"type": "null"} in forms:
            return {}
        section = next((form for form in forms if "properties" in form), {})
        return {"description": resolved.get("description", ""), **section} if section else {}

    def _resolved(self, node: Schema) -> Schema:
        reference = node.get("$ref")
        return self._definitions[reference.rpartition("/")[2]] if reference else node

    def _forms(self, node: Schema) -> list[Schema]:
        """What a key may be, with unions inside unions laid open."""
        node = self._resolved(node)
        inner = node.get("anyOf") or ([] if "properties" in node else node.get("oneOf"))
        if not inner:
            return [node]
        return [form for one in inner for form in self._forms(one)]

    def _type(self, node: Schema) -> str:
        forms = self._forms(node)
        if _is_domain(forms):
            return "[domain](#domains)"
        names = [_TYPES[form["type"]] for form in forms if "type" in form]
        names = [name for name in names if not (name == "whole number" and "number" in names)]
        return " or ".join(sorted(dict.fromkeys(names), key=_TYPE_NAMES.index))

    def _allowed(self, node: Schema) -> str:
        forms = self._forms(node)
        if _is_domain(forms):
            forms = [form for form in forms if form.get("type") not in ("array", "object")]
        return "; ".join(dict.fromkeys(filter(None, map(_limits, forms))))


_TYPE_NAMES = ["section", "list", "text", "number", "whole number", "true or false", "null"]
_TYPES: Mapping[str, str] = {
    "string": "text",
    "integer": "whole number",
    "number": "number",
    "boolean": "true or false",
    "array": "list",
    "object": "section",
    "null": "null",
}


def _is_domain(forms: list[Schema]) -> bool:
    """Whether a list, or a value of the list by itself, is allowed."""
    types = {form.get("type") for form in forms}
    return "array" in types and len(types - {"null"}) > 1


def _limits(form: Schema) -> str:
    """What values of one form are allowed, in words; empty where all of its type are."""
    if "const" in form:
        return f"`{_yaml(form['const'])}`"
    if "enum" in form:
        return ", ".join(f"`{_yaml(value)}`" for value in form["enum"])
    if "pattern" in form:
        return f"`{form['pattern']}`"
    if form.get("type") == "array":
        return _list_limits(form)
    if "propertyNames" in form:
        return f"{_limits(form['propertyNames'])}: each {_limits(form['additionalProperties'])}"
    return _number_limits(form)


def _list_limits(form: Schema) -> str:
    items = form["prefixItems"] if "prefixItems" in form else [form["items"]]
    count = f"{len(items)} values, each" if "prefixItems" in form else "one or more of"
    return f"{count} {_limits(items[0])}"


def _number_limits(form: Schema) -> str:
    words = {"minimum": "from", "exclusiveMinimum": "above", "exclusiveMaximum": "to below"}
    words["maximum"] = "to" if "minimum" in form or "exclusiveMinimum" in form else "up to"
    order = ("minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum")
    return " ".join(f"{words[key]} {_yaml(form[key])}" for key in order if key in form)


def _yaml(value: Any) -> str:
    """A value as one would write it; of a range only what is not said anyway."""
    if isinstance(value, dict):
        said_anyway = {"step": None, "scale": "linear"}
        parts = [
            f"{key}: {_yaml(part)}"
            for key, part in value.items()
            if key not in said_anyway or part != said_anyway[key]
        ]
        return f"{{{', '.join(parts)}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(_yaml, value))}]"
    if isinstance(value, str):
        return value
    return f"{value:g}" if isinstance(value, float) else json.dumps(value)


def _text(description: str) -> str:
    """A docstring or a field's description as one paragraph of markdown."""
    return " ".join(description.split()).replace("``", "`")
