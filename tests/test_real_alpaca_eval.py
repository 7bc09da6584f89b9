"""AlpacaEval's 805 instructions against GPT-4-turbo's responses, judged over HTTP."""

import json
import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import judge_server
import pytest
from benchmark_parts import context
from judge_server import MODEL, served

from evalkit import registry
from evalkit.benchmarks.alpaca_eval import AlpacaEval, AlpacaEvalOptions
from evalkit.judges.llm import LlmJudge, LlmOptions
from evalkit.records import ResultSet
from evalkit.roles import PluginRef

pytestmark = pytest.mark.real
TASK = "alpaca_eval_real"
FAULTS = ["500", None, "429 at once", "cut midway", None, "truncated"]
SILENT_EVERY = 101  # judgments in which neither m nor M is among the top tokens


class Run(NamedTuple):
    """A finished measurement, and every request that was answered."""

    result: ResultSet
    bodies: list[dict[str, Any]]
    answered: Counter[str]
    raw: Path


def judgment(body: dict[str, Any]) -> dict[str, Any]:
    """Log-probabilities that follow from the prompt; now and then one or both are absent."""
    prompt = body["messages"][-1]["content"]
    first, second = judge_server.logprobs_of(prompt)
    if judge_server.number(prompt) % SILENT_EVERY == 0:
        return judge_server.choice("Both", {"Both": -0.1, "The": -3.0})
    if judge_server.number(prompt) % SILENT_EVERY == 1:
        return judge_server.choice("M", {"M": second, "The": -3.0})
    return judge_server.choice("m", {"m": first, "M": second})


def preference_of_second(prompt: str) -> float | None:
    """How likely the second output is better, by the same script: P(M) / (P(m) + P(M))."""
    first, second = (math.exp(value) for value in judge_server.logprobs_of(prompt))
    rest = judge_server.number(prompt) % SILENT_EVERY
    return None if rest == 0 else 1.0 if rest == 1 else second / (first + second)


@pytest.fixture(scope="module")
def instructions(shared: Path) -> list[dict[str, str]]:
    text = (shared / "benchdata" / "alpaca_eval.jsonl").read_text("utf-8")
    return [json.loads(line) for line in text.splitlines()]


@pytest.fixture(scope="module")
def template() -> str:
    """The published prompt's user turn, read from alpaca_eval as it is installed."""
    configs = Path(pytest.importorskip("alpaca_eval").__file__).parent / "evaluators_configs"
    text = (configs / "alpaca_eval_clf_gpt4_turbo" / "alpaca_eval_clf.txt").read_text()
    return text.split("<|im_start|>user\n")[1].removesuffix("\n<|im_end|>")


@pytest.fixture(scope="module")
def run(shared: Path, pocket_base: Path, tmp_path_factory: Any) -> Iterator[Run]:
    source = registry.load("sources", "file")
    options = AlpacaEvalOptions(
        instructions=PluginRef(
            name="file",
            path=str(shared / "benchdata" / "alpaca_eval.jsonl"),
            columns={"category": "dataset"},
        ),
        max_new_tokens=16,
        edition="real",
    )

    def open_source(ref: PluginRef) -> Any:
        return source(source.Options(**ref.options))

    raw = tmp_path_factory.mktemp("raw")
    with served(script=judgment, faults=FAULTS) as server:
        judge = LlmJudge(LlmOptions(endpoint=server.url, model=MODEL, backoff_s=0.01))
        benchmark = AlpacaEval(options)
        assert benchmark.check_data(open_source, judge) == []
        made = context(pocket_base, raw, judge=judge, name="pocket")
        made = type(made)(**{**vars(made), "open_source": open_source})
        yield Run(benchmark.run(made), server.bodies, server.answered, raw)


@pytest.fixture(scope="module")
def wins(run: Run, instructions: list[dict[str, str]], template: str) -> list[float | None]:
    """Win probability of the model per instruction, from the script and the shown order alone."""
    found = []
    for row, sample in zip(instructions, run.result.samples, strict=True):
        shown_first = sample.detail["model_shown_first"]
        outputs = [sample.detail["response"], row["output"]]
        one, two = outputs if shown_first else reversed(outputs)
        prompt = _filled(template, row["instruction"], one, two)
        assert run.answered[prompt] == 1, "asked otherwise, or answered more than once"
        second = preference_of_second(prompt)
        found.append(None if second is None else 1 - second if shown_first else second)
    return found


def _filled(template: str, instruction: str, one: str, two: str) -> str:
    """Filled in from the end, so that no mark inside a text is taken for one of the template."""
    before, _, rest = template.partition("{instruction}")
    between, _, rest = rest.partition("{output_1}")
    middle, _, after = rest.partition("{output_2}")
    return before + instruction + between + one + middle + two + after


def test_every_instruction_is_judged_once_in_spite_of_failures(
    run: Run, wins: list[float | None]
) -> None:
    assert len(wins) == 805
    assert sum(run.answered.values()) == 805
    failures = sum(fault is not None for fault in FAULTS)
    assert len(run.bodies) == 805 + failures


def test_the_win_rate_is_what_the_log_probabilities_say(run: Run, wins: list[float | None]) -> None:
    judged = [value for value in wins if value is not None]
    score = run.result.score(TASK, "win_rate")
    assert score.value == pytest.approx(100 * math.fsum(judged) / len(judged), abs=1e-9)
    assert score.n == len(judged)
    assert score.missing == 805 - len(judged) > 0
    assert run.result.score(TASK, "n_wins").value == sum(value > 0.5 for value in judged)
    for sample, value in zip(run.result.samples, wins, strict=True):
        if value is None:
            assert "win_rate" not in sample.metrics
            assert "neither m nor M" in sample.detail["reason"]
        else:
            assert sample.metrics["win_rate"] == pytest.approx(100 * value, abs=1e-9)


def test_the_order_is_random(run: Run) -> None:
    firsts = [sample.detail["model_shown_first"] for sample in run.result.samples]
    assert 0.4 < sum(firsts) / len(firsts) < 0.6


def test_alpaca_eval_computes_the_same_from_our_files(run: Run) -> None:
    """Its own metric over annotations.json, whose rows it knows by their columns."""
    metrics = pytest.importorskip("alpaca_eval.metrics")
    annotations = json.loads((run.raw / "annotations.json").read_text("utf-8"))
    theirs = metrics.pairwise_to_winrate([row["preference"] for row in annotations])
    ours = {score.metric: score for score in run.result.scores}
    assert ours["win_rate"].value == pytest.approx(theirs["win_rate"], abs=1e-9)
    assert ours["win_rate"].stderr == pytest.approx(theirs["standard_error"], abs=1e-9)
    assert ours["n_wins_base"].value == theirs["n_wins_base"]


def test_files_are_alpaca_eval_s(
    run: Run, instructions: list[dict[str, str]], shared: Path
) -> None:
    published = shared / "golden" / "alpaca_raw"
    for name in ("model_outputs.json", "annotations.json"):
        ours = json.loads((run.raw / name).read_text("utf-8"))
        theirs = json.loads(next(published.rglob(name)).read_text("utf-8"))
        assert [row["instruction"] for row in ours] == [row["instruction"] for row in instructions]
        assert [row["dataset"] for row in ours] == [row["dataset"] for row in instructions]
        assert set(ours[0]) >= set(theirs[0]) - {"samplers", "datasplit", "index"}
    assert {row["annotator"] for row in ours} == {f"weighted_alpaca_eval_gpt4_turbo_by_{MODEL}"}
    assert [row["output_1"] for row in ours] == [row["output"] for row in instructions]
