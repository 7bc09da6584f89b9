"""`evalkit new`: a commented recipe from three questions, or from flags."""

from __future__ import annotations

import sys

import click

from evalkit.cli.app import cli, echo_json
from evalkit.cli.options import Command, json_flag, option

QUESTIONS = {
    "base": "Base model (a folder, a Hub id, or 'pocket' for a tiny one made here)",
    "method": "Method (sppo, spin, dpo, sft, or none to only measure and quantize)",
    "data": "Prompts (a file, a folder, a Hub dataset, or 'pocket')",
}


@cli.command(cls=Command)
@click.argument("name")
@option("--base", metavar="MODEL", help="A folder, a Hub id, or 'pocket'.")
@option("--method", metavar="NAME", help="sppo, spin, dpo, sft or none.")
@option("--data", metavar="WHERE", help="A file, a folder, a Hub dataset, or 'pocket'.")
@option("--publish", "namespace", metavar="NAMESPACE", default="",
        help="Also a section to publish under this user or organisation.")  # fmt: skip
@option("--force", is_flag=True, help="Write over a recipe of that name.")
@json_flag
def new(
    name: str, base: str | None, method: str | None, data: str | None, namespace: str,
    force: bool, as_json: bool,
) -> None:  # fmt: skip
    """Write a commented recipe, NAME.yaml, after three questions.

    What the flags say is not asked; without a terminal they must say it all.

    \b
    Examples:
      evalkit new my-first
      evalkit new demo --base pocket --method sppo --data pocket
    """
    from evalkit.pipeline.new_recipe import Answers, recipe_path, write_recipe

    base = base or _ask("base", "pocket")
    method = (method or _ask("method", "sppo")).lower()
    if data is None and method != "none":
        data = _ask("data", "pocket" if base == "pocket" else None)
    file = recipe_path(name)
    answers = Answers(file.stem, base, method, data or "", namespace)
    write_recipe(file, answers, force=force)
    following = [
        f"evalkit train-and-publish {file} --dry-run",
        f"evalkit train-and-publish {file}",
    ]
    if as_json:
        echo_json({"recipe": str(file), "next": following})
        return
    click.echo(f"wrote {file}; look at it, then:")
    for line in following:
        click.echo(f"  {line}")


def _ask(what: str, default: str | None) -> str:
    """The answer to one question; on stderr, because stdout is the result."""
    if not sys.stdin.isatty():
        raise click.UsageError(f"give --{what}: there is no terminal to ask on")
    return str(click.prompt(QUESTIONS[what], default=default, err=True))
