"""The page on the configuration has every key, once in its place, with what the models say."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from searching import FAKE_SEARCH, config_file

from mpinas.config_file import NOT_DEFINING, dump_config, load_config
from mpinas.config_reference import reference
from mpinas.config_yaml import parse_yaml
from mpinas.opening import KNOWLEDGE

ROOT = Path(__file__).parents[2]
PAGE = reference(KNOWLEDGE)


def tables() -> dict[str, dict[str, list[str]]]:
    """Heading -> key -> the other cells of its row."""
    found: dict[str, dict[str, list[str]]] = {}
    heading = ""
    for line in PAGE.splitlines():
        if line.startswith("#"):
            heading = line.lstrip("# ")
            found[heading] = {}
        elif line.startswith("| `"):
            key, *cells = re.split(r" (?<!\\)\| ", line.removeprefix("| ").removesuffix(" |"))
            assert key.strip("`") not in found[heading], line
            found[heading][key.strip("`")] = cells
    return found


TABLES = tables()


def test_committed_file(golden) -> None:
    golden(ROOT / "docs" / "configuration.md", PAGE)


def test_command_line_prints_it() -> None:
    command = [sys.executable, "-m", "mpinas", "config", "reference"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == PAGE


@pytest.mark.parametrize("tuner", KNOWLEDGE.tuners)
def test_every_key_of_a_resolved_configuration(tmp_path: Path, tuner: str) -> None:
    config = load_config(config_file(tmp_path, FAKE_SEARCH), [f"tuner.name={tuner}"], KNOWLEDGE)

    def look(path: str, heading: str, section: dict[str, object]) -> None:
        for key, value in section.items():
            full = f"{path}.{key}" if path else key
            assert key in TABLES[heading], full
            if full in TABLES or full == "tuner":
                assert isinstance(value, dict)
                look(full, f"tuner, name: {tuner}" if full == "tuner" else full, value)

    look("", "The whole file", parse_yaml(dump_config(config)))


def test_every_row_says_what_the_key_means() -> None:
    rows = [
        (heading, key, cells) for heading, keys in TABLES.items() for key, cells in keys.items()
    ]
    assert len(rows) > 90
    for heading, key, cells in rows:
        assert len(cells) == 4, (heading, key)
        assert cells[0], (heading, key)
        assert len(cells[3]) > 3, (heading, key)


@pytest.mark.parametrize(
    ("heading", "key", "cells"),
    [
        ("trial", "epochs", ["whole number", "`5`", "above 0"]),
        (
            "trial",
            "learning_rate",
            ["[domain]", "`{min: 0.0003, max: 0.003, scale: log}`", "above"],
        ),
        ("trial", "time_limit_s", ["number or null", "`null`", "above 0"]),
        ("trial", "optimizer", ["text", "`adam`", "`adam`, `sgd`"]),
        ("problem", "image_size", ["list or null", "`null`", "2 values, each above 0 to 4096"]),
        ("problem", "name", ["text", "**required**", "`cifar100`"]),
        ("problem.augment", "flip", ["true or false", "`true`", ""]),
        ("space", "merge", ["list", "`[add, concatenate]`", "one or more of `add`"]),
        ("space.layers.conv2d", "filters", ["[domain]", "**required**", "from 1 to 8192"]),
        ("space.layers.conv2d", "follow", ["[domain]", "`none`", "`none`, `max_pool`, `dropout`"]),
        ("space.head", "layers", ["whole number", "`1`", "from 0 to 8"]),
        ("tuner, name: codeepneat", "generations", ["whole number", "**required**", "above 0"]),
        ("tuner.modules.mutation", "perturb_layer", ["number", "`0.5`", "from 0"]),
        ("trial.fake", "seconds", ["section or number", "", "from 0"]),
        ("trial.shrink", "threshold", ["section or number", "", "from 0"]),
        ("trial.shrink", "relative", ["true or false or null", "`null`", ""]),
        ("trial.shrink", "epochs", ["number", "`1`", "above 0"]),
        ("trial.shrink", "source", ["text", "`auto`", "`auto`, `gamma`, `gate`, `group_lasso`"]),
        ("trial.shrink.threshold", "gamma", ["number", "`0.2`", "from 0"]),
        ("The whole file", "space", ["section or text", "**required**", "`small_kernels`"]),
        ("run", "walltime", ["text or whole number or null", "`null`", "above 0"]),
        ("comparison", "experiments", ["whole number", "`5`", "above 0"]),
        ("Domains", "step", ["number or null", "`null`", "above 0"]),
    ],
)
def test_rows(heading: str, key: str, cells: list[str]) -> None:
    found = TABLES[heading][key]
    for cell, words in zip(found, cells, strict=False):
        assert words in cell if words else not cell


def test_what_does_not_define_a_search() -> None:
    part = PAGE.partition("## What defines a search")[2].partition("\n## ")[0]
    for key in NOT_DEFINING:
        assert f"`{key}`" in part


def test_named_spaces_stand_in_full() -> None:
    for name, space in KNOWLEDGE.spaces.items():
        block = PAGE.partition(f"### space: {name}\n")[2].partition("```yaml\n")[2]
        assert parse_yaml(block.partition("```")[0]) == space


def test_it_is_markdown() -> None:
    """Nothing looks like HTML outside code, and no line of a table is torn."""
    assert "<" not in re.sub(r"`[^`]*`", "", PAGE)
    assert "``" not in PAGE.replace("```", "")
    assert PAGE.endswith("|\n")
