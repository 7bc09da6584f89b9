"""FastChat's judgments, read and written: every recorded file, and its own parsing beside ours."""

import csv
import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from evalkit.errors import RecipeError
from evalkit.fastchat.judgments import (
    JudgedMatch,
    JudgedRating,
    kind_of,
    match_row,
    rating_row,
    read_matches,
    read_ratings,
)
from evalkit.metrics.matches import Match, parse_winner
from evalkit.metrics.ratings import Rating, parse_rating, summarise

# Of these only the last 160 characters of each judgment are kept: where they hold no verdict, it
# was cut off. Whoever made them took the last verdict of several, FastChat takes the first.
TAILS = "kook222__{language}__{judge}__{kind}.jsonl.gz"
JUDGES = {"Qwen-32B": "qwen_judge_32B", "GPT-4o-mini": "gpt_judge_gpt4omini"}
SEVERAL_RATINGS = {  # (last, first)
    ("en", "Qwen-32B", "single_grade"): [(7.0, 8.0)],
    ("ko", "GPT-4o-mini", "single_grade"): [(6.0, 9.0), (5.0, 9.0)],
}
COLUMNS = {  # of show_result's input; FastChat's `tstamp` is left out, `category` is ours
    "single": {"question_id", "category", "model", "judge", "user_prompt", "judgment", "score",
               "turn"},
    "pair": {"question_id", "category", "model_1", "model_2", "g1_winner", "g2_winner", "judge",
             "g1_user_prompt", "g1_judgment", "g2_user_prompt", "g2_judgment", "turn"},
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(shared: Path) -> Path:
    return shared / "golden" / "mtbench"


def table(file: Path) -> list[dict[str, str]]:
    with file.open(encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


def tails(folder: Path, language: str, judge: str, kind: str) -> Path:
    return folder / TAILS.format(language=language, judge=JUDGES[judge], kind=kind)


def ratings_of(judged: list[JudgedRating]) -> list[Rating]:
    return [one.rating for one in judged]


def test_every_recorded_file_is_read(folder: Path) -> None:
    kinds = Counter(kind_of(file) for file in folder.glob("*.jsonl.gz"))
    assert kinds == {"single": 17, "pair": 4}
    for file in folder.glob("*.jsonl.gz"):
        read = read_matches if kind_of(file) == "pair" else read_ratings
        with gzip.open(file, "rt") as lines:
            rows = sum(1 for _ in lines)
        assert len(read(file)) in (rows, 2 * rows)  # one or two turns in a row


def test_ratings_read_from_judgments_are_the_stored_ones(folder: Path) -> None:
    published = table(folder / "expected.csv")
    assert len(published) == 9
    for row in published:
        ratings = ratings_of(read_ratings(folder / row["file"]))
        assert [parse_rating(rating.judgment) for rating in ratings] == [
            rating.score for rating in ratings
        ]
        assert sum(rating.score is None for rating in ratings) == int(row["n_failed"])


@pytest.mark.parametrize("kind", ["single_grade", "single_grade_ref"])
@pytest.mark.parametrize("judge", JUDGES)
@pytest.mark.parametrize("language", ["en", "ko"])
def test_ratings_read_from_the_ends_of_judgments(
    folder: Path, language: str, judge: str, kind: str
) -> None:
    """Equal wherever the end holds one rating; three judgments rate both turns before they end."""
    ratings = ratings_of(read_ratings(tails(folder, language, judge, kind)))
    marked = [(rating, parse_rating(rating.judgment)) for rating in ratings]
    whole = [(rating.score, found) for rating, found in marked if found is not None]
    assert len(whole) > 0.89 * len(ratings)
    unlike = [pair for pair in whole if pair[0] != pair[1]]
    assert unlike == SEVERAL_RATINGS.get((language, judge, kind), [])


@pytest.mark.parametrize("judge", JUDGES)
@pytest.mark.parametrize("language", ["en", "ko"])
def test_winners_read_from_the_ends_of_judgments(folder: Path, language: str, judge: str) -> None:
    """One Korean judgment repeats the choices before it makes its own."""
    sides = ({"model_1": "A", "model_2": "B"}, {"model_1": "B", "model_2": "A"})
    unlike = []
    for one in read_matches(tails(folder, language, judge, "pairwise")):
        winners = (one.match.first_game, one.match.second_game)
        for winner, side, judgment in zip(winners, sides, one.match.judgments, strict=True):
            stored = None if winner is None else side.get(winner, winner)
            found = parse_winner(judgment)
            if found != stored and (found is not None or len(judgment) < 160):
                unlike.append((stored, found))
    assert unlike == ([("tie", "A")] if (language, judge) == ("ko", "GPT-4o-mini") else [])


class TestPublishedTables:
    """Means, failures and inconsistencies that were published of the recorded judgments."""

    @pytest.mark.parametrize("judge", JUDGES)
    @pytest.mark.parametrize("language", ["en", "ko"])
    def test_means(self, folder: Path, language: str, judge: str) -> None:
        (row,) = (r for r in table(folder / "kook222_table6_single_scores.csv")
                  if r["judge"] == judge)  # fmt: skip
        found = summarise(ratings_of(read_ratings(tails(folder, language, judge, "single_grade"))))
        assert round(found["average"].interval.value, 2) == float(row[f"{language}_mean"])
        assert found["average"].interval.n == int(row[f"{language}_valid_scores"])

    @pytest.mark.parametrize("judge", JUDGES)
    @pytest.mark.parametrize("language", ["en", "ko"])
    def test_means_of_models_and_categories(self, folder: Path, language: str, judge: str) -> None:
        judged = read_ratings(tails(folder, language, judge, "single_grade"))
        column = {"Qwen-32B": "qwen_32b", "GPT-4o-mini": "gpt_4o_mini"}[judge]
        rows = [
            r for r in table(folder / "kook222_figure3_scores.csv") if r["language"] == language
        ]
        assert len(rows) == 14
        for row in rows:
            own = [one.rating for one in judged
                   if row["row_id"] in (one.model, one.rating.category)]  # fmt: skip
            assert summarise(own)["average"].interval.value == pytest.approx(
                float(row[column]), abs=5.1e-5
            )

    @pytest.mark.parametrize("judge", JUDGES)
    @pytest.mark.parametrize("language", ["en", "ko"])
    def test_means_with_references(self, folder: Path, language: str, judge: str) -> None:
        (row,) = (r for r in table(folder / "kook222_table7_reference_scores.csv")
                  if r["judge"] == judge)  # fmt: skip
        plain = {
            (one.model, one.rating.question_id, one.rating.turn): one.rating.score
            for one in read_ratings(tails(folder, language, judge, "single_grade"))
        }
        pairs = [
            (plain[one.model, one.rating.question_id, one.rating.turn], one.rating.score)
            for one in read_ratings(tails(folder, language, judge, "single_grade_ref"))
        ]
        both = [(a, b) for a, b in pairs if a is not None and b is not None]
        assert len(both) == int(row[f"{language}_paired"])
        for place, name in enumerate(("standard", "reference")):
            mean = sum(pair[place] for pair in both) / len(both)
            assert mean == pytest.approx(float(row[f"{language}_{name}_mean"]), abs=5.1e-3)

    @pytest.mark.parametrize("judge", JUDGES)
    @pytest.mark.parametrize("language", ["en", "ko"])
    def test_inconsistent_matches(self, folder: Path, language: str, judge: str) -> None:
        (row,) = (r for r in table(folder / "kook222_table5_pairwise_inconsistency.csv")
                  if r["judge"] == judge)  # fmt: skip
        matches = [one.match for one in read_matches(tails(folder, language, judge, "pairwise"))]
        judged = [match for match in matches if match.outcome is not None]
        inconsistent = [match for match in judged if not match.is_consistent]
        assert len(judged) == int(row[f"{language}_valid"])
        assert len(inconsistent) == int(row[f"{language}_inconsistent"])
        assert {match.outcome for match in inconsistent} == {"tie"}

    @pytest.mark.parametrize("judge", JUDGES)
    @pytest.mark.parametrize("language", ["en", "ko"])
    def test_failures(self, folder: Path, language: str, judge: str) -> None:
        rows = {
            row["protocol"]: row
            for row in table(folder / "kook222_table8_parse_failures.csv")
            if (row["language"], row["judge"]) == (language, judge)
        }
        for kind in ("single_grade", "single_grade_ref"):
            ratings = ratings_of(read_ratings(tails(folder, language, judge, kind)))
            assert len(ratings) == int(rows[kind]["expected_calls"])
            failed = sum(rating.score is None for rating in ratings)
            assert failed == int(rows[kind]["total_failures"])
        matches = [one.match for one in read_matches(tails(folder, language, judge, "pairwise"))]
        games = [game for match in matches for game in (match.first_game, match.second_game)]
        assert len(games) == int(rows["pairwise"]["expected_calls"])
        assert games.count(None) == int(rows["pairwise"]["total_failures"])


PIECES = st.lists(
    st.sampled_from(["[[", "]]", "[", "]", "7", "10", ".", "8.5", "A", "B", "C", "[[A]]", "[[B]]",
                     "[[C]]", " ", "rating", "\n", "٣"]),
    max_size=12,
)  # fmt: skip


@given(PIECES)
@example(["[[7]]"])
@example(["[1]", "[[9]]"])
@example(["[", "3", ".", "]"])
def test_ratings_are_parsed_as_fastchat_parses_them(pieces: list[str]) -> None:
    common = pytest.importorskip("fastchat.llm_judge.common")
    import re

    text = "".join(pieces)
    found = re.search(common.one_score_pattern, text)
    found = found or re.search(common.one_score_pattern_backup, text)
    assert parse_rating(text) == (float(found.groups()[0]) if found else None)


@pytest.mark.parametrize(
    ("text", "winner"),
    [
        ("better: [[A]]", "A"),
        ("[[B]]", "B"),
        ("[[C]]", "tie"),
        ("[[B]], no, [[A]]", "A"),
        ("[[C]] or [[B]]", "B"),
        ("[A]", None),
        ("$ERROR$", None),
    ],
)
def test_winners(text: str, winner: str | None) -> None:
    assert parse_winner(text) == winner


def write(file: Path, rows: list[Any]) -> Path:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return file


class TestRows:
    RATINGS = (Rating("81", "writing", 1, 7.5, "Good. [[7.5]]", "judge-2026-01-01"),
               Rating("q", "math", 2, None, "no rating in the judgment: $"))  # fmt: skip
    MATCHES = (
        Match("81", "writing", 1, "me", "you", "model_1", None, ("[[A]]", "refused")),
        Match("q", "math", 2, "me", "you", "tie", "model_2", ("[[C]]", "[[A]]"), ("j-1", "j-2")),
    )

    def test_what_is_written_reads_back(self, tmp_path: Path) -> None:
        single = [rating_row(rating, "me", "judge") for rating in self.RATINGS]
        pair = [match_row(match, "judge") for match in self.MATCHES]
        assert {frozenset(row) for row in single} == {
            frozenset([*COLUMNS["single"], "judge_answered_as"])
        }
        assert {frozenset(row) for row in pair} == {
            frozenset([*COLUMNS["pair"], "g1_judge_answered_as", "g2_judge_answered_as"])
        }
        assert [row["score"] for row in single] == [7.5, -1]
        assert [row["g2_winner"] for row in pair] == ["error", "model_2"]
        file = write(tmp_path / "judge_single.jsonl", single)
        forms = ("single-v1", "single-math-v1-multi-turn")
        assert read_ratings(file) == [
            JudgedRating("me", "judge", form, rating)
            for form, rating in zip(forms, self.RATINGS, strict=True)
        ]
        file = write(tmp_path / "judge_pair.jsonl", pair)
        forms = ("pair-v2", "pair-math-v1-multi-turn")
        assert read_matches(file) == [
            JudgedMatch("judge", form, match)
            for form, match in zip(forms, self.MATCHES, strict=True)
        ]

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ({"g1_winner": "A"}, "row 1: 'g1_winner' is 'A': model_1, model_2, tie or error"),
            ({"g2_winner": None}, "row 1: 'g2_winner' is None"),
            ({"turn": 0}, "'turn' is 0; turns count from 1"),
        ],
    )
    def test_what_is_no_match_is_named(
        self, tmp_path: Path, change: dict[str, Any], words: str
    ) -> None:
        row = {**match_row(self.MATCHES[0], "judge"), **change}
        with pytest.raises(RecipeError, match=words):
            read_matches(write(tmp_path / "judge_pair.jsonl", [row]))

    def test_both_turns_in_one_row(self, tmp_path: Path) -> None:
        """A turn that no row has a judgment of was never graded, and is not missing."""
        row = {"question_id": 111, "model_id": "m", "judge_id": "j", "score_turn1": -1.0,
               "score_turn2": -1.0, "judgment_turn2": "none"}  # fmt: skip
        other = {**row, "question_id": 112, "score_turn2": 4.0, "judgment_turn2": "[[4]]"}
        read = read_ratings(write(tmp_path / "wide.jsonl", [row, other]))
        assert ratings_of(read) == [
            Rating("111", "math", 2, None, "none"),
            Rating("112", "math", 2, 4.0, "[[4]]"),
        ]
