"""What is dumped is loaded equal, whatever strings and numbers a configuration holds."""

import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from searching import config_of

from mpinas.config import RunConfig
from mpinas.config_file import dump_config
from mpinas.config_yaml import NotYaml, dump_yaml, parse_value, parse_yaml

TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
NUMBER_LIKE = st.from_regex(r"\A[-+]?[0-9]{0,3}\.?[0-9]{0,3}([eE][-+]?[0-9]{1,3})?\Z")
NAMES = st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9_.-]*\Z")
TAGS = [f"!!{name} " for name in ("int", "float", "bool", "null", "str", "seq", "map", "set")]
YAML_LIKE = st.lists(
    st.sampled_from([*"[]{}:,-?#'\"\\|>%@&*!a01.~<=\n ", *TAGS, "&a ", "*a ", "true", ": ", "- "]),
    max_size=12,
).map("".join)
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> RunConfig:
    return config_of(tmp_path_factory.mktemp("config"), "problem.name=arrays", "problem.path=/x")


@example("7e10")
@example("1_000")
@example("12:30:00")
@example("010")
@example("no")
@example("~")
@example("2020-01-01")
@example("<<")
@example("a" * 200 + " b")
@given(TEXTS | NUMBER_LIKE | NAMES)
def test_strings_stay_strings(text):
    for place in (text, {"path": text}, {text: [text]}):
        assert parse_yaml(dump_yaml(place)) == place


@given(PLAIN)
def test_values_come_back_with_their_types(value):
    again = parse_yaml(dump_yaml(value))
    assert repr(again) == repr(value)


@given(NAMES | NUMBER_LIKE, TEXTS, st.floats(min_value=0, allow_infinity=False))
def test_a_configuration_comes_back(config, name, path, seconds):
    changed = config.model_copy(
        update={
            "name": name,
            "problem": config.problem.model_copy(update={"path": path}),
            "run": config.run.model_copy(update={"grace_s": seconds, "walltime": name}),
        }
    )
    assert parse_yaml(dump_config(changed)) == changed.model_dump(mode="json")


@given(st.floats())
def test_numbers_of_the_command_line_are_those_of_the_file(number):
    value = parse_value(repr(number).replace("inf", ".inf").replace("nan", ".nan"))
    assert value == number or math.isnan(number)
    assert isinstance(value, float)


@example("!!int " + "9" * 5000)
@given(TEXTS | YAML_LIKE)
def test_every_text_is_a_value_or_one_line(text):
    for parse in (parse_value, parse_yaml):
        lines = []
        try:
            parse(text)
        except NotYaml as error:
            lines = str(error).splitlines()
        assert len(lines) <= 1
