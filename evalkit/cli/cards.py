"""`evalkit card`: model cards."""

from __future__ import annotations

from pathlib import Path

import click

from evalkit.cli.app import Commands, cli, echo_json
from evalkit.cli.recipes import add_recipe_command


@cli.group(cls=Commands)
def card() -> None:
    """Model cards: build them from a recipe, check anybody's."""


add_recipe_command(card, "build", "card", "Everything but publishing: cards and the leaderboard.")


@card.command("lint")
@click.argument("cards", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def lint_cards(cards: tuple[Path, ...], as_json: bool) -> int:
    """Check cards (files or folders) offline; exit code 1 if one has an error."""
    from dataclasses import asdict

    from evalkit.cards.lint import lint_file

    found = {str(path): lint_file(path) for path in cards}
    if as_json:
        rows = {path: [asdict(one) for one in findings] for path, findings in found.items()}
        echo_json(rows)
    else:
        for path, findings in found.items():
            for one in findings:
                hint = f"  ({one.hint})" if one.hint else ""
                click.echo(f"{path}:{one.line}: {one.severity}: {one.message}{hint}")
            click.echo(f"{path}: {len(findings)} findings")
    return int(any(one.severity == "error" for findings in found.values() for one in findings))
