"""`evalkit import`: results of other tools, recognised, shown and kept as records."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from evalkit.cli.app import FOLDER, cli, echo_json
from evalkit.cli.options import Command, json_flag, option

if TYPE_CHECKING:
    from evalkit.pipeline.importing import Kept

HEAD = ["model", "task", "metric", "value", "n", "stderr", "tool", "source"]


@cli.command("import", cls=Command)
@click.argument("paths", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@option(
    "--as",
    "names",
    multiple=True,
    metavar="NAME",
    help="Only results of the model that the files call so.",
)
@option("--model", metavar="ID", help="Its id on the Hub, or its name, where it is the only one.")
@option(
    "--importer",
    metavar="NAME",
    help="What reads the files: a name of 'evalkit list importers', or a FILE.py; by default"
    " the one that recognises each.",
)
@option(
    "--out",
    type=FOLDER,
    metavar="DIR",
    help="Keep the results there, for 'card build --from DIR' and 'card verify --results DIR'.",
)
@json_flag
def import_(
    paths: tuple[Path, ...],
    names: tuple[str, ...],
    model: str | None,
    importer: str | None,
    out: Path | None,
    as_json: bool,
) -> None:
    """Read results that other tools wrote, and show every number with where it stands.

    PATH is a file or folder of lm-evaluation-harness, alpaca_eval (annotations or leaderboards),
    FastChat, inspect_ai or the Open LLM Leaderboard.

    \b
    Examples:
      evalkit import results_2025-03-05T23-57-44.json
      evalkit import results/ logs/ --model me/Model-Iter1 --out imported
    """  # fmt: skip
    from evalkit.pipeline.importing import import_results
    from evalkit.pipeline.summary import print_columns

    found = import_results(paths, out, importer=importer, names=names, model=model)
    if as_json:
        echo_json([one.described() for one in found])
        return
    print_columns([HEAD, *(row for one in found for row in _rows(one))])
    for digest, file in {_digest(one): one.file for one in found}.items():
        click.echo(f"source {digest}: {file}")
    for one in found:
        if one.folder is not None:
            click.echo(f"written: {one.folder}")


def _rows(kept: Kept) -> list[list[str]]:
    from evalkit.standings import decimals_of, number

    imported = kept.result.provenance["imported"]
    return [
        [
            kept.model,
            score.task,
            score.metric,
            number(score.value, decimals_of(score) and max(2, decimals_of(score))),
            "not stated" if score.n is None else str(score.n),
            "" if score.stderr is None else number(score.stderr, 2),
            str(imported["tool"]),
            _digest(kept),
        ]
        for score in kept.result.scores
    ]


def _digest(kept: Kept) -> str:
    return str(kept.result.provenance["imported"]["sha256"])[:12]
