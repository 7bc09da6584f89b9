"""The pocket checkpoint, served by a real vLLM, as AlpacaEval's judge: its answers are nonsense.

What no preference can be read from is counted as missing and given its reason; nothing breaks,
and what the server counted is what is accounted for.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import vllm_parts
import yaml
from benchmark_parts import ListSource, silent

from evalkit.benchmarks.alpaca_eval import AlpacaEval
from evalkit.chat_client import read_accounts
from evalkit.errors import ScoreError
from evalkit.judges.llm import LlmJudge, LlmOptions
from evalkit.records import Checkpoint, Message, Prompt, ResultSet
from evalkit.roles import BenchmarkContext, ChatPlace

pytestmark = pytest.mark.vllm
COUNT = 16
SAYS = ["the first", "the second", "no idea", "both", "neither of them"]
PROMPTS = [
    Prompt(f"p{i}", (Message("user", f"say {'red blue'.split()[i % 2]} {i}"),), gold=f"red {i}")
    for i in range(COUNT)
]
TURN = "<|im_start|>user\n{} {{instruction}} {{output_1}} {{output_2}}<|im_end|>"


@pytest.fixture(scope="module")
def place(pocket_base: Path) -> Iterator[ChatPlace]:
    engine = vllm_parts.engine()
    engine.serve(vllm_parts.checkpoint(pocket_base), lambda: pytest.fail("vLLM loads it"))
    yield engine.chat_place()
    engine.close()


def measure(
    place: ChatPlace, pocket_base: Path, folder: Path, annotator: Path, **options: Any
) -> ResultSet:
    judge = LlmJudge(LlmOptions(serve=str(pocket_base), annotator=str(annotator), **options))
    judge.ask_at(place)
    judge.keep_accounts(folder / "spending.jsonl")
    rows = [{"instruction": p.messages[0].content, "output": f"blue {p.id}"} for p in PROMPTS]
    outputs = folder / "outputs.json"
    outputs.write_text(json.dumps(rows))
    suite = AlpacaEval(
        AlpacaEval.Options(instructions={"name": "list"}, outputs={"pocket": str(outputs)})
    )
    return suite.run(
        BenchmarkContext(
            checkpoint=Checkpoint("pocket", "nowhere", "0" * 64, "float32"),
            tokenizer=None,
            folder=folder / "raw",
            seed=0,
            progress=silent,
            open_engine=lambda: pytest.fail("outputs are given"),
            open_scorer=lambda: pytest.fail("nothing is scored"),
            open_judge=lambda: judge,
            open_source=lambda ref: ListSource(PROMPTS),
        )
    )


def test_log_probabilities_without_the_tokens_are_missing(
    place: ChatPlace, pocket_base: Path, tmp_path: Path
) -> None:
    """The top five tokens of a model that was never told of `m` and `M`."""
    prompt = tmp_path / "short.txt"
    prompt.write_text(TURN.format("m or M?"))
    with pytest.raises(ScoreError, match="no item has a preference"):
        measure(place, pocket_base, tmp_path, prompt)
    (spent,) = read_accounts(tmp_path / "spending.jsonl").values()
    assert (spent.attempts, spent.uncounted) == (COUNT, 0)
    assert spent.usage.tokens_out == COUNT
    assert spent.usage.tokens_in > 10 * COUNT


def test_texts_without_a_preference_are_missing(
    place: ChatPlace, pocket_base: Path, tmp_path: Path
) -> None:
    """Left alone it says nothing at all; so it draws one of these, of which two are preferences."""
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "prompt.txt").write_text(TURN.format(""))
    config = {
        "prompt_template": "mine/prompt.txt",
        "completions_kwargs": {"model_name": "pocket", "max_tokens": 12, "temperature": 2.0},
        "fn_completion_parser": "regex_parser",
        "completion_parser_kwargs": {"outputs_to_match": {1: "first", 2: "second"}},
    }
    (folder / "configs.yaml").write_text(yaml.safe_dump({"mine": config}))
    found = measure(
        place,
        pocket_base,
        tmp_path,
        folder,
        extra_body={"structured_outputs": {"choice": SAYS}, "seed": 7},
    )
    rate = found.score("alpaca_eval_list", "win_rate")
    assert rate.n + rate.missing == COUNT
    reasons = [sample.detail["reason"] for sample in found.samples]
    assert sum(bool(reason) for reason in reasons) == rate.missing
    rows = json.loads((tmp_path / "raw" / "annotations.json").read_text("utf-8"))
    assert sum(row["preference"] is None for row in rows) == rate.missing
    assert all(isinstance(row["raw_completion"], str) for row in rows)
    assert found.provenance["judging"]["price"] == "not known"
