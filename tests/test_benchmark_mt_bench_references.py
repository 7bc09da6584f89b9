"""Reference answers kept apart from the questions, as FastChat publishes them."""

import json
from pathlib import Path
from typing import Any

import pytest
from benchmark_parts import ListSource, TasteJudge, write_lines

from evalkit.benchmarks.mt_bench import MtBench, MtBenchOptions
from evalkit.errors import Problem, RecipeError
from evalkit.fastchat.answers import with_references
from evalkit.records import Question, Turn
from evalkit.roles import PluginRef

QUESTIONS = [
    Question("111", "math", (Turn("1+1?", "two, said a person"), Turn("Why?"))),
    Question("81", "writing", (Turn("A poem."), Turn("Another."))),
]


def answer(number: int, *turns: Any) -> dict[str, Any]:
    return {"question_id": number, "model_id": "gpt-4", "choices": [{"turns": list(turns)}]}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write_lines(tmp_path / "gpt-4.jsonl", [answer(111, "2", "It is so.")])


def test_they_take_the_place_of_the_questions_own(file: Path) -> None:
    math, writing = with_references(QUESTIONS, file)
    assert [turn.reference for turn in math.turns] == ["2", "It is so."]
    assert [turn.content for turn in math.turns] == ["1+1?", "Why?"]
    assert writing == QUESTIONS[1]


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (answer(111, "2"), "question 111 has 2 turns, and 1 reference answers"),
        (answer(999, "2", "x"), "no reference answer for any of the 2 questions"),
        (answer(111, 2, 3), "gpt-4.jsonl:1  an answer is no text"),
        ({"question_id": 111, "choices": []}, "gpt-4.jsonl:1  this is no answer: IndexError"),
        ({"id": 111}, "gpt-4.jsonl:1  this is no answer: KeyError"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(
    tmp_path: Path, row: dict[str, Any], words: str
) -> None:
    file = write_lines(tmp_path / "gpt-4.jsonl", [row])
    with pytest.raises(RecipeError) as error:
        with_references(QUESTIONS, file)
    assert words in error.value.message


def test_the_benchmark_checks_and_fingerprints_the_file(file: Path) -> None:
    def check(path: Path) -> list[Problem]:
        benchmark = MtBench(
            MtBenchOptions(questions=PluginRef(name="list"), reference_answers=path)
        )
        source = ListSource(questions=QUESTIONS)
        return benchmark.check() or benchmark.check_data(lambda ref: source, TasteJudge())

    assert check(file) == []
    (problem,) = check(file.with_name("gpt-5.jsonl"))
    assert problem.where == "reference_answers"
    options = MtBenchOptions(questions=PluginRef(name="list"), reference_answers=file)
    before = MtBench(options).data_digests()
    file.write_text(json.dumps(answer(111, "3", "No.")) + "\n")
    assert MtBench(options).data_digests() != before
    file.write_text("{")
    (problem,) = check(file)
    assert problem.where == "reference_answers"
    assert "gpt-4.jsonl:1" in problem.message
