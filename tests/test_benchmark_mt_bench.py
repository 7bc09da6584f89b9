"""MT-Bench: published means from recorded judgments, and real conversations with a tiny model."""

import contextlib
import csv
import gzip
import io
import json
from argparse import Namespace
from pathlib import Path
from typing import Any

import benchmark_parts as parts
import pytest
from pydantic import ValidationError

from evalkit.benchmarks.mt_bench import MtBench
from evalkit.benchmarks.mt_bench_answers import temperature
from evalkit.errors import ScoreError
from evalkit.fastchat.judgments import FAILED
from evalkit.loading import load_model
from evalkit.metrics.ratings import Rating, summarise
from evalkit.records import Question, ResultSet, Turn, dumps
from evalkit.registry import load
from evalkit.roles import PluginRef
from evalkit.stats import compare


def read_judgments(file: Path) -> list[Rating]:
    """The ratings of a FastChat judgment file (`.jsonl` or `.jsonl.gz`)."""
    opener = gzip.open if file.suffix == ".gz" else open
    with opener(file, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines if line.strip()]
    return [
        Rating(
            str(row["question_id"]),
            row.get("category", ""),
            int(row["turn"]),
            None if row["score"] in (None, FAILED) else float(row["score"]),
            row.get("judgment", ""),
        )
        for row in rows
    ]


class TestPublished:
    """The recorded judgments' own means."""

    def test_means(self, shared: Path) -> None:
        folder = shared / "golden/mtbench"
        with (folder / "expected.csv").open() as lines:
            models = list(csv.DictReader(lines))
        assert len(models) == 9
        for row in models:
            ratings = read_judgments(folder / row["file"])
            found = summarise(ratings)
            for name in ("turn1", "turn2", "average"):
                ours = found[name.replace("turn", "turn_")].interval.value
                assert ours == pytest.approx(float(row[name]), abs=1e-9), (row["model"], name)
            assert len(ratings) == int(row["n"])
            assert found["average"].missing == int(row["n_failed"])
            for key, value in row.items():
                if key.startswith("cat_") and value:
                    ours = found[key.replace("cat_", "category_")].interval.value
                    assert ours == pytest.approx(float(value), abs=1e-9), (row["model"], key)


class TestSummary:
    """Means, intervals and gaps."""

    def test_missing_ratings_count_for_nothing(self) -> None:
        ratings = [
            Rating("1", "math", 1, 8.0),
            Rating("1", "math", 2, None),
            Rating("2", "writing", 1, 4.0),
            Rating("2", "writing", 2, 3.0),
            Rating("3", "stem", 1, None),
        ]
        found = summarise(ratings)
        assert list(found) == [
            "average",
            "turn_1",
            "turn_2",
            "category_math",
            "category_writing",
        ]
        assert (found["average"].interval.value, found["average"].missing) == (5.0, 2)
        assert (found["turn_1"].interval.value, found["turn_1"].missing) == (6.0, 1)
        assert found["turn_2"].interval.low is None

    def test_both_turns_of_a_question_are_one_observation(self) -> None:
        scores = [2.0, 9.0, 4.0, 7.0, 5.0]
        twice = [
            Rating(str(i), "", turn, score) for i, score in enumerate(scores) for turn in (1, 2)
        ]
        found = summarise(twice)
        assert found["average"].interval.stderr == pytest.approx(found["turn_1"].interval.stderr)
        assert found["average"].interval.n == 10

    def test_limits_stay_on_the_scale(self) -> None:
        found = summarise([Rating("1", "", 1, 10.0), Rating("2", "", 1, 2.0)])
        assert (found["average"].interval.low, found["average"].interval.high) == (1, 10)


def test_temperatures_are_the_published_ones() -> None:
    common = pytest.importorskip("fastchat.llm_judge.common")
    for category, degrees in common.temperature_config.items():
        assert temperature(category) == degrees
    assert temperature("sorting") == 0.0


@pytest.fixture(scope="module")
def loaded(tiny_llama: Path) -> Any:
    return load_model(tiny_llama, dtype="float32", device="cpu")


def questions() -> list[Question]:
    kinds = ["writing", "math", "sorting"]
    return [
        Question(
            str(81 + i),
            kinds[i % 3],
            (
                Turn(f"sort river {i}"),
                Turn("repeat that" + (" MUTE" if i == 4 else ""), reference="stone"),
            ),
        )
        for i in range(6)
    ]


def run(
    tiny_llama: Path,
    results: Path,
    loaded: Any,
    judge: parts.TasteJudge | None = None,
    **facts: Any,
) -> ResultSet:
    suite = MtBench(MtBench.Options(questions={"name": "list"}, max_new_tokens=5))
    source = parts.ListSource(questions=questions())
    context = parts.context(
        tiny_llama,
        results,
        loaded=loaded,
        judge=judge or parts.TasteJudge(),
        source=source,
        **facts,
    )
    return suite.run(context)


class TestRun:
    """Real conversations."""

    def test_scores(self, tiny_llama: Path, tmp_path: Path, loaded: Any) -> None:
        judge = parts.TasteJudge()
        results = run(tiny_llama, tmp_path, loaded, judge)
        task = "mt_bench_list"
        average = results.scores[0]
        assert (average.task, average.metric, average.scale) == (task, "average", "rating")
        assert (average.n, average.missing) == (11, 1)
        assert results.score(task, "turn_2").missing == 1
        assert results.score(task, "turn_1").missing == 0
        names = [score.metric for score in results.scores]
        assert names[3:] == ["category_math", "category_sorting", "category_writing"]
        temperatures = average.settings["temperatures"]
        assert temperatures == {"math": 0.0, "sorting": 0.0, "writing": 0.7}
        assert compare(results, results, task, "category_math", 0).n == 2
        assert results.provenance["judge"] == judge.identity()

    def test_the_judge_sees_the_conversation_so_far(
        self, tiny_llama: Path, tmp_path: Path, loaded: Any
    ) -> None:
        judge = parts.TasteJudge()
        results = run(tiny_llama, tmp_path, loaded, judge)
        answers = {sample.id: tuple(sample.detail["answers"]) for sample in results.samples}
        assert [len(request.answers) for request in judge.ratings] == [1, 2] * 6
        for request in judge.ratings:
            assert request.answers == answers[request.question.id][: len(request.answers)]

    def test_the_second_turn_follows_the_first(
        self, tiny_llama: Path, tmp_path: Path, loaded: Any
    ) -> None:
        from evalkit.records import Message
        from evalkit.rendering import prompt_token_ids
        from evalkit.roles import GenerationRequest, Sampling

        results = run(tiny_llama, tmp_path, loaded)
        question, sample = questions()[1], results.samples[1]
        first, second = sample.detail["answers"]
        turns = [
            Message("user", question.turns[0].content),
            Message("assistant", first),
            Message("user", question.turns[1].content),
        ]
        request = GenerationRequest(prompt_token_ids(loaded.tokenizer, turns))
        engine = parts.engine(loaded)
        ((response,),) = engine.generate([request], Sampling(0.0, 1.0, 5), parts.silent)
        assert response.text == second

    def test_one_engine_call_per_turn_and_temperature(
        self, tiny_llama: Path, tmp_path: Path, loaded: Any
    ) -> None:
        source = parts.ListSource(questions=questions())
        context = parts.context(
            tiny_llama, tmp_path, loaded=loaded, judge=parts.TasteJudge(), source=source
        )
        MtBench(MtBench.Options(questions={"name": "list"}, max_new_tokens=2)).run(context)
        calls = [sampling.temperature for sampling in context.open_engine().calls]  # type: ignore[attr-defined]
        assert calls == [0.7, 0.0, 0.7, 0.0]

    def test_the_same_run_gives_the_same_bytes(
        self, tiny_llama: Path, tmp_path: Path, loaded: Any
    ) -> None:
        one = run(tiny_llama, tmp_path / "one", loaded)
        two = run(tiny_llama, tmp_path / "two", loaded)
        assert dumps(one) == dumps(two)
        files = sorted(path for path in (tmp_path / "one").rglob("*") if path.is_file())
        assert len(files) == 4
        for file in files:
            twin = tmp_path / "two" / file.relative_to(tmp_path / "one")
            assert file.read_bytes() == twin.read_bytes()
        other = run(tiny_llama, tmp_path / "three", loaded, seed=1)
        writing = [s.detail["answers"] for s in one.samples] != [
            s.detail["answers"] for s in other.samples
        ]
        assert writing

    def test_a_judge_that_never_answers(
        self, tiny_llama: Path, tmp_path: Path, loaded: Any
    ) -> None:
        judge = parts.TasteJudge(silent_on="")
        with pytest.raises(ScoreError, match="rated no answer of 12: refused"):
            run(tiny_llama, tmp_path, loaded, judge)


class TestFastChat:
    """Files that FastChat's own tools open."""

    def test_show_result(self, tiny_llama: Path, tmp_path: Path, loaded: Any) -> None:
        show = pytest.importorskip("fastchat.llm_judge.show_result")
        results = run(tiny_llama, tmp_path, loaded)
        file = tmp_path / "model_judgment" / "taste_single.jsonl"
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            show.display_result_single(
                Namespace(input_file=str(file), model_list=None, bench_name="mt_bench")
            )
        shown = [
            float(line.split()[-1]) for line in printed.getvalue().splitlines() if "tiny" in line
        ]
        expected = [
            results.score("mt_bench_list", metric).value
            for metric in ("turn_1", "turn_2", "average")
        ]
        assert shown == pytest.approx(expected, abs=1e-4)

    def test_loaders(self, tiny_llama: Path, tmp_path: Path, loaded: Any) -> None:
        common = pytest.importorskip("fastchat.llm_judge.common")
        results = run(tiny_llama, tmp_path, loaded)
        asked = common.load_questions(str(tmp_path / "question.jsonl"), None, None)
        assert [row["question_id"] for row in asked] == [81, 82, 83, 84, 85, 86]
        answers = common.load_model_answers(str(tmp_path / "model_answer"))
        turns = answers["tiny"][82]["choices"][0]["turns"]
        assert turns == list(results.samples[1].detail["answers"])
        references = common.load_model_answers(str(tmp_path / "reference_answer"))
        assert references["reference"][81]["choices"][0]["turns"] == ["", "stone"]
        judged = common.load_single_model_judgments(
            str(tmp_path / "model_judgment" / "taste_single.jsonl")
        )
        assert judged["taste", "single-math-v1-multi-turn"][85, "tiny"]["score"] == -1

    def test_a_failed_judgement_has_fastchat_s_mark(
        self, tiny_llama: Path, tmp_path: Path, loaded: Any
    ) -> None:
        results = run(tiny_llama, tmp_path, loaded)
        ratings = read_judgments(tmp_path / "model_judgment" / "taste_single.jsonl")
        found = summarise(ratings)
        assert found["average"].missing == 1
        average = results.score("mt_bench_list", "average")
        assert found["average"].interval.value == pytest.approx(average.value)

    def test_rows_have_the_golden_keys(
        self, tiny_llama: Path, tmp_path: Path, loaded: Any, shared: Path
    ) -> None:
        run(tiny_llama, tmp_path, loaded)
        file = tmp_path / "model_judgment" / "taste_single.jsonl"
        ours = json.loads(file.read_text("utf-8").splitlines()[0])
        with gzip.open(shared / "golden/mtbench/Stefanstud__phi-3-dpo.jsonl.gz", "rt") as lines:
            assert set(json.loads(next(lines))) <= set(ours)


class TestData:
    """What is seen of the data before anything is generated."""

    def _problems(self, source: Any, judge: Any = None) -> list[Any]:
        suite = MtBench(MtBench.Options(questions="list"))
        assert suite.sources() == [PluginRef(name="list")]
        return suite.check_data(lambda ref: source, judge)

    def test_good_data(self) -> None:
        source = parts.ListSource(questions=questions())
        assert self._problems(source, parts.TasteJudge()) == []

    def test_no_questions(self) -> None:
        (empty,) = self._problems(parts.ListSource())
        assert (empty.where, empty.message) == ("questions", "there are no questions to ask")
        plugin = load("sources", "pocket")
        (problem,) = self._problems(plugin(plugin.Options(split="open", count=2)))
        assert problem.where == "questions"
        assert "no two-turn questions" in problem.message

    def test_a_judge_that_cannot_rate_them(self) -> None:
        plugin = load("judges", "rule")
        source = parts.ListSource(questions=questions())
        (problem,) = self._problems(source, plugin(plugin.Options()))
        assert problem.where == "questions"
        assert "12 of 12 turns have no rule, first 81, turn 1" in problem.message

    def test_pocket_questions_have_rules(self) -> None:
        source, judge = load("sources", "pocket"), load("judges", "rule")
        drawn = source(source.Options(split="two_turn", count=20))
        assert self._problems(drawn, judge(judge.Options())) == []

    @pytest.mark.parametrize("reference", [{"split": "two_turn"}, {"name": 5}])
    def test_a_reference_without_a_name_is_refused_with_its_place(self, reference: Any) -> None:
        with pytest.raises(ValidationError) as caught:
            MtBench.Options(questions=reference)
        assert [error["loc"] for error in caught.value.errors()] == [("questions", "name")]


def test_the_registry_finds_it() -> None:
    assert load("benchmarks", "mt-bench") is MtBench
