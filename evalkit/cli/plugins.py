"""`evalkit list`: which plug-ins there are."""

from __future__ import annotations

import click

from evalkit.cli.app import cli, echo_json
from evalkit.errors import RecipeError


@cli.command("list")
@click.argument("kind", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_plugins(kind: str | None, as_json: bool) -> None:
    """List plug-ins: methods, engines, judges, benchmarks, schemes, sources, builders."""
    from evalkit import registry
    from evalkit.errors import did_you_mean

    if kind is not None and kind not in registry.ROOMS:
        raise RecipeError(
            f"no kind of plug-in is called '{kind}'", did_you_mean(kind, registry.ROOMS)
        )
    kinds = [kind] if kind else list(registry.ROOMS)
    known = {k: {name: registry.summary(k, name) for name in registry.names(k)} for k in kinds}
    if as_json:
        echo_json(known)
        return
    for each, plugins in known.items():
        click.echo(f"{each}:")
        for name, summary in plugins.items():
            click.echo(f"  {name:<18}{summary}")
