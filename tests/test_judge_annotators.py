"""alpaca_eval's annotators through our client: the same requests, the same preferences."""

from __future__ import annotations

import json
import math
import random
import warnings
from pathlib import Path
from typing import Any

import judge_server
import pytest
import yaml
from benchmark_parts import silent
from hypothesis import given, settings
from hypothesis import strategies as st
from judge_server import MODEL, served

from evalkit.benchmarks.alpaca_eval_judging import shows_model_first
from evalkit.chat_client import ChatAnswer
from evalkit.errors import EvalkitError, RecipeError
from evalkit.judges.annotation_parsing import text_parser, text_verdict
from evalkit.judges.annotator import Changes, read_annotator
from evalkit.judges.llm import LlmJudge, LlmOptions
from evalkit.records import Message, Prompt
from evalkit.roles import PairRequest, Verdict

OFFICIAL = "weighted_alpaca_eval_gpt4_turbo"
# Single, in chat, and in a random order: what our client can ask as upstream does.
ASKED = """
    alpaca_eval_clf_cot_gpt4_turbo alpaca_eval_clf_gpt4_turbo alpaca_eval_cot_gpt4_turbo_fn
    alpaca_eval_gpt4 alpaca_eval_gpt4_fn alpaca_eval_gpt4_turbo_fn alpaca_eval_llama3_70b_fn chatgpt
    chatgpt_fn claude_3_opus_ranking gpt4 gpt4_turbo_clf gpt4_turbo_cot_logprob gpt4_turbo_logprob
    improved_aviary_gpt4 improved_lmsys_gpt4 mistral-large-2402_ranking
    weighted_alpaca_eval_cot_gpt4_turbo weighted_alpaca_eval_gpt-4o-mini-2024-07-18
    weighted_alpaca_eval_gpt4_turbo weighted_alpaca_eval_gpt4_turbo_new
""".split()


def pair(instruction: str = "Why?", first: str = "a", second: str = "b") -> PairRequest:
    return PairRequest(Prompt("p", (Message("user", instruction),)), first, second)


def configs() -> Path:
    return Path(pytest.importorskip("alpaca_eval").__file__).parent / "evaluators_configs"


def upstream_verdict(name: str, completion: Any) -> float | None:
    """What alpaca_eval's own parser reads, by its own configuration."""
    from alpaca_eval import completion_parsers

    ((_, config),) = yaml.safe_load((configs() / name / "configs.yaml").read_text()).items()
    parser = getattr(completion_parsers, config.get("fn_completion_parser") or "regex_parser")
    try:
        found = list(parser(completion, **(config.get("completion_parser_kwargs") or {})))
    except Exception:  # as SingleAnnotator does: no annotation
        return None
    if len(found) != 1 or found[0] is None or math.isnan(found[0]):
        return None
    return 1.5 if found[0] == 0 else float(found[0])


def preference(verdict: Verdict) -> float | None:
    """Of the second output, 1 to 2, as upstream says it."""
    return None if verdict.value is None else 2 - 1 / (1 + math.exp(-verdict.value))


class TestRequests:
    @pytest.mark.parametrize("name", ASKED)
    def test_messages_and_fields_are_upstream_s(self, name: str) -> None:
        """alpaca_eval itself fills its template, and names these fields in its configuration."""
        import pandas
        from alpaca_eval import utils

        ((_, config),) = yaml.safe_load((configs() / name / "configs.yaml").read_text()).items()
        template = (configs() / config["prompt_template"]).read_text()
        row = {"instruction": "Why {x}?", "output_1": 'A\n\n"b"', "output_2": " c "}
        (text,), _ = utils.make_prompts(pandas.DataFrame([row]), template)
        with served(models=None) as server:
            judge = LlmJudge(
                LlmOptions(endpoint=server.url, model="m", annotator=name, logprobs="optional")
            )
            judge.compare([pair(*row.values())], silent)
            (body,) = server.bodies
        assert body.pop("messages") == utils.prompt_to_chatml(text.strip())
        sent = config["completions_kwargs"]
        del body["model"]
        for key in ("max_tokens", "logprobs", "top_logprobs", "tools", "tool_choice"):
            assert body.get(key) == sent.get(
                key, sent.get("max_tokens_to_sample") if key == ("max_tokens") else None
            ), key
        if not read_annotator(name).reads_logprobs:
            assert body["temperature"] == sent["temperature"]

    def test_as_published_is_told_from_what_was_changed(self) -> None:
        annotator = read_annotator(OFFICIAL)
        assert annotator.model == "gpt-4-1106-preview"

        def is_published(model: str, **changes: Any) -> bool:
            settings = Changes(**changes)
            body = annotator.changed_body(settings)
            return bool(annotator.identity(model, settings, body)["as_published"])

        assert is_published("gpt-4-1106-preview")
        assert not is_published("gpt-4o")
        for changes in ({"logprobs": "optional"}, {"temperature": 0.5}, {"top_logprobs": 20}):
            assert not is_published("gpt-4-1106-preview", **changes)

    def test_every_configuration_is_read_or_refused_with_a_reason(self) -> None:
        read, refused = [], {}
        for file in sorted(configs().glob("*/config*.yaml")):
            try:
                read.append(read_annotator(file.parent.name).name)
            except EvalkitError as error:
                refused[file.parent.name] = error.message
        assert set(read) >= set(ASKED)
        for reason in refused.values():
            assert any(words in reason for words in ("has no turns", "a pool of", "several pairs",
                                                     "always shows the same side"))  # fmt: skip

    def test_one_s_own_configuration(self, tmp_path: Path) -> None:
        folder = tmp_path / "mine"
        folder.mkdir()
        (folder / "prompt.txt").write_text(
            "<|im_start|>user\n{instruction} {output_1} {output_2}: better?<|im_end|>"
        )
        config = {
            "prompt_template": "mine/prompt.txt",
            "completions_kwargs": {"model_name": "own", "max_tokens": 3, "temperature": 0},
            "completion_parser_kwargs": {"outputs_to_match": {1: "first", 2: "second"}},
        }
        (folder / "configs.yaml").write_text(yaml.safe_dump({"mine": config}))
        with served(script=lambda body: judge_server.choice("the second"), models=None) as server:
            judge = LlmJudge(LlmOptions(endpoint=server.url, model="own", annotator=str(folder)))
            (verdict,) = judge.compare([pair()], silent)
            assert server.bodies[0]["max_tokens"] == 3
        assert preference(verdict) == 2
        assert judge.identity()["pairs"]["annotator"] == "mine"
        before = judge.identity()
        config["completion_parser_kwargs"] = {"outputs_to_match": {2: "first", 1: "second"}}
        (folder / "configs.yaml").write_text(yaml.safe_dump({"mine": config}))
        assert judge.identity() != before
        config["fn_completion_parser"] = "mind_reader"
        (folder / "configs.yaml").write_text(yaml.safe_dump({"mine": config}))
        with pytest.raises(RecipeError, match="there is no parser 'mind_reader'"):
            read_annotator(str(folder))


TEXTS = {
    "gpt4": [
        "Output (a)", "Output (b)", "\nOutput (b) is", "I say Output (a)", "Output (a)\nOutput (b)",
        "", " ", "neither", "Output (b)\nand Output (a)",
    ],
    "alpaca_eval_gpt4": [
        "[{'model': 'model_1', 'rank': 1}, {'model': 'model_2', 'rank': 2}]",
        "[{'model': 'model_2', 'rank': 1}, {'model': 'model_1', 'rank': 2}]",
        "[{'model': 'model_1', 'rank': 3}]", "[]", "[{'model': 'x', 'rank': 1}]", "[{'model'", "7",
        "import os", "[{'model': 'model_1', 'rank': True}]", "(" * 400,
    ],
    "improved_lmsys_gpt4": ["1 7\n ...", "7 1", "3,5\nwell", "5 5\n", "8", "a b", "1 2 3", "nan 1"],
    "alpaca_eval_gpt4_turbo_fn": [
        '{"ordered_models": [{"model": "m", "rank": 1}, {"model": "M", "rank": 2}]}',
        '{"ordered_models": [{"model": "m", "rank": 2}, {"model": "M", "rank": 1}]}',
        '```json\n{"ordered_models": [{"model": "m", "rank": 2}]}\n```', "{}", "[]", "{", "null",
        '{"ordered_models": []}', '{"ordered_models": 3}',
        '[{"ordered_models": [{"model": "m", "rank": 2}]}, {"ordered_models": []}]',
    ],
}  # fmt: skip


class TestPreferences:
    @pytest.mark.parametrize(("name", "text"), [(n, t) for n, ts in TEXTS.items() for t in ts])
    @pytest.mark.filterwarnings("ignore")
    def test_texts_are_read_as_upstream_reads_them(self, name: str, text: str) -> None:
        annotator = read_annotator(name)
        verdict = annotator.verdict(ChatAnswer(text), with_text=False)
        expected = upstream_verdict(name, text)
        if expected is None:
            assert verdict.value is None
            assert verdict.reason
        else:
            assert preference(verdict) == pytest.approx(expected, abs=1e-12)
        assert verdict.said == text

    @given(st.text(alphabet="Output (ab)\n", max_size=60))
    @settings(max_examples=150, deadline=None)
    def test_any_text_with_patterns(self, text: str) -> None:
        pytest.importorskip("alpaca_eval")
        parse = text_parser(None, {"outputs_to_match": {1: r"(?:^|\n) ?Output \(a\)", 2: "b"}})
        from alpaca_eval.completion_parsers import regex_parser

        try:
            theirs = regex_parser(text, {1: r"(?:^|\n) ?Output \(a\)", 2: "b"})
        except ValueError:
            theirs = []
        verdict = text_verdict(ChatAnswer(text), parse)
        if len(theirs) == 1:
            assert preference(verdict) == pytest.approx(theirs[0], abs=1e-12)
        else:
            assert verdict.value is None

    @pytest.mark.parametrize(
        "name",
        [
            OFFICIAL,
            "weighted_alpaca_eval_cot_gpt4_turbo",
            "alpaca_eval_clf_gpt4_turbo",
            "alpaca_eval_clf_cot_gpt4_turbo",
            "gpt4_turbo_logprob",
        ],
    )
    @pytest.mark.filterwarnings("ignore")
    def test_log_probabilities_are_read_as_upstream_reads_them(self, name: str) -> None:
        """Of the one token, or of the last one behind a chain of thought; also where one lacks."""
        draw = random.Random(0)
        annotator = read_annotator(name)
        one, two = ("A", "B") if name.startswith("gpt4") else ("m", "M")
        for _ in range(200):
            last = {
                token: draw.choice([-draw.random() * 9, -9999.0, -1e-9])
                for token in draw.sample([one, two, "The", " m", "\n"], draw.randint(1, 4))
            }
            before = [] if "cot" not in name else [{"Because": -0.1}, {one: -0.2}]
            content = [
                {"top_logprobs": [{"token": t, "logprob": v} for t, v in top.items()]}
                for top in (*before, last)
            ]
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                expected = upstream_verdict(name, {"logprobs": {"content": content}})
            verdict = annotator.verdict(ChatAnswer("x", (*before, last)), with_text=False)
            if expected is None:
                assert verdict.value is None
                assert "among the top tokens" in verdict.reason
            else:
                assert preference(verdict) == pytest.approx(expected, abs=1e-9)
            assert verdict.said == last

    def test_a_function_call_is_read_by_its_arguments(self) -> None:
        arguments = '{"ordered_models": [{"model": "M", "rank": 1}, {"model": "m", "rank": 2}]}'
        made = judge_server.choice(
            None, tool_calls=[{"function": {"name": "x", "arguments": arguments}}]
        )
        with served(script=lambda body: made) as server:
            judge = LlmJudge(
                LlmOptions(endpoint=server.url, model=MODEL, annotator="alpaca_eval_gpt4_turbo_fn")
            )
            (verdict,) = judge.compare([pair()], silent)
            assert server.bodies[0]["tool_choice"]["function"]["name"] == "make_partial_leaderboard"
        assert preference(verdict) == 2


class TestOrder:
    def test_it_is_upstream_s(self) -> None:
        """Its own processor, with the seed that its annotators have by default."""
        processors = pytest.importorskip("alpaca_eval.processors")
        import pandas

        texts = [f"Instruction {i} {'é' * (i % 3)}\n?" for i in range(200)]
        frame = pandas.DataFrame({"instruction": texts, "output_1": "base", "output_2": "model"})
        for seed in (0, 7):
            processor = processors.RandomSwitchTwoColumnsProcessor(
                two_columns_to_switch=["output_1", "output_2"],
                random_seed_columns=("instruction",),
                _switch_column="is_switched_outputs",
                seed=seed,
            )
            shown = processor.preprocess(frame)["output_1"]
            expected = [shows_model_first(text, seed) for text in texts]
            assert [first == "model" for first in shown] == expected

    @pytest.mark.parametrize("model", ["phi-2", "gemma-2b-it"])
    def test_published_annotations_come_out_again(self, shared: Path, model: str) -> None:
        """From GPT-4-turbo's recorded log-probabilities, in our order and by our parser."""
        file = f"golden/alpaca_raw/{model}/{OFFICIAL}/annotations.json"
        annotator = read_annotator(OFFICIAL)
        rows = json.loads((shared / file).read_text("utf-8"))
        asked = [row for row in rows if row["raw_completion"]]
        assert len(asked) >= 800
        for row in asked:
            (token,) = row["raw_completion"]["logprobs"]["content"]
            top = {one["token"]: one["logprob"] for one in token["top_logprobs"]}
            verdict = annotator.verdict(ChatAnswer(token["token"], (top,)), with_text=False)
            second = preference(verdict)
            assert second is not None
            ours = 3 - second if shows_model_first(row["instruction"], 0) else second
            assert ours == pytest.approx(row["preference"], abs=1e-9)
        assert {row["preference"] for row in rows if not row["raw_completion"]} <= {1.5}
