"""`evalkit status`, and `evalkit publish --rollback`: a publication from outside."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from evalkit.cli.app import cli, echo_json
from evalkit.cli.options import run_flags

if TYPE_CHECKING:
    from evalkit.hub.rollback import Undoing
    from evalkit.hub.standing import Standing

SHOWN_DIFFERENCES = 4


@cli.command()
@click.argument("family", metavar="RECIPE|RUN", type=click.Path(exists=True, path_type=Path))
@run_flags("out", "hub_root", "as_json")
@click.pass_context
def status(
    ctx: click.Context, family: Path, out: Path | None, hub_root: Path, as_json: bool
) -> None:
    """Show what of a family is on the Hub, and whether it equals the run's files.

    Exit code 1 if anything is missing there or differs.
    """
    from evalkit.pipeline import publication
    from evalkit.pipeline.step import RunOptions

    found = publication.find(family, RunOptions(hub_root.absolute()), out)
    standings = publication.standings(found)
    if as_json:
        echo_json({"hub": found.place, "repositories": [dataclasses.asdict(s) for s in standings]})
    else:
        _print_standings(found.place, standings)
    ctx.exit(int(any(standing.state != "equal" for standing in standings)))


def take_back(document: Any, flags: Any, as_json: bool) -> None:
    """What `evalkit publish RECIPE --rollback` does. flags: an `Orders`."""
    from evalkit.pipeline import publication
    from evalkit.pipeline.step import RunOptions

    options = RunOptions(flags.hub_root.absolute())
    found = publication.of_document(document, options, flags.out)
    undone = publication.take_back(found, flags.dry_run)
    if as_json:
        rows = [dataclasses.asdict(undoing) for undoing in undone]
        echo_json({"hub": found.place, "dry_run": flags.dry_run, "repositories": rows})
    else:
        _print_undone(found.place, undone, flags.dry_run)


def _print_standings(place: str, standings: list[Standing]) -> None:
    from evalkit.pipeline.summary import print_columns

    click.echo(f"on {place}:")
    rows = [["repository", "files", "commit", "tag", "seen by"]]
    for one in standings:
        seen_by = "" if one.private is None else "its owner" if one.private else "everybody"
        name = f"{one.repo_id}{' (dataset)' if one.kind == 'dataset' else ''}"
        rows.append([name, one.state, one.commit[:12], ", ".join(one.tags), seen_by])
    print_columns(rows)
    for one in standings:
        if one.changed_since:
            click.echo(f"{one.repo_id} was committed to since it was published from here")
        for line in one.differences[:SHOWN_DIFFERENCES]:
            click.echo(f"{one.repo_id}: {line}")
        if len(one.differences) > SHOWN_DIFFERENCES:
            click.echo(f"{one.repo_id}: and {len(one.differences) - SHOWN_DIFFERENCES} more")


def _print_undone(place: str, undone: list[Undoing], dry_run: bool) -> None:
    from evalkit.pipeline.summary import print_columns

    if not undone:
        click.echo(f"nothing to take back: nothing was published from here to {place}")
        return
    click.echo(f"{'would be taken' if dry_run else 'taken'} back from {place}:")
    print_columns([[one.repo_id, one.action, one.reason] for one in undone])
