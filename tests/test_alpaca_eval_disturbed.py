"""AlpacaEval judged over HTTP by a server that fails in every way: nothing lost or paid twice.

Outputs are given as a file, so no model is needed; judging is journaled as in a run.
"""

from __future__ import annotations

import csv
import json
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import judge_server
import pytest
from benchmark_parts import ListSource, silent
from judge_server import CHARGED, FAULTS, MODEL, JudgeServer, served

from evalkit.benchmarks.alpaca_eval import AlpacaEval
from evalkit.chat_client import Usage, read_accounts
from evalkit.errors import PrerequisiteError
from evalkit.fingerprint import fingerprint
from evalkit.journal import Journal
from evalkit.judges.llm import LlmJudge, LlmOptions
from evalkit.pipeline.journaled import JournaledJudge
from evalkit.records import Checkpoint, Message, Prompt, ResultSet, dumps
from evalkit.roles import BenchmarkContext

COUNT = 36
TASK = "alpaca_eval_list"
PROMPTS = [
    Prompt(f"p{i}", (Message("user", f"Ask {i}?"),), gold=f"gold {i}" if i else "out 0")
    for i in range(COUNT)
]
PRICE = {"price_in": 10.0, "price_out": 30.0}


def answers(body: dict[str, Any]) -> dict[str, Any]:
    """Log-probabilities; a refusal, no text and neither token, each for one instruction."""
    prompt = body["messages"][-1]["content"]
    if '"""Ask 29?"""' in prompt:
        return judge_server.choice(None, refusal="I cannot judge this.")
    if '"""Ask 31?"""' in prompt:
        return judge_server.choice(None)
    if '"""Ask 33?"""' in prompt:
        return judge_server.choice("Both", {"Both": -0.1, "The": -3.0})
    if '"""Ask 35?"""' in prompt:
        return judge_server.choice("M", {"M": -0.1, "The": -3.0})
    return judge_server.script(body)


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("outputs") / "model_outputs.json"
    rows = [
        {"instruction": f"Ask {i}?", "output": f"out {i}", "generator": "elsewhere"}
        for i in reversed(range(COUNT))
    ]
    file.write_text(json.dumps(rows))
    return file


def context(folder: Path, judge: LlmJudge) -> BenchmarkContext:
    """As the pipeline makes it: a journal, and accounts, both of which outlive an attempt."""

    def open_judge() -> JournaledJudge:
        judge.keep_accounts(folder / "spending.jsonl")
        return JournaledJudge(judge, Journal(folder / "journal.jsonl"))

    def never(*_: Any) -> Any:
        raise AssertionError("outputs are given")

    return BenchmarkContext(
        checkpoint=Checkpoint("tiny", "nowhere", "0" * 64, "float32"),
        tokenizer=None,
        folder=folder / "raw",
        seed=0,
        progress=silent,
        open_engine=never,
        open_scorer=never,
        open_judge=open_judge,
        open_source=lambda ref: ListSource(PROMPTS),
    )


def measure(server: JudgeServer, outputs: Path, folder: Path, **options: Any) -> ResultSet:
    folder.mkdir(exist_ok=True)
    options = {"concurrency": 3, "backoff_s": 0.005, **PRICE, **options}
    judge = LlmJudge(LlmOptions(endpoint=server.url, model=MODEL, **options))
    suite = AlpacaEval(
        AlpacaEval.Options(instructions={"name": "list"}, outputs={"tiny": str(outputs)})
    )
    return suite.run(context(folder, judge))


@pytest.fixture(scope="module")
def undisturbed(outputs: Path) -> ResultSet:
    with served(script=answers) as server:
        return measure(server, outputs, outputs.parent / "undisturbed")


def raw(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in (folder / "raw").iterdir()}


class TestDisturbed:
    @pytest.mark.slow
    @pytest.mark.parametrize("fault", FAULTS)
    def test_every_fault_is_waited_out(
        self, fault: str, undisturbed: ResultSet, outputs: Path, tmp_path: Path
    ) -> None:
        """Scores, samples, files and costs are an undisturbed run's, byte by byte."""
        with served(script=answers, faults=[fault, None, None, fault, fault]) as server:
            patience = 0.4 if fault == "slow" else 10.0
            found = measure(server, outputs, tmp_path / "disturbed", timeout_s=patience)
            assert set(server.answered.values()) == {1}
            assert len(server.answered) == COUNT - 1  # equal outputs: a draw
            charged = Usage(*server.charged_tokens)
        assert dumps(found) == dumps(undisturbed)
        assert raw(tmp_path / "disturbed") == raw(outputs.parent / "undisturbed")
        (spent,) = read_accounts(tmp_path / "disturbed" / "spending.jsonl").values()
        if fault not in CHARGED:
            assert spent.usage == charged
        assert spent.usage.tokens_in + spent.at_most.tokens_in >= charged.tokens_in
        assert spent.usage.tokens_out + spent.at_most.tokens_out >= charged.tokens_out

    def test_all_at_once(self, undisturbed: ResultSet, outputs: Path, tmp_path: Path) -> None:
        faults = [one for fault in FAULTS for one in (fault, None)]
        with served(script=answers, faults=faults) as server:
            found = measure(server, outputs, tmp_path / "all", timeout_s=0.4, attempts=9)
            assert set(server.answered.values()) == {1}
        assert dumps(found) == dumps(undisturbed)

    def test_failed_judgements_are_missing_with_a_reason(self, undisturbed: ResultSet) -> None:
        rate = undisturbed.score(TASK, "win_rate")
        assert (rate.n, rate.missing) == (COUNT - 3, 3)
        reasons = {sample.id: sample.detail["reason"] for sample in undisturbed.samples}
        assert reasons["p0"] == "equal outputs"
        assert reasons["p29"] == "the model refused: I cannot judge this."
        assert reasons["p31"] == "the answer has no text"
        assert "neither m nor M is among the top tokens" in reasons["p33"]
        values = {sample.id: sample.metrics.get("win_rate") for sample in undisturbed.samples}
        assert [values[f"p{i}"] for i in (29, 31, 33)] == [None] * 3
        assert values["p0"] == 50
        assert values["p35"] in (0, 100)

    @pytest.mark.parametrize("cut", ["quota", "hopeless", "budget"])
    def test_it_goes_on_after_being_cut_off_twice(
        self, cut: str, undisturbed: ResultSet, outputs: Path, tmp_path: Path
    ) -> None:
        """What was answered is asked no more: the server counts, and the accounts agree."""
        answered: Counter[str] = Counter()
        charged = [0, 0]
        each = 400  # more tokens than any request has
        for stop in (8, 20, None):
            always = {"quota": "quota", "hopeless": 503, "budget": None}[cut]
            options: dict[str, Any] = {"attempts": 2}
            faults = [None] * (stop - sum(answered.values())) if stop else []
            if cut == "budget" and stop:
                options["budget_tokens"] = sum(charged) + 4 * each * (2 if answered else 1)
            with served(script=answers, faults=faults, always=always if stop else None) as server:
                if stop:
                    with pytest.raises(PrerequisiteError) as error:
                        measure(server, outputs, tmp_path / "broken", **options)
                    assert "is kept" in error.value.hint
                else:
                    found = measure(server, outputs, tmp_path / "broken", **options)
                answered += server.answered
                charged = [a + b for a, b in zip(charged, server.charged_tokens, strict=True)]
                if "budget_tokens" in options:
                    assert sum(charged) <= options["budget_tokens"]
                    assert 0 < len(server.answered) < COUNT - 1
        assert set(answered.values()) == {1}
        assert len(answered) == COUNT - 1
        assert dumps(found) == dumps(undisturbed)
        assert raw(tmp_path / "broken") == raw(outputs.parent / "undisturbed")
        (spent,) = read_accounts(tmp_path / "broken" / "spending.jsonl").values()
        assert spent.usage == Usage(*charged)


class TestFiles:
    def test_costs_are_what_the_server_counted(self, outputs: Path, tmp_path: Path) -> None:
        with served(script=answers) as server:
            found = measure(server, outputs, tmp_path / "run")
            tokens_in, tokens_out = server.charged_tokens
            by_prompt = {
                body["messages"][-1]["content"]: judge_server.usage_of(body)
                for body in server.bodies
            }
        usd = (10 * tokens_in + 30 * tokens_out) / 1e6
        assert found.provenance["judging"] == {
            "answers": COUNT - 1,
            "tokens_in": tokens_in,
            "tokens_out": tokens_out,
            "usd": round(usd, 6),
            "price": "the recipe",
        }
        rows = json.loads((tmp_path / "run/raw/annotations.json").read_text())
        assert sum(row["price_per_example"] or 0 for row in rows) == pytest.approx(usd)
        assert len(by_prompt) == COUNT - 1
        assert rows[0]["price_per_example"] is None

    def test_without_a_price_tokens_alone_are_told(self, outputs: Path, tmp_path: Path) -> None:
        with served(script=answers) as server:
            found = measure(server, outputs, tmp_path / "run", price_in=None, price_out=None)
        judging = found.provenance["judging"]
        assert judging["price"] == "not known"
        assert "usd" not in judging
        assert judging["tokens_in"] > 0

    def test_every_annotation_says_who_judged_and_how(
        self, undisturbed: ResultSet, outputs: Path
    ) -> None:
        """Beside upstream's columns; an answer's own account of its model, where one was asked."""
        judge = undisturbed.provenance["judge"]
        folder = outputs.parent / "undisturbed" / "raw"
        rows = json.loads((folder / "annotations.json").read_text())
        assert {row["judge_digest"] for row in rows} == {fingerprint(judge)}
        assert {row["judge_model"] for row in rows} == {MODEL}
        assert {row["judge_prompt_sha256"] for row in rows} == {judge["pairs"]["sha256"]}
        assert {row["judge_temperature"] for row in rows} == {judge["pairs"]["temperature"]}
        asked = [row["output_1"] != row["output_2"] for row in rows]
        assert [row["judge_answered_as"] == MODEL for row in rows] == asked
        assert [row["judge_answered_as"] is None for row in rows] == [not one for one in asked]
        assert not all(asked)

    @pytest.mark.filterwarnings("ignore")
    def test_alpaca_eval_s_own_tools_open_them(self, undisturbed: ResultSet, outputs: Path) -> None:
        """Its win rates, its parser on what the judge said, its reader of a leaderboard."""
        metrics = pytest.importorskip("alpaca_eval.metrics")
        import pandas
        from alpaca_eval import completion_parsers, utils

        folder = outputs.parent / "undisturbed" / "raw"
        annotations = pandas.read_json(folder / "annotations.json")
        theirs = metrics.get_winrate(annotations)
        scores = {score.metric: score.value for score in undisturbed.scores}
        assert theirs["win_rate"] == pytest.approx(scores["win_rate"], abs=1e-9)
        for name in ("n_wins", "n_wins_base", "n_draws", "discrete_win_rate"):
            assert theirs[name] == pytest.approx(scores[name], abs=1e-9)
        outputs = utils.load_or_convert_to_dataframe(folder / "model_outputs.json")
        assert int(outputs["output"].str.len().mean()) == scores["avg_length"]
        leaderboard = pandas.read_csv(folder / "leaderboard.csv", index_col=0)
        assert leaderboard.loc["tiny", "win_rate"] == pytest.approx(theirs["win_rate"], abs=1e-9)
        assert leaderboard.loc["tiny", "n_total"] == theirs["n_total"]
        for row in json.loads((folder / "annotations.json").read_text()):
            if isinstance(row["raw_completion"], dict):
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    (value,) = completion_parsers.logprob_parser(
                        row["raw_completion"], "m", ["m", "M"], is_binarize=False
                    )
                if row["preference"] is None:
                    assert value != value
                else:
                    either = (row["preference"], 3 - row["preference"])
                    assert min(abs(value - one) for one in either) < 1e-9

    def test_columns_are_the_published_leaderboard_s(
        self, undisturbed: ResultSet, outputs: Path
    ) -> None:
        alpaca_eval = pytest.importorskip("alpaca_eval")
        theirs = next(
            (Path(alpaca_eval.__file__).parent / "leaderboards/data_AlpacaEval_2").glob(
                "weighted_alpaca_eval_gpt4_turbo_leaderboard.csv"
            )
        )
        ours = outputs.parent / "undisturbed/raw/leaderboard.csv"
        first, second = (
            next(csv.reader(file.read_text("utf-8").splitlines())) for file in (ours, theirs)
        )
        # Length control needs AlpacaEval's own instructions.
        assert first == second[: len(first)]
        assert second[len(first) :] == ["length_controlled_winrate", "lc_standard_error"]

    def test_the_annotator_is_named_with_its_model(self, undisturbed: ResultSet) -> None:
        annotator = f"weighted_alpaca_eval_gpt4_turbo_by_{MODEL}"
        assert undisturbed.provenance["annotator"] == annotator
        assert undisturbed.provenance["outputs"]["generator"] == "elsewhere"
        assert undisturbed.scores[0].settings["outputs"] == "given"
