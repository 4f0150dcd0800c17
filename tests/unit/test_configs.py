"""The committed configurations carry the numbers of the paper, section 6.2, and say how to run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mpinas.config import RunConfig
from mpinas.config_file import differing_keys, load_config
from mpinas.opening import KNOWLEDGE, shrink_warnings
from mpinas.space.presets import SPACES

CONFIGS = Path(__file__).parents[2] / "configs"
FILES = sorted(CONFIGS.glob("*.yaml"))
PAPER = ["mnist", "cifar10", "cifar100", "tiny_imagenet"]
STANDARD = [*PAPER, "fashion_mnist"]
SHRINKS = ["shrink-paper", "shrink-fast"]


def load(name: str) -> RunConfig:
    return load_config(CONFIGS / f"{name}.yaml", (), KNOWLEDGE)


def text(name: str) -> str:
    return (CONFIGS / f"{name}.yaml").read_text(encoding="utf-8")


def test_which_there_are() -> None:
    assert {file.stem for file in FILES} == {*STANDARD, *SHRINKS, "images", "quickstart"}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_one_loads(file: Path) -> None:
    config = load_config(file, (), KNOWLEDGE)
    assert config.name in (file.stem, "my-images")
    assert config.trial.runner == "keras"


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_one_is_checked_by_editors(file: Path) -> None:
    first = file.read_text(encoding="utf-8").splitlines()[0]
    schema = first.removeprefix("# yaml-language-server: $schema=")
    assert schema != first
    assert (file.parent / schema).is_file()


@pytest.mark.parametrize(
    ("name", "generations", "space", "copies", "classes"),
    [
        ("mnist", 7, "small_kernels", 1, None),
        ("cifar10", 7, "small_kernels", 1, None),
        ("cifar100", 4, "large_kernels", 3, None),
        ("tiny_imagenet", 4, "large_kernels", 4, 100),
    ],
)
def test_numbers_of_the_paper(
    name: str, generations: int, space: str, copies: int, classes: int | None
) -> None:
    config = load(name)
    assert config.problem.name == name
    assert config.tuner.name == "codeepneat"
    assert config.tuner.generations == generations
    assert config.tuner.individuals == 12
    assert config.comparison.experiments == 5
    assert config.problem.augment.copies == copies
    assert config.problem.classes == classes
    named = load_config(CONFIGS / "mnist.yaml", (f"space={space}",), KNOWLEDGE)
    assert config.space == named.space


@pytest.mark.parametrize(
    ("name", "threshold"),
    [("mnist", 0.1), ("cifar10", 0.1), ("cifar100", 0.05), ("tiny_imagenet", 0.05)],
)
def test_shrinks_of_the_paper(name: str, threshold: float) -> None:
    """Its thresholds, but not for the scales of batch norms, where they would end whole layers."""
    shrink = load(name).trial.shrink
    assert (shrink.enabled, shrink.epochs, shrink.strength) == (True, 1, 1)
    for source in ("gate", "group_lasso", "max_weight"):
        assert (shrink.threshold_of(source), shrink.is_relative(source)) == (threshold, False)
    assert (shrink.threshold_of("gamma"), shrink.is_relative("gamma")) == (0.2, True)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_one_shrinks_and_can(file: Path) -> None:
    """An epoch is left for the shrunk network, and scales can come to their threshold."""
    config = load_config(file, (), KNOWLEDGE)
    assert config.trial.shrink.enabled
    assert config.trial.shrink.epochs_after(config.trial.epochs) >= 2
    for training_images in (10_000, 50_000):
        assert shrink_warnings(config, training_images) == ()


def test_the_shrink_to_the_letter() -> None:
    config, mnist = load("shrink-paper"), load("mnist")
    shrink = config.trial.shrink
    assert shrink.source == "max_weight"
    assert (shrink.threshold_of("max_weight"), shrink.is_relative("max_weight")) == (0.1, False)
    assert (shrink.epochs, shrink.strength, shrink.penalty) == (1, 1, "l1")
    assert shrink.metric == "flops"
    assert shrink.epochs_after(config.trial.epochs) == config.trial.epochs
    assert differing(config, mnist) == {"space.batch_norm"}
    assert not config.space.batch_norm


def test_the_fast_shrink() -> None:
    config, cifar10 = load("shrink-fast"), load("cifar10")
    shrink = config.trial.shrink
    assert (shrink.epochs, shrink.source, shrink.inherit_weights) == (0.5, "gamma", True)
    assert (shrink.threshold_of("gamma"), shrink.is_relative("gamma")) == (0.2, True)
    assert shrink.epochs_after(config.trial.epochs) == config.trial.epochs - 1
    assert differing(config, cifar10) == set()


def differing(one: RunConfig, other: RunConfig) -> set[str]:
    """Keys, but for those of the shrink, in which they define different searches."""
    keys = {line.split(" ")[0] for line in differing_keys(one, other)}
    return {key for key in keys if not key.startswith("trial.shrink.")}


def test_spaces_of_the_paper() -> None:
    small, large = (SPACES[name] for name in ("small_kernels", "large_kernels"))
    follow = {
        "follow": ["none", "max_pool", "dropout"],
        "pool_size": 2,
        "rate": {"min": 0.0, "max": 0.5},
    }
    assert small["layers"] == {
        "conv2d": {"filters": {"min": 16, "max": 68}, "kernel_size": [1, 3, 5], **follow}
    }
    assert small["head"] == {"layers": 1, "units": {"min": 32, "max": 256}}
    assert large["layers"] == {
        "conv2d": {
            "filters": {"min": 16, "max": 128},
            "kernel_size": [2, 4, 7, 9, 11, 13],
            **follow,
        }
    }
    assert large["head"] == {"layers": 2, "units": {"min": 32, "max": 128}}


@pytest.mark.parametrize("name", PAPER)
def test_what_the_paper_is_silent_about_is_written_out(name: str) -> None:
    """The file itself has these keys: whoever compares with the paper finds them."""
    for key in (
        "validation",
        "population",
        "species",
        "epochs",
        "batch_size",
        "optimizer",
        "learning_rate",
    ):
        assert re.search(rf"^ +{key}: ", text(name), re.MULTILINE), key
    assert "does not tell" in text(name)
    assert "none of it stands in the paper" in text(name)


@pytest.mark.parametrize("name", STANDARD)
def test_commands_of_the_header(name: str) -> None:
    header = text(name).partition("\nname:")[0]
    classes = " --classes 100" if name == "tiny_imagenet" else ""
    assert f"#     python -m mpinas prepare {name}{classes}\n" in header
    assert f"#     python -m mpinas prepare {name}{classes} --from " in header
    assert f"python -m mpinas run configs/{name}.yaml\n" in header
    assert load(name).problem.path is None


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_override_in_a_comment_is_one(file: Path) -> None:
    lines = file.read_text(encoding="utf-8").splitlines()
    comments = " ".join(line.strip(" #") for line in lines if line.strip().startswith("#"))
    for key, quoted, plain in re.findall(r"--set ([\w.]+)=(?:'([^']+)'|(\S+))", comments):
        load_config(file, (f"{key}={quoted or plain}",), KNOWLEDGE)


def test_own_images_explain_every_data_key() -> None:
    section = text("images").partition("\nproblem:\n")[2].partition("\nspace:")[0]
    problem = load("images").problem
    assert problem.image_size is not None
    for key in [*type(problem).model_fields, *type(problem.augment).model_fields]:
        assert re.search(rf"^ +{key}:", section, re.MULTILINE), key
