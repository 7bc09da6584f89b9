"""Leaderboards' means of normalised scores, their errors, and the shipped v1 and v2."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from card_families import changed, lm_eval_result, pocket_family
from hypothesis import given
from hypothesis import strategies as st

from evalkit.cards import Book, records_of
from evalkit.cards.model_index import model_index
from evalkit.family import Family
from evalkit.leaderboard import Column, Definition, read_definition
from evalkit.metrics.combined import Value, combined
from evalkit.records import Score
from evalkit.standings import family_standings

V2 = {
    # By column: guessing of the mean, and of each part. Source: the leaderboard's documentation.
    "leaderboard_ifeval": (0.0, [0.0, 0.0]),
    "leaderboard_gpqa": (0.25, [0.0] * 3),
    "leaderboard_musr": (0.0, [0.5, 0.2, 0.333]),
    "leaderboard_math_hard": (0.0, [0.0] * 7),
    "leaderboard_mmlu_pro": (0.0, [0.1]),
}


def percent(value: float, n: int = 100, stderr: float | None = 1.0, task: str = "t") -> Score:
    return Score(task, "acc", value, n, "percent", stderr)


def scores_for(column: Column, settings: dict[str, Any]) -> list[Score]:
    """A score for every part of a column, each of another value, that make up its items."""
    parts = column.parts or (column,)
    each, rest = divmod(column.n or 0, len(parts))
    return [
        Score(
            part.task, part.metric, 30.0 + 2 * i, each + (rest if i == 0 else 0), "percent",
            1.0 + i, settings={**column.settings, **settings},
        )
        for i, part in enumerate(parts)
    ]  # fmt: skip


def measured(definition: Definition, harness: str) -> tuple[Family, dict[str, list[Score]]]:
    """A family of one model with every part of every column, and those by column."""
    family = pocket_family()
    family = replace(family, members=family.members[:1], comparisons=())
    settings = {"harness": harness, "chat_template": False}
    by_column = {c.task: scores_for(c, settings) for c in definition.columns}
    by_column = {
        task: [replace(s, n=541) for s in scores] if task == "leaderboard_ifeval" else scores
        for task, scores in by_column.items()
    }
    if "leaderboard_gpqa" in by_column:
        sizes = (198, 448, 546)
        by_column["leaderboard_gpqa"] = [
            replace(s, n=n) for s, n in zip(by_column["leaderboard_gpqa"], sizes, strict=True)
        ]
    every = [score for scores in by_column.values() for score in scores]
    return changed(family, "base", results=(lm_eval_result("base", *every),)), by_column


@given(value=st.floats(0, 100), guessing=st.floats(0, 0.9), stderr=st.floats(0, 20) | st.none())
def test_guessing_is_zero_and_all_right_is_hundred(
    value: float, guessing: float, stderr: float | None
) -> None:
    found = Value(value, stderr).normalised(guessing)
    assert 0 <= found.value <= 100 + 1e-9
    assert Value(100, None).normalised(guessing).value == pytest.approx(100)
    assert Value(100 * guessing, None).normalised(guessing).value == pytest.approx(0, abs=1e-9)
    if value > 100 * guessing and stderr is not None:
        higher = Value(value + 1e-3, None).normalised(guessing)
        assert found.stderr == pytest.approx(stderr / (1 - guessing))
        assert (higher.value - found.value) / 1e-3 == pytest.approx(1 / (1 - guessing), rel=1e-3)


def test_each_is_clamped_before_the_mean() -> None:
    found = combined([percent(20), percent(75)], [0.5, 0.5], "equal", "independent")
    assert found.value == pytest.approx((0 + 50) / 2)
    assert found.stderr == pytest.approx(math.sqrt(2**2 + 2**2) / 2)
    weighted = combined([percent(20, 10), percent(75, 90)], [0, 0], "items", "independent")
    assert weighted.value == pytest.approx((200 + 75 * 90) / 100)
    assert weighted.stderr == pytest.approx(math.sqrt(10**2 + 90**2) / 100)


def test_a_missing_error_is_not_made_up() -> None:
    scores = [percent(20), percent(75, stderr=None)]
    assert combined(scores, [0, 0], "equal", "independent").stderr is None
    assert combined(scores, [0, 0], "equal", "same items").stderr == 1.0


def test_nested_items_are_clustered() -> None:
    """Against the spread over simulated worlds, in which an item is answered once."""
    import numpy as np

    draw = np.random.default_rng(0)
    sizes, p, worlds = (198, 448, 546), 0.3, 20_000
    right = draw.random((worlds, 546)) < p
    means = sum(right[:, :n].sum(1) for n in sizes) / sum(sizes) * 100
    scores = [percent(30, n, 100 * math.sqrt(p * (1 - p) / n)) for n in sizes]
    nested = combined(scores, [0] * 3, "items", "nested").stderr
    pooled = combined(scores, [0] * 3, "items", "independent").stderr
    assert nested == pytest.approx(float(means.std()), rel=0.03)
    assert pooled is not None
    assert nested is not None
    assert pooled < 0.75 * nested


@pytest.mark.parametrize("name", ["open_llm_v1", "open_llm_v2"])
def test_every_number_and_the_average(name: str) -> None:
    definition = read_definition(name)
    family, by_column = measured(definition, definition.harness)
    (member,) = family.members
    values = {}
    for column in definition.columns:
        score = column.score_of(member)
        assert score is not None, column.heading
        parts = by_column[column.task]
        guessing, each = V2.get(column.task, (0.0, [0.0] * len(parts)))
        if column.task == "leaderboard_bbh":
            each = [part.guessing for part in column.parts]
        own = [max(0, s.value / 100 - g) / (1 - g) * 100 for s, g in zip(parts, each, strict=True)]
        sizes = [s.n if column.weights == "items" else 1 for s in parts]
        mean = sum(v * n for v, n in zip(own, sizes, strict=True)) / sum(sizes)
        values[column.heading] = max(0, mean / 100 - guessing) / (1 - guessing) * 100
        assert score.value == pytest.approx(values[column.heading]), column.heading
        assert score.n + score.missing == column.n
        assert score.stderr is not None
    standings = family_standings(family, definition)
    (row,) = standings.rows
    assert row.cells[0] is not None
    assert row.cells[0].value == pytest.approx(sum(values.values()) / 6)
    (note,) = (n for n in standings.notes if n.startswith("Made with "))
    assert "another test's" not in note
    assert "without a chat template" in note


def test_parts_and_guessing_are_those_of_the_harness_s_tasks() -> None:
    lm_eval = pytest.importorskip("lm_eval")
    from lm_eval.tasks._yaml_loader import load_yaml

    tasks = Path(lm_eval.__file__).parent / "tasks"
    by_task = {c.task: c for name in ("open_llm_v1", "open_llm_v2")
               for c in read_definition(name).columns}  # fmt: skip
    assert {p.task for p in by_task["mmlu"].parts} == {
        file.stem for file in (tasks / "mmlu" / "default").glob("mmlu_*.yaml")
    }
    for task, folder in (("bbh", "bbh_mc"), ("gpqa", "gpqa"), ("math_hard", "math"),
                         ("musr", "musr")):  # fmt: skip
        (file,) = (tasks / "leaderboard" / folder).glob("_[lm]*.yaml")
        group = load_yaml(file, resolve_func=False)
        assert {p.task for p in by_task[f"leaderboard_{task}"].parts} == set(group["task"])
    for part in by_task["leaderboard_bbh"].parts:
        name = part.task.removeprefix("leaderboard_bbh_")
        definition = load_yaml(tasks / "leaderboard/bbh_mc" / f"{name}.yaml", resolve_func=False)
        assert part.guessing == pytest.approx(1 / len(definition["doc_to_choice"])), part.task


def test_mmlu_is_the_plain_mean_of_its_subjects() -> None:
    definition = read_definition("open_llm_v1")
    family, by_column = measured(definition, "lm-eval 0.4.13")
    (member,) = family.members
    (column,) = (c for c in definition.columns if c.task == "mmlu")
    score = column.score_of(member)
    assert score is not None
    parts = by_column["mmlu"]
    assert len(parts) == 57
    assert score.value == pytest.approx(sum(s.value for s in parts) / 57)
    errors = [s.stderr or 0 for s in parts]
    assert score.stderr == pytest.approx(math.sqrt(sum(e * e for e in errors)) / 57)
    group = Score("mmlu", "acc", 1.0, 14042, "percent", settings=dict(parts[0].settings))
    assert not column.admits(group)  # the harness's own is weighted by size
    (entry,) = (
        r for r in model_index(family, member, Book(records_of(family)))[0]["results"]
        if r["dataset"]["name"] == "MMLU (5-Shot)"
    )  # fmt: skip
    assert entry["metrics"][0]["value"] == pytest.approx(score.value, abs=1e-3)


def test_another_harness_version_is_labelled() -> None:
    definition = read_definition("open_llm_v2")
    family, _ = measured(definition, "lm-eval 0.4.13")
    (note,) = (n for n in family_standings(family, definition).notes if n.startswith("Made with "))
    assert "lm-eval 0.4.13" in note
    assert "another test's" in note
    assert definition.harness in note


def test_a_part_that_lacks_or_differs_leaves_the_column_empty() -> None:
    definition = read_definition("open_llm_v2")
    family, by_column = measured(definition, "x")
    (column,) = (c for c in definition.columns if c.task == "leaderboard_bbh")
    every = by_column["leaderboard_bbh"]
    for scores in (
        every[1:],
        [replace(every[0], settings={**every[0].settings, "few_shot": 0}), *every[1:]],
        [replace(every[0], n=every[0].n - 1), *every[1:]],
        [replace(every[0], settings={**every[0].settings, "not_comparable": "cut"}), *every[1:]],
    ):
        results = (lm_eval_result("base", *scores),)
        assert column.score_of(changed(family, "base", results=results).members[0]) is None
