"""`.eval_results/*.yaml` beside a card: scores on data sets that the Hub knows as benchmarks.

Source: github.com/huggingface/hub-docs, eval_results.yaml (November 2026): a list of entries.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import yaml

from evalkit import frontmatter, resources
from evalkit.cards import values
from evalkit.cards.model_index import source_of
from evalkit.cards.recording import Book
from evalkit.family import Family, Member
from evalkit.leaderboard import Found
from evalkit.records import ResultSet, Score
from evalkit.standings import decimals_of, number

FOLDER = ".eval_results"
DECIMALS = 2


def eval_results(family: Family, member: Member, book: Book) -> dict[str, str]:
    """Path beside the card -> YAML of each registered benchmark that a member was measured on.

    Figures that others report are theirs to send; scores over a part of the items are another
    test's, and so is what does not compare with published figures.
    """
    found: dict[str, list[dict[str, Any]]] = {}
    for one in _registered():
        for result in member.results:
            if "reported" in result.provenance:
                continue
            for score in _of(one, result):
                path = f"{FOLDER}/{one['file']}.yaml"
                shown = str(float(number(score.value, DECIMALS)))
                book.cite(member, score.metric, shown, Found(score, result))
                found.setdefault(path, []).append(_entry(family, member, one, result, score))
    return {path: frontmatter.dump(entries) for path, entries in found.items()}


def eval_result_paths() -> list[str]:
    """Every path that `eval_results` may give."""
    return [_path(one) for one in _registered()]


def _path(one: Mapping[str, Any]) -> str:
    return f"{FOLDER}/{one['file']}.yaml"


def _of(one: Mapping[str, Any], result: ResultSet) -> Iterator[Score]:
    for score in result.scores:
        what = {"benchmark": result.benchmark, "task": score.task, "metric": score.metric}
        whole = score.n is not None and score.n + score.missing == one["n"]
        if what in one["scores"] and whole and not score.settings.get("not_comparable"):
            yield score


def _entry(
    family: Family, member: Member, one: Mapping[str, Any], result: ResultSet, score: Score
) -> dict[str, Any]:
    source = source_of(family, member, result)
    return {
        "dataset": {"id": one["dataset"], "task_id": one["task_id"]},
        "value": float(number(score.value, DECIMALS)),
        **({"source": source} if source else {}),
        "notes": _notes(score),
    }


def _notes(score: Score) -> str:
    """What makes the score comparable or not, in one line of plain text."""
    settings = values.portable(score.settings)
    told = [f"{settings['few_shot']}-shot"] if settings.get("few_shot") is not None else []
    if isinstance(settings.get("chat_template"), bool):
        told.append(f"{'with' if settings['chat_template'] else 'without'} a chat template")
    told += [str(settings[key]) for key in ("filter", "harness") if settings.get(key)]
    told.append(f"n={score.n}" + (f", {score.missing} missing" if score.missing else ""))
    if score.ci_low is not None and score.ci_high is not None:
        decimals = decimals_of(score)
        low, high = number(score.ci_low, decimals), number(score.ci_high, decimals)
        told.append(f"95 % interval {low} to {high}")
    return ", ".join(told)


@cache
def _registered() -> tuple[Mapping[str, Any], ...]:
    return tuple(yaml.safe_load(resources.template("registered_benchmarks.yaml")))
