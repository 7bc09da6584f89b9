"""`evalkit score alpaca-eval`: win rates, plain and length-controlled, from annotations."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from evalkit.cli.app import FILE, FOLDER, echo_json
from evalkit.cli.options import Command, json_flag, option

if TYPE_CHECKING:
    from evalkit.importers.alpaca_eval_score import AlpacaEvalScore, Difference
    from evalkit.stats import Interval


@click.command("alpaca-eval", cls=Command)
@click.argument("file", type=FILE)
@option(
    "--aux",
    type=FOLDER,
    metavar="DIR",
    help="Folder with df_gamed.csv, or instruction_difficulty.csv and gamed_reconstructed.csv."
    "  [default: the Hub's df_gamed.csv where it is prefetched, else FILE's own folder]",
)
@option(
    "--c",
    "strength",
    type=click.FloatRange(min=0, min_open=True),
    metavar="VALUE",
    help="Fit with this C.  [default: chosen by cross-validation, as alpaca_eval does]",
)
@option(
    "--against",
    type=FILE,
    metavar="FILE",
    help="Tell the paired difference from this model's length-controlled win rate as well.",
)
@json_flag
def alpaca_eval(
    file: Path, aux: Path | None, strength: float | None, against: Path | None, as_json: bool
) -> None:  # fmt: skip
    """Score a model's AlpacaEval annotations; nothing is judged and nothing downloaded.

    FILE is the annotations.json that alpaca_eval writes, with model_outputs.json beside it where
    there is one, or JSON lines of preference, len_model and len_reference (may be .gz).

    \b
    Examples:
      evalkit score alpaca-eval results/mine/weighted_alpaca_eval_gpt4_turbo/annotations.json
      evalkit score alpaca-eval mine.jsonl.gz --aux auxiliary --c 2.782559402207126 --json
    """
    from evalkit.importers import alpaca_eval_score

    found = alpaca_eval_score.score(file, aux, strength)
    gain = alpaca_eval_score.difference(file, against, aux, strength) if against else None
    if as_json:
        echo_json(found.published() | ({"against": gain.as_json()} if gain else {}))
    else:
        _print(found, gain)


def _print(found: AlpacaEvalScore, gain: Difference | None) -> None:
    from evalkit.metrics.length_controlled import BOOTSTRAP
    from evalkit.pipeline.summary import print_columns

    summary, controlled = found.summary, found.controlled
    stderr = f"standard error {_number(summary.standard_error)}" if summary.standard_error else ""
    rows = [[found.model, "", ""], ["win rate", _number(summary.win_rate), stderr]]
    if controlled is not None:
        interval = controlled.win_rate
        strength = f"{controlled.C:.4g}" if controlled.C else "none"
        rows += [
            ["length-controlled win rate", _number(interval.value), _limits(interval)],
            ["  standard error, bootstrap", _number(interval.stderr), "see below"],
            ["  standard error, published", _number(controlled.published_stderr),
             "spread over instructions, not the error of the win rate"],
            ["  C", strength, "strength of the data against the penalty"],
            ["  auxiliary data", "", " and ".join(controlled.auxiliary or ())],
        ]  # fmt: skip
    if gain is not None:
        rows.append([f"  above {gain.other} by", _number(gain.points.value), _limits(gain.points)])
    outcomes = f"{summary.n_wins} / {summary.n_draws} / {summary.n_wins_base}"
    rows += [
        ["wins / draws / losses", outcomes, f"{summary.discrete_win_rate:.2f} % counted whole"],
        ["judged", str(summary.n_total), f"{found.n_missing} missing"],
        ["average length", str(summary.avg_length or ""), "characters"],
    ]
    print_columns(rows)
    if controlled is not None:
        click.echo(f"intervals of the length-controlled win rate: {BOOTSTRAP}")
    else:
        click.echo(
            "no length-controlled win rate: it is defined for AlpacaEval's own instructions alone",
            err=True,
        )


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _limits(interval: Interval) -> str:
    return f"95 %: {_number(interval.low)} to {_number(interval.high)}"
