"""The 80 questions of MT-Bench, answered by the pocket model and judged over HTTP."""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import judge_server
import pytest
from benchmark_parts import context, engine
from judge_server import MODEL, served

from evalkit import registry
from evalkit.benchmarks.mt_bench import MtBench, MtBenchOptions
from evalkit.judges.llm import LlmJudge, LlmOptions
from evalkit.loading import load_model
from evalkit.records import ResultSet
from evalkit.roles import PluginRef, Sampling

pytestmark = pytest.mark.real
NEW_TOKENS = 24
REFUSED_EVERY = 17  # of the scripted judgments, so that some are missing


class Run(NamedTuple):
    """A finished measurement and what the server and the engine saw of it."""

    result: ResultSet
    bodies: list[dict[str, Any]]
    samplings: list[Sampling]
    raw: Path


def judgment(body: dict[str, Any]) -> dict[str, Any]:
    """A rating that follows from the prompt; now and then the judge will not rate."""
    prompt = body["messages"][-1]["content"]
    if judge_server.number(prompt) % REFUSED_EVERY == 0:
        return judge_server.choice("I would rather not say.")
    return judge_server.script(body)


def rows(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text("utf-8").splitlines()]


@pytest.fixture(scope="module")
def options(shared: Path) -> MtBenchOptions:
    data = shared / "benchdata"
    return MtBenchOptions(
        questions=PluginRef(name="file", path=str(data / "mt_bench_question.jsonl")),
        reference_answers=data / "mt_bench_reference_gpt-4.jsonl",
        max_new_tokens=NEW_TOKENS,
        edition="real",
    )


@pytest.fixture(scope="module")
def run(
    shared: Path, options: MtBenchOptions, pocket_base: Path, tmp_path_factory: Any
) -> Iterator[Run]:
    loaded = load_model(pocket_base, dtype="float32", device="cpu")
    serving = engine(loaded)
    source = registry.load("sources", "file")
    raw = tmp_path_factory.mktemp("raw")
    with served(script=judgment) as server:
        judge = LlmJudge(
            LlmOptions(
                endpoint=server.url,
                model=MODEL,
                rating_prompts=shared / "benchdata" / "judge_prompts.jsonl",
            )
        )

        def open_source(ref: PluginRef) -> Any:
            return source(source.Options(**ref.options))

        assert judge.check() == []
        benchmark = MtBench(options)
        assert benchmark.check() == []
        assert benchmark.check_data(open_source, judge) == []
        made = context(pocket_base, raw, loaded=loaded, judge=judge, name="pocket")
        made = type(made)(
            **{**vars(made), "open_engine": lambda: serving, "open_source": open_source}
        )
        yield Run(benchmark.run(made), server.bodies, serving.calls, raw)


@pytest.fixture(scope="module")
def expected(shared: Path, run: Run) -> dict[tuple[str, int], tuple[str, str]]:
    """System and user prompt of every request, filled in here from the published files."""
    data = shared / "benchdata"
    templates = {row["name"]: row for row in rows(data / "judge_prompts.jsonl")}
    references = {
        row["question_id"]: row["choices"][0]["turns"]
        for row in rows(data / "mt_bench_reference_gpt-4.jsonl")
    }
    answers = {sample.id: sample.detail["answers"] for sample in run.result.samples}
    found = {}
    for row in rows(data / "mt_bench_question.jsonl"):
        number, (one, two) = row["question_id"], row["turns"]
        first, second = answers[str(number)]
        needs = row["category"] in ("math", "reasoning", "coding")
        name = "single-math-v1" if needs else "single-v1"
        marks = {"{question}": one, "{answer}": first}
        marks |= {"{question_1}": one, "{answer_1}": first}
        marks |= {"{question_2}": two, "{answer_2}": second}
        if needs:
            marks |= {f"{{ref_answer_{i}}}": text for i, text in enumerate(references[number], 1)}
        for turn, form in ((1, name), (2, f"{name}-multi-turn")):
            system, template = templates[form]["system_prompt"], templates[form]["prompt_template"]
            found[str(number), turn] = (system, _filled(template, marks))
    return found


def _filled(template: str, marks: dict[str, str]) -> str:
    """The template cut at its marks, and put together again with what they stand for."""
    pieces = [template]
    for mark in marks:
        pieces = [
            part
            for piece in pieces
            for part in ([piece] if piece in marks else _around(piece, mark))
        ]
    return "".join(marks.get(piece, piece) for piece in pieces)


def _around(piece: str, mark: str) -> list[str]:
    cut: list[str] = []
    for number, part in enumerate(piece.split(mark)):
        cut += [mark, part] if number else [part]
    return cut


def test_every_request_is_the_published_template_filled_in(
    run: Run, expected: dict[tuple[str, int], tuple[str, str]]
) -> None:
    asked = Counter(
        (body["messages"][0]["content"], body["messages"][1]["content"]) for body in run.bodies
    )
    assert len(run.bodies) == 160
    assert asked == Counter(expected.values())
    assert {(body["temperature"], body["max_tokens"]) for body in run.bodies} == {(0.0, 2048)}
    assert {tuple(turn["role"] for turn in body["messages"]) for body in run.bodies} == {
        ("system", "user")
    }


def test_answers_are_sampled_as_their_category_is(run: Run) -> None:
    """Two turns at each of the three published temperatures."""
    assert Counter(run.samplings) == Counter(
        {Sampling(t, 1.0, NEW_TOKENS): 2 for t in (0.7, 0.1, 0.0)}
    )


def test_scores_are_what_the_judgments_say(
    run: Run, shared: Path, expected: dict[tuple[str, int], tuple[str, str]]
) -> None:
    ratings = {
        key: judge_server.rating_of(prompt)
        for key, (_, prompt) in expected.items()
        if judge_server.number(prompt) % REFUSED_EVERY
    }
    assert len(ratings) < 160
    categories = {
        str(row["question_id"]): row["category"]
        for row in rows(shared / "benchdata" / "mt_bench_question.jsonl")
    }
    chosen: dict[str, list[float]] = {"average": list(ratings.values())}
    for (question, turn), rating in ratings.items():
        chosen.setdefault(f"turn_{turn}", []).append(rating)
        chosen.setdefault(f"category_{categories[question]}", []).append(rating)
    assert len(run.result.scores) == len(chosen) == 11
    of = {"average": 160, "turn_1": 80, "turn_2": 80}
    for metric, values in chosen.items():
        score = run.result.score("mt_bench_real", metric)
        assert score.value == pytest.approx(sum(values) / len(values), abs=1e-12)
        assert score.n + score.missing == of.get(metric, 20)
        assert score.n == len(values)


def test_fastchat_s_files_hold_the_judgments(run: Run) -> None:
    judged = rows(run.raw / "model_judgment" / f"{MODEL}_single.jsonl")
    assert len(judged) == 160
    forms = Counter(row["judge"][1] for row in judged)
    assert forms == {
        "single-v1": 50,
        "single-v1-multi-turn": 50,
        "single-math-v1": 30,
        "single-math-v1-multi-turn": 30,
    }
    refused = [row for row in judged if row["score"] == -1]
    missing = run.result.score("mt_bench_real", "average").missing
    assert len(refused) == missing > 0
    assert all("I would rather not say." in row["judgment"] for row in refused)


def test_the_judge_stands_in_the_result(run: Run) -> None:
    judge = run.result.provenance["judge"]
    assert (judge["name"], judge["model"], judge["endpoint"]) == ("llm", MODEL, "local")
    assert len(judge["ratings"]["sha256"]) == 64


def test_questions_without_the_reference_answers_are_refused_beforehand(
    shared: Path, options: MtBenchOptions
) -> None:
    """The questions bring some of their own, by people; the protocol's are GPT-4's, for all 30."""
    source = registry.load("sources", "file")
    judge = LlmJudge(
        LlmOptions(model=MODEL, rating_prompts=shared / "benchdata" / "judge_prompts.jsonl")
    )
    bare = MtBench(options.model_copy(update={"reference_answers": None}))
    (problem,) = bare.check_data(lambda ref: source(source.Options(**ref.options)), judge)
    assert problem.where == "questions"
    assert problem.message.startswith("5 of 160 turns cannot be rated, first: turn 2 of question")
    assert "`reference_answers`" in problem.hint
