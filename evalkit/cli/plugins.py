"""`evalkit list`: which plug-ins there are, and which options they have."""

from __future__ import annotations

from typing import Any

import click

from evalkit.cli.app import cli, echo_json
from evalkit.cli.options import Command, json_flag
from evalkit.errors import EvalkitError, RecipeError


@cli.command("list", cls=Command)
@click.argument("kind", required=False)
@click.argument("name", required=False)
@json_flag
def list_plugins(kind: str | None, name: str | None, as_json: bool) -> None:
    """List plug-ins of a kind or of all, and the options of one.

    Kinds: methods, engines, judges, benchmarks, schemes, sources, builders, importers. With the
    NAME of one plug-in, its options; with --json, the options of all of them.
    """
    from evalkit import registry
    from evalkit.errors import did_you_mean

    if kind is not None and kind not in registry.ROOMS:
        raise RecipeError(
            f"no kind of plug-in is called '{kind}'", did_you_mean(kind, registry.ROOMS)
        )
    if kind is not None and name is not None:
        _show_one(kind, name, as_json)
        return
    kinds = [kind] if kind else list(registry.ROOMS)
    if as_json:
        echo_json({k: {n: _described(k, n) for n in registry.names(k)} for k in kinds})
        return
    for each in kinds:
        click.echo(f"{each}:")
        for found in registry.names(each):
            click.echo(f"  {found:<18}{registry.summary(each, found)}")


def _described(kind: str, name: str) -> dict[str, Any]:
    """A plug-in's description; of one that cannot be imported, what it said."""
    from evalkit.pipeline.offers import describe_plugin

    try:
        return describe_plugin(kind, name)
    except (EvalkitError, ImportError) as error:
        return {"error": str(error)}


def _show_one(kind: str, name: str, as_json: bool) -> None:
    from evalkit.pipeline.offers import describe_plugin

    found = describe_plugin(kind, name)
    if as_json:
        echo_json({kind: {name.replace("-", "_"): found}})
        return
    click.echo(f"{name}: {found['summary']}")
    for package in found["requires"]:
        state = "" if package["installed"] else f"  (pip install 'evalkit[{package['extra']}]')"
        click.echo(f"  uses the package {package['package']}{state}")
    for option in found["options"]:
        default = "must be given" if option["default"] is None else f"default {option['default']}"
        click.echo(f"\n  {option['name']}: {option['type']}; {default}")
        if option["description"]:
            click.echo(click.wrap_text(option["description"], 96, "    ", "    "))
    if not found["options"]:
        click.echo("  it has no options")
