"""`evalkit card verify` and `evalkit card diff`: numbers against records, card against card."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from evalkit.cli.app import echo_json
from evalkit.cli.cards import card
from evalkit.cli.options import MEASURING, Command, json_flag, model_flags, option, run_flags

if TYPE_CHECKING:
    from evalkit.card_diff import Change
    from evalkit.verification import Checked

AGAIN = "To measure again"


@card.command("verify", cls=Command)
@click.argument("card", metavar="CARD")
@option(
    "--run",
    "run_folder",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="A run of evalkit, as far as it has measured.",
)
@option(
    "--results",
    multiple=True,
    metavar="PATH",
    type=click.Path(path_type=Path, exists=True),
    help="Files or folders of other tools' results.",
)
@option("--importer", metavar="NAME", help="What reads --results.  [default: what recognises each]")
@option("--strict", is_flag=True, help="Exit with 1 if a number is unverifiable, too.")
@option(
    "--rerun",
    is_flag=True,
    heading=AGAIN,
    help="Measure the model again, as the card's records say, or as --benchmark does.",
)
@option(
    "--limit",
    type=click.IntRange(min=1),
    metavar="N",
    heading=AGAIN,
    help="On so many items of each benchmark at most.",
)
@option(
    "--model",
    metavar="MODEL",
    heading=AGAIN,
    help="A folder or a Hub id.  [default: where the card is]",
)
@model_flags(MEASURING)
@run_flags("out", "redo", "children", "as_json")
def verify_card(card: str, strict: bool, as_json: bool, **flags: Any) -> int:
    """Check each number of a card against records.

    CARD is a file, a folder, or a model's id on the Hub (org/name, org/name@revision). Its numbers
    are held against the records beside it (records/), a local run, results of other tools, or a
    measurement made now. Settings are compared first: numbers that were made otherwise are not
    compared, but unverifiable.

    \b
    match            equal, rounded to the decimals that the card shows
    within interval  of another measurement: inside its 95 % interval
    contradicted     neither; exit code 1
    unverifiable     nothing is known that was made alike

    \b
    Examples:
      evalkit card verify org/model
      evalkit card verify README.md --run runs/My-SPPO
      evalkit card verify ./my-model --results lm_eval_output/
      evalkit card verify ./my-model --rerun --limit 100
    """
    from evalkit.pipeline.verifying import verify

    found = verify(card, _places(flags))
    wrong = found.count("contradicted") + strict * found.count("unverifiable")
    if as_json:
        echo_json({"card": found.card, "numbers": [one.as_json() for one in found.checked]})
    else:
        _print(found.checked)
    return int(bool(wrong))


@card.command("diff", cls=Command)
@click.argument("a", metavar="A")
@click.argument("b", metavar="B")
@json_flag
def diff_cards(a: str, b: str, as_json: bool) -> None:
    """Say what changed from one card to another.

    A and B are files, folders, or ids of the Hub, with @revision for one version of a card.

    \b
    Examples:
      evalkit card diff org/model@v1.0 org/model
      evalkit card diff org/model-Iter2 org/model-Iter3
    """
    from evalkit.card_diff import changes
    from evalkit.pipeline.card_sources import open_card

    found = changes(open_card(a).card, open_card(b).card)
    if as_json:
        echo_json({"a": a, "b": b, "changes": [one.as_json() for one in found]})
    else:
        _print_changes(found)


def _places(flags: dict[str, Any]) -> Any:
    from evalkit.cli.recipes import orders_of
    from evalkit.pipeline.composing import ModelFlags
    from evalkit.pipeline.remeasuring import Remeasure
    from evalkit.pipeline.verifying import Places

    orders = orders_of(flags)
    wishes = ModelFlags(**{name: flags[name] for name in MEASURING})
    if not flags["rerun"]:
        for name in ("limit", "model", *MEASURING):
            if flags[name]:
                raise click.UsageError(f"--{name} goes with --rerun")
        again = None
    else:
        again = Remeasure(flags["model"] or "", wishes, flags["limit"], orders)
    return Places(flags["run_folder"], flags["results"], flags["importer"], again)


def _print(checked: tuple[Checked, ...]) -> None:
    from evalkit.pipeline.summary import print_columns

    if checked:
        print_columns([["line", "number", "of", "verdict", "known", ""], *map(_row, checked)])
    counts = {one.verdict: 0 for one in checked}
    for one in checked:
        counts[one.verdict] += 1
    told = ", ".join(f"{count} {verdict}" for verdict, count in counts.items())
    click.echo(f"{len(checked)} numbers: {told}" if checked else "the card states no score")


def _row(one: Checked) -> list[str]:
    place = f"{one.file}:{one.line}" if one.file else str(one.line)
    of = f"{one.name}, {one.model}".rstrip(", ")
    where = "; ".join(part for part in (one.where, one.why) if part)
    return [place, one.shown, of, one.verdict, one.known, where]


def _print_changes(found: list[Change]) -> None:
    from evalkit.pipeline.summary import print_columns

    if not found:
        click.echo("no difference")
        return
    print_columns([["", "what", "A", "B", "by"], *_rows(found)])


def _rows(found: list[Change]) -> Iterator[list[str]]:
    for one in found:
        yield [one.kind, one.what, one.before or "-", one.after or "-", one.by]
