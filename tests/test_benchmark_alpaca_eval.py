"""AlpacaEval: published win rates from recorded preferences, and a real run on a tiny model."""

import csv
import gzip
import json
import math
import warnings
from pathlib import Path
from typing import Any

import benchmark_parts as parts
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from evalkit.benchmarks.alpaca_eval import ANNOTATIONS_FILE, OUTPUTS_FILE, AlpacaEval
from evalkit.benchmarks.provenance import signature
from evalkit.errors import RecipeError, ScoreError
from evalkit.loading import file_digest, load_model
from evalkit.metrics.length_controlled import length_controlled_minimal
from evalkit.metrics.win_rate import win_rate_summary
from evalkit.records import Message, Prompt, ResultSet, dumps
from evalkit.registry import load
from evalkit.roles import PluginRef
from evalkit.stats import compare

preferences = st.lists(
    st.one_of(st.floats(1, 2), st.just(1.5), st.just(0.0), st.none()), min_size=2, max_size=30
).filter(lambda found: any(value is not None for value in found))


def recorded(shared: Path, model: str) -> list[dict[str, Any]]:
    with gzip.open(shared / "golden/alpaca" / f"{model}.jsonl.gz", "rt") as lines:
        return [json.loads(line) for line in lines]


def published(shared: Path) -> list[dict[str, str]]:
    with (shared / "golden/alpaca/expected.csv").open() as lines:
        return list(csv.DictReader(lines))


class TestPublished:
    """The official leaderboard's own numbers."""

    def test_win_rates(self, shared: Path) -> None:
        models = published(shared)
        assert len(models) == 12
        for row in models:
            rows = recorded(shared, row["model"])
            found = win_rate_summary(
                [r["preference"] for r in rows], [r["len_model"] for r in rows]
            )
            assert found.win_rate == pytest.approx(float(row["win_rate"]), abs=1e-6)
            error = float(row["standard_error"])
            assert found.standard_error == pytest.approx(error, abs=1e-6)
            counts = (found.n_wins, found.n_wins_base, found.n_draws, found.n_total)
            names = ("n_wins", "n_wins_base", "n_draws", "n_total")
            assert counts == tuple(int(row[name]) for name in names)
            assert found.discrete_win_rate == pytest.approx(float(row["discrete_win_rate"]))
            slack = 0 if found.n_total == 805 else 2
            assert abs(found.avg_length - int(row["avg_length"])) <= slack

    def test_raw_annotations(self, shared: Path) -> None:
        folder = shared / "golden/alpaca_raw/gemma-2b-it"
        rows = json.loads(
            (folder / "weighted_alpaca_eval_gpt4_turbo" / ANNOTATIONS_FILE).read_text("utf-8")
        )
        found = win_rate_summary(
            [row["preference"] for row in rows], [len(row["output_2"]) for row in rows]
        )
        expected = next(row for row in published(shared) if row["model"] == "gemma-2b-it")
        assert found.win_rate == pytest.approx(float(expected["win_rate"]), abs=1e-6)
        assert found.avg_length == int(expected["avg_length"])


class TestUpstream:
    """Equal to alpaca_eval's own code."""

    @given(preferences)
    @settings(max_examples=40, deadline=None)
    def test_win_rate(self, found: list[float | None]) -> None:
        pytest.importorskip("alpaca_eval")
        from alpaca_eval.metrics import get_winrate

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            expected = get_winrate(
                [{"preference": math.nan if value is None else value} for value in found]
            )
        ours = win_rate_summary(found, [3] * len(found))._asdict()
        for name in ("win_rate", "n_wins", "n_wins_base", "n_draws", "n_total"):
            assert ours[name] == pytest.approx(expected[name]), name
        assert ours["discrete_win_rate"] == pytest.approx(expected["discrete_win_rate"])
        if ours["n_total"] > 1:
            assert ours["standard_error"] == pytest.approx(expected["standard_error"])
        assert ours["n_missing"] == sum(value is None for value in found)

    @pytest.mark.parametrize("model", ["phi-2", "gemma-7b-it", "FuseChat-Gemma-2-9B-Instruct"])
    @pytest.mark.filterwarnings("ignore")
    def test_length_controlled_minimal(self, shared: Path, model: str) -> None:
        """Up to the early stop of upstream's solver, which moves the published number as much."""
        pytest.importorskip("alpaca_eval")
        import pandas as pd
        from alpaca_eval.metrics.glm_winrate import fit_LogisticRegressionCV

        rows = recorded(shared, model)
        won = [row["preference"] for row in rows]
        lengths = [row["len_model"] for row in rows]
        references = [row["len_reference"] for row in rows]
        found = length_controlled_minimal(won, lengths, references, 0, draws=50)
        gap = np.array(references, float) - np.array(lengths, float)
        frame = pd.DataFrame(
            {
                "preference": np.array(won) - 1,
                "gap": np.tanh(gap / gap.std(ddof=1)),
                "constant": 1.0,
            }
        )
        theirs = fit_LogisticRegressionCV(frame, "preference", n_splits=5)
        assert pytest.approx(theirs.C_[0]) == found.C
        expected = 100 / (1 + math.exp(-theirs.coef_[0][1]))
        assert found.win_rate.value == pytest.approx(expected, abs=0.02)


class TestLengthControl:
    """What taking the length out must do."""

    def test_mirrors_when_the_sides_are_exchanged(self) -> None:
        generator = np.random.default_rng(0)
        won = list(1 + generator.random(120))
        ours, theirs = generator.integers(10, 400, (2, 120)).tolist()
        forth = length_controlled_minimal(won, ours, theirs, 0, draws=200)
        back = length_controlled_minimal([3 - x for x in won], theirs, ours, 0, draws=200)
        assert forth.win_rate.value + back.win_rate.value == pytest.approx(100, abs=1e-6)
        assert forth.length_weight == pytest.approx(back.length_weight, abs=1e-6)

    def test_a_win_bought_by_length_goes_away(self) -> None:
        generator = np.random.default_rng(1)
        ours = generator.integers(100, 900, 400)
        theirs = generator.integers(50, 600, 400)
        gap = (theirs - ours) / (theirs - ours).std(ddof=1)
        won = 1 + 1 / (1 + np.exp(3 * np.tanh(gap)))
        raw = win_rate_summary(list(won), ours.tolist()).win_rate
        found = length_controlled_minimal(list(won), ours.tolist(), theirs.tolist(), 0, draws=200)
        assert raw > 65
        assert found.win_rate.value == pytest.approx(50, abs=2)
        assert found.win_rate.low is not None
        assert found.win_rate.high is not None
        assert found.win_rate.low <= found.win_rate.value <= found.win_rate.high

    @pytest.mark.parametrize("preference", [1.0, 2.0])
    def test_one_side_wins_everything(self, preference: float) -> None:
        found = length_controlled_minimal([preference] * 30, [5] * 30, [5] * 30, 0, draws=50)
        value = found.win_rate.value
        assert value < 5 if preference == 1.0 else value > 95
        assert found.length_weight == 0

    def test_missing_rows_count_in_sd_only(self) -> None:
        generator = np.random.default_rng(2)
        won: list[float | None] = list(1 + generator.random(60))
        ours, theirs = generator.integers(10, 400, (2, 60)).tolist()
        won[:5] = [None] * 5
        theirs[:5] = [5000] * 5
        found = length_controlled_minimal(won, ours, theirs, 0, draws=50)
        dropped = length_controlled_minimal(won[5:], ours[5:], theirs[5:], 0, draws=50)
        assert found.win_rate.n == dropped.win_rate.n == 55
        assert found.win_rate.value != pytest.approx(dropped.win_rate.value, abs=1e-6)

    def test_a_near_tie_keeps_its_uncertainty(self) -> None:
        generator = np.random.default_rng(2)
        won = list(1 + generator.random(60))
        ours, theirs = generator.integers(10, 400, (2, 60)).tolist()
        found = length_controlled_minimal(won, ours, theirs, 0, draws=200).win_rate
        assert found.stderr is not None
        assert found.low is not None
        assert found.high is not None
        assert found.stderr > 1
        assert found.low < 50 < found.high

    def test_too_few_items(self) -> None:
        with pytest.raises(ScoreError, match="10 judged"):
            length_controlled_minimal([1.2] * 9, [1] * 9, [2] * 9, 0)


@pytest.fixture(scope="module")
def loaded(tiny_llama: Path) -> Any:
    return load_model(tiny_llama, dtype="float32", device="cpu")


def prompts(count: int = 14) -> list[Prompt]:
    return [
        Prompt(
            f"p{i}",
            (Message("user", f"list river {i}" + (" MUTE" if i % 5 == 4 else "")),),
            gold="stone cloud apple"[: 3 + i],
            category="lists" if i % 2 else "",
        )
        for i in range(count)
    ]


def run(
    tiny_llama: Path, results: Path, loaded: Any, judge: parts.TasteJudge, **options: Any
) -> ResultSet:
    options = {"instructions": {"name": "list"}, "max_new_tokens": 6, **options}
    suite = AlpacaEval(AlpacaEval.Options(**options))
    source = parts.ListSource(prompts())
    return suite.run(parts.context(tiny_llama, results, loaded=loaded, judge=judge, source=source))


class TestRun:
    """A real tiny model, judged."""

    def test_scores_files_and_samples(self, tiny_llama: Path, tmp_path: Path, loaded: Any) -> None:
        judge = parts.TasteJudge()
        results = run(tiny_llama, tmp_path, loaded, judge)
        task = "alpaca_eval_list"
        rate = results.scores[0]
        assert (rate.task, rate.metric, rate.scale) == (task, "win_rate", "percent")
        assert (rate.n, rate.missing) == (12, 2)
        outputs = json.loads((tmp_path / OUTPUTS_FILE).read_text("utf-8"))
        rows = json.loads((tmp_path / ANNOTATIONS_FILE).read_text("utf-8"))
        assert [row["preference"] for row in rows].count(None) == 2
        again = win_rate_summary(
            [row["preference"] for row in rows], [len(row["output"]) for row in outputs]
        )
        assert again.win_rate == pytest.approx(rate.value)
        assert again.avg_length == results.score(task, "avg_length").value
        assert results.score(task, "length_controlled_minimal").n == 12
        assert outputs[1]["dataset"] == "lists"
        assert outputs[0]["dataset"] == "list"
        judged = [s.metrics["win_rate"] for s in results.samples if "win_rate" in s.metrics]
        assert sum(judged) / len(judged) == pytest.approx(rate.value)
        assert results.provenance["judge"] == judge.identity()
        assert compare(results, results, task, "win_rate", 0).n == 12

    def test_format_is_upstream_s(
        self, tiny_llama: Path, tmp_path: Path, loaded: Any, shared: Path
    ) -> None:
        run(tiny_llama, tmp_path, loaded, parts.TasteJudge())
        real = shared / "golden/alpaca_raw/phi-2"
        for ours, theirs in [
            (tmp_path / OUTPUTS_FILE, real / OUTPUTS_FILE),
            (
                tmp_path / ANNOTATIONS_FILE,
                real / "weighted_alpaca_eval_gpt4_turbo" / ANNOTATIONS_FILE,
            ),
        ]:
            mine, upstream = (json.loads(f.read_text("utf-8"))[0] for f in (ours, theirs))
            ours_alone = (
                {"judge_answered_as", *signature({}, "pairs")} if "annotator" in mine else ()
            )
            assert set(mine) == {*upstream, *ours_alone}
            nullable = {"price_per_example", "time_per_example", "raw_completion"}
            for key in set(upstream) - nullable:
                assert type(mine[key]) is type(upstream[key]), key

    def test_upstream_reads_our_annotations(
        self, tiny_llama: Path, tmp_path: Path, loaded: Any
    ) -> None:
        pytest.importorskip("alpaca_eval")
        from alpaca_eval.metrics import get_winrate

        results = run(tiny_llama, tmp_path, loaded, parts.TasteJudge())
        rows = json.loads((tmp_path / ANNOTATIONS_FILE).read_text("utf-8"))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert get_winrate(rows)["win_rate"] == pytest.approx(results.scores[0].value)

    def test_position_is_drawn_and_taken_back(
        self, tiny_llama: Path, tmp_path: Path, loaded: Any
    ) -> None:
        judge = parts.TasteJudge()
        fair = run(tiny_llama, tmp_path / "fair", loaded, judge)
        golds = {prompt.id: prompt.gold for prompt in prompts()}
        firsts = [pair.first != golds[pair.prompt.id] for pair in judge.pairs]
        assert {True, False} == set(firsts)
        biased = run(tiny_llama, tmp_path / "biased", loaded, parts.TasteJudge(40.0))
        for sample in biased.samples:
            if "win_rate" in sample.metrics:
                shown_first = sample.detail["model_shown_first"]
                assert sample.metrics["win_rate"] == pytest.approx(100.0 * shown_first, abs=1e-6)
        for sample in fair.samples:
            if "win_rate" in sample.metrics:
                vowels = parts._vowels(sample.detail["response"])
                logit = vowels - parts._vowels(sample.detail["baseline"])
                assert sample.metrics["win_rate"] == pytest.approx(100 / (1 + math.exp(-logit)))

    def test_the_same_run_gives_the_same_bytes(
        self, tiny_llama: Path, tmp_path: Path, loaded: Any
    ) -> None:
        options = {"temperature": 1.0}
        runs = [
            run(tiny_llama, tmp_path / name, loaded, parts.TasteJudge(), **options)
            for name in ("one", "two")
        ]
        assert dumps(runs[0]) == dumps(runs[1])
        for name in (OUTPUTS_FILE, ANNOTATIONS_FILE):
            assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
        assert str(tmp_path) not in dumps(runs[0])

    def test_a_file_as_baseline(self, tiny_llama: Path, tmp_path: Path, loaded: Any) -> None:
        first = run(tiny_llama, tmp_path / "a", loaded, parts.TasteJudge())
        file = tmp_path / "a" / OUTPUTS_FILE
        itself = run(tiny_llama, tmp_path / "b", loaded, parts.TasteJudge(), baseline=str(file))
        assert itself.scores[0].value == 50.0  # the model against itself, all draws
        assert itself.score("alpaca_eval_list", "n_draws").value == 14
        assert itself.provenance["data"]["baseline"] == "tiny"
        with pytest.raises(ScoreError, match=r"settings|data"):
            compare(first, itself, "alpaca_eval_list", "win_rate", 0)

    def test_a_baseline_with_gaps(self, tiny_llama: Path, tmp_path: Path, loaded: Any) -> None:
        file = tmp_path / "short.json"
        file.write_text('[{"instruction": "list river 0", "output": "a", "generator": "g"}]')
        with pytest.raises(RecipeError, match="13 instructions"):
            run(tiny_llama, tmp_path, loaded, parts.TasteJudge(), baseline=str(file))

    def test_a_judge_that_never_answers(
        self, tiny_llama: Path, tmp_path: Path, loaded: Any
    ) -> None:
        with pytest.raises(ScoreError, match="no item has a preference"):
            run(tiny_llama, tmp_path, loaded, parts.TasteJudge(silent_on="river"))


def test_check_names_a_missing_baseline() -> None:
    suite = AlpacaEval(AlpacaEval.Options(instructions={"name": "x"}, baseline="no.json"))
    (problem,) = suite.check()
    assert problem.where == "baseline"
    assert suite.sources() == [PluginRef(name="x")]
    with pytest.raises(RecipeError, match=r"cannot read the outputs no.json: No such file"):
        suite.data_digests()


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[1, 2]", "row 1 is not an object"),
        (
            '[{"instruction": "a", "output": "b"}, {"instruction": "a"}]',
            "row 2 has no text 'output",
        ),
        ('[{"instruction": 5, "output": "b"}]', "row 1 has no text 'instruction'"),
        ("{}", "holds no model outputs"),
        ("[]", "holds no model outputs"),
        ("[", "cannot read the outputs"),
    ],
)
def test_a_baseline_that_is_none_names_file_and_row(
    text: str, fault: str, tmp_path: Path, tiny_llama: Path, loaded: Any
) -> None:
    file = tmp_path / "mine.json"
    file.write_text(text)
    suite = AlpacaEval(AlpacaEval.Options(instructions={"name": "x"}, baseline=str(file)))
    (problem,) = suite.check()
    assert (problem.where, fault in problem.message, "mine.json" in problem.message) == (
        "baseline",
        True,
        True,
    )
    with pytest.raises(RecipeError, match=fault):
        run(tiny_llama, tmp_path, loaded, parts.TasteJudge(), baseline=str(file))


class TestOptions:
    """The data reference is one as recipes have them."""

    def test_a_bare_name_will_do(self) -> None:
        suite = AlpacaEval(AlpacaEval.Options(instructions="pocket"))
        assert suite.sources() == [PluginRef(name="pocket")]

    @pytest.mark.parametrize("reference", [{"split": "open"}, {"name": 5}])
    def test_a_reference_without_a_name_is_refused_with_its_place(self, reference: Any) -> None:
        with pytest.raises(ValidationError) as caught:
            AlpacaEval.Options(instructions=reference)
        assert [error["loc"] for error in caught.value.errors()] == [("instructions", "name")]


class TestData:
    """What is seen of the data before anything is generated."""

    def _problems(self, *args: Any, judge: Any = None, baseline: str = "gold") -> list[Any]:
        suite = AlpacaEval(AlpacaEval.Options(instructions="list", baseline=baseline))
        source = args[0] if args else parts.ListSource(prompts())
        return suite.check_data(lambda ref: source, judge)

    def test_good_data(self) -> None:
        assert self._problems(judge=parts.TasteJudge()) == []

    def test_no_prompts(self, tmp_path: Path) -> None:
        (empty,) = self._problems(parts.ListSource())
        assert (empty.where, empty.message) == (
            "instructions",
            "there are no instructions to ask",
        )
        plugin = load("sources", "file")
        file = parts.write_lines(tmp_path / "q.jsonl", [{"turns": ["a", "b"]}])
        (questions,) = self._problems(plugin(plugin.Options(path=str(file))))
        assert questions.where == "instructions"
        assert "q.jsonl holds multi-turn questions (turns)" in questions.message

    def test_no_gold(self) -> None:
        bare = [*prompts(2), Prompt("bare", (Message("user", "x"),))]
        (problem,) = self._problems(parts.ListSource(bare))
        assert problem.where == "baseline"
        assert "1 instructions have no reference response, first bare" in problem.message

    def test_a_baseline_with_gaps(self, tmp_path: Path) -> None:
        file = tmp_path / "short.json"
        file.write_text('[{"instruction": "list river 0", "output": "a", "generator": "g"}]')
        (problem,) = self._problems(baseline=str(file))
        assert problem.where == "baseline"
        assert "no output for 13 instructions" in problem.message

    def test_a_judge_that_cannot_judge_them(self) -> None:
        plugin = load("judges", "rule")
        (problem,) = self._problems(judge=plugin(plugin.Options()))
        assert problem.where == "instructions"
        assert "14 of 14 prompts have no rule, first p0" in problem.message

    def test_a_changed_baseline_is_another_digest(self, tmp_path: Path) -> None:
        file = tmp_path / "mine.json"
        suite = AlpacaEval(AlpacaEval.Options(instructions="x", baseline=str(file)))
        file.write_text("[]")
        first = suite.data_digests()
        assert first == {"baseline": file_digest(file)}
        file.write_text("[ ]")
        assert suite.data_digests() != first
        assert AlpacaEval(AlpacaEval.Options(instructions="x")).data_digests() == {}


def test_preferences_outside_the_range_are_refused() -> None:
    with pytest.raises(ScoreError, match="from 1 to 2"):
        win_rate_summary([1.2, -1.0], [1, 1])


def test_the_registry_finds_it() -> None:
    assert load("benchmarks", "alpaca_eval") is AlpacaEval
