"""The JSON Schema of a configuration file, so that editors complete keys and mark faults.

Comes in: what lower layers know (``config_file.Knowledge``). Comes out: one schema of draft
2020-12, as plain values. It knows what one key may be; rules over several keys are only in the
models.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, models_json_schema

from mpinas.config import RunConfig, TunerConfig
from mpinas.config_file import Knowledge
from mpinas.config_values import ParameterLimits, RangeDomain

DIALECT = "https://json-schema.org/draft/2020-12/schema"
Schema = dict[str, Any]


class _Untitled(GenerateJsonSchema):
    """Without a title for each key, which would only be the key again."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def json_schema(knowledge: Knowledge) -> Schema:
    """The schema of a whole file as users write it: lists for tuples, a space by its name too."""
    names: dict[type[BaseModel], str] = {RunConfig: "", TunerConfig: "", RangeDomain: ""}
    models = [*names, *knowledge.tuners.values()]
    references, schema = models_json_schema(
        [(model, "validation") for model in models], schema_generator=_Untitled
    )
    names = {model: _name(references[(model, "validation")]) for model in models}
    definitions = schema["$defs"]
    for definition in definitions.values():
        definition.pop("title", None)
    whole = definitions.pop(names[RunConfig])
    del definitions[names[TunerConfig]]
    _name_problems(whole, definitions, knowledge)
    _name_spaces(whole, definitions, knowledge, definitions[names[RangeDomain]])
    tuners = {name: names[model] for name, model in knowledge.tuners.items()}
    whole["properties"]["tuner"] = _tuner(definitions, tuners)
    return {"$schema": DIALECT, "title": "Configuration of mpinas", **whole, "$defs": definitions}


def _name(reference: Mapping[str, Any]) -> str:
    return str(reference["$ref"]).rpartition("/")[2]


def _name_problems(whole: Schema, definitions: Schema, knowledge: Knowledge) -> None:
    problem = definitions[_name(whole["properties"]["problem"])]
    problem["properties"]["name"]["enum"] = list(knowledge.problems)


def _name_spaces(
    whole: Schema, definitions: Schema, knowledge: Knowledge, any_range: Schema
) -> None:
    """The space is a name or a section, and in it only layer kinds stand that there are."""
    section = whole["properties"]["space"]
    layers = definitions[_name(section)]["properties"]["layers"]
    layers.pop("additionalProperties")
    kinds = {
        kind: _section(
            layer.description,
            {name: _domain(parameter, any_range) for name, parameter in layer.parameters.items()},
            [name for name, parameter in layer.parameters.items() if parameter.fixed is None],
        )
        for kind, layer in knowledge.layers.items()
    }
    layers |= _section(layers["description"], kinds, [])
    named = {"type": "string", "enum": list(knowledge.spaces)}
    whole["properties"]["space"] = {
        "description": "What may be built: the name of a search space, or all of it.",
        "anyOf": [named, section],
    }


def _section(description: str, properties: Schema, required: list[str]) -> Schema:
    section = {"type": "object", "description": description, "properties": properties}
    return section | {"required": required, "additionalProperties": False}


def _domain(parameter: ParameterLimits, any_range: Schema) -> Schema:
    """A single value, a list of them, or, of numbers, a range."""
    value: Schema = {"enum": list(parameter.values)}
    if not parameter.values:
        number = "integer" if parameter.whole else "number"
        value = {"type": number, "minimum": parameter.low, "maximum": parameter.high}
    forms = [value, {"type": "array", "items": value, "minItems": 1}]
    if not parameter.values:
        forms.append(_range(value, any_range))
    domain: Schema = {"description": parameter.description, "anyOf": forms}
    return domain if parameter.fixed is None else domain | {"default": parameter.fixed}


def _range(value: Schema, any_range: Schema) -> Schema:
    """A range whose ends are such values and whose step is of their type."""
    keys = {key: dict(schema) for key, schema in any_range["properties"].items()}
    for end in ("min", "max"):
        keys[end] = {"description": keys[end]["description"], **value}
    step = {"type": value["type"], "exclusiveMinimum": 0}
    keys["step"]["anyOf"] = [step, {"type": "null"}]
    return {**any_range, "properties": keys}


def _tuner(definitions: Schema, tuners: Mapping[str, str]) -> Schema:
    """One branch a tuner; the name, which has to be written, tells which."""
    for name in tuners.values():
        definition = definitions[name]
        definition["properties"]["name"].pop("default")
        definition["required"] = ["name", *definition["required"]]
    return {
        "description": "What proposes networks and learns from results.",
        "type": "object",
        "required": ["name"],
        "properties": {"name": {"enum": list(tuners)}},
        "oneOf": [{"$ref": f"#/$defs/{name}"} for name in tuners.values()],
    }
