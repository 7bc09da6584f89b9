"""MT-Bench's pairwise grading: who is asked what in which order, what counts, what is written."""

import contextlib
import io
import json
from argparse import Namespace
from pathlib import Path
from typing import Any

import benchmark_parts as parts
import pytest
from test_benchmark_mt_bench import questions

from evalkit.benchmarks.mt_bench import MtBench
from evalkit.benchmarks.mt_bench_pairs import pairings, play
from evalkit.errors import RecipeError, ScoreError
from evalkit.fastchat.answers import answer_row
from evalkit.fastchat.judgments import read_matches
from evalkit.loading import load_model
from evalkit.metrics.matches import Match, match_summary
from evalkit.records import Question, ResultSet, Turn, dumps
from evalkit.registry import load
from evalkit.roles import PluginRef

TASK = "mt_bench_list_pairwise"


@pytest.fixture(scope="module")
def loaded(tiny_llama: Path) -> Any:
    return load_model(tiny_llama, dtype="float32", device="cpu")


@pytest.fixture
def opponents(tmp_path: Path) -> Path:
    """Answers of two models: one with many vowels, which the judge likes, one with none."""
    folder = tmp_path / "opponents"
    for model, text in (("strong", "aeiou " * 60), ("weak", "xyz")):
        rows = [answer_row(question.id, model, [text] * 2) for question in questions()]
        parts.write_lines(made(folder) / f"{model}.jsonl", rows)
    return folder


def made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def run(
    tiny_llama: Path,
    results: Path,
    loaded: Any,
    opponents: Any,
    judge: parts.TasteJudge | None = None,
    **options: Any,
) -> ResultSet:
    given = {"grading": "pairwise", "opponents": [str(opponents)], **options}
    suite = MtBench(MtBench.Options(questions={"name": "list"}, max_new_tokens=5, **given))
    source = parts.ListSource(questions=questions())
    context = parts.context(
        tiny_llama, results, loaded=loaded, judge=judge or parts.TasteJudge(), source=source
    )
    return suite.run(context)


class TestGames:
    QUESTION = Question("81", "writing", (Turn("a"), Turn("b")))

    def _played(self, *texts: str, bias: float = 0.0) -> list[Match]:
        judge = parts.TasteJudge(position_bias=bias)
        given = {name: [(text, text)] for name, text in zip("xyz", texts, strict=False)}
        pairs = pairings("x", list(given)[1:], every=True)
        return play(judge, [self.QUESTION], given, pairs, parts.silent)

    def test_both_orders_decide(self) -> None:
        first, second = self._played("aaa", "b")
        assert (first.turn, second.turn) == (1, 2)
        assert (first.first_game, first.second_game, first.outcome) == ("model_1",) * 3
        (lost, _) = self._played("b", "aaa")
        assert lost.outcome == "model_2"

    def test_a_judge_that_goes_by_the_order_makes_ties(self) -> None:
        match, _ = self._played("ab", "ae", bias=9.0)
        assert (match.first_game, match.second_game) == ("model_1", "model_2")
        assert match.outcome == "tie"
        assert not match.is_consistent

    def test_equal_answers_tie(self) -> None:
        match, _ = self._played("aa", "ee")
        assert (match.first_game, match.outcome, match.is_consistent) == ("tie", "tie", True)

    def test_everybody_meets_everybody(self) -> None:
        matches = self._played("a", "ae", "aei")
        assert [(m.model_1, m.model_2) for m in matches[::2]] == [
            ("x", "y"), ("x", "z"), ("y", "z"),
        ]  # fmt: skip
        assert {m.outcome for m in matches} == {"model_2"}
        assert pairings("x", ["y", "z"], every=False) == [("x", "y"), ("x", "z")]

    def test_the_judge_sees_both_conversations_up_to_the_turn(self) -> None:
        judge = parts.TasteJudge()
        given = {"x": [("x1", "x2")], "y": [("y1", "y2")]}
        play(judge, [self.QUESTION], given, [("x", "y")], parts.silent)
        assert [(game.first, game.second) for game in judge.games] == [
            (("x1",), ("y1",)),
            (("y1",), ("x1",)),
            (("x1", "x2"), ("y1", "y2")),
            (("y1", "y2"), ("x1", "x2")),
        ]

    def test_nothing_decided_is_an_error(self) -> None:
        judge = parts.TasteJudge(silent_on="")
        with pytest.raises(ScoreError, match="decided no match of 2: refused"):
            play(judge, [self.QUESTION], {"x": [("a", "b")], "y": [("c", "d")]}, [("x", "y")],
                 parts.silent)  # fmt: skip

    def test_the_rule_judge_goes_by_both_last_answers(self) -> None:
        rule = {"kind": "cover", "require": ["red"], "max_words": 3}
        question = Question("1", "", (Turn("a", rule=rule), Turn("b", rule=rule)))
        bare = Question("2", "", (Turn("a"), Turn("b")))
        given = {"x": [("red", "blue")] * 2, "y": [("blue", "blue")] * 2}
        plugin = load("judges", "rule")
        matches = play(plugin(plugin.Options()), [question, bare], given, [("x", "y")],
                       parts.silent)  # fmt: skip
        assert [match.outcome for match in matches] == ["model_1", "tie", None, None]
        assert matches[2].judgments[0] == "turn 1 of question 2 has no rule"


class TestSummary:
    def _match(self, question: str, first: Any, second: Any) -> Match:
        return Match(question, "", 1, "me", "you", first, second)

    def test_rates(self) -> None:
        games = [("model_1", "model_1"), ("model_1", "tie"), ("model_2", "model_2"),
                 ("tie", "tie"), (None, "model_1")]  # fmt: skip
        matches = [self._match(str(i), *game) for i, game in enumerate(games)]
        found, other = match_summary(matches, "me"), match_summary(matches, "you")
        assert found is not None
        assert other is not None
        assert (found.wins, found.losses, found.ties, found.missing) == (1, 1, 2, 1)
        assert found.inconsistent == 1
        assert (found.win_rate.value, found.win_rate_adjusted.value) == (25.0, 50.0)
        assert found.win_rate.value == other.loss_rate.value
        assert found.win_rate_adjusted.value + other.win_rate_adjusted.value == 100
        assert found.win_rate_adjusted.low is not None
        assert 0 <= found.win_rate_adjusted.low < 50

    def test_both_turns_of_a_question_are_one_observation(self) -> None:
        outcomes = ["model_1", "model_2", "model_1", "model_1"]
        once = [self._match(str(i), who, who) for i, who in enumerate(outcomes)]
        found, twice = match_summary(once, "me"), match_summary(once * 2, "me")
        assert found is not None
        assert twice is not None
        assert twice.win_rate.stderr == pytest.approx(found.win_rate.stderr)
        assert twice.win_rate.n == 2 * found.win_rate.n


class TestRun:
    def test_scores(self, tiny_llama: Path, tmp_path: Path, loaded: Any, opponents: Path) -> None:
        result = run(tiny_llama, tmp_path, loaded, opponents)
        names = [(score.task, score.metric) for score in result.scores]
        assert names[0] == (TASK, "win_rate_adjusted")
        assert {task for task, _ in names} == {TASK, f"{TASK}_strong", f"{TASK}_weak"}
        assert result.score(f"{TASK}_strong", "win_rate").value == 0
        strong = result.score(f"{TASK}_strong", "loss_rate")
        assert (strong.value, strong.n, strong.missing) == (100, 11, 1)  # one turn is MUTE
        assert not strong.higher_is_better
        total = result.score(TASK, "win_rate_adjusted")
        assert (total.n, total.missing, total.scale) == (22, 2, "percent")
        assert total.settings["opponents"] == ["strong", "weak"]
        assert result.provenance["protocol"] == "MT-Bench pairwise grading in both orders"
        for sample in result.samples:
            assert sample.task == TASK
            assert len(sample.detail["matches"]) == 4

    def test_both_gradings_share_the_answers(
        self, tiny_llama: Path, tmp_path: Path, loaded: Any, opponents: Path
    ) -> None:
        both = run(tiny_llama, tmp_path / "both", loaded, opponents, grading="both")
        single = run(tiny_llama, tmp_path / "single", loaded, opponents, grading="single")
        pairs = run(tiny_llama, tmp_path / "pairs", loaded, opponents)
        assert both.scores == single.scores + pairs.scores
        assert both.samples == single.samples + pairs.samples
        judged = tmp_path / "both" / "model_judgment"
        assert sorted(file.name for file in judged.iterdir()) == [
            "taste_pair.jsonl", "taste_single.jsonl",
        ]  # fmt: skip

    def test_all_pairs(
        self, tiny_llama: Path, tmp_path: Path, loaded: Any, opponents: Path
    ) -> None:
        result = run(tiny_llama, tmp_path, loaded, opponents, all_pairs=True)
        table = result.provenance["all_pairs"]
        assert set(table) == {"tiny", "strong", "weak"}
        assert (table["strong"]["wins"], table["strong"]["missing"]) == (22, 2)
        baseline = run(tiny_llama, tmp_path / "b", loaded, opponents)
        assert result.scores == baseline.scores
        assert "all_pairs" not in baseline.provenance

    def test_show_result_opens_the_file(
        self, tiny_llama: Path, tmp_path: Path, loaded: Any, opponents: Path
    ) -> None:
        show = pytest.importorskip("fastchat.llm_judge.show_result")
        result = run(tiny_llama, tmp_path, loaded, opponents / "weak.jsonl")
        file = tmp_path / "model_judgment" / "taste_pair.jsonl"
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            show.display_result_pairwise(
                Namespace(input_file=str(file), model_list=None, baseline_model="weak")
            )
        (line,) = (x for x in printed.getvalue().splitlines() if x.startswith("tiny"))
        adjusted = result.score(TASK, "win_rate_adjusted").value
        assert 100 * float(line.split()[-1]) == pytest.approx(adjusted, abs=1e-3)
        wins = result.score(TASK, "n_wins").value
        assert float(line.split()[1]) == wins

    def test_fastchat_s_loader_opens_the_file(
        self, tiny_llama: Path, tmp_path: Path, loaded: Any, opponents: Path
    ) -> None:
        common = pytest.importorskip("fastchat.llm_judge.common")
        run(tiny_llama, tmp_path, loaded, opponents)
        judged = common.load_pairwise_model_judgments(
            str(tmp_path / "model_judgment" / "taste_pair.jsonl")
        )
        assert judged["taste", "pair-math-v1"][82, "strong", "tiny"]["winners"] == ("model_1",)
        assert judged["taste", "pair-v2-multi-turn"][81, "strong", "tiny"]["winners"] == (
            "model_1",
        )
        answers = common.load_model_answers(str(tmp_path / "model_answer"))
        assert set(answers) == {"tiny", "strong", "weak"}

    def test_a_failed_game_drops_its_match(
        self, tiny_llama: Path, tmp_path: Path, loaded: Any, opponents: Path
    ) -> None:
        run(tiny_llama, tmp_path, loaded, opponents)
        matches = [m.match for m in read_matches(tmp_path / "model_judgment" / "taste_pair.jsonl")]
        failed = [match for match in matches if match.outcome is None]
        assert {(match.question_id, match.turn) for match in failed} == {("85", 2)}
        assert failed[0].judgments == ("refused", "refused")

    def test_the_same_run_gives_the_same_bytes(
        self, tiny_llama: Path, tmp_path: Path, loaded: Any, opponents: Path
    ) -> None:
        one, two = (run(tiny_llama, tmp_path / n, loaded, opponents) for n in ("one", "two"))
        assert dumps(one) == dumps(two)
        name = "model_judgment/taste_pair.jsonl"
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()

    def test_an_opponent_of_the_model_s_own_name(
        self, tiny_llama: Path, tmp_path: Path, loaded: Any, opponents: Path
    ) -> None:
        (opponents / "weak.jsonl").rename(opponents / "tiny.jsonl")
        with pytest.raises(RecipeError, match="an opponent is called tiny"):
            run(tiny_llama, tmp_path, loaded, opponents)


class TestBeforehand:
    def _suite(self, *opponents: Any, **options: Any) -> MtBench:
        given = {"grading": "pairwise", "opponents": [str(one) for one in opponents], **options}
        return MtBench(MtBench.Options(questions="list", **given))

    def test_opponents_that_are_there(self, opponents: Path) -> None:
        suite = self._suite(opponents)
        assert suite.check() == []
        assert set(suite.data_digests()) == {"opponent strong", "opponent weak"}
        source = parts.ListSource(questions=questions())
        assert suite.check_data(lambda ref: source, parts.TasteJudge()) == []
        assert self._suite(opponents, grading="single").data_digests() == {}

    def test_changed_answers_are_another_opponent(self, opponents: Path) -> None:
        before = self._suite(opponents).data_digests()
        file = opponents / "weak.jsonl"
        file.write_text(file.read_text().replace("xyz", "zyx"))
        after = self._suite(opponents).data_digests()
        assert [name for name in before if before[name] != after[name]] == ["opponent weak"]

    def test_folders_without_answers_and_names_twice(self, opponents: Path) -> None:
        (problem,) = self._suite(made(opponents.parent / "empty")).check()
        assert (problem.where, problem.message.endswith("holds no answers")) == ("opponents", True)
        copy = made(opponents.parent / "more") / "weak.jsonl"
        copy.write_bytes((opponents / "weak.jsonl").read_bytes())
        (problem,) = self._suite(opponents, copy).check()
        assert "two opponents are called weak" in problem.message

    def test_a_model_of_the_data_folder(self, opponents: Path, tmp_path: Path) -> None:
        data = tmp_path / "data" / "mt_bench"
        made(data / "model_answer")
        (opponents / "weak.jsonl").rename(data / "model_answer" / "weak.jsonl")
        ref = PluginRef(name="mt_bench", data=str(tmp_path / "data"))  # type: ignore[call-arg]
        found = MtBench(MtBench.Options(questions=ref, grading="pairwise", opponents=["weak"]))
        assert found.check() == []
        found = MtBench(MtBench.Options(questions=ref, grading="pairwise", opponents=["gone"]))
        (problem,) = found.check()
        assert "there are no answers of an opponent gone" in problem.message

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            (lambda rows: rows[1:], "has no answer to question 81, which has 2 turns"),
            (lambda rows: [{**rows[0], "choices": [{"turns": ["x"]}]}, *rows[1:]],
             "has 1 answers to question 81"),
            (lambda rows: [{"question_id": 81}], "weak.jsonl:1  this is no answer"),
        ],
    )  # fmt: skip
    def test_answers_that_lack_something(self, opponents: Path, change: Any, words: str) -> None:
        file = opponents / "weak.jsonl"
        rows = [json.loads(line) for line in file.read_text().splitlines()]
        parts.write_lines(file, change(rows))
        source = parts.ListSource(questions=questions())
        (problem,) = self._suite(file).check_data(lambda ref: source, None)
        assert problem.where == "opponents"
        assert words in problem.message

    def test_a_judge_that_cannot_compare_conversations(self, opponents: Path) -> None:
        plugin = load("judges", "rule")
        source = parts.ListSource(questions=questions())
        (problem,) = self._suite(opponents).check_data(lambda ref: source, plugin(plugin.Options()))
        assert "12 of 12 turns have no rule" in problem.message
