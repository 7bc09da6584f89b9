"""`evalkit card`: model cards, from a recipe, from a model, or from results of other tools."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from evalkit.cli.app import Commands, cli, echo_json
from evalkit.cli.options import Option
from evalkit.cli.recipes import add_recipe_command

if TYPE_CHECKING:
    from evalkit.pipeline.card_order import CardOrder

ORDERED = (
    "ORDER is a YAML file with 'model: ID': what a person states of a model that evalkit has not"
    " trained, see docs/cards.md."
)
FROM = "For results of other tools, in place of a recipe or a model"
RELATIONS = ("finetune", "quantized", "merge", "adapter")
# Of the flags that a recipe's card has too, those that mean the same beside --from.
SHARED = {"license", "title", "out", "replace", "as_json"}
OF_ORDERS = {"out", "replace", "as_json"}
FROM_FLAGS = [
    Option(["--from", "results"], multiple=True, heading=FROM,
           type=click.Path(path_type=Path), metavar="PATH",
           help="File or folder of another tool, as 'evalkit import' reads them, or the folder that"
                " it wrote; the card goes to --out, or cards/TITLE."),
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
    what.required, what.metavar = False, f"[{what.metavar}|ORDER]"
    command.help = f"{command.help}\n\n{ORDERED}"
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
        text = flags[str(what.name)]
        if text is None:
            raise click.UsageError("give a recipe, a model, or --from PATH with results")
        if _is_card_order(text):
            for one in given:
                if one is not what and one.name not in OF_ORDERS:
                    raise click.UsageError(f"{one.opts[0]} does not go with a card order")
            return _card_of_order(text, flags)
        return context.invoke(of_recipe, **{k: v for k, v in flags.items() if k not in own})

    command.callback = either


def _is_card_order(text: str) -> bool:
    from evalkit.pipeline import composing
    from evalkit.pipeline.card_order import is_card_order

    return composing.is_recipe(text) and Path(text).is_file() and is_card_order(Path(text))


def _was_given(context: click.Context, one: click.Parameter) -> bool:
    return context.get_parameter_source(str(one.name)) is ParameterSource.COMMANDLINE


def _card_of_results(flags: Mapping[str, Any]) -> None:
    """Builds one card of imported results, and says where it lies."""
    from evalkit.pipeline.card_order import order_of_flags

    for needed in ("model", "license"):
        if not flags[needed]:
            raise click.UsageError(f"--from needs --{needed} too")
    title = flags["title"] or flags["model"].rstrip("/").rpartition("/")[2]
    keys = ("license", "license_name", "license_link", "language")
    order = order_of_flags(
        model=flags["model"],
        base=flags["base"],
        relation=flags["relation"],
        card={"title": title, **{key: flags[key] for key in keys if flags[key]}},
        config=flags["config"],
        parameters=flags["parameters"],
        results=flags["results"],
        named=flags["names"],
        importer=flags["importer"],
        figures_of_others="none",
    )
    _build(order, _command(flags), flags)


def _card_of_order(file: str, flags: Mapping[str, Any]) -> None:
    """Builds the card that a file orders."""
    from evalkit.pipeline.card_order import read_order

    command = shlex.join(["evalkit", "card", "build", Path(file).name])
    _build(read_order(Path(file)), command, flags)


def _build(order: CardOrder, command: str, flags: Mapping[str, Any]) -> None:
    from evalkit.pipeline.ordered_card import build, describe

    title = order.card.title
    if title in ("", ".", "..") or "/" in title:
        raise click.UsageError(f"'{title}' cannot name the card's folder: give another --title")
    built = build(order, flags["out"] or Path("cards") / title, command, flags["replace"])
    if flags["as_json"]:
        echo_json(describe(built))
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
