"""`evalkit prefetch`: everything that a recipe takes from the Hub, before the network is off."""

from __future__ import annotations

from pathlib import Path

import click

from evalkit.cli.app import FILE, FOLDER, cli, echo_json


@cli.command("prefetch")
@click.argument("recipe", type=FILE)
@click.option("--to", "folder", type=FOLDER, metavar="DIR",
              help="Folder to bring it into.  [default: this machine's own cache]")  # fmt: skip
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change a recipe key.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def prefetch(recipe: Path, folder: Path | None, overrides: tuple[str, ...], as_json: bool) -> None:
    """Bring a recipe's models, datasets and judge data here, to run it without a network.

    Each at one commit, which is told. The folder is laid out as HF_HOME: carry it to another
    machine, name it there as HF_HOME, and set HF_HUB_OFFLINE=1.
    """
    from evalkit.pipeline import prefetching
    from evalkit.recipe_file import read_recipe

    file = read_recipe(recipe, overrides)
    place = prefetching.point_at(folder) if folder else prefetching.Place(None)
    brought = prefetching.prefetch(file, place)
    command = place.command(str(recipe))
    if as_json:
        echo_json({"brought": [one._asdict() for one in brought], "command": command})
        return
    count = len({(one.kind, one.repo) for one in brought if one.kind != "nltk"})
    here = f"{count} {'repository' if count == 1 else 'repositories'} of the Hub: here"
    click.echo(here if count else "this recipe takes nothing from the Hub")
    click.echo(f"to run it without a network: {command}")
