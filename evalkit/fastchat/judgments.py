"""FastChat's `model_judgment/` files: ratings and matches, read and written.

There -1 and `error` mark what failed; here it is None, and counted as missing. Files that hold
both turns of a question in one row, as some published ones do, are read too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

from evalkit import json_rows
from evalkit.errors import RecipeError
from evalkit.fastchat.answers import fastchat_id
from evalkit.fastchat.forms import pair_form, single_form
from evalkit.fastchat.place import QUESTIONS_FILE
from evalkit.metrics.matches import Match, Winner
from evalkit.metrics.ratings import Rating

FAILED, ERROR = -1, "error"  # the marks
ANSWERED_AS = "judge_answered_as"  # a column of ours, which FastChat's tools leave be
# Source: lm-sys/FastChat, fastchat/llm_judge/data/mt_bench/question.jsonl (release 0.2.36):
# questions 81 to 160, ten of each category in this order.
CATEGORIES = ("writing", "roleplay", "reasoning", "math", "coding", "extraction", "stem",
              "humanities")  # fmt: skip
_FIRST_QUESTION, _PER_CATEGORY = 81, 10
_RATED = {"question_id", "turn", "judge", "score"}
_RATED_WIDE = {"question_id", "model_id", "judge_id", "score_turn1", "score_turn2"}
_PLAYED = {"question_id", "model_1", "model_2", "g1_winner", "g2_winner"}
_PLAYED_WIDE = {"question_id", "model_a", "model_b", "winner_ab", "winner_ba"}
_SIDES: Mapping[str, tuple[Winner, Winner]] = {
    "A": ("model_1", "model_2"),  # in the first game, in the second
    "B": ("model_2", "model_1"),
    "tie": ("tie", "tie"),
}
Row = Mapping[str, Any]


class JudgedRating(NamedTuple):
    """A rating, of whose answer, by whom; by which prompt where the file says so."""

    model: str
    judge: str
    prompt: str
    rating: Rating


class JudgedMatch(NamedTuple):
    """A match, and by whom it was judged; by which prompt where the file says so."""

    judge: str
    prompt: str
    match: Match


def kind_of(file: Path) -> Literal["single", "pair"] | None:
    """What a file's first row holds: a rating or a match; None for anything else."""
    keys = set(json_rows.first_row(file))
    if keys >= _RATED or keys >= _RATED_WIDE:
        return "single"
    return "pair" if keys >= _PLAYED or keys >= _PLAYED_WIDE else None


def read_ratings(file: Path) -> list[JudgedRating]:
    """Every rating in a file; one without `model` is taken to be named after it.

    Raises:
        RecipeError: the file is damaged, or a row is no rating.
    """
    rows = _placed(file)
    categories = _categories(file)
    if set(rows[0][1]) >= _RATED_WIDE:
        return _from_wide(rows, categories)
    name = file.name.removesuffix(".gz").removesuffix(".jsonl")
    return [_judged_rating(where, row, name, categories) for where, row in rows]


def read_matches(file: Path) -> list[JudgedMatch]:
    """Every match in a file.

    Raises:
        RecipeError: the file is damaged, or a row is no match.
    """
    rows = _placed(file)
    categories = _categories(file)
    read = _match_of_wide if set(rows[0][1]) >= _PLAYED_WIDE else _match
    return [read(where, row, categories) for where, row in rows]


def one_judge(where: str, judges: Sequence[str]) -> str:
    """The judge of all these judgments.

    Raises:
        RecipeError: there are several.
    """
    names = sorted(set(judges))
    if len(names) > 1:
        raise RecipeError(
            f"{where}: several judges rated one model: {', '.join(names)}",
            "split the file: ratings of different judges have no common mean",
        )
    return names[0]


def _placed(file: Path) -> list[tuple[str, dict[str, Any]]]:
    rows = [row for _, row in json_rows.placed_rows(file)]
    return [(f"{file}: row {number}", row) for number, row in enumerate(rows, start=1)]


# --- rows with one turn: FastChat's own -------------------------------------------------------


def _judged_rating(where: str, row: Row, name: str, categories: Mapping[str, str]) -> JudgedRating:
    score, turn = json_rows.finite(row, "score", where), _turn(where, row)
    rating = Rating(
        str(row.get("question_id")),
        _category(row, categories),
        turn,
        None if score == FAILED else score,
        str(row.get("judgment") or ""),
        str(row.get(ANSWERED_AS) or ""),
    )
    return JudgedRating(str(row.get("model") or name), *_judge(row), rating)


def _match(where: str, row: Row, categories: Mapping[str, str]) -> JudgedMatch:
    match = Match(
        str(row.get("question_id")),
        _category(row, categories),
        _turn(where, row) if "turn" in row else 1,
        str(row["model_1"]),
        str(row["model_2"]),
        _winner(where, row, "g1_winner"),
        _winner(where, row, "g2_winner"),
        (str(row.get("g1_judgment") or ""), str(row.get("g2_judgment") or "")),
        (str(row.get(f"g1_{ANSWERED_AS}") or ""), str(row.get(f"g2_{ANSWERED_AS}") or "")),
    )
    return JudgedMatch(*_judge(row), match)


def _winner(where: str, row: Row, key: str) -> Winner | None:
    value = row.get(key)
    if value not in ("model_1", "model_2", "tie", ERROR):
        raise RecipeError(f"{where}: '{key}' is {value!r}: model_1, model_2, tie or error")
    return None if value == ERROR else cast(Winner, value)


def _turn(where: str, row: Row) -> int:
    turn = json_rows.finite(row, "turn", where)
    if turn is None or turn < 1 or turn != int(turn):
        raise RecipeError(f"{where}: 'turn' is {row['turn']!r}; turns count from 1")
    return int(turn)


def _judge(row: Row) -> tuple[str, str]:
    """Name and prompt."""
    stated = row.get("judge")
    parts = [str(part) for part in (stated if isinstance(stated, list) else [stated]) if part]
    return (parts[0] if parts else "not stated", parts[1] if len(parts) > 1 else "")


# --- rows with both turns ---------------------------------------------------------------------


def _from_wide(
    rows: Sequence[tuple[str, Row]], categories: Mapping[str, str]
) -> list[JudgedRating]:
    """A turn that no row has a judgment of was not graded; it is not missing."""
    graded = [
        turn
        for turn in (1, 2)
        if any(
            _wide_judgment(row, turn) or row.get(f"score_turn{turn}") != FAILED for _, row in rows
        )
    ]
    found = []
    for where, row in rows:
        for turn in graded:
            score = json_rows.finite(row, f"score_turn{turn}", where)
            rating = Rating(
                str(row["question_id"]),
                _category(row, categories),
                turn,
                None if score == FAILED else score,
                _wide_judgment(row, turn),
            )
            found.append(JudgedRating(str(row["model_id"]), str(row["judge_id"]), "", rating))
    return found


def _wide_judgment(row: Row, turn: int) -> str:
    whole = row.get(f"judgment_turn{turn}")
    return str(whole or row.get(f"judgment_turn{turn}_tail") or "")


def _match_of_wide(where: str, row: Row, categories: Mapping[str, str]) -> JudgedMatch:
    def side(key: str, game: int) -> Winner | None:
        value = row.get(key)
        if value != ERROR and value not in _SIDES:
            raise RecipeError(f"{where}: '{key}' is {value!r}: A, B, tie or error")
        return None if value == ERROR else _SIDES[str(value)][game]

    judgments = [str(row.get(f"judgment_{o}") or row.get(f"judgment_{o}_tail") or "")
                 for o in ("ab", "ba")]  # fmt: skip
    match = Match(
        str(row["question_id"]),
        _category(row, categories),
        _turn(where, row) if "turn" in row else 1,
        str(row["model_a"]),
        str(row["model_b"]),
        side("winner_ab", 0),
        side("winner_ba", 1),
        (judgments[0], judgments[1]),
    )
    return JudgedMatch(str(row.get("judge_id") or "not stated"), "", match)


# --- categories -------------------------------------------------------------------------------


def _category(row: Row, categories: Mapping[str, str]) -> str:
    question = str(row.get("question_id"))
    return str(row.get("category") or categories.get(question) or _standard(question))


def _standard(question: str) -> str:
    place = int(question) - _FIRST_QUESTION if question.isdecimal() else -1
    return CATEGORIES[place // _PER_CATEGORY] if 0 <= place < 80 else ""


def _categories(file: Path) -> dict[str, str]:
    """Of the questions in FastChat's data folder, where the judgments still lie in it."""
    questions = file.parent.parent / QUESTIONS_FILE
    if not questions.is_file():
        return {}
    rows = json_rows.rows(questions)
    return {str(row.get("question_id")): str(row.get("category") or "") for row in rows}


# --- writing ----------------------------------------------------------------------------------


def rating_row(rating: Rating, model: str, judge: str, prompt: str = "") -> dict[str, Any]:
    """A row of `*_single.jsonl`, without the time that FastChat adds.

    prompt: what the judge was shown, where it is known.
    """
    return {
        "question_id": fastchat_id(rating.question_id),
        "category": rating.category,
        "model": model,
        "judge": [judge, single_form(rating.category, rating.turn)],
        "user_prompt": prompt,
        "judgment": rating.judgment,
        "score": FAILED if rating.score is None else rating.score,
        "turn": rating.turn,
        ANSWERED_AS: rating.by,
    }


def match_row(match: Match, judge: str, prompts: tuple[str, str] = ("", "")) -> dict[str, Any]:
    """A row of `*_pair.jsonl`, without the time that FastChat adds.

    prompts: what the judge was shown in both games, where it is known.
    """
    return {
        "question_id": fastchat_id(match.question_id),
        "category": match.category,
        "model_1": match.model_1,
        "model_2": match.model_2,
        "g1_winner": match.first_game or ERROR,
        "g2_winner": match.second_game or ERROR,
        "judge": [judge, pair_form(match.category, match.turn)],
        "g1_user_prompt": prompts[0],
        "g1_judgment": match.judgments[0],
        "g2_user_prompt": prompts[1],
        "g2_judgment": match.judgments[1],
        "turn": match.turn,
        f"g1_{ANSWERED_AS}": match.by[0],
        f"g2_{ANSWERED_AS}": match.by[1],
    }
