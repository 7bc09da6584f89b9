"""Every real results file of the harness, of 0.3 and of 0.4: its numbers, as the file has them."""

import csv
import json
import math
from pathlib import Path
from typing import Any

import pytest
from card_families import changed, pocket_family

from evalkit.importers.lm_eval import PLUGIN
from evalkit.leaderboard import read_definition
from evalkit.records import Score

pytestmark = pytest.mark.real
PERCENT = ("acc", "acc_norm", "exact_match", "em", "f1", "mc1", "mc2")


@pytest.fixture(scope="module")
def files(shared: Path) -> list[Path]:
    with (shared / "golden" / "lm_eval" / "INDEX.csv").open(encoding="utf-8") as stream:
        names = [row["file"] for row in csv.DictReader(stream)]
    folder = shared / "golden" / "lm_eval"
    return [folder / name for name in names if (folder / name).is_file()]


def rows_of(value: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Numbers by task: of groups that hold their members' rows, the members'."""
    found: dict[str, dict[str, Any]] = {}
    for task, row in value["results"].items():
        nested = row and all(isinstance(item, dict) for item in row.values())
        found |= row if nested else {task: row}
    return found


def numbers_of(value: dict[str, Any]) -> dict[tuple[str, str, str], tuple[float, float | None]]:
    """Value and standard error by task, metric and filter, read in the plainest way."""
    found = {}
    for task, row in rows_of(value).items():
        for key, number in row.items():
            metric, _, name = key.partition(",")
            if isinstance(number, str | dict) or metric.endswith("_stderr"):
                continue
            stderr = row.get(f"{metric}_stderr,{name}" if name else f"{metric}_stderr")
            known = isinstance(stderr, float | int) and math.isfinite(stderr)
            found[task, metric, name or "none"] = (number, stderr if known else None)
    return found


def shots_of(value: dict[str, Any], task: str) -> int | None:
    if (value.get("group_subtasks") or {}).get(task):  # 0.4 states 0 for any group
        return None
    stated = (value.get("n-shot") or {}).get(task)
    config = value.get("config") or {}
    return config.get("num_fewshot") if stated is None else stated


def test_all_files_are_there(files: list[Path]) -> None:
    assert len(files) > 50
    layouts = {
        "," in "".join(next(iter(rows_of(json.loads(f.read_text())).values()))) for f in files
    }
    assert layouts == {False, True}


def test_every_number_of_every_file(files: list[Path]) -> None:
    """The right task, metric, shots, value and standard error; nothing else, nothing missing."""
    count = 0
    for file in files:
        value = json.loads(file.read_text("utf-8"))
        (imported,) = PLUGIN(None).read(file)
        found = {(s.task, s.metric.split(",")[0], s.settings["filter"]): s
                 for s in imported.result.scores}  # fmt: skip
        left_out = imported.result.provenance.get("left_out", [])
        expected = numbers_of(value)
        told = {
            key
            for key in expected
            if any(line.startswith(f"{key[0]}, {key[1]}") for line in left_out)
        }
        assert set(found) | told == set(expected), file.name
        for key, score in found.items():
            check(score, *expected[key], where=f"{file.name} {key}")
            if score.task in (value.get("n-shot") or {}) or "config" in value:
                stated = shots_of(value, score.task)
                if stated is not None:
                    assert score.settings["few_shot"] == stated, (file.name, key)
            count += 1
    assert count > 2000


def check(score: Score, value: float, stderr: float | None, where: str) -> None:
    is_percent = score.metric.split(",")[0] in PERCENT or score.metric.split(",")[0].endswith(
        "_acc"
    )
    assert (score.scale == "percent") == is_percent, where
    factor = 100 if is_percent and abs(value) <= 1 else 1
    assert score.value == pytest.approx(factor * value, abs=1e-9), where
    if stderr is None:
        assert score.stderr is None, where
    else:
        assert score.stderr == pytest.approx(factor * stderr, rel=1e-6, abs=1e-9), where


def test_mmlu_of_v1_is_the_mean_of_its_subjects(files: list[Path]) -> None:
    """Where all 57 are there with five examples; the file's own group is weighted by size."""
    (column,) = (c for c in read_definition("open_llm_v1").columns if c.task == "mmlu")
    family, met = pocket_family(), 0
    for file in files:
        value = json.loads(file.read_text("utf-8"))
        (imported,) = PLUGIN(None).read(file)
        results = (imported.result,)
        score = column.score_of(changed(family, "base", results=results).member("base"))
        subjects = {k[0]: v for k, v in numbers_of(value).items()
                    if k[0] in {p.task for p in column.parts} and k[1] == "acc"}  # fmt: skip
        five = {shots_of(value, task) for task in subjects} == {5}
        template = bool(value.get("chat_template", True))
        if len(subjects) < 57 or not five or template:
            assert score is None, file.name
            continue
        met += 1
        assert score is not None, file.name
        assert score.value == pytest.approx(100 * sum(v for v, _ in subjects.values()) / 57)
        errors = [e or 0.0 for _, e in subjects.values()]
        assert score.stderr == pytest.approx(100 * math.sqrt(sum(e * e for e in errors)) / 57)
        group = value["results"]["mmlu"]["acc,none"]
        assert abs(score.value - 100 * group) > 1e-6
    assert met >= 5
