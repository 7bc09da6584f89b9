"""`evalkit judge`: how far a judge can be trusted, and where it puts models that are known."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from evalkit.cli.app import FOLDER, Commands, cli, echo_json
from evalkit.cli.options import Command, json_flag

PATH = click.Path(exists=True, path_type=Path)


@cli.group(cls=Commands)
def judge() -> None:
    """Judges: audit one, calibrate it on known models, rank models among these."""


@judge.command("audit", cls=Command)
@click.argument("sources", nargs=-1, required=True, type=PATH, metavar="RUN|FILE...")
@click.option("--second", multiple=True, type=PATH, metavar="RUN|FILE",
              help="Another judge's judgements of the same, or people's labels.")  # fmt: skip
@json_flag
def audit(sources: tuple[Path, ...], second: tuple[Path, ...], as_json: bool) -> None:
    """Tell what judgements say of their judge: missing ones, swapped orders, agreement, kinship.

    Judgements are those of a run, or files: alpaca_eval's annotations.json, FastChat's
    model_judgment/*.jsonl.

    \b
    Examples:
      evalkit judge audit runs/My-SPPO
      evalkit judge audit gpt-4_single.jsonl --second humans_single.jsonl
    """
    from evalkit.pipeline.recorded_judgements import describe, read_recordings

    others = [one for path in second for one in read_recordings(path)]
    found = [describe(one, others) for path in sources for one in read_recordings(path)]
    if as_json:
        echo_json({"judgements": found})
        return
    for one in found:
        _print_figures(one.pop("source"), one)


@judge.command("calibrate", cls=Command)
@click.argument("anchors", nargs=-1, required=True, type=PATH, metavar="ANCHOR...")
@click.option(
    "--baseline",
    required=True,
    type=PATH,
    help="The other side of every pair: its result folder or model_outputs.json.",
)
@click.option("--judge", "text", metavar="NAME[:OPTION=VALUE,...]", help="The new judge.")
@click.option("--recipe", type=PATH, help="Take the judge of this recipe's evaluation.")
@click.option(
    "--official",
    multiple=True,
    type=PATH,
    help="The official side: annotations, recorded preferences, or a leaderboard's CSV."
    "  [default: annotations.json below each anchor]",
)
@click.option(
    "--aux",
    "auxiliary",
    type=FOLDER,
    metavar="DIR",
    help="Folder with the data of AlpacaEval's length control."
    "  [default: the Hub's df_gamed.csv where it is prefetched]",
)
@click.option(
    "--limit",
    type=click.IntRange(min=2),
    metavar="N",
    help="Only so many instructions, drawn once.",
)
@click.option(
    "--order-seed",
    type=int,
    default=0,
    show_default=True,
    help="Draws which output is shown first; 0 draws as alpaca_eval does.",
)
@click.option(
    "--out",
    type=FOLDER,
    default=Path("calibration"),
    show_default=True,
    help="Folder of journal, annotations and figures.",
)
@click.option("--dry-run", is_flag=True, help="Check everything, and tell what it would cost.")
@json_flag  # fmt: skip
def calibrate(text: str | None, recipe: Path | None, out: Path, dry_run: bool, as_json: bool,
              **flags: Any) -> None:  # fmt: skip
    """Judge the published outputs of known models again, and compare with the official judge.

    An ANCHOR is a result folder of alpaca_eval (results/MODEL, with its model_outputs.json), or a
    folder of such. Cut off, the same command goes on; no verdict is paid for twice.

    \b
    Example:
      evalkit judge calibrate results/phi-2 results/gemma-2b-it --recipe recipe.yaml \\
        --baseline results/gpt4_1106_preview
    """
    from evalkit.console import say
    from evalkit.pipeline import judge_calibration as calibration

    options = calibration.CalibrationOptions(judge=_judge_of(text, recipe), **flags)
    ready = calibration.prepare(options)
    estimate = calibration.estimate(ready, out)
    if not dry_run:
        for line in _lines(estimate):
            say(line)
        found = calibration.calibrate(ready, out)
    if as_json:
        echo_json(estimate if dry_run else found)
    elif dry_run:
        click.echo("\n".join(_lines(estimate)))
    else:
        _print_calibration(found)
        click.echo(f"\nfigures and annotations: {out}")


@judge.command("rank", cls=Command)
@click.argument("calibration", type=PATH, metavar="CALIBRATION")
@click.argument("runs", nargs=-1, type=PATH, metavar="[RUN]...")
@json_flag
def rank(calibration: Path, runs: tuple[Path, ...], as_json: bool) -> None:
    """Rank models of runs among anchors that the same judge has judged.

    CALIBRATION is the folder that 'evalkit judge calibrate' wrote. A run with another judge or
    baseline is refused: its figures would not compare. Length-controlled win rates are shown where
    the calibration has them.
    """
    from evalkit.pipeline.anchor_table import among_anchors, read_calibration

    figures = read_calibration(calibration)
    lines = among_anchors(figures, runs)
    if as_json:
        kept = {key: figures[key] for key in ("annotator", "judge", "official_judge", "baseline")}
        echo_json({**kept, "models": [line._asdict() for line in lines]})
        return
    from evalkit.pipeline.summary import print_columns

    by, official = figures["annotator"], figures["official_judge"]
    click.echo(f"AlpacaEval against {figures['baseline']}, judged by {by}\n")
    table = [
        {
            "model": line.model + (" (anchor)" if line.is_anchor else ""),
            "length-controlled win rate [95 %]": _interval(line.length_controlled_winrate, 2),
            "win rate [95 %]": _interval(line.win_rate, 1),
            "n": str(line.n),
            "missing": str(line.missing),
            "official, length-controlled": _figure(line.official_length_controlled_winrate, 2),
            "official win rate": _figure(line.official_win_rate, 1),
        }
        for line in lines
    ]
    heading = [name for name in table[0] if any(row[name] for row in table)]
    print_columns([heading, *([row[name] for name in heading] for row in table)])
    click.echo(
        f"\nofficial figures are by another judge, {official}: they do not compare with {by}'s"
    )


def _judge_of(text: str | None, recipe: Path | None) -> Any:
    from evalkit.recipe_document import plugin_data
    from evalkit.recipe_file import read_recipe
    from evalkit.roles import PluginRef

    if (text is None) == (recipe is None):
        raise click.UsageError("give either --judge or --recipe: who is to be calibrated?")
    if text is not None:
        return PluginRef.model_validate(plugin_data(text, f"--judge {text}"))
    assert recipe is not None
    found = read_recipe(recipe).recipe.evaluation.judge
    if found is None:
        raise click.UsageError(f"{recipe} has no evaluation.judge")
    return found


def _lines(estimate: Mapping[str, Any]) -> list[str]:
    cost = estimate["cost_of_the_rest"]
    lines = [
        f"{estimate['judgements']} judgements: {estimate['anchors']} anchors,"
        f" {estimate['instructions']} instructions; {estimate['kept']} are kept from before"
    ]
    if cost is not None:
        price = "price not known" if cost["usd"] is None else f"about ${cost['usd']:,.2f}"
        lines.append(
            f"the rest: {cost['requests']} requests, about {cost['tokens_in']:,} tokens in and at"
            f" most {cost['tokens_out']:,} out, {price}"
        )
    return lines


def _print_calibration(found: Mapping[str, Any]) -> None:
    from evalkit.pipeline.summary import print_columns

    click.echo(f"{found['annotator']} against the official judge, {found['official_judge']}\n")
    rows = [
        [
            one["name"], _interval(one["win_rate"], 1), f"{one['official_win_rate']:.1f}",
            _interval(one["offset"], 1),
            _interval(one["agreement"], 3),
            str(one["n"]), str(one["missing"]),
        ]
        for one in found["anchors"]
    ]  # fmt: skip
    heading = ["anchor", "win rate [95 %]", "official", "offset", "agreement", "n", "missing"]
    print_columns([heading, *rows])
    click.echo()
    _print_together(found, ("spearman", "kendall", "offset", "agreement", "kappa"))
    if found["length_controlled"] is not None:
        _print_length_controlled(found)
    for note in found["notes"]:
        click.echo(f"note: {note}")


def _print_length_controlled(found: Mapping[str, Any]) -> None:
    from evalkit.pipeline.summary import print_columns

    rows = [
        [
            one["name"],
            _interval(one["length_controlled_winrate"], 2),
            _figure(one["official_length_controlled_winrate"], 2),
            _interval(one["length_controlled_offset"], 2),
        ]
        for one in found["anchors"]
    ]
    click.echo()
    print_columns([["anchor", "length-controlled win rate [95 %]", "official", "offset"], *rows])
    click.echo()
    _print_together(found["length_controlled"], ("spearman", "kendall", "offset"))


def _print_together(figures: Mapping[str, Any], names: tuple[str, ...]) -> None:
    for name in names:
        shown = _interval(figures[name], 1 if name == "offset" else 3) or "not defined"
        click.echo(f"{name:>10}: {shown}")


def _interval(limits: Mapping[str, Any] | None, decimals: int) -> str:
    from evalkit.standings import with_interval

    if limits is None:
        return ""
    return with_interval(limits["value"], limits["ci_low"], limits["ci_high"], decimals)


def _figure(value: float | None, decimals: int) -> str:
    return "" if value is None else f"{value:.{decimals}f}"


def _print_figures(source: str, figures: Mapping[str, Any]) -> None:
    from evalkit.pipeline.judge_audit import lines

    click.echo(source)
    for line in lines(figures, "  "):
        click.echo(line)
