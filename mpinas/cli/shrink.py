"""``shrink``: a Keras model that mpinas did not make, to a FLOP target."""

from __future__ import annotations

import logging
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from mpinas.cli.common import EXIT_DONE, end_orderly, exit_code
from mpinas.errors import UserMustChange, fault
from mpinas.opening import RunOptions, problem_of, read_config
from mpinas.streams import trial_seed
from mpinas.trial.forkserver import silence

TRIAL_AS_A_TOOL = ("trial.shrink.enabled=false", "tuner.postprocess=none")
"""What a search counts among its epochs is beside them here, and must not be refused for them."""


@click.command("shrink")
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--problem", required=True, type=click.Path(path_type=Path), metavar="CONFIG")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a key.")
@click.option("--flops", required=True, type=float, help="Share of the model's FLOPs, or a count.")
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path), metavar="FILE.keras")
@click.option("--epochs", type=click.IntRange(min=0), help="After the cut [trial.epochs].")
@click.option("--expand", is_flag=True, help="Cut to half of the target, widen, begin anew.")
@click.option(
    "--pixels",
    type=click.Choice(["standardised", "unit", "raw"]),
    help="What the model reads: mean 0 and deviation 1 per channel, 0..1, or 0..255 [raw if its "
    "first layer scales grey levels, else standardised].",
)
def shrink_model(problem: Path, overrides: tuple[str, ...], **options: Any) -> None:
    """Shrink a Keras model to a FLOP target by one regularised run, and train it.

    CONFIG says on which problem, and how: its trial section.
    """
    run_options = RunOptions(config=problem, overrides=overrides)
    sys.exit(exit_code(lambda: _shrink(run_options, options)))


def _shrink(run_options: RunOptions, options: dict[str, Any]) -> int:
    from mpinas.report.adapted_view import adapted_lines
    from mpinas.trial.adaptation import Wish

    end_orderly()
    config = read_config(replace(run_options, overrides=(*run_options.overrides, *TRIAL_AS_A_TOOL)))
    epochs = config.trial.epochs if options["epochs"] is None else options["epochs"]
    wish = Wish(**{**options, "epochs": epochs}, seed=trial_seed(config.seed, 0, 0))
    _check_out(wish.model, wish.out)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    # It warns of every function that it traces anew, and several models are trained here.
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    with silence():  # TensorFlow writes of processors and drivers; what goes wrong is an exception
        from mpinas.trial.adapting import adapt
        from mpinas.trial.model_file import load_model
        from mpinas.trial.training import start_tensorflow

        start_tensorflow(config.trial.threads)
        model = load_model(wish.model)
    with problem_of(config) as problem:
        adapted = adapt(model, problem, config.trial, wish)
    for line in adapted_lines(wish.out, adapted):
        click.echo(line)
    return EXIT_DONE


def _check_out(model: Path, out: Path) -> None:
    """Refuses at once what could not be written after hours of training."""
    rule = ""
    if out.suffix != ".keras":
        rule = "not a file of a Keras model"
    elif out.resolve() == model.resolve():
        rule = "it is the model itself"
    elif not out.parent.is_dir() or out.is_dir():
        rule = "no file can be written there"
    if rule:
        allowed = "Allowed: NAME.keras in a folder that is there"
        raise UserMustChange(fault("--out", rule, f"--out={out}", allowed))
