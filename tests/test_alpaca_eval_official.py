"""What is AlpacaEval's own number, and that no other judge's stands in a column with it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from benchmark_parts import ListSource, TasteJudge, silent
from card_families import changed, pocket_family

from evalkit.benchmarks import alpaca_eval_official as official
from evalkit.benchmarks.alpaca_eval import AlpacaEval
from evalkit.benchmarks.alpaca_eval_files import gold_side
from evalkit.errors import ScoreError
from evalkit.importers.alpaca_eval import AlpacaEvalImporter
from evalkit.judges.llm import LlmJudge, LlmOptions
from evalkit.metrics.alpaca_eval_judge import OFFICIAL_ANNOTATOR, annotator_label, task_by
from evalkit.pipeline.plugins import make
from evalkit.recipe_file import read_recipe
from evalkit.records import Checkpoint, Message, Prompt, ResultSet
from evalkit.roles import BenchmarkContext, Options
from evalkit.standings import sorted_standings

PUBLISHED = "gpt-4-1106-preview"
MODEL = "gemma-2b-it"
RAW = "golden/alpaca_raw"


class NamedJudge(TasteJudge):
    """Verdicts by taste, under another judge's identity."""

    def __init__(self, identity: Mapping[str, Any]) -> None:
        super().__init__()
        self._identity = identity

    def identity(self) -> Mapping[str, Any]:
        return self._identity


def identity(model: str = PUBLISHED, **options: Any) -> Mapping[str, Any]:
    """An llm judge's, at OpenAI's own address unless said otherwise; nobody is asked."""
    pytest.importorskip("alpaca_eval")
    return LlmJudge(LlmOptions(model=model, **options)).identity()


@pytest.fixture(scope="module")
def instructions(shared: Path) -> list[Prompt]:
    text = (shared / "benchdata" / "alpaca_eval.jsonl").read_text("utf-8")
    rows = [json.loads(line) for line in text.splitlines()]
    return [
        Prompt(
            str(number),
            (Message("user", row["instruction"]),),
            gold=row["output"],
            category=row["dataset"],
        )
        for number, row in enumerate(rows)
    ]


def measure(
    prompts: list[Prompt], judge: TasteJudge, outputs: Path, folder: Path, **options: Any
) -> ResultSet:
    suite = AlpacaEval(
        AlpacaEval.Options(instructions={"name": "list"}, outputs={MODEL: str(outputs)}, **options)
    )
    return suite.run(
        BenchmarkContext(
            checkpoint=Checkpoint(MODEL, "nowhere", "0" * 64, "float32"),
            tokenizer=None,
            folder=folder,
            seed=0,
            progress=silent,
            open_engine=lambda: pytest.fail("outputs are given"),
            open_scorer=lambda: pytest.fail("nothing is scored"),
            open_judge=lambda: judge,
            open_source=lambda ref: ListSource(prompts),
        )
    )


class TestOfficial:
    def test_the_data_are_told_by_their_contents(self, instructions: list[Prompt]) -> None:
        baseline = gold_side(instructions)
        assert official.has_official_data(instructions, baseline)
        assert official.has_official_data(instructions[::-1], gold_side(instructions[::-1]))
        assert not official.has_official_data(instructions[:-1], gold_side(instructions[:-1]))
        other = baseline._replace(outputs=("?", *baseline.outputs[1:]))
        assert not official.has_official_data(instructions, other)

    @pytest.mark.parametrize(
        ("model", "options"),
        [
            ("gpt-4.1", {}),
            (PUBLISHED, {"annotator": "weighted_alpaca_eval_gpt4_turbo_new"}),
            (PUBLISHED, {"temperature": 0.0}),
            (PUBLISHED, {"logprobs": "optional"}),
            (PUBLISHED, {"top_logprobs": 20}),
            (PUBLISHED, {"extra_body": {"seed": 1}}),
            (PUBLISHED, {"endpoint": "http://localhost:8000/v1"}),
        ],
    )
    def test_one_judge_is(self, model: str, options: Mapping[str, Any]) -> None:
        assert official.has_official_judge(identity())
        assert official.annotator_label(identity()) == OFFICIAL_ANNOTATOR
        other = identity(model, **options)
        assert not official.has_official_judge(other)
        assert official.annotator_label(other) != OFFICIAL_ANNOTATOR
        assert not official.has_official_judge({"name": "rule"})

    def test_the_edition_official_wants_it_all(
        self, instructions: list[Prompt], shared: Path, tmp_path: Path
    ) -> None:
        outputs = shared / RAW / MODEL / "model_outputs.json"
        right, wrong = NamedJudge(identity()), NamedJudge(identity("gpt-4.1"))
        suite = AlpacaEval(AlpacaEval.Options(instructions={"name": "l"}, edition="official"))

        def found(prompts: list[Prompt], judge: TasteJudge) -> list[str]:
            problems = suite.check_data(lambda ref: ListSource(prompts), judge)
            assert {problem.where for problem in problems} <= {"edition"}
            return [problem.message for problem in problems]

        assert found(instructions, right) == []
        (message,) = found(instructions, wrong)
        assert "judged by weighted_alpaca_eval_gpt4_turbo_by_gpt-4.1, not by" in message
        (message,) = found(instructions[:100], right)
        assert "other instructions or another baseline" in message
        measured = measure(instructions, right, outputs, tmp_path, edition="official")
        assert {score.task for score in measured.scores} == {"alpaca_eval"}
        assert "not_comparable" not in measured.scores[0].settings
        assert measured.provenance["data"]["baseline"] == "gpt4_1106_preview"
        with pytest.raises(ScoreError, match="not AlpacaEval's official test"):
            measure(instructions, wrong, outputs, tmp_path, edition="official")
        with pytest.raises(ScoreError, match="seed 5"):
            measure(instructions, right, outputs, tmp_path, edition="official", order_seed=5)

    def test_recipes_that_name_its_file_have_its_length_control(self) -> None:
        """However they call its columns: what is read is told by its contents."""
        found = {}
        for file in sorted((Path(__file__).parent.parent / "recipes").glob("*.yaml")):
            for ref in read_recipe(file).recipe.evaluation.benchmarks:
                if ref.key == "alpaca_eval":
                    suite = make("benchmarks", ref)
                    found[file.stem] = official.is_dataset(suite.options.instructions)
        assert found["gemma-2-9b-sppo"]
        assert found["zephyr-7b-spin"]
        assert not found["smollm2-135m-sppo"]  # AlpacaEval 1's baseline
        assert not found["quickstart"]

    def test_the_hub_s_data_are_the_default(self) -> None:
        options: Options = AlpacaEval.Options()
        assert options.instructions == official.DATASET  # type: ignore[attr-defined]
        (source,) = AlpacaEval(options).sources()
        assert source.options["dataset"] == "tatsu-lab/alpaca_eval"
        assert AlpacaEval(options)._task() == "alpaca_eval_2"


class TestColumns:
    """Another judge's numbers beside the official ones."""

    @pytest.fixture
    def measured(self, instructions: list[Prompt], shared: Path, tmp_path: Path) -> ResultSet:
        outputs = shared / RAW / MODEL / "model_outputs.json"
        judge = NamedJudge(identity("gpt-4.1"))
        return measure(instructions, judge, outputs, tmp_path, edition="2")

    def published(self, shared: Path) -> ResultSet:
        file = shared / RAW / MODEL / OFFICIAL_ANNOTATOR / "annotations.json"
        ((_, result),) = AlpacaEvalImporter(Options()).read(file)
        return result

    def test_they_say_why_they_do_not_compare(self, measured: ResultSet) -> None:
        for score in measured.scores[:3]:
            assert score.task == "alpaca_eval_2"
            reason = score.settings["not_comparable"]
            assert reason.startswith("judged by weighted_alpaca_eval_gpt4_turbo_by_gpt-4.1")

    def test_no_column_holds_both(self, measured: ResultSet, shared: Path) -> None:
        """Not in the leaderboard of official numbers, and not in one that shows everything."""
        family = pocket_family()
        names = [member.checkpoint.name for member in family.members[:2]]
        family = replace(family, members=family.members[:2], comparisons=())
        family = changed(family, names[0], results=(self.published(shared),))
        family = changed(family, names[1], results=(measured,))
        board = sorted_standings([family], "alpaca_eval")
        shown = [[cell is not None for cell in row.cells] for row in board.rows]
        assert sorted(map(any, shown)) in ([True], [False, True])
        everything = sorted_standings([family])
        for column in zip(*(row.cells for row in everything.rows), strict=True):
            assert sum(cell is not None for cell in column) <= 1
        assert any("Not comparable with published figures" in note for note in everything.notes)

    def test_written_and_read_again_they_stay_apart(
        self, measured: ResultSet, tmp_path: Path
    ) -> None:
        """annotations.json goes to other people: its annotator's name tells whose it is."""
        ((model, again),) = AlpacaEvalImporter(Options()).read(tmp_path / "annotations.json")
        label = "weighted_alpaca_eval_gpt4_turbo_by_gpt-4.1"
        assert model == MODEL
        assert again.scores[0].task == f"alpaca_eval_by_{label}"
        assert again.scores[0].value == pytest.approx(measured.scores[0].value, abs=1e-9)
        assert again.provenance["judge"] == {"name": label}

    def test_official_annotations_stay_official(self, shared: Path) -> None:
        assert {score.task for score in self.published(shared).scores} == {"alpaca_eval"}
        assert task_by(OFFICIAL_ANNOTATOR) == "alpaca_eval"
        assert annotator_label("a", "org/some model", False) == "a_by_org_some_model"


class TestLengthControl:
    def test_the_published_one_is_computed_where_its_data_are(
        self, instructions: list[Prompt], shared: Path, tmp_path: Path
    ) -> None:
        outputs = shared / RAW / MODEL / "model_outputs.json"
        judge = NamedJudge(identity("gpt-4.1"))
        folder = str(shared / "golden" / "alpaca")
        found = measure(instructions, judge, outputs, tmp_path, auxiliary=folder)
        task = found.scores[0].task
        rate = found.score(task, "length_controlled_winrate")
        assert 0 <= rate.value <= 100
        assert found.provenance["length_controlled_winrate"]["C"] > 0
        header, row = (tmp_path / "leaderboard.csv").read_text("utf-8").splitlines()
        assert header.endswith("length_controlled_winrate,lc_standard_error")
        assert float(row.split(",")[-2]) == rate.value
        suite = AlpacaEval(AlpacaEval.Options(instructions={"name": "l"}, auxiliary=folder))
        assert set(suite.data_digests()) >= {"instruction_difficulty.csv"}
        part = measure(instructions[:60], judge, outputs, tmp_path / "b", auxiliary=folder)
        metrics = {score.metric for score in part.scores}
        assert "length_controlled_minimal" in metrics
        assert "length_controlled_winrate" not in metrics
