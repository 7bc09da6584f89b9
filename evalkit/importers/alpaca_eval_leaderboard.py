"""Leaderboards of tatsu-lab/alpaca_eval as CSV: one row of finished numbers per model.

`leaderboard.csv` of one's own results folder, and the published `*_leaderboard.csv`. The judge is
told by their place alone: the folder of the former, the name of the latter.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from evalkit.errors import RecipeError
from evalkit.importers import reading
from evalkit.importers.stated import Stated, stated
from evalkit.metrics.alpaca_eval_judge import task_by
from evalkit.records import ResultSet, Score
from evalkit.roles import Imported, Importer

TOOL = "alpaca_eval (leaderboard)"
BENCHMARK = "alpaca_eval"
_COLUMNS = {"win_rate", "standard_error", "n_total"}
_SUFFIX = "_leaderboard"
# Source: tatsu-lab/alpaca_eval, constants.py and leaderboards/ (release 0.6.6).
_BASELINE_OF_FOLDER = {
    "data_AlpacaEval": "text_davinci_003",
    "data_AlpacaEval_2": "gpt4_1106_preview",
}
_HINT = "give a leaderboard.csv that alpaca_eval wrote"


class AlpacaEvalLeaderboardImporter(Importer):
    """Finished numbers of alpaca_eval's leaderboards, as they are stated."""

    def recognises(self, path: Path) -> bool:
        """By its header: models in a first column without a name, then win rates."""
        if not path.is_file() or path.suffix != ".csv":
            return False
        header = reading.head(path).partition("\n")[0].strip().split(",")
        return header[0] == "" and set(header) >= _COLUMNS

    def read(self, path: Path) -> list[Imported]:
        """One result per row."""
        judge, baseline = _judge(path), _BASELINE_OF_FOLDER.get(path.parent.name, "")
        return [_imported(path, row, where, judge, baseline) for where, row in _rows(path)]

    def yields_to(self, path: Path) -> Path | None:
        """The annotations that alpaca_eval made the leaderboard of."""
        annotations = path.with_name("annotations.json")
        return annotations if path.name == "leaderboard.csv" and annotations.is_file() else None


PLUGIN = AlpacaEvalLeaderboardImporter


def _judge(path: Path) -> str:
    """The annotator, as alpaca_eval names folders and files after it; empty where it does not."""
    if path.stem == "leaderboard":
        return path.parent.name
    return path.stem.removesuffix(_SUFFIX) if path.stem.endswith(_SUFFIX) else ""


def _rows(path: Path) -> Iterator[tuple[str, Mapping[str, str]]]:
    """Rows by column, the model's name under "", each with where it stands."""
    lines = csv.reader(io.StringIO(reading.text(path)))
    try:
        header = next(lines)
        for number, cells in enumerate(lines, start=2):
            if len(cells) != len(header):
                raise RecipeError(
                    f"{path}:{number} has {len(cells)} cells, not {len(header)}",
                    "is the file complete?",
                )
            yield f"{path}:{number}", dict(zip(header, cells, strict=True))
    except csv.Error as error:
        raise RecipeError(f"{path}:{lines.line_num} is no CSV: {error}", _HINT) from None


def _imported(
    path: Path, row: Mapping[str, str], where: str, judge: str, baseline: str
) -> Imported:
    model = row[""].strip()
    if not model:
        raise RecipeError(f"{where} names no model", _HINT)
    n = _number(row, "n_total", where)
    if n is None or n < 1 or n != int(n):
        raise RecipeError(f"{where}: '{row['n_total']}' is no number of instructions", _HINT)
    task = task_by(judge) if judge else f"{BENCHMARK}_judge_not_stated"
    settings = {"baseline": baseline} if baseline else {}
    scores = tuple(_scores(row, where, task, int(n), settings))
    further = {
        key: value
        for key in ("lc_standard_error", "discrete_win_rate")
        if (value := _number(row, key, where)) is not None
    }
    provenance: dict[str, Any] = {
        "harness": "alpaca_eval",
        "protocol": "AlpacaEval pairwise; numbers as the leaderboard states them",
        "intervals": "95 %: Student for the win rate, by its stated standard error",
        "published": {**further, **({"mode": row["mode"]} if row.get("mode") else {})},
        "imported": reading.origin(TOOL, path, model),
    }
    unknown = [what for what, name in (("judge", judge), ("baseline", baseline)) if not name]
    if judge:
        provenance["judge"] = {"name": judge}
    if unknown:
        provenance["not_stated"] = ", ".join(unknown)
    return Imported(model, ResultSet(BENCHMARK, "", "", scores, provenance))


def _scores(
    row: Mapping[str, str], where: str, task: str, n: int, settings: Mapping[str, Any]
) -> Iterator[Score]:
    """The published standard error of a length-controlled rate is no error of it, and left out."""
    rate = _number(row, "win_rate", where)
    if rate is None:
        raise RecipeError(f"{where} has no win_rate", _HINT)
    whole = stated(rate, _number(row, "standard_error", where), n).on("percent")
    yield whole.score(task, "win_rate", "percent", settings)
    controlled = _number(row, "length_controlled_winrate", where)
    if controlled is not None:
        alone = Stated(controlled, n=n)
        yield alone.score(task, "length_controlled_winrate", "percent", settings)
    length = _number(row, "avg_length", where)
    if length is not None:
        yield Stated(length, n=n).score(task, "avg_length", "count", settings)


def _number(row: Mapping[str, str], key: str, where: str) -> float | None:
    """The number in a cell; None where it, or its column, is empty."""
    text = row.get(key, "").strip()
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        raise RecipeError(f"{where}: '{key}' is '{text}', which is no number", _HINT) from None
    if not math.isfinite(value):
        raise RecipeError(f"{where}: '{key}' is {text}", _HINT)
    return value
