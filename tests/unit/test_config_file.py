"""A configuration is refused with every fault at once, or means what it says."""

import re
from pathlib import Path

import pytest
from searching import FAKE_SEARCH, config_file, config_of

from mpinas.config_file import differing_keys, dump_config, load_config
from mpinas.config_values import parse_walltime_s
from mpinas.errors import ConfigurationFaults
from mpinas.opening import KNOWLEDGE

CONFIGS = Path(__file__).parents[2] / "configs"
LINE = re.compile(r"^[^:]+: .+\.$")


def faults_of(tmp_path, *overrides, text=FAKE_SEARCH):
    with pytest.raises(ConfigurationFaults) as caught:
        load_config(config_file(tmp_path, text), overrides, KNOWLEDGE)
    for line in caught.value.faults:
        assert LINE.match(line), line
        assert "\n" not in line
    return caught.value.faults


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("seeed=3", ["unknown key 'seeed'", "'seed'"]),
        ("tuner.mutaton=1", ["tuner.mutaton", "unknown key"]),
        ("tuner.modules.populaton=1", ["tuner.modules.populaton", "'population'"]),
        ("trial.fake.seconds.men=1", ["trial.fake.seconds.men", "'mean'"]),
        ("space.layers.conv2d.fliters=3", ["space.layers.conv2d.fliters", "'filters'"]),
        ("space.layers.conv3d={}", ["space.layers.conv3d", "'conv2d'"]),
        ("space.head.unitz=3", ["space.head.unitz", "'units'"]),
        ("space=samll_kernels", ["search space", "'small_kernels'"]),
        ("tuner.name=codeepnaet", ["tuner.name", "'codeepneat'"]),
        ("problem.name=digit", ["problem.name", "'digits'"]),
        ("problem={name: digits, train_images: 9, train_fraction: 0.5}", ["problem", "both"]),
        ("problem.image_size=[0, 8]", ["problem.image_size", "above 0"]),
        ("problem.augment.copies=0", ["problem.augment.copies", "1 and above"]),
        ("problem={name: arrays}", ["problem.path", "needs data"]),
        ("seed=three", ["seed", "'three'"]),
        ("seed=1.5", ["seed", "1.5"]),
        ("seed=-1", ["seed", "Allowed: 0 and above"]),
        ("seed=true", ["seed", "True"]),
        ("name=", ["name", "None"]),
        ("name=a/b", ["name", "not a name"]),
        ("trial.epochs=0", ["trial.epochs", "Allowed: above 0"]),
        ("trial.epochs=2.0", ["trial.epochs", "2.0"]),
        ("trial.epochs=[1]", ["trial.epochs", "[1]"]),
        ("trial.learning_rate=.nan", ["trial.learning_rate"]),
        ("trial.learning_rate=.inf", ["trial.learning_rate"]),
        ("trial.learning_rate={min: 0, max: 1}", ["trial.learning_rate", "above 0"]),
        ("trial.learning_rate={min: 1, max: 0.1}", ["trial.learning_rate", "min=1", "max=0.1"]),
        ("trial.optimizer=adamm", ["trial.optimizer", "'adam'"]),
        ("trial.fake.failures={raise: 0.6, hang: 0.6}", ["trial.fake.failures", "1.2"]),
        ("trial.fake.failures={explode: 0.6}", ["explode", "'raise'"]),
        ("run.walltime=12 hours", ["run.walltime", "HH:MM:SS"]),
        ("run.walltime=00:00:00", ["run.walltime", "above 0"]),
        ("run.workers=0", ["run.workers", "above 0"]),
        ("space.merge=[]", ["space.merge", "empty"]),
        ("space.merge=[multiply]", ["space.merge", "'add'"]),
        ("space.layers={}", ["space.layers", "empty"]),
        ("space.layers.conv2d.filters=[]", ["space.layers.conv2d.filters", "empty"]),
        ("space.layers.conv2d.filters={min: 9, max: 3}", ["space.layers.conv2d.filters", "min=9"]),
        ("space.layers.conv2d.filters={min: 9}", ["space.layers.conv2d.filters.max", "missing"]),
        ("space.layers.conv2d.filters={min: 0, max: 3}", ["filters", "from 1 to"]),
        ("space.layers.conv2d.filters={min: 1.5, max: 3}", ["filters", "whole numbers"]),
        ("space.layers.conv2d.filters={min: 8, max: 32, step: 8.0}", ["step: 8.0", "whole"]),
        ("space.layers.conv2d.rate={min: 0, max: 0.5, step: 1e-20}", ["rate", "steps"]),
        ("space.layers.conv2d.rate={min: 0, max: 0.5, step: 0}", ["rate.step", "above 0"]),
        ("space.head.units={min: 4, max: 8, step: 0.5}", ["space.head.units", "whole"]),
        ("space.layers.conv2d.filters=null", ["space.layers.conv2d.filters", "wrong type"]),
        ("space.layers.conv2d.kernel_size=[1, big]", ["kernel_size", "big"]),
        ("space.layers.conv2d.follow=[maxpool]", ["follow", "max_pool"]),
        ("space.layers.conv2d.rate=1.0", ["rate", "0.95"]),
        ("space.layers.conv2d={kernel_size: 3}", ["space.layers.conv2d.filters", "missing"]),
        ("space.head.units={min: 4, max: 2}", ["space.head.units", "min=4"]),
        ("problem.validation=0", ["problem.validation", "above 0"]),
        ("problem.validation=10.5", ["problem.validation", "whole number"]),
        ("tuner.generations=0", ["tuner.generations", "above 0"]),
        ("tuner=random_search", ["tuner", "random_search"]),
        ("tuner.modules.species=11", ["species", "population"]),
    ],
)
def test_one_wrong_key_gives_one_line_that_names_it(tmp_path, override, words):
    faults = faults_of(tmp_path, override)
    assert len(faults) == 1, faults
    for word in words:
        assert word in faults[0]


@pytest.mark.parametrize("override", ["seed", "=3", "seed=[", "name.first=x", "seed: 3"])
def test_a_malformed_override_is_named(tmp_path, override):
    assert "--set" in faults_of(tmp_path, override)[0]


def test_all_faults_come_at_once(tmp_path):
    overrides = (
        "seeed=1",
        "trial.epochs=0",
        "trial.batchsize=3",
        "space.layers.conv2d.filters={min: 9, max: 3}",
        "space.layers.conv2d.fliters=1",
        "space.layers.conv3d={}",
        "tuner.individuals=x",
        "run.walltime=soon",
        "problem.name=imagenet",
    )
    faults = faults_of(tmp_path, *overrides)
    for override in overrides:
        key = override.split("=")[0]
        assert any(f" {key}" in line for line in faults), (key, faults)
    assert len(faults) == len(overrides)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "mapping"),
        ("- a\n- b\n", "mapping"),
        ("name: [", "line"),
        (FAKE_SEARCH + "seed: 6\n", "duplicate key 'seed'"),
        (FAKE_SEARCH.replace("epochs: 2", "epochs: 2\n  epochs: 3"), "duplicate key 'epochs'"),
        ("name: !!python/object/apply:os.system [true]\n", "tag"),
        ("3: x\n", "keys are names"),
        ("name: \x00\n", "not allowed"),
    ],
)
def test_what_is_no_configuration_is_refused_with_its_line(tmp_path, text, words):
    assert words in faults_of(tmp_path, text=text)[0]


def test_each_missing_section_is_named(tmp_path):
    faults = faults_of(tmp_path, text="name: x\n")
    assert len(faults) == 3
    assert all(any(key in line for line in faults) for key in ("problem", "space", "tuner"))


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00"])
def test_an_unreadable_file_is_named(tmp_path, content):
    file = tmp_path / "missing.yaml"
    if content:
        file.write_bytes(content)
    with pytest.raises(ConfigurationFaults, match=r"missing\.yaml"):
        load_config(file, (), KNOWLEDGE)


@pytest.mark.parametrize(
    ("value", "meaning"),
    [("1e-3", 1e-3), ("1E-3", 1e-3), ("0.001", 1e-3), (".5", 0.5), ("1", 1), ("+1.e-2", 0.01)],
)
def test_numbers_mean_numbers(tmp_path, value, meaning):
    assert config_of(tmp_path, f"trial.learning_rate={value}").trial.learning_rate == meaning


def test_words_of_older_yaml_mean_themselves(tmp_path):
    """YAML 1.1 reads ``no`` as false, ``12:30:00`` as 45000 and ``010`` as 8."""
    config = config_of(tmp_path, "name=no", "run.walltime=12:30:00", "seed=010")
    assert (config.name, config.run.walltime, config.seed) == ("no", "12:30:00", 10)


def test_later_overrides_win_and_new_sections_appear(tmp_path):
    config = config_of(tmp_path, "run.workers=3", "run.workers=4", "trial.fake.seconds.mean=1")
    assert config.run.workers == 4
    assert config.trial.fake.seconds.mean == 1


def test_a_space_by_name_can_be_overridden(tmp_path):
    text = re.sub(r"space:\n(  .*\n)+", "space: small_kernels\n", FAKE_SEARCH)
    config = load_config(
        config_file(tmp_path, text), ("space.layers.conv2d.kernel_size=[3]",), KNOWLEDGE
    )
    assert config.space.layers["conv2d"]["kernel_size"] == (3,)
    assert config.space.layers["conv2d"]["filters"].max == 68
    again = load_config(config_file(tmp_path, text), (), KNOWLEDGE)
    assert again.space.layers["conv2d"]["kernel_size"] == (1, 3, 5), "the preset was changed"


@pytest.mark.parametrize("tuner", list(KNOWLEDGE.tuners))
def test_the_resolved_configuration_loads_back_equal(tmp_path, tuner):
    config = config_of(
        tmp_path,
        f"tuner={{name: {tuner}, generations: 2, individuals: 4}}",
        "run.walltime=01:00:00",
        "trial.learning_rate={min: 1e-5, max: 1e-2, scale: log}",
    )
    file = tmp_path / "resolved.yaml"
    file.write_text(dump_config(config))
    again = load_config(file, (), KNOWLEDGE)
    assert again == config
    assert type(again.tuner) is type(config.tuner)
    assert "batch_size: 128" in file.read_text(), "a default is not written out"


@pytest.mark.parametrize(
    ("override", "defines"),
    [
        ("name=other", False),
        ("run.workers=7", False),
        ("comparison.experiments=9", False),
        ("problem.path=/elsewhere", False),
        ("problem.stage=true", False),
        ("problem.augment.copies=3", True),
        ("problem.classes=5", True),
        ("run.walltime=01:00:00", False),
        ("tuner.generations=9", False),
        ("seed=6", True),
        ("trial.epochs=3", True),
        ("trial.threads=2", True),
        ("space.batch_norm=false", True),
        ("space.layers.conv2d.filters.max=33", True),
        ("tuner.individuals=7", True),
        ("problem.train_images=100", True),
    ],
)
def test_what_defines_a_search_and_what_does_not(tmp_path, override, defines):
    key = override.split("=")[0]
    differing = differing_keys(config_of(tmp_path), config_of(tmp_path, override))
    assert [line.split(" ")[0] for line in differing] == ([key] if defines else [])


@pytest.mark.parametrize(
    ("text", "minutes"),
    [
        ("90", 90),
        ("00:30", 0.5),
        ("90:00", 90),
        ("01:00:00", 60),
        ("1-10", 34 * 60),
        ("1-10:20", 34 * 60 + 20),
        ("2-00:00:01", 48 * 60 + 1 / 60),
    ],
)
def test_walltimes_in_the_forms_of_slurm(tmp_path, text, minutes):
    assert parse_walltime_s(text) == minutes * 60
    assert config_of(tmp_path, f"run.walltime={text}").run.walltime == text


NO_WALLTIMES = [
    "1:2:3:4",
    "1-",
    "-1",
    "-5:00",
    "1.5",
    "1e3",
    "true",
    "[90]",
    "\u0663:00",
    "\u00b2",
    "00",
]


@pytest.mark.parametrize("text", [*NO_WALLTIMES, "9" * 400 + ":00:00", "9" * 5000 + ":00"])
def test_what_is_no_walltime_is_one_short_line(tmp_path, text):
    (line,) = faults_of(tmp_path, f"run.walltime={text}")
    assert "run.walltime: walltime " in line
    assert len(line) < 300 + len(str(tmp_path))


RULES_BESIDE_FAULTS = [
    (
        ["tuner.modules.species=99", "tuner.modules.bogus=2"],
        ["tuner.modules.bogus: unknown key", "tuner.modules: species must not be above"],
    ),
    (
        ["tuner.modules.species=99", "tuner.modules.survival=7", "tuner.generations=x"],
        ["tuner.generations: ", "tuner.modules.survival: ", "tuner.modules: species must not"],
    ),
    (
        ["trial.fake.failures={raise: 0.9, nan: 0.9, bogus: 1}"],
        ["trial.fake.failures.bogus: not a choice", "trial.fake.failures: the odds add up"],
    ),
    (
        ["space.layers.conv2d.filters={min: 9, max: 3, bogus: 1}"],
        ["filters.bogus: unknown key", "filters: min must not be above max"],
    ),
    (
        ["space.layers.conv2d.filters={min: 9}", "space.layers.conv2d.follow=[maxpool]"],
        ["filters.max: missing key", "follow: not a choice of this parameter"],
    ),
    (
        ["space.layers.conv2d=3", "space.layers.conv3d={}"],
        ["space.layers.conv2d: wrong type", "space.layers.conv3d: unknown layer kind"],
    ),
]


@pytest.mark.parametrize(("overrides", "beginnings"), RULES_BESIDE_FAULTS)
def test_rules_over_several_keys_are_looked_at_beside_other_faults(tmp_path, overrides, beginnings):
    faults = faults_of(tmp_path, *overrides)
    assert len(faults) == len(beginnings), faults
    for beginning in beginnings:
        assert any(beginning in line for line in faults), (beginning, faults)


@pytest.mark.parametrize(
    "overrides",
    [
        ["tuner.modules.population=x", "tuner.modules.species=30"],
        ["trial.learning_rate={min: 1, max: 10000000, scale: logarithmic}"],
        ["space.layers.conv2d.filters=null"],
        ["space.head.units={min: 4, max: x}"],
        ["problem={name: arrays, path: 3}"],
    ],
)
def test_no_rule_is_said_to_be_broken_by_a_default_in_place_of_a_faulty_value(tmp_path, overrides):
    assert len(faults_of(tmp_path, *overrides)) == 1


ODD_YAML = [
    "5" * 5_000,
    "!!int abc",
    "!!int 1_0",
    "!!float abc",
    "!!float 1:30",
    "!!bool abc",
    "!!null abc",
    "!!timestamp abc",
    "!!timestamp 2020-01-01",
    "!!binary abc",
    "!!set {a}",
    "!!omap [a: 1]",
    "!!map abc",
    "!!seq abc",
    "!!str [a]",
    "!unknown a",
    "[" * 3_000,
    "[" * 3_000 + "]" * 3_000,
    "{a: " * 3_000,
    "[&a [*a]]",
    "{a: &a {b: *a}}",
    "{? [a] : b}",
    '"\\q"',
]


@pytest.mark.parametrize("value", ODD_YAML, ids=lambda value: value[:20])
@pytest.mark.parametrize("in_file", [True, False])
def test_odd_yaml_is_one_line(tmp_path, value, in_file):
    if in_file:
        faults = faults_of(tmp_path, text=FAKE_SEARCH.replace("seed: 5", f"seed: {value}"))
    else:
        faults = faults_of(tmp_path, f"seed={value}")
    assert len(faults) == 1
    assert len(faults[0]) < 300 + len(str(tmp_path))


def test_a_key_may_not_lie_arbitrarily_deep(tmp_path):
    (line,) = faults_of(tmp_path, ".".join(["a"] * 3_000) + "=1")
    assert "no key lies that deep" in line


@pytest.mark.parametrize(
    "path",
    [
        "/a b/c #2.npz",
        "/x: y.npz",
        "#x.npz",
        "- x.npz",
        "&a x.npz",
        "*.npz",
        "@x.npz",
        "%x",
        "? x",
        "--- x",
        "> x",
        "x: [1",
        "C:\\x.npz",
    ],
)
def test_a_value_without_quotes_is_taken_as_it_stands(tmp_path, path):
    config = config_of(tmp_path, "problem.name=arrays", f"problem.path= {path} ")
    assert config.problem.path == path


@pytest.mark.parametrize("path", ["'/x: y #2'", '"/x: y #2"', "!!str '/x: y #2'"])
def test_quotes_of_a_value_are_those_of_yaml(tmp_path, path):
    config = config_of(tmp_path, f"problem={{name: arrays, path: {path}}}")
    assert config.problem.path == "/x: y #2"
    assert config_of(tmp_path, "problem.name=arrays", f"problem.path={path}") == config


@pytest.mark.parametrize(
    "path", ["a\nb", "a\0b", "\udcff", "a\u2028b", "~nobody-of-this-name/x.npz"]
)
def test_a_path_that_no_line_can_show_or_no_home_has_is_refused(tmp_path, path):
    (line,) = faults_of(tmp_path, "problem.name=arrays", f"problem.path={path}")
    assert "problem.path: " in line
    assert len(line.splitlines()) == 1


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("tuner.range=3", ["tuner.range: unknown key 'range'"]),
        ("tuner.modules.value=3", ["tuner.modules.value: unknown key 'value'"]),
        ("trial.fake.seconds=[1]", ["seconds", "section"]),
        ("trial.fake.seconds=-1", ["trial.fake.seconds.mean", "Allowed: 0"]),
        ("trial.fake=3", ["trial.fake", "section"]),
        ("space.layers=3", ["space.layers", "section"]),
        ("space.merge=add", ["space.merge", "a list is wanted"]),
        ("space.layers.conv2d.kernel_size=[]", ["Received: kernel_size=[]"]),
        ("space.layers.conv2d.kernel_size=[null]", ["a single value", "kernel_size[0]=None"]),
        ("space.layers.conv2d.filters={min: x, max: 3}", ["filters.min", "a number is wanted"]),
        ("space.layers.conv2d.filters={min: .nan, max: 3}", ["filters.min", "not a finite"]),
        ("trial.learning_rate=[]", ["trial.learning_rate", "empty"]),
        ("trial.learning_rate=[0.1, 0]", ["learning_rate[1]=0", "Allowed: above 0"]),
        ("trial.learning_rate=null", ["a range", "a list", "a single value"]),
        ("trial.learning_rate={min: 1, max: 10000000}", ["steps", "max=10000000"]),
        ("run.trials_per_process=2", ["run.trials_per_process", "=2", "Allowed: 1."]),
        ("run.fault_tolerance=all", ["run.fault_tolerance", "'all'", "Allowed: 'none' or 'ulfm'."]),
        ("problem.name='a\n\nb'", ["problem.name", "unknown problem"]),
    ],
)
def test_lines_speak_of_keys_and_not_of_how_they_are_checked(tmp_path, override, words):
    (line,) = faults_of(tmp_path, override)
    for word in words:
        assert word in line
    for internal in ("instance", "tuple", "input", "union", "valid"):
        assert internal not in line.split(": ", 1)[1]


def test_short_forms_mean_what_the_long_ones_do(tmp_path):
    short = config_of(tmp_path, "trial.fake.seconds=0.1", "run.walltime=90")
    long = config_of(tmp_path, "trial.fake.seconds={mean: 0.1, sigma: 0}", "run.walltime='90'")
    assert short == long
    assert config_of(tmp_path, "run.trials_per_process=1", "run.fault_tolerance=none")


def test_learning_rates_to_choose_from(tmp_path):
    assert config_of(tmp_path, "trial.learning_rate=[0.001, 1]").trial.learning_rate == (0.001, 1.0)


@pytest.mark.parametrize("file", sorted(CONFIGS.glob("*.yaml")), ids=lambda file: file.name)
def test_the_baseline_of_every_configuration_is_one_key_away(tmp_path, file):
    evolved = load_config(file, (), KNOWLEDGE)
    drawn = load_config(file, ("tuner.name=random_search",), KNOWLEDGE)
    assert drawn.tuner.name == "random_search"
    assert drawn.tuner.individuals == evolved.tuner.individuals
    resolved = tmp_path / "resolved.yaml"
    resolved.write_text(dump_config(drawn))
    assert load_config(resolved, (), KNOWLEDGE) == drawn
    more = load_config(file, ("tuner.name=random_search", "tuner.modules.population=99"), KNOWLEDGE)
    assert differing_keys(drawn, more) == [], "what is ignored does not define a search"


def test_populations_that_are_ignored_are_checked_all_the_same(tmp_path):
    (line,) = faults_of(tmp_path, "tuner.name=random_search", "tuner.modules.populaton=3")
    assert "'population'" in line
