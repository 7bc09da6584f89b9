"""`evalkit show` and `evalkit leaderboard`: what runs hold."""

from __future__ import annotations

import json
from pathlib import Path

import click

from evalkit.cli.app import FOLDER, Commands, cli


@cli.command()
@click.argument("run", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def show(run: Path, as_json: bool) -> None:
    """Show what a run folder holds: steps, scores, cards, releases."""
    from evalkit.pipeline.summary import describe_run, print_run

    description = describe_run(run)
    if as_json:
        click.echo(json.dumps(description, indent=1, sort_keys=True, ensure_ascii=False))
    else:
        print_run(description)


@cli.group(cls=Commands)
def leaderboard() -> None:
    """Tables over one or more families."""


@leaderboard.command("export")
@click.argument("runs", nargs=-1, required=True,
                type=click.Path(exists=True, file_okay=False, path_type=Path))  # fmt: skip
@click.option("--out", type=FOLDER, required=True, help="Folder for the tables.")
@click.option("--definition", help="A leaderboard of evalkit, or a YAML file.")
def export(runs: tuple[Path, ...], out: Path, definition: str | None) -> None:
    """Write one leaderboard of several runs as Markdown, CSV and JSON."""
    from evalkit.pipeline.carding import export_runs

    for file in export_runs(runs, out, definition):
        click.echo(str(file))
