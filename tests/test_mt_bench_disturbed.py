"""All of MT-Bench against a judge that fails in every way: nothing lost, nothing asked twice."""

import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import benchmark_parts as parts
import judge_server
import pytest
from judge_server import FAULTS, MODEL, JudgeServer, served
from test_fastchat_data import prompts

from evalkit import registry
from evalkit.benchmarks.mt_bench import MtBench
from evalkit.errors import EvalkitError
from evalkit.fastchat.answers import answer_row
from evalkit.fingerprint import fingerprint
from evalkit.journal import Journal
from evalkit.judges.llm import LlmJudge, LlmOptions
from evalkit.loading import load_model
from evalkit.pipeline.journaled import JournaledJudge
from evalkit.records import Question, ResultSet, Turn, dumps

REFUSALS = 7  # every so manieth judgment has no verdict in it
CATEGORIES = ("writing", "math", "coding", "stem")
QUESTIONS = [
    Question(str(81 + i), category, (Turn(f"river {i}", "red"), Turn("repeat that", "blue")))
    for i, category in enumerate(CATEGORIES * 2)
]
ASKED = 3 * 2 * len(QUESTIONS)  # a rating and two games for each turn


def judgment(body: dict[str, Any]) -> dict[str, Any]:
    """A rating or a winner that follows from what is asked; now and then neither."""
    system, prompt = (turn["content"] for turn in body["messages"])
    number = judge_server.number(prompt)
    if number % REFUSALS == 0:
        return judge_server.choice("I am sorry, but I cannot help with that.")
    if "pair" in system:
        return judge_server.choice(f"Compared, [[{'ABC'[number % 3]}]] it is.")
    return judge_server.script(body)


@pytest.fixture(scope="module")
def loaded(tiny_llama: Path) -> Any:
    return load_model(tiny_llama, dtype="float32", device="cpu")


class Bench:
    """MT-Bench in both gradings, with a server, a journal and a folder of one's choice."""

    def __init__(self, tiny_llama: Path, loaded: Any, folder: Path) -> None:
        self._checkpoint, self._loaded, self._folder = tiny_llama, loaded, folder
        self._prompts = parts.write_lines(folder / "judge_prompts.jsonl", prompts())
        rows = [answer_row(question.id, "other", ["sand", "stone"]) for question in QUESTIONS]
        self._other = parts.write_lines(folder / "other.jsonl", rows)

    def run(self, server: JudgeServer, name: str, **options: Any) -> ResultSet:
        judge = LlmJudge(
            LlmOptions(
                endpoint=server.url,
                model=MODEL,
                rating_prompts=self._prompts,
                backoff_s=0.01,
                concurrency=4,
                **options,
            )
        )
        suite = MtBench(
            MtBench.Options(
                questions={"name": "list"},
                grading="both",
                opponents=[str(self._other)],
                max_new_tokens=5,
            )
        )
        context = parts.context(
            self._checkpoint,
            self.results(name),
            loaded=self._loaded,
            judge=JournaledJudge(judge, Journal(self._folder / f"{name}.jsonl")),
            source=parts.ListSource(questions=QUESTIONS),
        )
        return suite.run(context)

    def results(self, name: str) -> Path:
        return self._folder / name

    def files(self, name: str) -> dict[str, bytes]:
        folder = self.results(name)
        return {
            str(file.relative_to(folder)): file.read_bytes()
            for file in folder.rglob("*")
            if file.is_file()
        }


@pytest.fixture
def bench(tiny_llama: Path, loaded: Any, tmp_path: Path) -> Bench:
    return Bench(tiny_llama, loaded, tmp_path)


def faults(seed: int) -> list[str | int | None]:
    """Every fault twice, in any order, an answer after each; log-probabilities nobody asks for."""
    every = [fault for fault in FAULTS if fault != "no logprobs"] * 2
    random.Random(seed).shuffle(every)
    return [one for fault in every for one in (fault, None)]


@pytest.mark.parametrize("seed", [0, 1])
def test_scores_and_files_are_those_of_an_undisturbed_run(bench: Bench, seed: int) -> None:
    with served(script=judgment) as server:
        expected = bench.run(server, "calm")
        paid = server.answered
    assert sum(paid.values()) == ASKED
    with served(script=judgment, faults=faults(seed)) as server:
        found = bench.run(server, "rough", timeout_s=0.5, attempts=10)
        assert server.answered == paid
        assert not server.faults  # all of them happened
    assert dumps(found) == dumps(expected)
    assert bench.files("rough") == bench.files("calm")
    ratings = expected.score("mt_bench_list", "average")
    matches = expected.score("mt_bench_list_pairwise", "win_rate_adjusted")
    assert 0 < ratings.missing < ratings.n
    assert 0 < matches.missing < matches.n
    assert ratings.n + ratings.missing == matches.n + matches.missing == 2 * len(QUESTIONS)


def test_files_show_what_the_judge_was_shown_and_with_which_prompts(
    bench: Bench, tmp_path: Path
) -> None:
    """With them the folder holds all that it takes to judge once more; and who did."""
    with served(script=judgment) as server:
        result = bench.run(server, "calm")
    files = bench.files("calm")
    rows = [json.loads(line) for kind in ("single", "pair")
            for line in files[f"model_judgment/{MODEL}_{kind}.jsonl"].splitlines()]  # fmt: skip
    judge = result.provenance["judge"]
    assert {row["judge_digest"] for row in rows} == {fingerprint(judge)}
    assert {row["judge_model"] for row in rows} == {MODEL}
    assert {row["judge_prompt_sha256"] for row in rows} == {judge["ratings"]["sha256"]}
    assert {row["judge_temperature"] for row in rows} == {0}
    by = [row[key] for row in rows for key in row if key.endswith("judge_answered_as")]
    assert by == [MODEL] * ASKED
    shown = [row[key] for row in rows for key in row if key.endswith("user_prompt")]
    assert Counter(shown) == Counter(server.answered)
    assert files["judge_prompts.jsonl"] == (tmp_path / "judge_prompts.jsonl").read_bytes()
    source = registry.load("sources", "mt_bench")
    again = source(source.Options(data=str(bench.results("calm")), references="reference"))
    needs = [question for question in QUESTIONS if question.category in ("math", "coding")]
    assert [one for one in again.questions() if one in needs] == needs


def test_refusals_are_missing_and_stand_with_their_words(bench: Bench) -> None:
    with served(script=judgment) as server:
        result = bench.run(server, "calm")
    refused = sum(judge_server.number(prompt) % REFUSALS == 0 for prompt in server.answered)
    single, pair = (
        [json.loads(line) for line in bench.files("calm")[f"model_judgment/{MODEL}_{kind}.jsonl"]
         .decode().splitlines()]
        for kind in ("single", "pair")
    )  # fmt: skip
    failed = [row["judgment"] for row in single if row["score"] == -1]
    failed += [row[f"g{n}_judgment"] for row in pair for n in (1, 2)
               if row[f"g{n}_winner"] == "error"]  # fmt: skip
    assert len(failed) == refused > 0
    assert all("I am sorry, but I cannot help with that." in text for text in failed)
    missing = result.score("mt_bench_list", "average").missing
    assert missing == sum(row["score"] == -1 for row in single)


def test_a_stopped_run_goes_on_where_it_was(bench: Bench) -> None:
    """Credit ends twice, in ratings and in games; nobody is asked again, refusals included."""
    with served(script=judgment) as server:
        expected = bench.run(server, "calm")
        paid = server.answered
    answered: Counter[str] = Counter()
    for many in (9, 20):
        with served(script=judgment, faults=[None] * many, always="quota") as server:
            with pytest.raises(EvalkitError, match="no credit"):
                bench.run(server, "stopped")
            answered += server.answered
    with served(script=judgment) as server:
        found = bench.run(server, "stopped")
        answered += server.answered
    assert answered == paid
    assert dumps(found) == dumps(expected)
    assert bench.files("stopped") == bench.files("calm")


def test_a_judge_that_never_gives_a_verdict_is_an_error(bench: Bench) -> None:
    with served(script=lambda body: judge_server.choice("No.")) as server:
        with pytest.raises(EvalkitError, match="rated no answer of 16: no rating in"):
            bench.run(server, "useless")
        assert len(server.bodies) == 2 * len(QUESTIONS)  # no game is played in vain
