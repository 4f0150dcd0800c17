"""The JSON Schema takes what the models take and refuses what they refuse, key by key."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator
from searching import FAKE_SEARCH, config_file

from mpinas.config_file import dump_config, load_config
from mpinas.config_schema import json_schema
from mpinas.config_yaml import parse_yaml
from mpinas.errors import ConfigurationFaults
from mpinas.opening import KNOWLEDGE

ROOT = Path(__file__).parents[2]
CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))
SCHEMA = json_schema(KNOWLEDGE)
VALIDATOR = Draft202012Validator(SCHEMA)


def faults(text: str) -> list[str]:
    return [error.message for error in VALIDATOR.iter_errors(parse_yaml(text))]


def changed(override: str) -> str:
    """The fake search with one key set as ``--set`` sets it, but not checked."""
    raw = parse_yaml(FAKE_SEARCH)
    key, _, value = override.partition("=")
    *sections, last = key.split(".")
    target = raw
    for section in sections:
        target = target.setdefault(section, {})
    target[last] = yaml.safe_load(value)
    return yaml.safe_dump(raw)


def test_it_is_a_schema() -> None:
    Draft202012Validator.check_schema(SCHEMA)


def test_committed_file(golden) -> None:
    golden(ROOT / "configs" / "schema.json", json.dumps(SCHEMA, indent=2) + "\n")


def test_command_line_prints_it() -> None:
    command = [sys.executable, "-m", "mpinas", "config", "schema"]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(result.stdout) == SCHEMA


@pytest.mark.parametrize("file", CONFIGS, ids=lambda file: file.name)
def test_committed_configurations(file: Path) -> None:
    assert faults(file.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("file", CONFIGS, ids=lambda file: file.name)
def test_resolved_configurations(file: Path) -> None:
    """As a run directory has them: every default written out."""
    assert faults(dump_config(load_config(file, (), KNOWLEDGE))) == []


GOOD = [
    "space=small_kernels",
    "tuner={name: random_search, generations: 1, individuals: 1}",
    "tuner.modules.mutation.add_node=0",
    "space.layers.conv2d.filters=8",
    "space.layers.conv2d.filters=[8, 16]",
    "space.layers.conv2d.filters={min: 8, max: 32, step: 8}",
    "space.layers.conv2d.rate={min: 0.1, max: 0.5, scale: log}",
    "space.layers.conv2d.follow=none",
    "space.layers.dense={units: 8}",
    "space.layers.identity={}",
    "space.head.units=[32, 64]",
    "space.head.reduce=[flatten]",
    "space.max_flops=null",
    "trial.learning_rate=0.001",
    "trial.learning_rate=[0.001, 0.01]",
    "trial.learning_rate={min: 0.001, max: 1, scale: log}",
    "trial.fake.seconds=0.5",
    "trial.fake.seconds={mean: 1, sigma: 0.3}",
    "trial.fake.failures={raise: 0.1}",
    "trial.shrink.threshold=0.1",
    "trial.shrink.threshold=0",
    "trial.shrink.threshold={gate: 0.1, max_weight: 2}",
    "trial.shrink={enabled: false, epochs: 0.5, source: gate, relative: true, round_to: 8}",
    "trial.shrink.scale_learning_rate=null",
    "run.walltime=90",
    "run.walltime='12:00:00'",
    "problem={name: images, path: x, image_size: [32, 48], channels: 3}",
    "problem.classes=2",
    "problem.augment={copies: 3, flip: false}",
    "comparison.experiments=2",
]
BAD = [
    "seeed=3",
    "seed=three",
    "seed=1.5",
    "seed=-1",
    "seed=true",
    "name=null",
    "name=a/b",
    "problem.name=digit",
    "problem.pth=x",
    "problem={path: x}",
    "problem.image_size=[32]",
    "problem.image_size=[32, 0]",
    "problem.channels=2",
    "problem.classes=1",
    "problem.validation=0",
    "problem.train_fraction=1.5",
    "problem.augment.copies=0",
    "problem.augment.shift=0.6",
    "problem.augment=3",
    "space=samll_kernels",
    "space=[small_kernels]",
    "space.head.unitz=3",
    "space.merge=[]",
    "space.merge=[multiply]",
    "space.layers={}",
    "space.layers.conv3d={}",
    "space.layers.conv2d.fliters=3",
    "space.layers.conv2d={kernel_size: 3}",
    "space.layers.conv2d.filters=[]",
    "space.layers.conv2d.filters=8.5",
    "space.layers.conv2d.filters={min: 9}",
    "space.layers.conv2d.filters={min: 0, max: 3}",
    "space.layers.conv2d.filters={min: 1.5, max: 3}",
    "space.layers.conv2d.filters={min: 8, max: 32, step: 0.5}",
    "space.layers.conv2d.filters={min: 8, max: 32, steps: 8}",
    "space.layers.conv2d.filters=null",
    "space.layers.conv2d.kernel_size=[1, big]",
    "space.layers.conv2d.follow=[maxpool]",
    "space.layers.conv2d.follow={min: 0, max: 1}",
    "space.layers.conv2d.rate=1.0",
    "space.layers.conv2d.rate={min: 0, max: 0.5, step: 0}",
    "space.head.units={min: 32, max: 64, step: 0}",
    "space.layers.identity={rate: 0}",
    "tuner=random_search",
    "tuner.name=codeepnaet",
    "tuner={generations: 1, individuals: 1}",
    "tuner={name: codeepneat, generations: 1}",
    "tuner={name: random_search, generations: 1, individuals: 1, populations: 3}",
    "tuner.generations=0",
    "tuner.mutaton=1",
    "tuner.modules.populaton=1",
    "tuner.modules.mutation.change_species=1",
    "trial.epochs=0",
    "trial.epochs=[1]",
    "trial.optimizer=adamm",
    "trial.learning_rate=0",
    "trial.learning_rate=[]",
    "trial.learning_rate=fast",
    "trial.fake.failures={explode: 0.6}",
    "trial.fake.failures={raise: 2}",
    "trial.fake.seconds={men: 1}",
    "trial.fake.seconds=-1",
    "trial.shrink=true",
    "trial.shrink.enabeld=true",
    "trial.shrink.enabled=1",
    "trial.shrink.epochs=0",
    "trial.shrink.source=beta",
    "trial.shrink.strength=-1",
    "trial.shrink.threshold=-0.1",
    "trial.shrink.threshold=true",
    "trial.shrink.threshold=low",
    "trial.shrink.threshold=null",
    "trial.shrink.threshold=[0.1]",
    "trial.shrink.threshold={gama: 0.1}",
    "trial.shrink.threshold={gamma: -0.1}",
    "trial.shrink.relative=1",
    "trial.shrink.scale_learning_rate=0",
    "trial.shrink.min_filters=0",
    "trial.shrink.round_to=0",
    "run.workers=0",
    "run.walltime=1.5",
    "run.walltime=true",
    "run.fault_tolerance=all",
    "comparison.experiments=0",
    "comparison.experiment=3",
]


@pytest.mark.parametrize("override", GOOD)
def test_taken_by_both(tmp_path: Path, override: str) -> None:
    text = changed(override)
    assert faults(text) == []
    load_config(config_file(tmp_path, text), (), KNOWLEDGE)


@pytest.mark.parametrize("override", BAD)
def test_refused_by_both(tmp_path: Path, override: str) -> None:
    text = changed(override)
    assert faults(text) != []
    with pytest.raises(ConfigurationFaults):
        load_config(config_file(tmp_path, text), (), KNOWLEDGE)


@pytest.mark.parametrize("key", ["name", "problem", "space", "tuner"])
def test_required_sections(key: str) -> None:
    raw = parse_yaml(FAKE_SEARCH)
    del raw[key]
    assert f"'{key}' is a required property" in faults(yaml.safe_dump(raw))


def sections(node: Any, where: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every place in the schema that lists keys, with its place."""
    if isinstance(node, dict):
        if "properties" in node and "oneOf" not in node:
            yield where, node
        for key, part in node.items():
            yield from sections(part, f"{where}/{key}")
    elif isinstance(node, list):
        for index, part in enumerate(node):
            yield from sections(part, f"{where}/{index}")


def test_no_section_takes_an_unknown_key() -> None:
    found = dict(sections(SCHEMA))
    assert len(found) > 20
    assert [
        where for where, node in found.items() if node["additionalProperties"] is not False
    ] == []


def test_every_limit_is_one_of_json_schema() -> None:
    """Pydantic writes what it cannot express under names that no validator knows."""
    assert (
        re.findall(r'"(?:gt|ge|lt|le|min_length|max_length|multiple_of)":', json.dumps(SCHEMA))
        == []
    )


def test_every_key_says_what_it_means() -> None:
    definitions = SCHEMA["$defs"]
    silent = []
    for where, node in sections(SCHEMA):
        for key, part in node["properties"].items():
            meant = definitions[part["$ref"].rpartition("/")[2]] if "$ref" in part else {}
            if not (part.get("description") or meant.get("description")):
                silent.append(f"{where}.{key}")
    assert silent == []


def test_every_key_is_required_or_has_a_default() -> None:
    for where, node in sections(SCHEMA):
        required = set(node.get("required", ()))
        assert required <= set(node["properties"]), where
        if where.endswith(("/layers", "/identity")) or not node["properties"]:
            continue
        without = {key for key, part in node["properties"].items() if "default" not in part}
        assert without == required, where
