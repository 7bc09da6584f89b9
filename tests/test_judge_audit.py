"""What verdicts say of their judge: against published figures, and judges of known habits."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from evalkit.cli import main
from evalkit.pipeline.judge_audit import Judgement, WitnessedJudge, audit
from evalkit.pipeline.recorded_judgements import describe, read_recordings
from evalkit.recipe import Audit
from evalkit.records import Message, Prompt, Question, Turn
from evalkit.roles import Judge, Options, PairRequest, Progress, RatingRequest, Verdict

ASKS = 40


class HabitJudge(Judge):
    """Judges by a habit: a number from a request, None where it says nothing."""

    def __init__(self, habit: Callable[[Any], float | None]) -> None:
        super().__init__(Options())
        self.habit = habit
        self.asked = 0

    def identity(self) -> dict[str, str]:
        return {"name": "habit"}

    def compare(self, requests: Sequence[PairRequest], progress: Progress) -> list[Verdict]:
        self.asked += len(requests)
        return [Verdict(self.habit(one), "said: nothing", by="habit-1") for one in requests]

    def rate(self, requests: Sequence[RatingRequest], progress: Progress) -> list[Verdict]:
        self.asked += len(requests)
        return [Verdict(self.habit(one), "said: nothing") for one in requests]


def longer(request: PairRequest) -> float:
    """A judge without a liking for a place."""
    return float(len(request.first) - len(request.second))


def pairs() -> list[PairRequest]:
    """The longer response is first in every second one."""
    found = []
    for i in range(ASKS):
        sides = ("much longer", "short") if i % 2 else ("short", "much longer")
        found.append(PairRequest(Prompt(f"p{i}", (Message("user", f"Ask {i}"),)), *sides))
    return found


def audited(
    judge: Judge, requests: Sequence[Any], second: Judge | None = None, **settings: Any
) -> dict[str, Any]:
    witness = WitnessedJudge(judge)
    method = witness.rate if isinstance(requests[0], RatingRequest) else witness.compare
    method(requests, _silent)
    options = Audit.model_validate(settings)
    return audit(witness.judgements, judge, second, options, 0, _silent)


def _silent(done: int, total: int, note: str = "") -> None:
    """No progress is shown."""


class TestHabits:
    def test_a_judge_that_holds_to_what_it_said(self) -> None:
        judge = HabitJudge(longer)
        found = audited(judge, pairs())
        assert found["swapped"]["consistent"]["value"] == 1
        assert found["swapped"]["kappa"]["value"] == 1
        assert found["first_shown_wins"]["value"] == 0.5
        assert found["answered_by"] == {"habit-1": ASKS}
        assert judge.asked == 2 * ASKS

    def test_a_judge_that_always_takes_the_first(self) -> None:
        found = audited(HabitJudge(lambda request: 2.0), pairs())
        assert found["swapped"]["consistent"]["value"] == 0
        assert found["swapped"]["first_shown_wins_both"] == ASKS
        assert found["swapped"]["second_shown_wins_both"] == 0
        assert found["first_shown_wins"]["value"] == 1
        assert found["first_shown_wins"]["ci_low"] > 0.9

    def test_a_judge_that_often_says_nothing(self) -> None:
        habit = HabitJudge(lambda request: None if request.prompt.id.endswith("3") else 1.0)
        found = audited(habit, pairs())
        assert found["missing"] == 4
        assert found["parse_failure_rate"]["value"] == 0.1
        assert found["reasons"] == {"said": 4}
        assert found["swapped"]["missing"] == 4

    def test_as_many_are_asked_again_as_is_said(self) -> None:
        judge = HabitJudge(longer)
        assert audited(judge, pairs(), items=7)["swapped"]["pairs"] == 7
        assert judge.asked == ASKS + 7
        judge.asked = 0
        assert "swapped" not in audited(judge, pairs(), swapped=False)
        assert judge.asked == ASKS

    def test_a_second_judge(self) -> None:
        """Who agrees on three quarters of the pairs, and says nothing of two."""

        def mostly(request: PairRequest) -> float | None:
            number = int(request.prompt.id[1:])
            if number < 2:
                return None
            return longer(request) * (-1 if number % 4 == 0 else 1)

        found = audited(HabitJudge(longer), pairs(), HabitJudge(mostly))["second_judge"]
        assert (found["n"], found["missing"]) == (38, 2)
        assert found["agreement"]["value"] == pytest.approx(29 / 38)
        assert found["kappa"]["ci_low"] < found["kappa"]["value"] < found["kappa"]["ci_high"]
        assert found["judge"] == {"name": "habit"}

    def test_ratings(self) -> None:
        question = Question("q", "writing", (Turn("Say."),))
        requests = [RatingRequest(question, ("x" * n,)) for n in range(1, 10)]
        judge = HabitJudge(lambda request: len(request.answers[0]))
        second = HabitJudge(lambda request: len(request.answers[0]) + 0.6)
        found = audited(judge, requests, second)
        assert "swapped" not in found
        assert found["second_judge"]["agreement"]["value"] == 0
        assert found["second_judge"]["kappa"]["value"] > 0.8  # near, if never the same


class TestRecorded:
    @pytest.mark.parametrize("language", ["en", "ko"])
    @pytest.mark.parametrize(
        ("file", "judge"), [("gpt_judge_gpt4omini", "GPT-4o-mini"), ("qwen_judge_32B", "Qwen-32B")]
    )
    def test_swapped_orders_as_published(
        self, shared: Path, language: str, file: str, judge: str
    ) -> None:
        """Table 5 of the study that the judgements are from, and its failures (table 8)."""
        folder = shared / "golden" / "mtbench"
        (recording,) = read_recordings(folder / f"kook222__{language}__{file}__pairwise.jsonl.gz")
        found = describe(recording, [])
        row = _row(folder / "kook222_table5_pairwise_inconsistency.csv", judge=judge)
        swapped = found["swapped"]
        assert swapped["pairs"] == int(row[f"{language}_valid"])
        inconsistent = round(swapped["pairs"] * (1 - swapped["consistent"]["value"]))
        assert inconsistent == int(row[f"{language}_inconsistent"])
        if language == "ko":
            assert swapped["first_shown_wins_both"] == int(row["ko_same_first"])
            assert swapped["second_shown_wins_both"] == int(row["ko_same_second"])
        failures = _row(
            folder / "kook222_table8_parse_failures.csv",
            judge=judge, language=language, protocol="pairwise",
        )  # fmt: skip
        assert found["verdicts"] == int(failures["expected_calls"])
        assert found["missing"] == int(failures["total_failures"])

    def test_two_recorded_judges_agree_as_scikit_learn_has_it(self, shared: Path) -> None:
        metrics = pytest.importorskip("sklearn.metrics")
        folder = shared / "golden" / "mtbench"
        names = ("gpt_judge_gpt4omini", "qwen_judge_32B")
        (one,), (other,) = (
            read_recordings(folder / f"kook222__en__{name}__single_grade.jsonl.gz")
            for name in names
        )
        (found,) = describe(one, [other])["agreement_with"]
        there = {row.what: row.said for row in other.rows}
        said = [
            (round(float(row.said)), round(float(there[row.what])))
            for row in one.rows
            if row.said is not None and there.get(row.what) is not None
        ]
        assert found["n"] == len(said) == 958
        kappa = metrics.cohen_kappa_score(*zip(*said, strict=True), weights="quadratic")
        assert found["kappa"]["value"] == pytest.approx(kappa)

    def test_people_s_labels_in_the_other_order(self, tmp_path: Path) -> None:
        """A label names the outputs; in which order its file has them does not matter."""
        rows = [
            {"instruction": f"Ask {i}", "output_1": "a", "output_2": f"b{i}", "generator_1": "x",
             "generator_2": "y", "annotator": "machine", "preference": 1.9 if i % 3 else 1.2}
            for i in range(30)
        ]  # fmt: skip
        labels = [
            {"instruction": row["instruction"], "output_1": row["output_2"],
             "output_2": row["output_1"], "annotator": "person",
             "preference": 3 - float(row["preference"])}
            for row in rows[:20]
        ]  # fmt: skip
        labels[0]["preference"] = None
        machine, person = tmp_path / "annotations.json", tmp_path / "labels.json"
        machine.write_text(json.dumps(rows))
        person.write_text(json.dumps(labels))
        (one,), others = read_recordings(machine), read_recordings(person)
        (found,) = describe(one, others)["agreement_with"]
        assert (found["n"], found["missing"]) == (19, 1)
        assert found["agreement"]["value"] == found["kappa"]["value"] == 1
        assert found["judges"] == ["person"]

    def test_a_judge_of_its_own_kind(self, tmp_path: Path) -> None:
        row = {"question_id": 1, "turn": 1, "model": "gpt-4o-2024-08-06", "judgment": "[[3]]",
               "judge": ["gpt-4o", "single-v1"], "score": 3}  # fmt: skip
        file = tmp_path / "gpt-4o_single.jsonl"
        file.write_text(json.dumps(row) + "\n")
        (recording,) = read_recordings(file)
        found = describe(recording, [])["self_preference"]
        assert found.endswith("share the base gpt-4o (gpt-4o judging gpt-4o-2024-08-06)")


class TestCommand:
    def test_it_prints_json_and_words(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        row = {"instruction": "Ask", "output_1": "a", "output_2": "b", "generator_2": "y",
               "annotator": "machine", "preference": None}  # fmt: skip
        file = tmp_path / "annotations.json"
        file.write_text(json.dumps([row]))
        assert _run("judge", "audit", str(file), "--json") == 0
        (found,) = json.loads(capsys.readouterr().out)["judgements"]
        assert (found["verdicts"], found["missing"], found["judges"]) == (1, 1, ["machine"])
        assert _run("judge", "audit", str(file), "--second", str(file)) == 0
        assert "parse failure rate: 1.000 [" in capsys.readouterr().out

    def test_what_holds_no_judgements(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert _run("judge", "audit", str(tmp_path)) == 1
        assert "there are no judgements in" in capsys.readouterr().err
        file = tmp_path / "outputs.json"
        file.write_text('[{"instruction": "x", "output": "y"}]')
        assert _run("judge", "audit", str(file)) == 1
        assert "annotations.json" in capsys.readouterr().err


def test_a_judgement_is_kept_with_its_request() -> None:
    witness = WitnessedJudge(HabitJudge(longer))
    verdicts = witness.compare(pairs()[:2], _silent)
    assert witness.judgements == [Judgement(*both) for both in zip(pairs(), verdicts, strict=False)]


def _run(*words: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(list(words))
    assert isinstance(ended.value.code, int)
    return ended.value.code


def _row(file: Path, **wanted: str) -> dict[str, str]:
    with file.open() as stream:
        return next(
            row for row in csv.DictReader(stream)
            if all(row[key] == value for key, value in wanted.items())
        )  # fmt: skip
