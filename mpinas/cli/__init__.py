"""The command line: one verb, one function, one file. The only package that prints.

Exit codes: 0 done, 1 failed, 2 the user must change something, 75 stopped early and saved.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import click

from mpinas import __version__
from mpinas.cli.config import config_group
from mpinas.cli.prepare import prepare_data
from mpinas.cli.run import run
from mpinas.cli.show import show
from mpinas.cli.shrink import shrink_model
from mpinas.signals import let_signals_in


def _job() -> click.Command:
    from mpinas.cli.job import job

    return job


def _compare() -> click.Command:
    from mpinas.cli.compare import compare

    return compare


def _doctor() -> click.Command:
    from mpinas.cli.doctor import doctor

    return doctor


def _export() -> click.Command:
    from mpinas.cli.export import export

    return export


def _predict() -> click.Command:
    from mpinas.cli.predict import predict

    return predict


def _report() -> click.Command:
    from mpinas.cli.report import report

    return report


LOADED_WHEN_ASKED_FOR: Mapping[str, Callable[[], click.Command]] = {
    "compare": _compare,
    "doctor": _doctor,
    "export": _export,
    "job": _job,
    "predict": _predict,
    "report": _report,
}
"""Verbs with packages of their own, which hundreds of ranks of a search need not read."""


class _Verbs(click.Group):
    """``python -m mpinas CONFIG.yaml`` is short for ``run CONFIG.yaml``."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted([*super().list_commands(ctx), *LOADED_WHEN_ASKED_FOR])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        load = LOADED_WHEN_ASKED_FOR.get(cmd_name)
        return load() if load else super().get_command(ctx, cmd_name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in self.commands and Path(args[0]).suffix in (".yaml", ".yml"):
            args = ["run", *args]
        return super().resolve_command(ctx, args)


@click.group(cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="mpinas")
@click.pass_context
def main(context: click.Context) -> None:
    """Neural architecture search over MPI: CoDeepNEAT for Keras."""
    if context.invoked_subcommand not in ("run", "prepare", "export", "compare"):
        let_signals_in()


for command in (run, show, prepare_data, shrink_model, config_group):
    main.add_command(command)
