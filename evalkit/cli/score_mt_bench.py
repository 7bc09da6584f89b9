"""`evalkit score mt-bench`: mean ratings and win rates from recorded judgments."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from evalkit.cli.app import FILE, echo_json
from evalkit.cli.options import Command, json_flag, option


@click.command("mt-bench", cls=Command)
@click.argument("files", nargs=-1, required=True, type=FILE, metavar="FILE...")
@option("--baseline", metavar="MODEL", help="Count only matches against this model.")
@json_flag
def mt_bench(files: tuple[Path, ...], baseline: str | None, as_json: bool) -> None:
    """Score files of FastChat's model_judgment: *_single.jsonl and *_pair.jsonl, also as .gz.

    Ratings are averaged per turn and per category, over those that there are: failed judgments
    (-1, error) are counted as missing. Two games of a match that disagree make a tie. Intervals
    are 95 %, questions being the unit. Rates are in percent.

    \b
    Examples:
      evalkit score mt-bench data/mt_bench/model_judgment/gpt-4_single.jsonl
      evalkit score mt-bench gpt-4_pair.jsonl --baseline gpt-3.5-turbo --json
    """
    from evalkit.fastchat.scores import recorded_scores

    found = recorded_scores(files, baseline)
    if as_json:
        echo_json(found)
    else:
        _print(found)


def _print(found: Mapping[str, Any]) -> None:
    from evalkit.pipeline.summary import print_columns

    click.echo(f"judged by {found['judge']}\n")
    if "average" in found:
        print_columns(list(_rating_rows(found)))
    if "pairwise" in found:
        if "average" in found:
            click.echo()
        print_columns(list(_match_rows(found["pairwise"])))


def _rating_rows(found: Mapping[str, Any]) -> Iterator[list[str]]:
    """A column for each model, and one for all where there are several."""
    models = {**found["models"], "all": found} if "models" in found else {found["model"]: found}
    columns = {model: _cells(one) for model, one in models.items()}
    yield ["", *columns]
    for name in _cells(found):
        yield [name, *(cells.get(name, "") for cells in columns.values())]


def _cells(one: Mapping[str, Any]) -> dict[str, str]:
    limits = one["intervals"]
    cells = {
        name: _with_limits(one[name], limits.get(name)) for name in ("turn_1", "turn_2", "average")
    }
    for category, value in one["categories"].items():
        cells[category] = _with_limits(value, limits["categories"][category])
    return cells | {name: str(one[name]) for name in ("n", "n_missing")}


def _match_rows(found: Mapping[str, Any]) -> Iterator[list[str]]:
    yield ["", "win_rate", "win_rate_adjusted", "wins", "losses", "ties", "n", "n_missing"]
    for model, one in found["models"].items():
        if one is None:
            yield [model, *[""] * 7]
            continue
        rates = [
            _with_limits(one[name], one["intervals"][name])
            for name in ("win_rate", "win_rate_adjusted")
        ]
        counts = ("wins", "losses", "ties", "n", "n_missing")
        yield [model, *rates, *(str(one[name]) for name in counts)]


def _with_limits(value: float | None, limits: list[float | None] | None) -> str:
    from evalkit.standings import with_interval

    if value is None:
        return ""
    low, high = limits or (None, None)
    return with_interval(value, low, high, 2)
