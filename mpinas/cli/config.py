"""``config``: what a configuration may say, for editors and for people."""

from __future__ import annotations

import json

import click

from mpinas.opening import KNOWLEDGE


@click.group("config")
def config_group() -> None:
    """What a configuration may say: for editors, and for people."""


@config_group.command("schema")
def config_schema() -> None:
    """Print the JSON Schema of a configuration file."""
    from mpinas.config_schema import json_schema

    click.echo(json.dumps(json_schema(KNOWLEDGE), indent=2))


@config_group.command("reference")
def config_reference() -> None:
    """Print the page on all keys, docs/configuration.md."""
    from mpinas.config_reference import reference

    click.echo(reference(KNOWLEDGE), nl=False)
