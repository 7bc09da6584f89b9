"""Matches of MT-Bench as lm-sys/FastChat writes them: `model_judgment/*_pair.jsonl`.

A row is a match: two games on one turn, the models shown in either order. A model's numbers are
over all its opponents in the file, as the live benchmark's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from evalkit.errors import RecipeError
from evalkit.fastchat.judgments import JudgedMatch, kind_of, one_judge, read_matches
from evalkit.importers import reading
from evalkit.metrics.matches import Match, match_scores, players, worth_of
from evalkit.records import ResultSet, Sample
from evalkit.roles import Imported, Importer

TOOL = "FastChat"
TASK = "mt_bench_pairwise"


class MtBenchPairsImporter(Importer):
    """Win rates from recorded matches, computed as the live benchmark computes them."""

    def recognises(self, path: Path) -> bool:
        """By the keys of its first row."""
        return path.is_file() and ".jsonl" in path.name and kind_of(path) == "pair"

    def read(self, path: Path) -> list[Imported]:
        """One result for each model that played and was judged."""
        judged = read_matches(path)
        matches = [one.match for one in judged]
        found = [_imported(path, model, matches, judged) for model in players(matches)]
        results = [one for one in found if one is not None]
        if not results:
            raise RecipeError(f"{path}: all {len(matches)} matches failed")
        return results


PLUGIN = MtBenchPairsImporter


def _imported(
    file: Path, model: str, matches: Sequence[Match], judged: Sequence[JudgedMatch]
) -> Imported | None:
    """None for a model none of whose matches was judged."""
    own = [match for match in matches if model in (match.model_1, match.model_2)]
    opponents = sorted(set(players(own)) - {model})
    scores = match_scores(TASK, own, model, {"opponents": opponents})
    if not scores:
        return None
    prompts = sorted({one.prompt for one in judged if one.prompt})
    judge: dict[str, Any] = {"name": one_judge(str(file), [one.judge for one in judged])}
    provenance = {
        "harness": "FastChat llm_judge",
        "protocol": "MT-Bench pairwise; numbers computed by evalkit from the matches",
        "data": {"questions": len({match.question_id for match in own})},
        "judge": {**judge, **({"prompts": prompts} if prompts else {})},
        "intervals": "95 %: Student over questions, all matches about one taken together",
        "imported": reading.origin(TOOL, file, model),
    }
    samples = tuple(_samples(own, model))
    return Imported(model, ResultSet("mt_bench", "", "", tuple(scores), provenance, samples))


def _samples(matches: Sequence[Match], model: str) -> Iterator[Sample]:
    """One per question with a judged match: what the model's matches about it were worth."""
    worth: dict[str, list[float]] = {}
    for match in matches:
        value = worth_of(match, model)
        if value is not None:
            worth.setdefault(match.question_id, []).append(value)
    for question, values in worth.items():
        yield Sample(question, TASK, {"win_rate_adjusted": sum(values) / len(values)})
