"""ARC-Challenge and GSM8K with the harness's own templates over real local data."""

import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from benchmark_parts import context
from card_families import changed, pocket_family

from evalkit.benchmarks.lm_eval_tasks import RESULTS_FILE, SEEDS, LmEvalOptions, LmEvalTasks
from evalkit.leaderboard import read_definition
from evalkit.records import ResultSet, to_json
from evalkit.standings import family_standings, to_plain

pytestmark = pytest.mark.real
LIMIT = 6


@pytest.fixture(scope="module")
def data(shared: Path) -> dict[str, dict[str, str]]:
    folder = shared / "benchdata"
    return {
        "arc_challenge": {
            "train": str(folder / "arc_challenge_train.jsonl"),
            "test": str(folder / "arc_challenge.jsonl"),
        },
        "gsm8k": {
            "train": str(folder / "gsm8k_train.jsonl"),
            "test": str(folder / "gsm8k.jsonl"),
        },
    }


@pytest.fixture(scope="module")
def benchmark_(data: dict[str, dict[str, str]]) -> LmEvalTasks:
    options = LmEvalOptions(
        tasks=("arc_challenge", "gsm8k"),
        num_fewshot={"arc_challenge": 25, "gsm8k": 5},
        limit=LIMIT,
        data=data,
    )
    return LmEvalTasks(options)


@pytest.fixture(scope="module")
def run(
    benchmark_: LmEvalTasks, pocket_base: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[ResultSet, Path]:
    """What was measured, and the folder of raw files."""
    raw = tmp_path_factory.mktemp("raw")
    return benchmark_.run(context(pocket_base, raw, name="base")), raw


@pytest.fixture(scope="module")
def result(run: tuple[ResultSet, Path]) -> ResultSet:
    return run[0]


@pytest.fixture(scope="module")
def theirs(
    benchmark_: LmEvalTasks, pocket_base: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """lm-eval's own `hf` model on the same documents, tasks defined by hand."""
    import lm_eval
    import yaml
    from lm_eval.tasks import TaskManager

    folder = tmp_path_factory.mktemp("tasks")
    home = Path(lm_eval.__file__).parent / "tasks"
    for task, stock in (("arc_challenge", "arc"), ("gsm8k", "gsm8k")):
        definition = {
            "include": str(home / stock / f"{task}.yaml"),
            "task": task,
            "dataset_path": "json",
            "dataset_name": None,
            "dataset_kwargs": {"data_files": benchmark_.options.data[task]},
        }
        (folder / f"{task}.yaml").write_text(yaml.safe_dump(definition))
    manager = TaskManager(include_path=str(folder), include_defaults=False)
    found = {}
    for task, shots in (("arc_challenge", 25), ("gsm8k", 5)):
        found[task] = lm_eval.simple_evaluate(
            model="hf",
            model_args={"pretrained": str(pocket_base), "dtype": "float32", "device": "cpu"},
            tasks=[task],
            num_fewshot=shots,
            limit=LIMIT,
            task_manager=manager,
            batch_size=1,
            bootstrap_iters=0,
            **SEEDS,
        )
    return found


def test_nothing_is_wrong_beforehand(benchmark_: LmEvalTasks) -> None:
    assert benchmark_.check() == []
    assert benchmark_.check_data(lambda ref: None, None) == []  # type: ignore[arg-type, return-value]


def test_prompts_hold_the_standard_number_of_examples(
    theirs: dict[str, Any], result: ResultSet, data: dict[str, dict[str, str]]
) -> None:
    """25 and 5 of the train split's, then the question: and ours are the harness's prompts."""
    train = Path(data["arc_challenge"]["train"]).read_text("utf-8").splitlines()
    asked = {json.loads(line)["question"] for line in train}
    for task, count in (("arc_challenge", 26), ("gsm8k", 6)):
        rows = {str(row["doc_id"]): row for row in theirs[task]["samples"][task]}
        assert len(rows) == LIMIT
        for sample in (one for one in result.samples if one.task == task):
            prompt = rows[sample.id]["arguments"][0][0]
            assert prompt.count("Question:") == count
            assert prompt.endswith(sample.detail["prompt"])
            if task == "arc_challenge":
                shown = [part.split("\n")[0].strip() for part in prompt.split("Question:")[1:-1]]
                assert set(shown) <= asked


def test_log_likelihoods_are_lm_eval_s(theirs: dict[str, Any], result: ResultSet) -> None:
    rows = {str(row["doc_id"]): row for row in theirs["arc_challenge"]["samples"]["arc_challenge"]}
    samples = [sample for sample in result.samples if sample.task == "arc_challenge"]
    assert len(samples) == LIMIT
    for sample in samples:
        expected = [response[0][0] for response in rows[sample.id]["resps"]]
        assert sample.detail["logps"] == pytest.approx(expected, abs=1e-3)


def test_answers_are_lm_eval_s(theirs: dict[str, Any], result: ResultSet) -> None:
    rows = {str(row["doc_id"]): row for row in theirs["gsm8k"]["samples"]["gsm8k"]}
    for sample in (one for one in result.samples if one.task == "gsm8k"):
        assert sample.detail["response"] == rows[sample.id]["resps"][0][0]


def test_scores_are_lm_eval_s(theirs: dict[str, Any], result: ResultSet) -> None:
    for task, metric, key in (
        ("arc_challenge", "acc", "acc,none"),
        ("arc_challenge", "acc_norm", "acc_norm,none"),
        ("gsm8k", "exact_match", "exact_match,strict-match"),
        ("gsm8k", "exact_match,flexible-extract", "exact_match,flexible-extract"),
    ):
        score = result.score(task, metric)
        assert score.value == pytest.approx(100 * theirs[task]["results"][task][key])
        assert score.n == LIMIT
    assert result.score("arc_challenge", "acc_norm").settings["few_shot"] == 25
    assert result.score("gsm8k", "exact_match").settings["few_shot"] == 5


def test_what_is_not_the_standard_test_says_so(result: ResultSet) -> None:
    """ARC lacks items only; GSM8K draws its examples from 500 of 7473 rows."""
    arc, gsm = (
        result.score(*name).settings["not_comparable"]
        for name in (("arc_challenge", "acc_norm"), ("gsm8k", "exact_match"))
    )
    assert arc == f"only the first {LIMIT} items"
    assert gsm == (
        f"only the first {LIMIT} items; the local train split has 500 rows, the standard's 7473"
    )


def test_the_label_reaches_the_table(result: ResultSet) -> None:
    family = changed(pocket_family(), "base", results=(result,))
    (base,) = (member for member in family.members if member.checkpoint.name == "base")
    notes = to_plain(family_standings(replace(family, members=(base,)))).notes
    (note,) = (note for note in notes if "the standard's 7473" in note)
    assert note.startswith("Not comparable with published figures of the same name: ")
    assert "GSM8K" in note or "gsm8k" in note


def test_a_whole_test_over_part_of_the_data_is_no_leaderboard_column(result: ResultSet) -> None:
    """Even all 1319 items do not make GSM8K's column when the examples come from elsewhere."""
    columns = {column.task: column for column in read_definition("open_llm_v1").columns}
    gsm = result.score("gsm8k", "exact_match")
    settings = {key: value for key, value in gsm.settings.items() if key != "limit"}
    whole = replace(gsm, n=1319, settings=settings)
    assert not columns["gsm8k"].admits(whole)
    del settings["not_comparable"]
    assert columns["gsm8k"].admits(replace(whole, settings=settings))


def test_no_path_of_this_machine_is_published(
    run: tuple[ResultSet, Path], data: dict[str, dict[str, str]]
) -> None:
    result, raw = run
    for text in (json.dumps(to_json(result)), (raw / RESULTS_FILE).read_text("utf-8")):
        assert str(Path(data["gsm8k"]["test"]).parent) not in text
        assert tempfile.gettempdir() not in text
