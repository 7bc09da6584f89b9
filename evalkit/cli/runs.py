"""`evalkit show` and `evalkit leaderboard`: what runs hold."""

from __future__ import annotations

from pathlib import Path

import click

from evalkit.cli.app import FOLDER, Commands, cli, echo_json


@cli.command()
@click.argument("run", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def show(run: Path, as_json: bool) -> None:
    """Show what a run folder holds: steps, scores, cards, releases."""
    from evalkit.pipeline.summary import describe_run, print_run

    description = describe_run(run)
    if as_json:
        echo_json(description)
    else:
        print_run(description)


@cli.group(cls=Commands)
def leaderboard() -> None:
    """Tables over runs, and over results of other tools."""


@leaderboard.command("export")
@click.argument("sources", nargs=-1, required=True, metavar="RUN|PATH...",
                type=click.Path(exists=True, path_type=Path))  # fmt: skip
@click.option("--out", type=FOLDER, help="Folder for the tables.")
@click.option("--definition", help="A leaderboard of evalkit, or a YAML file.")
@click.option("--format", "formats", multiple=True, metavar="NAME",
              help="md, csv, json, tex, html or parquet.  [default: all]")  # fmt: skip
@click.option(
    "--baseline",
    "baselines",
    multiple=True,
    metavar="FAMILY",
    help="Show the published figures of this family too, marked as reported.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the table as JSON.")
def export(
    sources: tuple[Path, ...],
    out: Path | None,
    definition: str | None,
    formats: tuple[str, ...],
    baselines: tuple[str, ...],
    as_json: bool,
) -> None:
    """Write one leaderboard of runs, and of files and folders that other tools wrote.

    Those are results that 'evalkit import' reads.
    """
    from evalkit.pipeline.exporting import families_of
    from evalkit.standings import sorted_standings
    from evalkit.tables import export_leaderboard, leaderboard_json

    if out is None and not as_json:
        raise click.UsageError("give --out DIR for the tables, or --json")
    families = families_of(sources, baselines)
    files = export_leaderboard(families, out, definition, formats) if out else []
    if as_json:
        echo_json(leaderboard_json(sorted_standings(families, definition)))
        return
    for file in files:
        click.echo(str(file))
