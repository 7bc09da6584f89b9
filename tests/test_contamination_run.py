"""Contamination in a run and from the command line: counts, clean scores in results, cards."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from benchmark_parts import write_lines
from recipe_worlds import evalkit

from evalkit.pipeline import evaluation, plugins
from evalkit.recipe import Contamination
from evalkit.records import ResultSet, from_json
from evalkit.roles import PluginRef

BENCHMARKS: list[dict[str, Any]] = [
    {"name": "lm_eval_tasks", "tasks": ["pocket_choice"], "include_path": "pocket", "limit": 20},
    {
        "name": "alpaca_eval",
        "instructions": {"name": "pocket", "split": "open", "count": 12},
        "max_new_tokens": 4,
    },
    {
        "name": "mt_bench",
        "questions": {"name": "pocket", "split": "two_turn", "count": 4},
        "max_new_tokens": 4,
    },
]


def _items(number: int) -> Any:
    benchmark = plugins.make("benchmarks", PluginRef.model_validate(BENCHMARKS[number]))
    return benchmark.items(evaluation.open_source)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, pocket_base: Path) -> Path:
    """A run that found the first item of the first suite, and the third of the second."""
    pytest.importorskip("lm_eval")
    folder = tmp_path_factory.mktemp("contaminated")
    planted = [_items(0)[0].texts[0], _items(1)[2].texts[0]]
    rows = [{"prompt": f"before {text} behind", "response": "yes"} for text in planted]
    file = write_lines(folder / "seen.jsonl", [*rows, {"prompt": "nothing", "response": "no"}])
    recipe = {
        "name": "Seen",
        "base": {"model": str(pocket_base), "own": True},
        "evaluation": {
            "judge": "rule",
            "benchmarks": BENCHMARKS,
            "contamination": {"sources": [{"name": "file", "path": str(file)}]},
        },
        "card": {"title": "Seen", "license": "mit"},
    }
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    words = ("card", "build", str(folder / "recipe.yaml"), "--out", str(folder / "run"))
    assert evalkit(*words) == 0
    return folder


def _told(folder: Path, number: int) -> ResultSet:
    step = f"eval-base-{BENCHMARKS[number]['name']}"
    file = folder / "run" / "steps" / "contamination" / step / "result.json"
    return from_json(ResultSet, json.loads(file.read_text()))


@pytest.mark.slow
@pytest.mark.parametrize("number", range(len(BENCHMARKS)))
def test_every_item_has_the_id_of_its_sample(finished: Path, number: int) -> None:
    step = f"eval-base-{BENCHMARKS[number]['name']}"
    result = evaluation.read_result(finished / "run" / "steps" / step, with_samples=True)
    assert [(one.task, one.id) for one in _items(number)] == [
        (one.task, one.id) for one in result.samples
    ]


@pytest.mark.slow
def test_hits_are_counted_and_scores_told_without_them(finished: Path) -> None:
    overlap = json.loads((finished / "run/steps/contamination/overlap.json").read_text())
    expected = {(one.task, one.id) for one in (_items(0)[0], _items(1)[2])}
    assert expected <= {(hit["task"], hit["id"]) for hit in overlap["hits"]}
    for number in (0, 1):
        result = _told(finished, number)
        (task,) = result.provenance["contamination"]["tasks"].values()
        assert task["hits"] == sum(hit["task"] == result.scores[0].task for hit in overlap["hits"])
        clean = {one.metric: one for one in result.clean_scores}[result.scores[0].metric]
        assert clean.n == result.scores[0].n - task["hits"]
    family = json.loads((finished / "run/steps/cards/family.json").read_text())
    assert family["members"][0]["results"][0]["clean_scores"]


@pytest.mark.slow
def test_the_card_tells_it(finished: Path) -> None:
    (card,) = (finished / "run" / "steps" / "cards").glob("*/README.md")
    text = card.read_text()
    assert "of its 20 items" in text.lower()
    assert "found in the 3 training prompts with their responses" in text
    assert "Without those found" in text
    assert "None of its 4 items is found" in text


@pytest.mark.slow
def test_there_must_be_something_to_look_through(
    finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("evaluate", str(finished / "recipe.yaml"), "--out", str(finished / "other"))
    assert evalkit(*words, "--set", "evaluation.contamination={}") == 1
    assert "there is no stage, and so no training text to look through" in capsys.readouterr().err


def test_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    long = " ".join(f"word{i}" for i in range(20))
    asked = [{"question": f"{long} ?", "choices": ["a", "b"]}, {"question": "Who?", "choices": []}]
    items = write_lines(tmp_path / "items.jsonl", asked)
    train = write_lines(
        tmp_path / "train.jsonl",
        [{"prompt": "Say more", "response": long.upper()}, {"prompt": "Hello", "response": "you"}],
    )
    words = ("data", "contamination", str(train), "--against", str(items))
    assert evalkit(*words, "--json") == 1
    found = json.loads(capsys.readouterr().out)
    (hit,) = found["hits"]
    assert (hit["id"], hit["words"], hit["examples"]) == ("1", 20, ["row-1"])
    assert evalkit(*words) == 1
    assert "20 words in row-1" in capsys.readouterr().out
    assert evalkit(*words, "--ngram", "21") == 0
    assert evalkit("data", "contamination", str(train), "--against", "nothing.jsonl") == 1
    assert "there is no file nothing.jsonl" in capsys.readouterr().err


def test_command_and_recipe_have_the_same_default() -> None:
    from evalkit.cli import cli

    command = cli.commands["data"].commands["contamination"]  # type: ignore[attr-defined]
    (option,) = (one for one in command.params if one.name == "ngram")
    assert option.default == Contamination().ngram
