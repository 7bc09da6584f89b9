"""Importers: other tools' files give the numbers that measuring here would have given."""

import gzip
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit import registry
from evalkit.errors import RecipeError
from evalkit.fastchat.judgments import rating_row
from evalkit.importers import lm_eval
from evalkit.leaderboard import read_definition
from evalkit.metrics.ratings import Rating, rating_scores
from evalkit.metrics.win_rate import win_rate_scores
from evalkit.records import ResultSet, Score
from evalkit.roles import Imported, Importer
from evalkit.stats import mean_interval, stated_interval, wilson_interval

PREFERENCES = (1.9, 1.2, None, 1.5, 1.0, 2.0)
OUTPUTS = ("", "short", "a longer output", "æøå", "x" * 400, "yes")


def importer(name: str) -> Importer:
    plugin: Importer = registry.load("importers", name)(None)
    return plugin


def read_one(name: str, file: Path) -> Imported:
    assert importer(name).recognises(file)
    assert not any(importer(other).recognises(file) for other in registry.names("importers")
                   if other != name)  # fmt: skip
    (found,) = importer(name).read(file)
    return found


def write(file: Path, value: Any) -> Path:
    """A JSON file; a list under a name with `.jsonl` becomes lines, `.gz` is compressed."""
    lines = isinstance(value, list) and ".jsonl" in file.name
    text = "".join(json.dumps(row) + "\n" for row in value) if lines else json.dumps(value)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(gzip.compress(text.encode()) if file.suffix == ".gz" else text.encode())
    return file


def annotations(model: str = "mine", **changes: Any) -> list[dict[str, Any]]:
    """Rows as alpaca_eval writes them."""
    return [
        {
            "instruction": f"do {i}",
            "dataset": "koala",
            "output_1": "b" * 10,
            "generator_1": "gpt4_1106_preview",
            "output_2": output,
            "generator_2": model,
            "annotator": "weighted_alpaca_eval_gpt4_turbo",
            "preference": preference,
            **changes,
        }
        for i, (preference, output) in enumerate(zip(PREFERENCES, OUTPUTS, strict=True))
    ]


def judgements(model: str | None = "mine", **changes: Any) -> list[dict[str, Any]]:
    """Rows as FastChat writes them: questions 81 (writing) and 121 (coding)."""
    scores = ((81, 1, 7), (81, 2, 4.5), (121, 1, -1), (121, 2, 10))
    named = {} if model is None else {"model": model}
    return [
        {
            "question_id": question,
            **named,
            "judge": ["gpt-4", "single-v1" if turn == 1 else "single-v1-multi-turn"],
            "user_prompt": "...",
            "judgment": f"Rating: [[{score}]]",
            "score": score,
            "turn": turn,
            "tstamp": 1.5,
            **changes,
        }
        for question, turn, score in scores
    ]


def harness_file(**changes: Any) -> dict[str, Any]:
    """A results file of the harness, two tasks and their group."""
    arc = math.sqrt(0.25 * 0.75 / 7)
    value: dict[str, Any] = {
        "results": {
            "arc_challenge": {"alias": "arc_challenge", "acc,none": 0.5,
                              "acc_stderr,none": math.sqrt(0.25 / 7), "acc_norm,none": 0.25,
                              "acc_norm_stderr,none": arc},
            "truthfulqa_mc2": {"acc,none": 0.4321, "acc_stderr,none": 0.0123},
            "both": {"acc,none": 0.47, "acc_stderr,none": 0.01},
            "wiki": {"word_perplexity,none": 12.5, "word_perplexity_stderr,none": "N/A"},
        },
        "group_subtasks": {"both": ["arc_challenge", "truthfulqa_mc2"], "wiki": []},
        "configs": {"arc_challenge": {}, "truthfulqa_mc2": {}, "wiki": {}},
        "versions": {"arc_challenge": 1.0, "truthfulqa_mc2": 3.0},
        "n-shot": {"arc_challenge": 25, "truthfulqa_mc2": 0},
        "higher_is_better": {"arc_challenge": {"acc": True}, "wiki": {"word_perplexity": False}},
        "n-samples": {"arc_challenge": {"original": 1172, "effective": 8},
                      "truthfulqa_mc2": {"original": 817, "effective": 817},
                      "wiki": {"original": 62, "effective": 62}},
        "config": {"model": "hf", "model_args": "pretrained=org/model,dtype=bfloat16", "limit": 8},
        "lm_eval_version": "0.4.8",
        "chat_template": None,
    }  # fmt: skip
    return {**value, **changes}


def test_registered_like_any_plugin() -> None:
    assert registry.names("importers") == (
        "alpaca_eval", "alpaca_eval_leaderboard", "evalkit_result", "inspect_ai", "lm_eval",
        "mt_bench", "mt_bench_pairs", "open_llm_leaderboard",
    )  # fmt: skip
    for name in registry.names("importers"):
        assert issubclass(registry.load("importers", name), Importer)


class TestAlpacaEval:
    """Win rates equal those of the live benchmark's own function."""

    def test_annotations(self, tmp_path: Path) -> None:
        model, result = read_one("alpaca_eval", write(tmp_path / "annotations.json", annotations()))
        expected = win_rate_scores(
            "alpaca_eval",
            PREFERENCES,
            [len(output) for output in OUTPUTS],
            {"baseline": "gpt4_1106_preview"},
            None,
        )
        assert (model, list(result.scores)) == ("mine", expected)
        assert result.scores[0].missing == 1
        assert result.provenance["judge"] == {"name": "weighted_alpaca_eval_gpt4_turbo"}
        assert result.provenance["length_controlled_winrate"].startswith("absent")
        assert [s.metrics.get("win_rate") for s in result.samples] == [
            pytest.approx(90), pytest.approx(20), None, 50, 0, 100,
        ]  # fmt: skip

    def test_origin_names_file_and_digest_but_no_folder(self, tmp_path: Path) -> None:
        file = write(tmp_path / "annotations.json", annotations())
        _, result = read_one("alpaca_eval", file)
        imported = result.provenance["imported"]
        assert (imported["tool"], imported["file"]) == ("alpaca_eval", "annotations.json")
        assert len(imported["sha256"]) == 64
        assert str(tmp_path) not in json.dumps(result.provenance)
        assert (result.checkpoint, result.checkpoint_digest) == ("", "")

    def test_lengths_are_of_all_outputs_where_they_lie_beside(self, tmp_path: Path) -> None:
        outputs = [{"output": "y" * 100, "generator": "mine"}, {"output": "", "generator": "mine"}]
        write(tmp_path / "model_outputs.json", outputs)
        file = write(tmp_path / "judge" / "annotations.json", annotations())
        _, result = read_one("alpaca_eval", file)
        assert result.score("alpaca_eval", "avg_length").value == 50

    def test_compact_form_is_named_after_its_file(self, tmp_path: Path) -> None:
        rows = [
            {"row": i, "instruction_id": i, "dataset": "vicuna", "preference": p, "len_model": 9,
             "len_reference": 10}
            for i, p in enumerate(PREFERENCES)
        ]  # fmt: skip
        model, result = read_one("alpaca_eval", write(tmp_path / "phi-9.jsonl.gz", rows))
        assert model == "phi-9"
        assert result.provenance["not_stated"] == "judge, baseline"
        assert "judge" not in result.provenance
        assert result.score("alpaca_eval", "avg_length").value == 9

    def test_lengths_that_are_not_known_are_not_zero(self, tmp_path: Path) -> None:
        def read(name: str, lengths: list[int | None]) -> ResultSet:
            rows = [{"instruction_id": n, "dataset": "koala", "preference": 2, "len_model": length}
                    for n, length in enumerate(lengths)]  # fmt: skip
            return read_one("alpaca_eval", write(tmp_path / name, rows))[1]

        found = read("some.jsonl", [10, None, 20])
        assert found.score("alpaca_eval", "avg_length").value == 15
        assert [sample.metrics.get("avg_length") for sample in found.samples] == [10, None, 20]
        metrics = {score.metric for score in read("none.jsonl", [None, None]).scores}
        assert "win_rate" in metrics
        assert "avg_length" not in metrics

    @pytest.mark.parametrize(
        ("changes", "task"),
        [({}, "alpaca_eval"), ({"annotator": "my judge"}, "alpaca_eval_by_my_judge"),
         ({"annotator": None}, "alpaca_eval"), ({"dataset": "lawyers"}, "alpaca_eval_lawyers"),
         ({"dataset": None}, "alpaca_eval_own")],
    )  # fmt: skip
    def test_own_instructions_share_no_column_with_the_official(
        self, tmp_path: Path, changes: dict[str, Any], task: str
    ) -> None:
        _, result = read_one("alpaca_eval", write(tmp_path / "a.json", annotations(**changes)))
        assert {score.task for score in result.scores} == {task}

    def test_several_models_in_one_file(self, tmp_path: Path) -> None:
        file = write(tmp_path / "a.json", [*annotations("a"), *annotations("b")])
        assert [one.model for one in importer("alpaca_eval").read(file)] == ["a", "b"]

    @pytest.mark.parametrize(
        ("rows", "said"),
        [
            (annotations(preference="high"), "row 1: 'preference' is 'high', which is no number"),
            (annotations(preference=2.5), "a preference of 2.5 is none"),
            (annotations(preference=None), "no item has a preference"),
            ([*annotations(), *annotations(annotator="other")], "differ in 'annotator'"),
            ([*annotations(), "row"], "row 7: this is no object"),
            ([{k: v for k, v in annotations()[0].items() if k != "preference"}],
             "row 1 has no 'preference'"),
        ],
    )  # fmt: skip
    def test_what_is_wrong_is_named_with_its_place(
        self, tmp_path: Path, rows: Any, said: str
    ) -> None:
        file = write(tmp_path / "a.json", rows)
        with pytest.raises(RecipeError) as caught:
            importer("alpaca_eval").read(file)
        assert said in caught.value.message
        assert str(file) in caught.value.message


class TestMtBench:
    """Ratings equal those of the live benchmark's own function."""

    def test_judgements(self, tmp_path: Path) -> None:
        model, result = read_one("mt_bench", write(tmp_path / "g_single.jsonl", judgements()))
        ratings = [
            Rating("81", "writing", 1, 7), Rating("81", "writing", 2, 4.5),
            Rating("121", "coding", 1, None), Rating("121", "coding", 2, 10),
        ]  # fmt: skip
        assert (model, list(result.scores)) == ("mine", rating_scores("mt_bench", ratings, {}))
        assert result.score("mt_bench", "average").missing == 1
        assert result.provenance["judge"] == {
            "name": "gpt-4", "prompts": ["single-v1", "single-v1-multi-turn"],
        }  # fmt: skip

    def test_what_evalkit_wrote_reads_back(self, tmp_path: Path) -> None:
        ratings = [Rating(question, "own", t, 3.0 + t) for question in "12" for t in (1, 2)]
        rows = [rating_row(rating, "me", "rule") for rating in ratings]
        model, result = read_one("mt_bench", write(tmp_path / "rule_single.jsonl", rows))
        assert (model, list(result.scores)) == ("me", rating_scores("mt_bench", ratings, {}))

    def test_categories_of_own_questions_come_from_the_data_folder(self, tmp_path: Path) -> None:
        write(tmp_path / "question.jsonl", [{"question_id": 81, "category": "law", "turns": []}])
        file = write(tmp_path / "model_judgment" / "j_single.jsonl", judgements())
        _, result = read_one("mt_bench", file)
        metrics = {score.metric for score in result.scores}
        assert {"category_law", "category_coding"} <= metrics
        assert "category_writing" not in metrics

    def test_a_file_without_model_is_named_after_it(self, tmp_path: Path) -> None:
        rows = judgements(None)
        assert read_one("mt_bench", write(tmp_path / "phi-9.jsonl.gz", rows)).model == "phi-9"

    @pytest.mark.parametrize(
        ("rows", "said"),
        [
            (judgements(score=-1), "all 4 judgements of mine failed"),
            (judgements(score="7"), "row 1: 'score' is '7', which is no number"),
            (judgements(turn=0), "'turn' is 0"),
            ([*judgements(), *judgements(judge=["other", "single-v1"])], "several judges"),
        ],
    )
    def test_what_is_wrong_is_named(self, tmp_path: Path, rows: Any, said: str) -> None:
        with pytest.raises(RecipeError, match=said):
            importer("mt_bench").read(write(tmp_path / "j_single.jsonl", rows))

    def test_pairwise_judgements_are_not_taken_for_ratings(self, tmp_path: Path) -> None:
        rows = [{"question_id": 81, "model_1": "a", "model_2": "b", "g1_winner": "model_1",
                 "judge": ["gpt-4", "pair-v2"], "turn": 1}]  # fmt: skip
        assert not importer("mt_bench").recognises(write(tmp_path / "gpt-4_pair.jsonl", rows))


class TestLmEval:
    """Values are the file's; intervals those that its standard errors give."""

    def _read(self, tmp_path: Path, **changes: Any) -> ResultSet:
        file = write(tmp_path / "results_2026.json", harness_file(**changes))
        return read_one("lm_eval", file).result

    def test_right_or_wrong_items_get_wilson(self, tmp_path: Path) -> None:
        score = self._read(tmp_path).score("arc_challenge", "acc_norm")
        expected = wilson_interval(2, 8).scaled(100)
        assert (score.value, score.n, score.scale) == (25.0, 8, "percent")
        assert (score.ci_low, score.ci_high) == (expected.low, expected.high)
        assert score.stderr == pytest.approx(expected.stderr)
        assert score.settings == {
            "few_shot": 25, "filter": "none", "task_version": "1.0", "harness": "lm-eval 0.4.8",
            "chat_template": False, "limit": 8,
        }  # fmt: skip

    def test_other_means_get_student(self, tmp_path: Path) -> None:
        score = self._read(tmp_path).score("truthfulqa_mc2", "acc")
        assert (score.value, score.n) == (pytest.approx(43.21), 817)
        assert score.ci_high == pytest.approx(43.21 + 1.96287 * 1.23, abs=1e-3)

    def test_groups_and_numbers_without_error(self, tmp_path: Path) -> None:
        result = self._read(tmp_path)
        group, wiki = result.score("both", "acc"), result.score("wiki", "word_perplexity")
        assert (group.n, group.ci_high) == (825, pytest.approx(47 + 1.959964))
        assert (wiki.stderr, wiki.ci_low, wiki.higher_is_better) == (None, None, False)
        assert [(s.task, s.metric) for s in result.scores][:2] == [
            ("arc_challenge", "acc_norm"), ("truthfulqa_mc2", "acc"),
        ]  # fmt: skip

    @pytest.mark.parametrize(
        ("changes", "model"),
        [({}, "org/model"), ({"model_name": "n/m"}, "n/m"),
         ({"config": {"model_args": {"pretrained": "d/e"}}}, "d/e")],
    )  # fmt: skip
    def test_the_model_is_called_as_the_file_does(
        self, tmp_path: Path, changes: dict[str, Any], model: str
    ) -> None:
        file = write(tmp_path / "results_1.json", harness_file(**changes))
        assert read_one("lm_eval", file).model == model

    def test_a_nameless_file_is_named_after_its_folder(self, tmp_path: Path) -> None:
        file = write(tmp_path / "org__model" / "results_1.json", harness_file(config={}))
        assert read_one("lm_eval", file).model == "org/model"

    @given(st.integers(2, 20_000).flatmap(lambda n: st.tuples(st.integers(1, n - 1), st.just(n))))
    def test_the_old_layout_tells_its_items_by_the_error(self, sizes: tuple[int, int]) -> None:
        right, n = sizes
        p = right / n
        error = math.sqrt(p * (1 - p) / (n - 1))
        row = {"mc2": 0.4, "mc2_stderr": 0.01, "mc1": p, "mc1_stderr": error}
        value = {"results": {"truthfulqa_mc": row}, "versions": {}, "config": {"num_fewshot": 0}}
        results = lm_eval._normalised(value)
        scores, left_out = lm_eval._scores(results, {}, {})
        assert {score.n for score in scores} == {n}
        assert not left_out

    def test_numbers_of_unknown_items_have_no_n(self, tmp_path: Path) -> None:
        value = {
            "results": {"t": {"f1": 0.5, "f1_stderr": 0.1}, "u": {"acc": 0.5, "acc_stderr": 0.5}},
            "versions": {}, "config": {"model_args": "pretrained=m", "num_fewshot": 5},
        }  # fmt: skip
        result = read_one("lm_eval", write(tmp_path / "old.json", value)).result
        assert [(s.task, s.n, s.settings["few_shot"]) for s in result.scores] == [
            ("t", None, 5), ("u", 2, 5),
        ]  # fmt: skip
        unknown = result.scores[0]
        assert unknown.ci_low is not None
        assert unknown.value - unknown.ci_low == pytest.approx(10 * 1.959964)
        assert result.provenance["harness"] == "lm-eval (0.3, version not stated)"
        with pytest.raises(RecipeError, match="no number can be taken"):
            importer("lm_eval").read(
                write(tmp_path / "none.json", {**value, "results": {"t": {"f1": math.nan}}})
            )

    def test_what_the_file_says_of_itself_is_kept(self, tmp_path: Path) -> None:
        stated = {"git_hash": "abc1234", "date": 1.5, "model_sha": "def", "chat_template_sha": "0a"}
        file = write(tmp_path / "results_2026.json", harness_file(**stated))
        provenance = read_one("lm_eval", file).result.provenance
        kept = {"commit": "abc1234", "model_sha": "def", "chat_template_sha256": "0a"}
        assert {key: provenance[key] for key in kept} == kept

    def _with_samples(self, tmp_path: Path, **changes: Any) -> Path:
        rows = [
            {"doc_id": i, "filter": "none", "acc": float(i < 4), "acc_norm": float(i < 2),
             "target": "a", **changes}
            for i in range(8)
        ]  # fmt: skip
        write(tmp_path / "samples_arc_challenge_2026.jsonl", rows)
        return write(tmp_path / "results_2026.json", harness_file())

    def test_samples_beside_the_results_are_its_items(self, tmp_path: Path) -> None:
        result = read_one("lm_eval", self._with_samples(tmp_path)).result
        assert len(result.samples) == 8
        assert result.samples[3].metrics == {"acc": 100.0, "acc_norm": 0.0}
        assert result.samples[3].task == "arc_challenge"
        assert set(result.provenance["samples"]) == {"samples_arc_challenge_2026.jsonl"}

    def test_samples_tell_how_many_items_there_were(self, tmp_path: Path) -> None:
        """Of partial credit, whose standard error tells nothing."""
        rows = [{"doc_id": i, "acc": 0.4321, "filter": "none"} for i in range(9)]
        file = write(tmp_path / "results_2026.json", harness_file(**{"n-samples": {}}))
        before = importer("lm_eval").read(file)[0].result.score("truthfulqa_mc2", "acc")
        write(tmp_path / "samples_truthfulqa_mc2_2026.jsonl", rows)
        after = importer("lm_eval").read(file)[0].result.score("truthfulqa_mc2", "acc")
        assert (before.n, after.n) == (None, 9)

    def test_a_number_of_unknown_items_is_in_no_column_that_asks_for_all(self) -> None:
        column = next(c for c in read_definition("open_llm_v1").columns if c.task == "winogrande")
        settings = {"few_shot": 5, "chat_template": False}
        whole = Score("winogrande", "acc", 70.0, 1267, "percent", settings=settings)
        assert column.admits(whole)
        assert not column.admits(replace(whole, n=None))

    def test_samples_of_another_run_are_refused(self, tmp_path: Path) -> None:
        file = self._with_samples(tmp_path, acc=1.0)
        with pytest.raises(RecipeError, match=r"mean of its acc is 1, and the results state 0\.5"):
            importer("lm_eval").read(file)

    def test_samples_that_are_cut_off_are_told(self, tmp_path: Path) -> None:
        file = self._with_samples(tmp_path)
        samples = tmp_path / "samples_arc_challenge_2026.jsonl"
        samples.write_text(samples.read_text()[:-9])
        with pytest.raises(RecipeError, match=r"2026\.jsonl:8: this is not valid JSON"):
            importer("lm_eval").read(file)

    @pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "result.json"])
    def test_other_json_is_not_taken_for_results(self, tmp_path: Path, name: str) -> None:
        other = {"results": {"a": "text"}, "version": "1.0", "config": {}, "scores": [{"value": 1}]}
        assert not importer("lm_eval").recognises(write(tmp_path / name, other))


@pytest.mark.parametrize(
    "name",
    ["a.json", "a.jsonl", "a.json.gz", "a.jsonl.gz", "a.txt", "a.csv", "a.eval", "result.json"],
)
@pytest.mark.parametrize("content", [b"", b"{", b"[", b"\xff\xfe", b"[1]", b"null", b"\n\n"])
def test_anything_else_is_no_result(tmp_path: Path, name: str, content: bytes) -> None:
    file = tmp_path / name
    file.write_bytes(content)
    assert not any(importer(one).recognises(file) for one in registry.names("importers"))


def test_a_cut_off_file_is_told_by_its_line(tmp_path: Path) -> None:
    file = write(tmp_path / "j_single.jsonl", judgements())
    file.write_text(file.read_text()[:-20])
    with pytest.raises(RecipeError, match=r"j_single\.jsonl:4: this is not valid JSON"):
        importer("mt_bench").read(file)
    packed = write(tmp_path / "j.jsonl.gz", judgements())
    packed.write_bytes(packed.read_bytes()[:-20])
    with pytest.raises(RecipeError, match=r"cannot read .*j\.jsonl\.gz"):
        importer("mt_bench").read(packed)


def test_student_of_a_mean_equals_that_of_its_error() -> None:
    full = mean_interval([0.1, 0.7, 0.4, 0.9])
    assert full.stderr is not None
    assert stated_interval(full.value, full.stderr, 4) == pytest.approx(full)
