"""``export``: the winners of a run, trained fully, tested, written as Keras models."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from mpinas.cli.common import EXIT_DONE, EXIT_FAILED, EXIT_STOPPED
from mpinas.cli.farm import OpenExecutor, log_to_standard_error, run_on_farm, with_run_options
from mpinas.dispatch.base import Executor
from mpinas.dispatch.settings import worker_settings
from mpinas.export import ExportWish, Plan, checked_formats, plan_export
from mpinas.export_session import Outcome, run_export
from mpinas.report.export_view import export_table, to_json_view
from mpinas.signals import stop_signals
from mpinas.trial.exported import FINAL
from mpinas.walltime import job_clock


@click.command("export")
@click.argument("run_directory", metavar="RUN", type=click.Path(path_type=Path))
@click.option(
    "--top",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    metavar="K",
    help="How many of the best trials, of different networks.",
)
@click.option("--trial", "trials", multiple=True, metavar="ID", help="This one; repeatable.")
@click.option(
    "--epochs",
    type=click.IntRange(min=1),
    default=60,
    show_default=True,
    metavar="N",
    help="At most; the learning rate falls to 0 over them.",
)
@click.option(
    "--patience",
    type=click.IntRange(min=1),
    default=15,
    show_default=True,
    metavar="N",
    help="Epochs without a better validation accuracy after which it ends.",
)
@click.option("--unshrunk", is_flag=True, help="The network as it was before its shrink.")
@click.option("--inherit", is_flag=True, help="Begin with the weights that the search has saved.")
@click.option(
    "--format",
    "formats",
    default="keras",
    show_default=True,
    metavar="LIST",
    help="keras,saved_model,tflite; keras is always written.",
)
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="trial.*, run.*, ...")
@click.option("--workers", type=click.IntRange(min=1), help="Local ones [run.workers].")
@click.option("--walltime", metavar="TIME", help="[D-]HH:MM:SS or minutes.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the models [RUN/models].")
@click.option("--json", "as_json", is_flag=True, help="The machine-readable form.")
def export(
    run_directory: Path,
    formats: str,
    overrides: tuple[str, ...],
    workers: int | None,
    walltime: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Train the winners of a run fully, score them on the test set, write Keras models.

    RUN may be still going: its best trial so far is taken. What is there already is not trained
    again; a training that was stopped goes on from its last epoch. Under mpiexec or srun every
    other rank trains one model at a time.
    """
    began_s = time.monotonic()

    def wish() -> ExportWish:
        return ExportWish(
            run=run_directory,
            formats=checked_formats(formats),
            overrides=with_run_options(overrides, workers=workers, walltime=walltime),
            **options,
        )

    command = partial(_export, wish, began_s, as_json)
    run_on_farm(command, local_workers_asked=workers is not None)


def _export(
    wish: Callable[[], ExportWish], began_s: float, as_json: bool, open_executor: OpenExecutor
) -> int:
    log_to_standard_error()
    with stop_signals() as stopping:
        plan = plan_export(wish())
        clock = job_clock(plan.config.run, os.environ, began_s=began_s)

        def opened(models: int) -> Executor:
            run = plan.config.run
            settings = replace(worker_settings(plan.config.trial, run), runner=FINAL)
            wanted = run.model_copy(update={"workers": min(run.workers, models)})
            return open_executor(settings, wanted, lambda: stopping() or clock.over())

        outcome = run_export(plan, opened, stopping, clock)
        with suppress(OSError):  # the models are there, whatever becomes of what is printed
            _show(plan, outcome, as_json=as_json)
        if outcome.stopped:
            return EXIT_STOPPED
        return EXIT_FAILED if outcome.failures else EXIT_DONE


def _show(plan: Plan, outcome: Outcome, *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(to_json_view(plan, outcome), allow_nan=False))
        return
    console = Console(highlight=False, soft_wrap=True)
    console.print(export_table(plan))
    for trial_id, reason in outcome.failures.items():
        click.echo(f"{trial_id}: failed: {reason}")
    if outcome.stopped:
        click.echo("stopped early; the same command goes on")
    click.echo(f"models: {plan.folder}")
