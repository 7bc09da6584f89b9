"""Reported figures beside measured ones: marked, with their source, and never by another judge."""

import csv
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from card_families import changed, pocket_family
from runs import RECIPES
from test_tables import v1_family

from evalkit.baselines import rows_of
from evalkit.cards import build_card
from evalkit.cli import main
from evalkit.errors import RecipeError
from evalkit.family import Family
from evalkit.records import ResultSet, Score
from evalkit.standings import Standings, family_standings, sorted_standings, to_plain
from evalkit.tables import export_leaderboard

OFFICIAL = {"name": "weighted_alpaca_eval_gpt4_turbo"}


def judged(benchmark: str, task: str, metric: str, value: float, judge: Any) -> ResultSet:
    scale: Any = "rating" if benchmark == "mt_bench" else "percent"
    scores = [Score(task, metric, value, 805, scale, 1.0, value - 2, value + 2)]
    if benchmark == "alpaca_eval":
        scores += [Score(task, "length_controlled_winrate", value + 1, 805, scale),
                   Score(task, "avg_length", 1500.0, 805, "count")]  # fmt: skip
    return ResultSet(benchmark, "base", "d" * 64, tuple(scores), {"judge": judge})


def family(result: ResultSet, *names: str) -> Family:
    """One measured member beside reported families."""
    whole = pocket_family()
    one = changed(replace(whole, members=whole.members[:1], comparisons=()), "base",
                  results=(result,))  # fmt: skip
    return replace(one, baselines=rows_of(names))


def cells(standings: Standings, label: str) -> dict[str, str]:
    place = [name.split(" (")[0] for name in standings.labels].index(label)
    return {
        row.member.title: row.cells[place].text  # type: ignore[union-attr]
        for row in standings.rows
        if row.cells[place] is not None
    }


def alpaca(value: float = 40.0, task: str = "alpaca_eval", judge: Any = None) -> ResultSet:
    return judged("alpaca_eval", task, "win_rate", value, judge or OFFICIAL)


class TestRows:
    """Reported rows stand below what was measured, marked, each kind of reporter by itself."""

    def test_card_and_leaderboard_are_rows_of_their_own(self) -> None:
        shown = family_standings(family(alpaca(), "sppo_gemma_2_9b"), "alpaca_eval_2")
        found = cells(shown, "AlpacaEval: length-controlled win rate")
        iter3 = "Gemma-2-9B-It-SPPO-Iter3"
        assert found[f"{iter3} (reported by its publisher)"] == "53.27 (n not stated) (reported)"
        assert found[f"{iter3} (reported by the leaderboard)"] == "53.97 (reported)"
        assert found["Pocket-SPPO-Base"] == "41.00"
        assert shown.rows[0].member.title == "Pocket-SPPO-Base"

    def test_each_source_is_named_with_its_date(self) -> None:
        notes = family_standings(family(alpaca(), "sppo_gemma_2_9b"), "alpaca_eval_2").notes
        told = [note for note in notes if note.startswith("Reported, not measured by evalkit")]
        assert len(told) == 3
        assert any("Gemma-2-9B-It-SPPO-Iter3 (reported by the leaderboard)" in note
                   and "2024-07-02" in note for note in told)  # fmt: skip

    def test_a_reported_figure_is_not_chosen_as_the_best(self) -> None:
        whole = family(alpaca(), "sppo_gemma_2_9b")
        second = replace(whole.members[0], title="Second", results=(alpaca(30.0),),
                         checkpoint=replace(whole.members[0].checkpoint, name="iter1"))  # fmt: skip
        shown = family_standings(replace(whole, members=(*whole.members, second)), "alpaca_eval_2")
        best = [row.member.title for row in shown.rows if row.cells[1] and row.cells[1].best]
        assert best == ["Pocket-SPPO-Base"]

    def test_definitions_are_chosen_by_what_was_measured(self) -> None:
        shown = family_standings(family(alpaca(), "sppo_llama_3_8b"))
        assert shown.definition.name == "alpaca_eval_2"

    def test_sorted_among_the_measured(self) -> None:
        shown = sorted_standings([family(alpaca(), "sppo_mistral_7b")], "alpaca_eval_2")
        values = [row.cells[0].value for row in shown.rows if row.cells[0]]
        assert values == sorted(values, reverse=True)

    def test_open_llm_leaderboard_with_the_reported_mean(self) -> None:
        whole = replace(v1_family(), baselines=rows_of(["sppo_llama_3_8b", "sppo_mistral_7b"]))
        shown = family_standings(whole, "open_llm_v1")
        means = cells(shown, "Avg.")
        assert (
            means["Llama-3-Instruct-8B-SPPO-Iter3 (reported by its publisher)"]
            == "70.29 (reported)"
        )
        # Two of its six tasks are known: nothing is computed, and the reported mean is shown.
        assert (
            means["Mistral7B-PairRM-SPPO-Iter1 (reported by its publisher)"] == "66.67 (reported)"
        )
        tasks = cells(shown, "ARC-Challenge")
        assert tasks["Mistral7B-PairRM-SPPO-Iter1 (reported by its publisher)"].startswith(
            "65.02 (n not"
        )
        assert "Mistral7B-PairRM-SPPO-Iter1 (reported by its publisher)" not in cells(
            shown, "GSM8K"
        )
        assert not any("not comparable" in note for note in shown.notes)


class TestJudges:
    """A reported figure shares a column only with numbers of its own judge."""

    def test_another_judges_task_has_no_reported_figures(self) -> None:
        other = alpaca(task="alpaca_eval_by_mine", judge={"name": "mine"})
        shown = family_standings(family(other, "sppo_gemma_2_9b"))
        assert [row.member.title for row in shown.rows] == ["Pocket-SPPO-Base"]
        assert shown.notes[-1].startswith("Nothing is reported for these columns of: gemma-2-9b-it")

    def test_mt_bench_by_another_judge(self) -> None:
        rated = judged("mt_bench", "mt_bench", "average", 6.0, {"name": "llm", "model": "qwen"})
        shown = family_standings(family(rated, "sppo_mistral_7b"), "mt_bench")
        assert cells(shown, "MT-Bench: average rating").keys() == {"Pocket-SPPO-Base"}
        assert any("is left out: judged by gpt-4, it shares no column" in n for n in shown.notes)

    def test_mt_bench_by_the_same_judge(self) -> None:
        rated = judged("mt_bench", "mt_bench", "average", 6.0, {"name": "gpt-4"})
        shown = family_standings(family(rated, "sppo_mistral_7b"), "mt_bench")
        found = cells(shown, "MT-Bench: average rating")
        title = "Mistral7B-PairRM-SPPO-Iter1 (reported by its publisher)"
        assert found[title] == "7.21 (n not stated) (reported)"

    def test_an_unnamed_column_of_reported_figures_alone(self) -> None:
        rated = judged("alpaca_eval", "alpaca_eval_pocket", "win_rate", 60.0, {"name": "rule"})
        shown = family_standings(family(rated, "sppo_mistral_7b"), "mt_bench")
        texts = cells(shown, "MT-Bench: average rating").values()
        assert sorted(texts) == ["7.21", "7.49"]


class TestEverywhere:
    """Files, cards and the command line show the same rows."""

    @pytest.mark.parametrize("kind", ["md", "tex", "html"])
    def test_tables_mark_them(self, tmp_path: Path, kind: str) -> None:
        (file,) = export_leaderboard(
            [family(alpaca(), "sppo_gemma_2_9b")], tmp_path, "alpaca_eval_2", [kind]
        )
        text = file.read_text("utf-8")
        assert "53.97" in text
        assert text.count("(reported)") >= 5

    def test_rows_of_values_say_their_kind(self, tmp_path: Path) -> None:
        (file,) = export_leaderboard(
            [family(alpaca(), "sppo_gemma_2_9b")], tmp_path, "alpaca_eval_2", ["csv"]
        )
        with file.open(encoding="utf-8") as stream:
            rows = list(csv.DictReader(stream))
        assert {row["kind"] for row in rows} == {"base", "reported"}
        assert [row["checkpoint"] for row in rows if row["kind"] == "base"] == ["base"]

    def test_a_card_cites_a_record_of_each(self) -> None:
        whole = family(alpaca(), "sppo_gemma_2_9b")
        card = build_card(whole, whole.members[0])
        assert "53.97 (reported)" in card
        assert "UCLA-AGI/Gemma-2-9B-It-SPPO-Iter3, 2024-06-29" in card

    def test_the_flag(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        package = pytest.importorskip("alpaca_eval")
        boards = Path(package.__file__).parent / "leaderboards" / "data_AlpacaEval_2"
        source = boards / "weighted_alpaca_eval_gpt4_turbo_leaderboard.csv"
        words = ["leaderboard", "export", str(source), "--baseline", "sppo_gemma_2_9b",
                 "--definition", "alpaca_eval_2", "--json"]  # fmt: skip
        with pytest.raises(SystemExit) as caught:
            main(words)
        assert not caught.value.code
        models = {row["model"]: row for row in json.loads(capsys.readouterr().out)["models"]}
        reported = models["Gemma-2-9B-It-SPPO-Iter3 (reported by the leaderboard)"]
        measured = models["SPPO-Gemma-2-9B-It-PairRM"]
        label = "AlpacaEval: length-controlled win rate value"
        assert (reported["kind"], measured["kind"]) == ("reported", "imported")
        assert round(measured[label], 2) == reported[label] == 53.97

    def test_an_unknown_family(self) -> None:
        with pytest.raises(RecipeError, match="called 'gemma'"):
            rows_of(["gemma"])

    def test_plain_tables(self) -> None:
        table = to_plain(family_standings(family(alpaca(), "phi_2"), "alpaca_eval_2"))
        row = next(row for row in table.rows if row[0].startswith("phi-2 ("))
        assert row[1] == "4.40 (n=803) (reported)"


@pytest.mark.slow
def test_the_recipe_key_shows_them_in_cards_and_tables(micro_run: Path, tmp_path: Path) -> None:
    """Nothing is measured again: only what is written of the family changes."""
    shutil.copytree(micro_run, tmp_path / "whole")
    run = (
        tmp_path / "whole" / "run" if (tmp_path / "whole" / "run").is_dir() else tmp_path / "whole"
    )
    words = [sys.executable, "-m", "evalkit.cli", "card", "build", str(RECIPES / "micro.yaml"),
             "--out", str(run), "--set", "evaluation.baselines=[sppo_gemma_2_9b]"]  # fmt: skip
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (table,) = (run / "steps" / "cards" / "leaderboard").glob("*.md")
    # Pocket editions share no column with published figures.
    assert "Nothing is reported for these columns of: gemma-2-9b-it" in table.read_text("utf-8")
    for step in (run / "steps").glob("eval-*"):
        before = micro_run / "run" / "steps" / step.name / "result.json"
        assert (step / "result.json").stat().st_mtime_ns == before.stat().st_mtime_ns
