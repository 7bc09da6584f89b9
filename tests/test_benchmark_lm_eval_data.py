"""Local data under the harness's own templates: what is checked, and what sets it apart."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from benchmark_parts import context, write_lines
from card_families import changed, lm_eval_result, pocket_family, standard_score
from pyarrow import parquet

from evalkit.benchmarks.lm_eval_data import departures, labelled, problems_of
from evalkit.benchmarks.lm_eval_standard import has_standard_items
from evalkit.benchmarks.lm_eval_tasks import RESULTS_FILE, LmEvalOptions, LmEvalTasks
from evalkit.errors import Problem
from evalkit.leaderboard import read_definition
from evalkit.records import Score
from evalkit.sources.pocket import PocketSource
from evalkit.standings import family_standings


def questions(count: int) -> list[dict[str, Any]]:
    """Rows as openai/gsm8k has them."""
    return [
        {"question": f"What is {i} plus 1?", "answer": f"It is {i + 1}.\n#### {i + 1}"}
        for i in range(count)
    ]


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    return {
        "train": str(write_lines(tmp_path / "train.jsonl", questions(9))),
        "test": str(write_lines(tmp_path / "test.jsonl", questions(4))),
    }


def gsm8k(files: dict[str, str], **options: Any) -> LmEvalTasks:
    given = {"tasks": ("gsm8k",), "num_fewshot": 3, "data": {"gsm8k": files}, **options}
    return LmEvalTasks(LmEvalOptions(**given))


def check_data(benchmark: LmEvalTasks) -> list[Problem]:
    return benchmark.check_data(lambda ref: PocketSource(ref.options), None)


class TestFiles:
    @pytest.mark.parametrize(
        ("name", "words"),
        [
            ("trian.jsonl", "there is no file"),
            ("train.txt", "is none of .jsonl, .json, .parquet, .csv"),
            ("empty.jsonl", "is empty"),
            ("train.csv", "must be files of one kind"),
        ],
    )
    def test_what_cannot_be_data(
        self, files: dict[str, str], tmp_path: Path, name: str, words: str
    ) -> None:
        (tmp_path / "empty.jsonl").touch()
        (tmp_path / "train.txt").write_text("x")
        (tmp_path / "train.csv").write_text("question,answer\na,b\n")
        found = problems_of({"gsm8k": {**files, "train": str(tmp_path / name)}})
        assert found[0].where == "data.gsm8k.train"
        assert words in found[0].message
        if name == "trian.jsonl":
            assert "did you mean 'train.jsonl'?" in found[0].hint

    def test_no_split_at_all(self) -> None:
        assert problems_of({"gsm8k": {}}) == [Problem("data.gsm8k", "no split is given")]

    def test_a_changed_file_is_a_changed_run(self, files: dict[str, str]) -> None:
        benchmark = gsm8k(files)
        before = benchmark.data_digests()
        assert set(before) == {"data.gsm8k.train", "data.gsm8k.test"}
        write_lines(Path(files["train"]), questions(8))
        after = benchmark.data_digests()
        assert [key for key in before if before[key] != after[key]] == ["data.gsm8k.train"]


class TestDepartures:
    def test_the_standard_s_data_is_not_set_apart(self) -> None:
        rows = {"gsm8k": {"train": 7473, "test": 1319}}
        assert departures({"gsm8k": {}}, rows, None) == {}

    def test_fewer_rows_are_named(self) -> None:
        rows = {"gsm8k": {"train": 500, "test": 1319}}
        assert departures({"gsm8k": {}}, rows, None) == {
            "gsm8k": "the local train split has 500 rows, the standard's 7473"
        }

    def test_as_many_rows_of_other_words_are_no_standard_s(self) -> None:
        rows = {"gsm8k": {"train": 7473, "test": 1319}}
        told = departures({"gsm8k": {}}, rows, None, {"gsm8k"})
        assert told == {"gsm8k": "the local questions are others"}

    @pytest.mark.parametrize(
        ("task", "name", "field"),
        [("arc_challenge", "arc_challenge", "question"), ("gsm8k", "gsm8k", "question"),
         ("truthfulqa_mc1", "truthfulqa_mc", "question"),
         ("truthfulqa_mc2", "truthfulqa_mc", "question"),
         ("winogrande", "winogrande", "sentence"), ("hellaswag", "hellaswag", "query")],
    )  # fmt: skip
    def test_the_standard_s_questions_are_known_by_their_words(
        self, shared: Path, task: str, name: str, field: str
    ) -> None:
        """However they are written; in another order of words, as a translation has, no more."""
        lines = (shared / "benchdata" / f"{name}.jsonl").read_text("utf-8").splitlines()
        asked = [json.loads(line)[field] for line in lines]
        if task == "hellaswag":  # this copy has the activity before the context
            asked = [one.partition(": ")[2] for one in asked]
        assert has_standard_items(task, asked)
        assert has_standard_items(task, [f"  {one.upper()}" for one in asked[::-1]])
        assert not has_standard_items(task, [" ".join(one.split()[::-1]) for one in asked])
        assert not has_standard_items(task, asked[: len(asked) // 12])

    def test_an_unknown_task_s_data_is_not_vouched_for(self) -> None:
        (reason,) = departures({"mine": {}}, {"mine": {"test": 3}}, None).values()
        assert "local, and not known to be the standard's" in reason

    @pytest.mark.parametrize(
        ("limit", "words"), [(20, "the first 20 items"), (0.05, "the first 5 % of the items")]
    )
    def test_a_limit_sets_every_task_apart(self, limit: float, words: str) -> None:
        assert departures({}, {}, limit) == {"*": f"only {words}"}
        both = departures({"gsm8k": {}}, {"gsm8k": {"train": 9}}, limit)
        assert both["gsm8k"].startswith(f"only {words}; the local train split has 9 rows")


class TestLabel:
    """What a score's settings say of it, as tables take it."""

    def score(self, **settings: Any) -> Score:
        whole = standard_score("gsm8k", "exact_match", 5, 1319, 40.0)
        known = {"filter": "strict-match", **settings}
        return replace(whole, settings={**whole.settings, **known})

    def test_other_shots_than_the_leaderboard_s_are_told(self) -> None:
        asked = replace(self.score(), settings={"few_shot": 4})
        told = labelled(asked, {}, {}, {}).settings["not_comparable"]
        assert told == "asked with 4 examples, the standard's are 5"
        standard = replace(self.score(), settings={"few_shot": 5})
        assert labelled(standard, {}, {}, {}) == standard
        mine = replace(asked, task="mine")
        assert labelled(mine, {}, {}, {}) == mine

    def test_examples_of_the_asked_rows_are_told_where_there_are_any(self) -> None:
        data = {"truthfulqa_mc2": {"asked": "test.jsonl"}}
        for shots, is_told in ((0, False), (3, True)):
            score = replace(self.score(), task="truthfulqa_mc2", settings={"few_shot": shots})
            told = labelled(score, {}, {}, data).settings.get("not_comparable", "")
            assert ("other items of those that are asked" in told) == is_told

    def test_it_stands_below_every_table(self) -> None:
        result = lm_eval_result("base", self.score(not_comparable="only the first 20 items"))
        family = changed(pocket_family(), "base", results=(result,))
        notes = family_standings(replace(family, members=family.members[:1])).notes
        (note,) = (note for note in notes if "the first 20 items" in note)
        assert note.startswith("Not comparable with published figures of the same name: ")

    def test_it_keeps_a_score_out_of_the_leaderboard_s_column(self) -> None:
        columns = {column.task: column for column in read_definition("open_llm_v1").columns}
        assert columns["gsm8k"].admits(self.score())
        assert not columns["gsm8k"].admits(self.score(not_comparable="other examples"))


@pytest.mark.slow
class TestStockTask:
    """The harness reads all its definitions to find one, which takes seconds."""

    def test_the_stock_template_is_asked_over_our_rows(
        self, files: dict[str, str], tmp_path: Path, tiny_llama: Path
    ) -> None:
        benchmark = gsm8k(files, limit=2)
        assert benchmark.check() == check_data(benchmark) == []
        result = benchmark.run(context(tiny_llama, tmp_path / "raw"))
        first, second = result.samples
        assert first.detail["prompt"].count("Question: What is") == 4
        assert first.detail["prompt"].endswith("Question: What is 0 plus 1?\nAnswer:")
        assert second.detail["target"] == "It is 2.\n#### 2"
        settings = result.score("gsm8k", "exact_match").settings
        assert settings["not_comparable"] == (
            "only the first 2 items; the local test split has 4 rows, the standard's 1319; "
            "the local train split has 9 rows, the standard's 7473; "
            "asked with 3 examples, the standard's are 5"
        )
        raw = (tmp_path / "raw" / RESULTS_FILE).read_text("utf-8")
        assert str(tmp_path) not in raw
        files_named = json.loads(raw)["configs"]["gsm8k"]["dataset_kwargs"]["data_files"]
        assert files_named == {"test": "test.jsonl", "train": "train.jsonl"}

    @pytest.mark.parametrize(
        ("spoil", "words"),
        [
            ({"test": [{"query": "x"}], "train": [{"query": "x"}] * 5}, "'question' is undefined"),
            ({"test": [{"query": "x"}]}, "CastError"),
            ({"train": questions(2)}, "cannot make a prompt of this data"),
            ({"train": None}, "cannot make a prompt of this data"),
            ({"test": "not json"}, "cannot make a prompt of this data"),
        ],
    )
    def test_data_that_will_not_do_is_seen_beforehand(
        self, files: dict[str, str], tmp_path: Path, spoil: dict[str, Any], words: str
    ) -> None:
        """A field, examples, a split missing, and what is no JSON."""
        for split, rows in spoil.items():
            files[split] = str(tmp_path / f"spoilt-{split}.jsonl")
            if isinstance(rows, list):
                write_lines(Path(files[split]), rows)
            elif isinstance(rows, str):
                Path(files[split]).write_text(rows)
            else:
                del files[split]
        (problem,) = check_data(gsm8k(files))
        assert problem.where == "data.gsm8k"
        assert words in problem.message
        assert not problem.prerequisite

    @pytest.mark.parametrize(("rows", "shots"), [(1172, 25), (1171, 25), (1172, 24)])
    def test_one_file_stands_for_what_is_asked(
        self, tmp_path: Path, tiny_llama: Path, rows: int, shots: int
    ) -> None:
        """With one item fewer or other shots than the standard's, and its examples in any case."""
        file = tmp_path / "anything.parquet"
        choices = {"text": ["one", "two"], "label": ["A", "B"]}
        questions = [
            {"id": str(i), "question": f"Is it {i}?", "choices": choices, "answerKey": "AB"[i % 2]}
            for i in range(rows)
        ]
        parquet.write_table(pyarrow.Table.from_pylist(questions), file)
        benchmark = LmEvalTasks(
            LmEvalOptions(
                tasks=("arc_challenge",),
                num_fewshot=shots,
                data={"arc_challenge": str(file)},
            )
        )
        assert benchmark.check() == check_data(benchmark) == []
        first, *_ = items = benchmark.items(lambda ref: PocketSource(ref.options))
        assert len(items) == rows
        assert first.texts == ("Question: Is it 0?\nAnswer: one", "Question: Is it 0?\nAnswer: two")
        benchmark = LmEvalTasks(benchmark.options.model_copy(update={"limit": 2}))
        result = benchmark.run(context(tiny_llama, tmp_path / "raw"))
        prompt = result.samples[1].detail["prompt"]
        assert prompt.endswith("Question: Is it 1?\nAnswer:")
        assert prompt.count("Is it 1?") == 1  # a row is no example for itself
        told = result.score("arc_challenge", "acc_norm").settings["not_comparable"]
        assert ("has 1171 rows, the standard's 1172" in told) == (rows == 1171)
        assert ("asked with 24 examples, the standard's are 25" in told) == (shots == 24)
        assert "its examples are other items of those that are asked" in told
        assert ("the local questions are others" in told) == (rows == 1172)

    def test_a_task_that_is_none(self, files: dict[str, str]) -> None:
        (problem,) = check_data(gsm8k(files, data={"gsm8": files}))
        assert problem.where == "data.gsm8"
        assert "did you mean 'gsm8k'?" in problem.hint
        (problem,) = check_data(gsm8k(files, data={"mmlu": files}))
        assert "whose data can be replaced" in problem.message
