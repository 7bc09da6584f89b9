"""Public baselines: facts and figures of published models, each with source and date."""

import re
from pathlib import Path

import pytest

from evalkit import baselines
from evalkit.baselines.models import read_models
from evalkit.baselines.scores import AVERAGE, read_reported
from evalkit.errors import RecipeError
from evalkit.leaderboard import definition_names, read_definition

SEEDS = {
    "Amu/spin-phi2": ("microsoft/phi-2", 2_779_683_840),
    "UCLA-AGI/Gemma-2-9B-It-SPPO-Iter2": ("google/gemma-2-9b-it", 9_241_705_984),
    "UCLA-AGI/Gemma-2-9B-It-SPPO-Iter3": ("google/gemma-2-9b-it", 9_241_705_984),
    "UCLA-AGI/Mistral7B-PairRM-SPPO-Iter1": ("mistralai/Mistral-7B-Instruct-v0.2", 7_241_732_096),
}


def figures(model: str, task: str, by: str) -> dict[str, float]:
    return {
        score.metric: score.value
        for score in baselines.reported()
        if (score.model, score.task, score.by) == (model, task, by)
        and "best_of" not in score.settings
    }


class TestModels:
    """Facts by id, by the last part of it, and by what people write."""

    @pytest.mark.parametrize(
        "name",
        ["UCLA-AGI/Llama-3-Instruct-8B-SPPO-Iter2", "Llama-3-Instruct-8B-SPPO-Iter2",
         "Llama-3-8B-SPPO Iter2", "llama-3-8b-sppo iter2", "Llama_3_8B_SPPO_Iter2"],
    )  # fmt: skip
    def test_ways_to_write_a_name(self, name: str) -> None:
        model = baselines.known(name)
        assert model is not None
        assert model.id == "UCLA-AGI/Llama-3-Instruct-8B-SPPO-Iter2"

    @pytest.mark.parametrize("name", ["", "Llama", "Llama-3-8B-SPPO", "me/mine", "Iter2"])
    def test_unknown_names(self, name: str) -> None:
        assert baselines.known(name) is None

    @pytest.mark.parametrize("name", SEEDS)
    def test_families_of_self_play_are_there(self, name: str) -> None:
        model = baselines.known(name)
        assert model is not None
        assert (model.base, model.parameters) == SEEDS[name]
        assert baselines.known(model.base or "") is not None

    def test_gemma_has_eight_thousand_positions_and_nine_billion_weights(self) -> None:
        model = baselines.known("Gemma-2-9B-SPPO Iter3")
        assert model is not None
        assert model.context_length == 8192
        assert round((model.parameters or 0) / 1e9) == 9

    def test_phi_2_was_for_research_until_january_2024(self) -> None:
        phi = baselines.known("phi-2")
        assert phi is not None
        before, today = phi.licences
        assert before.id == "microsoft-research-license"
        assert (today.id, today.since) == (phi.licence, "2024-01-05") == ("mit", "2024-01-05")

    def test_every_fact_has_a_source_and_a_date(self) -> None:
        for model in baselines.models():
            assert model.source.startswith("https://"), model.id
            assert re.match(r"20\d\d-\d\d", model.date), model.id
            for licence in model.licences:
                assert licence.source.startswith("https://"), model.id

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            (("parameters: 7", "parameters: seven"), r"models\.yaml:3  models\.0\.parameters"),
            (("date: '2024-01'", "date: January"), r"models\.yaml:6  models\.0\.date"),
            (("source: https://a.b/c", "source: a book"), r"models\.yaml:5  models\.0\.source"),
            (("parameters: 7", "paramters: 7"), r"models\.yaml:3  models\.0\.paramters"),
            (("id: org/second", "id: org/first"), "'org/first' means both"),
            (("aliases: [One]", "aliases: [Second]"), "'second' means both|'Second' means both"),
            (("base: org/first", "base: org/none"), "has the base org/none"),
            (("since: '2024-02'", "since: '2023-02'"), "not in the order of time"),
            (("models:", "models: ["), "not valid YAML"),
        ],
    )
    def test_what_is_wrong_is_told_with_its_place(
        self, tmp_path: Path, change: tuple[str, str], said: str
    ) -> None:
        text = MODELS.replace(*change, 1)
        assert text != MODELS
        file = tmp_path / "models.yaml"
        file.write_text(text)
        with pytest.raises(RecipeError) as caught:
            read_models(file)
        assert re.search(said, "\n".join([str(caught.value), *map(str, caught.value.problems)]))

    def test_a_file_without_mistakes_is_read(self, tmp_path: Path) -> None:
        file = tmp_path / "models.yaml"
        file.write_text(MODELS)
        first, second = read_models(file)
        assert (first.aliases, first.base, second.base) == (("One",), None, "org/first")


MODELS = """models:
  - id: org/first
    parameters: 7
    aliases: [One]
    source: https://a.b/c
    date: '2024-01'
    licences:
      - {id: mit, since: '2023-05', source: https://a.b/c}
      - {id: apache-2.0, since: '2024-02', source: https://a.b/c}
  - id: org/second
    base: org/first
    source: https://a.b/c
    date: '2024-01'
"""


class TestReported:
    """Figures as printed, by whom, and where."""

    def test_card_and_leaderboard_differ_for_gemma_iter3(self) -> None:
        model = "UCLA-AGI/Gemma-2-9B-It-SPPO-Iter3"
        card = figures(model, "alpaca_eval_2", "card")
        official = figures(model, "alpaca_eval_2", "official")
        assert card == {"length_controlled_winrate": 53.27, "win_rate": 47.74, "avg_length": 1803}
        assert official == {
            "length_controlled_winrate": 53.97, "win_rate": 48.23, "avg_length": 1803,
        }  # fmt: skip

    def test_iteration_by_iteration(self) -> None:
        for family, base in (("Gemma-2-9B-It", "gemma"), ("Llama-3-Instruct-8B", "llama"),
                             ("Mistral7B-PairRM", "mistral")):  # fmt: skip
            rates = [
                figures(f"UCLA-AGI/{family}-SPPO-Iter{i}", "alpaca_eval_2", "card")["win_rate"]
                for i in (1, 2, 3)
            ]
            assert rates == sorted(rates), base

    def test_spin_iteration_by_iteration(self) -> None:
        names = ["alignment-handbook/zephyr-7b-sft-full"]
        names += [f"UCLA-AGI/zephyr-7b-sft-full-SPIN-iter{i}" for i in range(4)]
        table = {s.model: s.value for s in baselines.reported("spin_zephyr_7b")
                 if s.task == AVERAGE and "harness" in s.settings}  # fmt: skip
        assert [table[name] for name in names] == [58.14, 60.80, 62.12, 62.97, 63.16]
        # The cards give other figures than the authors' table: the leaderboard's own.
        cards = {s.model: s.value for s in baselines.reported("spin_zephyr_7b")
                 if s.task == AVERAGE and "harness" not in s.settings}  # fmt: skip
        assert [cards[name] for name in names[1:]] == [62.37, 62.86, 63.54, 63.70]

    def test_decimals_are_those_that_are_printed(self) -> None:
        found = {(s.model, s.task): s for s in baselines.reported() if s.by == "card"}
        assert found["UCLA-AGI/Mistral7B-PairRM-SPPO-Iter1", "truthfulqa_mc2"].decimals == 1
        assert found["UCLA-AGI/Llama-3-Instruct-8B-SPPO-Iter1", "mmlu"].decimals == 2

    def test_averages_are_the_means_of_their_rows_but_for_the_one_that_is_not(self) -> None:
        wrong = []
        for board in ("open_llm_v1", "open_llm_v2"):
            tasks = {column.task for column in read_definition(board).columns}
            for family in baselines.families():
                rows: dict[tuple[str, str], dict[str, float]] = {}
                for score in baselines.reported(family):
                    if score.settings.get("leaderboard") == board:
                        rows.setdefault((score.model, score.source), {})[score.task] = score.value
                for (model, _), row in rows.items():
                    parts = [value for task, value in row.items() if task != AVERAGE]
                    if set(row) == tasks | {AVERAGE}:
                        mean = sum(parts) / len(parts)
                        if abs(mean - row[AVERAGE]) > 0.006:
                            wrong.append((model, row[AVERAGE], round(mean, 3)))
        assert wrong == [("UCLA-AGI/Llama-3-Instruct-8B-SPPO-Iter3", 23.68, 23.305)]

    def test_names_are_those_of_the_leaderboards(self) -> None:
        columns = {(c.task, c.metric) for name in definition_names()
                   for c in read_definition(name).columns}  # fmt: skip
        judged = {"alpaca_eval_1", "alpaca_eval_2", "mt_bench"}
        for score in baselines.reported():
            known = (score.task, score.metric) in columns | {(AVERAGE, AVERAGE)}
            assert known or score.task in judged, score

    def test_the_data_is_no_leaderboard(self) -> None:
        assert "models" not in definition_names()

    def test_every_judged_figure_of_a_leaderboard_names_its_judge(self) -> None:
        for score in baselines.reported():
            if score.by == "official" and score.task.startswith("alpaca_eval"):
                assert score.settings["judge"], score

    def test_an_unknown_family_is_told(self) -> None:
        with pytest.raises(RecipeError, match="called 'sppo'") as caught:
            baselines.reported("sppo")
        assert "sppo_gemma_2_9b" in caught.value.hint

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            (("win_rate: '1.50'", "win_rate: 1.50"), "scores.0.scores.win_rate"),
            (("by: card", "by: hearsay"), "sources.own.by"),
            (("source: own", "source: other"), "no source is called 'other'"),
            (("model: microsoft/phi-2", "model: me/mine"), "no facts of me/mine"),
            (("task: alpaca_eval_2", "task: a, leaderboard: b"), "either a task or a leaderboard"),
            (("{arc_challenge", "{arc_chalenge"), "shows no task 'arc_chalenge'"),
            (("leaderboard: open_llm_v1", "leaderboard: open_llm"), "no leaderboard is called"),
            (("{arc_challenge: '60.1'}", "{arc_challenge: nan}"), "scores.1.scores.arc_challenge"),
        ],
    )
    def test_what_is_wrong_is_told(
        self, tmp_path: Path, change: tuple[str, str], said: str
    ) -> None:
        text = REPORTED.replace(*change, 1)
        assert text != REPORTED
        file = tmp_path / "mine.yaml"
        file.write_text(text)
        with pytest.raises(RecipeError, match=r"mine\.yaml") as caught:
            read_reported(file)
        assert said in "\n".join([str(caught.value), *map(str, caught.value.problems)])

    def test_one_number_twice(self, tmp_path: Path) -> None:
        file = tmp_path / "mine.yaml"
        file.write_text(REPORTED + REPORTED.splitlines()[-1] + "\n")
        with pytest.raises(RecipeError, match="arc_challenge acc_norm twice"):
            read_reported(file)


REPORTED = """title: Mine
sources:
  own: {url: https://a.b/c, date: '2024-01', by: card}
scores:
  - {model: microsoft/phi-2, source: own, task: alpaca_eval_2, scores: {win_rate: '1.50'}}
  - {model: microsoft/phi-2, source: own, leaderboard: open_llm_v1, scores: {arc_challenge: '60.1'}}
"""


@pytest.mark.real
class TestAgainstTheCards:
    """What the cards and the leaderboard of AlpacaEval really say."""

    def test_every_figure_of_the_gemma_card(self, shared: Path) -> None:
        (seed,) = (shared / "cards").glob("seed_004_*.txt")
        self._all_in(seed.read_text("utf-8"), "sppo_gemma_2_9b", "card", with_base=False)

    def test_every_figure_of_the_llama_card(self, shared: Path) -> None:
        card = (shared / "cards" / "real" / "01_sppo-iter3.md").read_text("utf-8")
        self._all_in(card, "sppo_llama_3_8b", "card", with_base=False)

    def _all_in(self, text: str, family: str, by: str, with_base: bool) -> None:
        numbers = set(re.findall(r"\d+\.\d+|\d{4}", text))
        for score in baselines.reported(family):
            if score.by == by and "SPPO" in score.model:
                assert f"{score.value:.{score.decimals}f}" in numbers, score

    def test_official_figures_of_alpaca_eval(self) -> None:
        """Against the leaderboard that the installed alpaca_eval holds."""
        package = pytest.importorskip("alpaca_eval")
        import csv

        boards = Path(package.__file__).parent / "leaderboards"
        names = {"data_AlpacaEval_2": "weighted_alpaca_eval_gpt4_turbo",
                 "data_AlpacaEval": "alpaca_eval_gpt4"}  # fmt: skip
        official: dict[tuple[str, str], dict[str, str]] = {}
        for folder, judge in names.items():
            with (boards / folder / f"{judge}_leaderboard.csv").open(encoding="utf-8") as stream:
                for row in csv.DictReader(stream):
                    model = baselines.known(row[""])
                    if model is not None:
                        official[model.id, judge] = row
        checked = 0
        for score in baselines.reported():
            if score.by == "official" and "judge" in score.settings:
                row = official[score.model, score.settings["judge"]]
                assert round(float(row[score.metric]), score.decimals) == score.value, score
                assert int(float(row["n_total"])) == score.settings["n"]
                checked += 1
        assert checked >= 20
