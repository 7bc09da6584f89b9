"""`evalkit card`: model cards, from a recipe, from a model, or from results of other tools."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from evalkit.cli.app import Commands, cli, echo_json
from evalkit.cli.options import Option
from evalkit.cli.recipes import add_recipe_command

FROM = "For results of other tools, in place of a recipe or a model"
RELATIONS = ("finetune", "quantized", "merge", "adapter")
# Of the flags that a recipe's card has too, those that mean the same beside --from.
SHARED = {"license", "title", "out", "replace", "as_json"}
FROM_FLAGS = [
    Option(["--from", "results"], multiple=True, heading=FROM,
           type=click.Path(path_type=Path), metavar="PATH",
           help="File or folder of lm-evaluation-harness, alpaca_eval or FastChat; the card goes"
                " to --out, or cards/TITLE."),
    Option(["--importer"], metavar="NAME", heading=FROM,
           help="What reads the files: a name of 'evalkit list importers', or a FILE.py; by default"
                " the one that recognises each."),
    Option(["--model"], metavar="ID", heading=FROM, help="The model's id on the Hub, or its name."),
    Option(["--as", "names"], multiple=True, metavar="NAME", heading=FROM,
           help="What the files call it, where they hold several models."),
    Option(["--base"], metavar="ID", heading=FROM, help="Hub id of the model it derives from."),
    Option(["--relation"], type=click.Choice(RELATIONS), heading=FROM,
           help="What it is to its base."),
    Option(["--license-name"], metavar="TEXT", heading=FROM, help="For --license other."),
    Option(["--license-link"], metavar="URL", heading=FROM, help="For --license other."),
    Option(["--language"], multiple=True, metavar="CODE", heading=FROM,
           help="A language it is for, e.g. en."),
    Option(["--config"], type=click.Path(exists=True, path_type=Path), metavar="PATH", heading=FROM,
           help="Its config.json, or its folder: architecture, context, size."),
    Option(["--parameters"], metavar="N", heading=FROM,
           help="How many it has, e.g. 7.24B, where no --config holds weights."),
]  # fmt: skip


@cli.group(cls=Commands)
def card() -> None:
    """Model cards: build them from a recipe, a model or results; check anybody's."""


def _with_results(command: click.Command) -> None:
    """Lets a command that takes a recipe or a model take results of other tools instead."""
    of_recipe = command.callback
    assert of_recipe is not None
    what = next(one for one in command.params if isinstance(one, click.Argument))
    what.required, what.metavar = False, f"[{what.metavar}]"
    place = sum(isinstance(one, click.Argument) for one in command.params)
    command.params[place:place] = FROM_FLAGS
    own = {option.name for option in FROM_FLAGS}

    @click.pass_context
    def either(context: click.Context, /, **flags: Any) -> Any:
        given = [one for one in command.params if _was_given(context, one)]
        if flags["results"]:
            for one in given:
                if one.name not in own | SHARED:
                    name = "a recipe or model" if one is what else one.opts[0]
                    raise click.UsageError(f"{name} does not go with --from")
            return _card_of_results(flags)
        for one in given:
            if one.name in own:
                raise click.UsageError(f"{one.opts[0]} goes with --from PATH")
        if flags[str(what.name)] is None:
            raise click.UsageError("give a recipe, a model, or --from PATH with results")
        return context.invoke(of_recipe, **{k: v for k, v in flags.items() if k not in own})

    command.callback = either


def _was_given(context: click.Context, one: click.Parameter) -> bool:
    return context.get_parameter_source(str(one.name)) is ParameterSource.COMMANDLINE


def _card_of_results(flags: Mapping[str, Any]) -> None:
    """Builds one card of imported results, and says where it lies."""
    from evalkit.pipeline import imported

    for needed in ("model", "license"):
        if not flags[needed]:
            raise click.UsageError(f"--from needs --{needed} too")
    title = flags["title"] or flags["model"].rstrip("/").rpartition("/")[2]
    if title in ("", ".", "..") or "/" in title:
        raise click.UsageError(f"'{title}' cannot name the card's folder: give another --title")
    keys = ("license", "license_name", "license_link", "language")
    order = imported.CardOrder(
        paths=flags["results"],
        model=flags["model"],
        card={"title": title, **{key: flags[key] for key in keys}},
        command=_command(flags),
        names=flags["names"],
        base=flags["base"],
        relation=flags["relation"],
        facts=imported.facts_of(flags["config"], flags["parameters"]),
        importer=flags["importer"],
    )
    built = imported.build(order, flags["out"] or Path("cards") / title, flags["replace"])
    if flags["as_json"]:
        echo_json(imported.describe(built))
        return
    click.echo(str(built.card))
    for folder in built.records:
        click.echo(str(folder))


def _command(flags: Mapping[str, Any]) -> str:
    """What builds the card again; of paths, which are this machine's, the last part."""
    words = ["evalkit", "card", "build"]
    named = {str(option.name): option.opts[0] for option in FROM_FLAGS}
    for name, flag in {**named, "license": "--license", "title": "--title"}.items():
        value = flags[name]
        for one in value if isinstance(value, tuple) else [value]:
            if one is not None:
                path = isinstance(one, Path) or str(one).endswith(".py")
                words += [flag, Path(one).name if path else str(one)]
    return shlex.join(words)


_with_results(
    add_recipe_command(
        card, "build", "card", "Everything but publishing: cards and the leaderboard."
    )
)


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
