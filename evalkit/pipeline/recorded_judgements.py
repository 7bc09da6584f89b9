"""Judgements that lie in files, of a run or of another tool: what they say of their judge.

Read are alpaca_eval's `annotations.json`, compact recorded preferences, and FastChat's ratings and
matches. Labels of people in one of these forms are another judge's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from evalkit import json_rows
from evalkit.errors import RecipeError
from evalkit.fastchat.judgments import kind_of, read_matches, read_ratings
from evalkit.importers.reading import stem
from evalkit.metrics.matches import Match
from evalkit.metrics.win_rate import is_missing, preferred
from evalkit.pipeline import kinship
from evalkit.pipeline.evaluation import RAW, RESULT
from evalkit.pipeline.judge_audit import (
    FIRST,
    SECOND,
    TIE,
    agreement_figures,
    consistency,
    of_verdicts,
)
from evalkit.roles import Verdict
from evalkit.rundir import STEPS

Kind = Literal["preferences", "ratings", "matches"]
_FLIPPED = {FIRST: SECOND, SECOND: FIRST, TIE: TIE}
_HINT = (
    "give a run's folder, alpaca_eval's annotations.json, recorded preferences, or FastChat's"
    " model_judgment/*.jsonl"
)
_LOGIT = {FIRST: 1.0, SECOND: -1.0, TIE: 0.0}


class Recorded(NamedTuple):
    """One judgement.

    what: names what was judged in every file alike. sides: the two that were compared, in this
        file's order; one for a rating.
    said: FIRST, SECOND or TIE of the sides, or a rating; None where it failed.
    turned: of a match, what was said with the sides shown in the other order.
    is_match: whether it was asked both ways.
    """

    what: tuple[str, ...]
    sides: tuple[str, ...]
    said: str | float | None
    models: tuple[str, ...]
    judge: str
    turned: str | None = None
    is_match: bool = False


class Recording(NamedTuple):
    """The judgements of one file; result: of the run that they come from, if they do."""

    source: str
    kind: Kind
    rows: list[Recorded]
    result: Mapping[str, Any] = {}


def read_recordings(path: Path) -> list[Recording]:
    """All judgements in a file, or in a run's folder.

    Raises:
        RecipeError: there are none.
    """
    if path.is_file():
        return [_recording(path, path.name)]
    found = []
    for file in sorted((path / STEPS).glob(f"*/{RESULT}")):
        result = json_rows.mapping(file)
        if "judge" in result.get("provenance", {}):
            for raw in _raw_files(file.parent):
                found.append(_recording(raw, file.parent.name)._replace(result=result))
    if not found:
        raise RecipeError(f"there are no judgements in {path}", _HINT)
    return found


def describe(recording: Recording, second: Sequence[Recording], seed: int = 0) -> dict[str, Any]:
    """What the judgements of one file say of their judge, as JSON values.

    second: other judges' judgements, of which those about the same things are compared.
    """
    judges = sorted({row.judge for row in recording.rows if row.judge})
    models = sorted({name for row in recording.rows for name in row.models})
    provenance = recording.result.get("provenance", {})
    recorded = provenance.get("judge_audit", {})
    found: dict[str, Any] = {
        "source": recording.source,
        "judges": provenance.get("judge") or judges or "not stated",
        "kind": recording.kind,
        "models": models,
        **of_verdicts([verdict for row in recording.rows for verdict in _verdicts(row)]),
    }
    if recording.kind == "matches":
        first, second_game = zip(*(_games(row) for row in recording.rows), strict=True)
        found["swapped"] = consistency(first, second_game, seed)
    kin = recorded.get("self_preference") or _kin(judges, models)
    # What only the run knew: who answered, and what was asked beside what was scored.
    found |= {key: value for key, value in recorded.items() if key not in found}
    if kin:
        found["self_preference"] = kin
    agreed = [agreed for other in second if (agreed := _agreed(recording, other, seed)) is not None]
    return {**found, **({"agreement_with": agreed} if agreed else {})}


def _raw_files(step: Path) -> Iterator[Path]:
    raw = step / RAW
    yield from sorted(raw.rglob("annotations.json"))
    yield from sorted(raw.rglob("model_judgment/*.jsonl"))


def _recording(file: Path, source: str) -> Recording:
    kind = kind_of(file) if ".jsonl" in file.name else None
    if kind == "single":
        return Recording(source, "ratings", [_rating(one) for one in read_ratings(file)])
    if kind == "pair":
        return Recording(source, "matches", [_match(one) for one in read_matches(file)])
    rows = json_rows.rows(file)
    if "preference" not in rows[0]:
        raise RecipeError(f"there are no judgements in {file}", _HINT)
    name = stem(file)
    return Recording(
        source,
        "preferences",
        [_preference(row, name, f"{file}: row {n}") for n, row in enumerate(rows, 1)],
    )


def _rating(one: Any) -> Recorded:
    rating = one.rating
    what = (rating.question_id, str(rating.turn), one.model)
    return Recorded(what, (one.model,), rating.score, (one.model,), one.judge)


def _match(one: Any) -> Recorded:
    match: Match = one.match
    sides = (match.model_1, match.model_2)
    said, turned = (_side(game) for game in (match.first_game, match.second_game))
    what = (match.question_id, str(match.turn), *sorted(sides))
    return Recorded(what, sides, said, sides, one.judge, turned, is_match=True)


def _side(winner: str | None) -> str | None:
    names = {"model_1": FIRST, "model_2": SECOND, "tie": TIE}
    return None if winner is None else names[winner]


def _preference(row: Mapping[str, Any], name: str, where: str) -> Recorded:
    """The sides are the outputs where the file has them: people's labels name no models."""
    value = json_rows.number(row, "preference", where)
    model = str(row.get("generator_2") or name)
    said = None
    if not is_missing(value):
        probability = preferred([value])[0]
        said = TIE if probability == 0.5 else SECOND if probability > 0.5 else FIRST
    instruction = str(row.get("instruction", row.get("instruction_id", "")))
    if isinstance(row.get("output_1"), str) and isinstance(row.get("output_2"), str):
        sides = (row["output_1"], row["output_2"])
        what = (instruction, *sorted(sides))
    else:
        sides, what = ("baseline", model), (instruction, model)
    judge = str(row.get("annotator") or "")
    return Recorded(what, sides, said, (model,), judge)


def _verdicts(row: Recorded) -> list[Verdict]:
    """One per question that the judge was asked; a match was asked about twice."""
    asked = [row.said, row.turned] if row.is_match else [row.said]
    return [Verdict(None if said is None else 0.0, "no verdict") for said in asked]


def _games(row: Recorded) -> tuple[Verdict, Verdict]:
    """Both games of a match as a judge gives them: of who is shown first."""
    first = None if row.said is None else _LOGIT[str(row.said)]
    turned = None if row.turned is None else -_LOGIT[row.turned]
    return Verdict(first), Verdict(turned)


def _kin(judges: Sequence[str], models: Sequence[str]) -> str:
    for judge in judges:
        for model in models:
            reason = kinship.kin(kinship.of_name(judge), kinship.of_name(model))
            if reason:
                return f"{reason} ({judge} judging {model})"
    return ""


def _agreed(one: Recording, other: Recording, seed: int) -> dict[str, Any] | None:
    """How far two files agree on what both judge; None where they judge nothing in common."""
    if one.kind != other.kind:
        return None
    there: dict[tuple[str, ...], list[Recorded]] = {}
    for row in other.rows:
        there.setdefault(row.what, []).append(row)
    pairs = [(row, label) for row in one.rows for label in there.get(row.what, [])]
    if not pairs:
        return None
    read = _whole_rating if one.kind == "ratings" else _outcome
    said = [(read(row, row.sides), read(label, row.sides)) for row, label in pairs]
    both = [(a, b) for a, b in said if a is not None and b is not None]
    judges = sorted({row.judge for row in other.rows if row.judge})
    return {
        "source": other.source,
        "judges": judges or "not stated",
        "missing": len(said) - len(both),
        **agreement_figures(both, one.kind != "ratings", seed),
    }


def _whole_rating(row: Recorded, sides: tuple[str, ...]) -> int | None:
    return None if row.said is None else round(float(row.said))


def _outcome(row: Recorded, sides: tuple[str, ...]) -> str | None:
    """Who won, in the order of `sides`; a match whose games differ is a tie."""
    if row.said is None or (row.is_match and row.turned is None):
        return None
    said = TIE if row.is_match and row.turned != row.said else str(row.said)
    return said if row.sides == sides else _FLIPPED[said]
