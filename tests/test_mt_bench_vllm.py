"""MT-Bench judged by the pocket checkpoint on a real vLLM: its nonsense is counted as missing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import benchmark_parts as parts
import pytest
import vllm_parts
from test_fastchat_data import prompts

from evalkit.benchmarks.mt_bench import MtBench
from evalkit.errors import ScoreError
from evalkit.fastchat.answers import answer_row
from evalkit.fastchat.scores import recorded_scores
from evalkit.judges.llm import LlmJudge, LlmOptions
from evalkit.loading import load_model
from evalkit.records import Question, ResultSet, Turn
from evalkit.roles import ChatPlace

pytestmark = pytest.mark.vllm
# A rating and a winner, or neither; about as likely to the pocket checkpoint.
SAYS = ["[5] so [[A]]", "[no]", "[[11]] [[B]]"]
QUESTIONS = [
    Question(str(81 + i), category, (Turn(f"Say {i} red.", "red"), Turn("Say blue.", "blue")))
    for i, category in enumerate(("writing", "math", "stem") * 4)
]


@pytest.fixture(scope="module")
def place(pocket_base: Path) -> Iterator[ChatPlace]:
    """The one server of these tests."""
    engine = vllm_parts.engine()
    engine.serve(vllm_parts.checkpoint(pocket_base), lambda: pytest.fail("it loads the model"))
    yield engine.chat_place()
    engine.close()


def measured(pocket_base: Path, folder: Path, place: ChatPlace, **options: Any) -> ResultSet:
    forms = parts.write_lines(folder / "judge_prompts.jsonl", prompts())
    rows = [answer_row(question.id, "other", ["sand", "stone"]) for question in QUESTIONS]
    given = {"max_tokens": 16, **options}
    judge = LlmJudge(LlmOptions(serve=str(pocket_base), rating_prompts=forms, **given))
    judge.ask_at(place)
    suite = MtBench(
        MtBench.Options(
            questions={"name": "list"},
            grading="both",
            opponents=[str(parts.write_lines(folder / "other.jsonl", rows))],
            max_new_tokens=8,
        )
    )
    context = parts.context(
        pocket_base,
        folder,
        loaded=load_model(pocket_base, dtype="float32", device="cpu"),
        judge=judge,
        source=parts.ListSource(questions=QUESTIONS),
        name="pocket",
    )
    return suite.run(context)


def test_what_cannot_be_read_is_counted(
    pocket_base: Path, tmp_path: Path, place: ChatPlace
) -> None:
    """Left alone it never says a number: so it draws one of a few judgments."""
    drawn = {"structured_outputs": {"choice": SAYS}}
    result = measured(pocket_base, tmp_path, place, extra_body=drawn, temperature=2.0)
    single, pair = (
        [json.loads(line) for line in file.read_text("utf-8").splitlines()]
        for file in (next((tmp_path / "model_judgment").glob(f"*_{kind}.jsonl"))
                     for kind in ("single", "pair"))
    )  # fmt: skip
    assert len(single) == len(pair) == 2 * len(QUESTIONS)
    assert 0 < sum(row["score"] == -1 for row in single) < len(single)
    average = result.score("mt_bench_list", "average")
    assert average.missing == sum(row["score"] == -1 for row in single)
    assert average.n + average.missing == len(single)
    dropped = sum("error" in (row["g1_winner"], row["g2_winner"]) for row in pair)
    matches = result.score("mt_bench_list_pairwise", "win_rate_adjusted")
    assert 0 < dropped < len(pair)
    assert (matches.missing, matches.n) == (dropped, len(pair) - dropped)
    files = sorted((tmp_path / "model_judgment").iterdir())
    scored = recorded_scores(files)
    assert scored["average"] == pytest.approx(average.value)
    adjusted = scored["pairwise"]["models"]["pocket"]["win_rate_adjusted"]
    assert adjusted == pytest.approx(matches.value)
    assert result.provenance["judge"]["endpoint"] == "served here"


def test_nonsense_alone_is_an_error_that_says_so(
    pocket_base: Path, tmp_path: Path, place: ChatPlace
) -> None:
    with pytest.raises(ScoreError, match="the judge rated no answer of 24: no rating in"):
        measured(pocket_base, tmp_path, place)
