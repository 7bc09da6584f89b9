"""`evalkit compare`: models and finished runs, measured alike and compared on the same items."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from evalkit.cli.app import cli, echo_json
from evalkit.cli.options import MEASURING, Command, model_flags, run_flags
from evalkit.cli.recipes import orders_of

if TYPE_CHECKING:
    from evalkit.pipeline.contrast import Measured, Outcome


@cli.command(cls=Command)
@click.argument("models", nargs=-1, required=True, metavar="MODEL|RUN...")
@model_flags(MEASURING)
@run_flags("overrides", "dry_run", "out", "redo", "children", "as_json")
def compare(models: tuple[str, ...], as_json: bool, overrides: Any, **flags: Any) -> None:
    """Compare models or finished runs with the first of them, on the same items.

    A model is measured first, in a run of its own, as the flags say or else as the first run was.
    Of a run its last checkpoint is taken, or the one named after a colon.

    \b
    Examples:
      evalkit compare runs/My-SPPO:base runs/My-SPPO:iter2
      evalkit compare ./before ./after --benchmark 'lm_eval_tasks:tasks=[gsm8k]'
    """
    from evalkit.pipeline import contrast
    from evalkit.pipeline.composing import ModelFlags
    from evalkit.pipeline.offers import benchmark_lines

    orders = orders_of(flags)
    wishes = ModelFlags(**flags)
    if len(models) < 2:
        raise click.UsageError("give two or more models or run folders")
    line = contrast.line_up(models, wishes, overrides)
    unmeasured = [
        name for name, document in line.documents.items()
        if not document.data.get("evaluation", {}).get("benchmarks")
    ]  # fmt: skip
    if unmeasured:
        lines = [f"{unmeasured[0]} needs --benchmark, once for each:", *benchmark_lines()]
        raise click.UsageError("\n  ".join(lines))
    if orders.dry_run:
        _show_plans(contrast.prepared(line, orders), as_json)
        return
    outcome = contrast.contrast(line, orders)
    if as_json:
        echo_json(contrast.describe(outcome))
    else:
        _print(outcome)


def _show_plans(plans: Any, as_json: bool) -> None:
    from evalkit.pipeline import run

    if as_json:
        echo_json({name: run.describe_outcome(*one) for name, one in plans.items()})
        return
    for ready, orders in plans.values():
        run.print_outcome(ready, orders)
    if not plans:
        click.echo("nothing to measure: all of them are finished runs")


def _print(outcome: Outcome) -> None:
    from evalkit.pipeline.summary import print_columns

    first = outcome.entrants[0].label
    for other in outcome.entrants[1:]:
        rows = [_row(one) for one in outcome.measured if one.comparison.b == other.label]
        click.echo(f"{other.label} against {first}, on the same items\n")
        if rows:
            heading = ["benchmark", "task: metric", first, other.label, "difference [95 %]"]
            print_columns([[*heading, "n", "p"], *rows])
            click.echo()
    for one in outcome.refused:
        click.echo(f"not compared: {one.b} with {one.a} on {one.benchmark}: {one.reason}")
    click.echo("p-values are not corrected for testing several tasks")


def _row(one: Measured) -> list[str]:
    from evalkit.standings import decimals_of, number, with_interval

    found, decimals = one.comparison, decimals_of(one.a)
    sign = "+" if found.difference > 0 else ""
    return [
        found.benchmark,
        f"{found.task}: {found.metric}",
        number(one.a.value, decimals),
        number(one.b.value, decimals),
        sign + with_interval(found.difference, found.ci_low, found.ci_high, decimals),
        str(found.n),
        f"{found.p_value:.2g}",
    ]
