"""Anchor models of AlpacaEval: their published outputs, and what the official judge said of them.

Read are alpaca_eval's result folders (`results/MODEL/model_outputs.json`, with the official
`annotations.json` below), compact recorded preferences, and leaderboards as CSV.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from evalkit import json_rows
from evalkit.errors import RecipeError
from evalkit.importers.reading import stem

OUTPUTS, ANNOTATIONS = "model_outputs.json", "annotations.json"
_OUTPUTS_HINT = "give folders such as alpaca_eval's results/MODEL, which hold a model_outputs.json"
_RATE, _LENGTH_CONTROLLED = "win_rate", "length_controlled_winrate"


class Anchor(NamedTuple):
    """A model's published outputs by instruction, and the folder they came from."""

    name: str
    outputs: Mapping[str, str]
    folder: Path


class Official(NamedTuple):
    """What is known of the official judge.

    preferences: from 1 (baseline) to 2 (model), by model and instruction.
    win_rates, length_controlled: in percent, as published. annotator: its name, empty where no
        file gives one.
    """

    preferences: Mapping[str, Mapping[str, float | None]]
    win_rates: Mapping[str, float]
    length_controlled: Mapping[str, float]
    annotator: str


def read_anchors(paths: Sequence[Path]) -> list[Anchor]:
    """The anchors in result folders, or in folders of such.

    Raises:
        RecipeError: there are none, a file is damaged, or two have one name.
    """
    files: list[Path] = []
    for path in paths:
        found = _outputs_below(path)
        if not found:
            raise RecipeError(f"there are no {OUTPUTS} in {path}", _OUTPUTS_HINT)
        files += found
    anchors = [_anchor(file) for file in files]
    names = [anchor.name for anchor in anchors]
    for name in names:
        if names.count(name) > 1:
            raise RecipeError(f"anchor {name} is given twice", "leave one of them out")
    return anchors


def read_official(
    anchors: Sequence[Anchor], paths: Sequence[Path], instructions: Sequence[str]
) -> Official:
    """The official side of every anchor: from `paths`, and from the anchors' own folders.

    instructions: in their official order, which compact files name them by.

    Raises:
        RecipeError: a file is none of these, files disagree, or an anchor has no official side.
    """
    names = {anchor.name for anchor in anchors}
    preferences: dict[str, Mapping[str, float | None]] = {}
    win_rates: dict[str, float] = {}
    length_controlled: dict[str, float] = {}
    annotators: set[str] = set()
    own = [file for one in anchors for file in sorted(one.folder.glob(f"*/{ANNOTATIONS}"))]
    for file in [*(one for path in paths for one in _files(path)), *([] if paths else own)]:
        if file.suffix == ".csv":
            win_rates |= _leaderboard(file, names, _RATE)
            length_controlled |= _leaderboard(file, names, _LENGTH_CONTROLLED)
            continue
        for name, annotator, found in _judged(file, instructions):
            if name not in names or not any(value is not None for value in found.values()):
                continue
            if name in preferences:
                raise RecipeError(
                    f"{file}: there are official judgements of {name} already",
                    "name the annotator's files with --official",
                )
            preferences[name] = found
            annotators |= {annotator} if annotator else set()
    without = sorted(names - set(preferences) - set(win_rates))
    if without:
        raise RecipeError(
            f"no official judgement or figure of anchor {', '.join(without)}",
            f"keep the official {ANNOTATIONS} below its folder, or name a leaderboard with"
            " --official FILE.csv",
        )
    if len(annotators) > 1:
        raise RecipeError(
            f"the official judgements are of several annotators: {', '.join(sorted(annotators))}",
            "name those of one with --official",
        )
    return Official(preferences, win_rates, length_controlled, next(iter(annotators), ""))


def _outputs_below(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    own = path / OUTPUTS
    return [own] if own.is_file() else sorted(path.glob(f"*/{OUTPUTS}"))


def _anchor(file: Path) -> Anchor:
    outputs: dict[str, str] = {}
    names = set()
    for number, row in enumerate(json_rows.rows(file), start=1):
        for key in ("instruction", "output"):
            if not isinstance(row.get(key), str):
                raise RecipeError(f"{file}: row {number} has no text '{key}'", _OUTPUTS_HINT)
        outputs[row["instruction"]] = row["output"]
        names.add(str(row.get("generator") or file.parent.name))
    if len(names) > 1:
        raise RecipeError(f"{file} has outputs of {len(names)} models", "one file for each model")
    return Anchor(names.pop(), outputs, file.parent)


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    found = [file for kind in ("*.jsonl", "*.jsonl.gz") for file in sorted(path.glob(kind))]
    found += sorted(path.rglob(ANNOTATIONS))
    if not found:
        raise RecipeError(
            f"{path} holds no official judgements",
            f"give {ANNOTATIONS}, a file of recorded preferences, a folder of such, or a CSV",
        )
    return found


def _judged(
    file: Path, instructions: Sequence[str]
) -> list[tuple[str, str, Mapping[str, float | None]]]:
    """(model, annotator, preference by instruction) of each model in a file."""
    found: dict[str, dict[str, float | None]] = {}
    annotators: dict[str, str] = {}
    for number, row in enumerate(json_rows.rows(file), start=1):
        where = f"{file}: row {number}"
        if "preference" not in row:
            break  # some other file of rows beside them
        model = str(row.get("generator_2") or stem(file))
        annotators[model] = str(row.get("annotator") or "")
        text = _instruction(row, instructions, where)
        found.setdefault(model, {})[text] = json_rows.number(row, "preference", where)
    return [(model, annotators[model], judged) for model, judged in found.items()]


def _instruction(row: Mapping[str, Any], instructions: Sequence[str], where: str) -> str:
    if isinstance(row.get("instruction"), str):
        return str(row["instruction"])
    index = row.get("instruction_id")
    if not isinstance(index, int) or not 0 <= index < len(instructions):
        raise RecipeError(
            f"{where}: its instruction is not known",
            "a row has the text `instruction`, or `instruction_id`, its place in the baseline",
        )
    return instructions[index]


def _leaderboard(file: Path, names: set[str], column: str) -> dict[str, float]:
    """Rates of the anchors in alpaca_eval's leaderboard: models stand in its first column."""
    found: dict[str, float] = {}
    try:
        with file.open(encoding="utf-8", newline="") as stream:
            rows = csv.DictReader(stream)
            first = (rows.fieldnames or [""])[0]
            if _RATE not in (rows.fieldnames or []):
                raise RecipeError(f"{file} has no column '{_RATE}'", "give alpaca_eval's own CSV")
            for row in rows:
                if row[first] in names and row.get(column):
                    found[row[first]] = float(row[column])
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise RecipeError(f"cannot read {file}: {error}", "give alpaca_eval's own CSV") from error
    return found
