"""`evalkit data contamination`: whether training data holds what a model will be asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from evalkit.cli.app import echo_json
from evalkit.cli.data import data

if TYPE_CHECKING:
    from evalkit.contamination.overlap import ItemOverlap, Overlap

_HITS_SHOWN = 20


@data.command("contamination")
@click.argument("training", nargs=-1, required=True, metavar="TRAINING...")
@click.option("--against", multiple=True, required=True, metavar="ITEMS",
              help="A recipe, a benchmark NAME[:OPTION=VALUE,...], or rows of data.")  # fmt: skip
@click.option("--ngram", type=click.IntRange(min=1), default=13, show_default=True,
              help="How many words in a row make an item a hit.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with every hit.")
def contamination(
    training: tuple[str, ...], against: tuple[str, ...], ngram: int, as_json: bool
) -> int:
    """Look for evaluation items in training data; exit code 1 if there are any.

    TRAINING is the folder of a run, or data: a file, a folder, a Hub id, or a source
    NAME:OPTION=VALUE,... Compared are words without case and punctuation; an item of fewer words
    than --ngram is a hit where all of it stands in a text.

    \b
    Examples:
      evalkit data contamination train.jsonl --against recipe.yaml
      evalkit data contamination runs/mine --against 'lm_eval_tasks:tasks=[arc_challenge,gsm8k]'
      evalkit data contamination dataset:dataset=org/chats,split=train_sft --against test.jsonl
    """
    from evalkit.console import progress_line
    from evalkit.pipeline.contamination_check import check_contamination
    from evalkit.records import to_json

    with progress_line("contamination") as progress:
        found = check_contamination(training, against, ngram, progress)
    if as_json:
        echo_json(to_json(found))
    else:
        click.echo("\n".join(_lines(found)))
    return 1 if found.hits else 0


def _lines(found: Overlap) -> list[str]:
    width = max(len(one.task) for one in found.tasks)
    lines = [
        f"{found.documents:,} training texts, {found.words:,} words; hits share {found.ngram} words"
        " in a row, or are shorter and found whole",
        "",
        f"{'task':<{width}}{'items':>10}{'hits':>8}{'short':>8}",
    ]
    lines += [
        f"{one.task:<{width}}{one.items:>10,}{one.hits:>8,}{one.short:>8,}" for one in found.tasks
    ]
    if found.hits:
        lines += ["", *(line for hit in found.hits[:_HITS_SHOWN] for line in _hit(hit))]
    rest = len(found.hits) - _HITS_SHOWN
    return [*lines, f"and {rest:,} more (--json has all)"] if rest > 0 else lines


def _hit(hit: ItemOverlap) -> list[str]:
    more = f" and {hit.documents - 1:,} more" if hit.documents > 1 else ""
    return [
        f"{hit.task} {hit.id}: {hit.words} words in {hit.examples[0]}{more}"
        f" ({100 * hit.share:.0f} % of its n-grams in all)",
        f"    {hit.text}",
    ]
