"""What a suite shares with the training data, on its card: counts, and scores without the hits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from evalkit.cards.recording import Book
from evalkit.family import Member
from evalkit.leaderboard import Found, label
from evalkit.markdown import Markdown, table
from evalkit.records import ResultSet, Score
from evalkit.standings import decimals_of, number, with_interval

_RULE = "{ngram} words in a row are the same, or all of its words where an item has fewer"


def overlap(member: Member, result: ResultSet, book: Book) -> Markdown:
    """A sentence, and a row for each score that hits have a part in; nothing if it was not checked.

    Source of the rule: Brown et al. 2020 (arXiv 2005.14165), section 4.
    """
    found: Mapping[str, Any] | None = result.provenance.get("contamination")
    if found is None:
        return Markdown("")
    tasks = found["tasks"].values()
    items, hits = (sum(task[key] for task in tasks) for key in ("items", "hits"))
    read = f"{found['training_texts']:,} training prompts with their responses"
    if not items:
        return Markdown(f"Not compared with the {read}: this suite does not say what it asks.")
    rule = _RULE.format(ngram=found["ngram"])
    if not hits:
        sentence = f"None of its {items:,} items is found in the {read}."
        return Markdown(f"{sentence} One counts as found where {rule}.")
    verb = "is" if hits == 1 else "are"
    sentence = f"Of its {items:,} items, {hits:,} {verb} found in the {read}: {rule}."
    rows = [row for clean in result.clean_scores if (row := _row(member, result, clean, book))]
    if not rows:
        return Markdown(sentence)
    head = ["Task: metric", "All items", "n", "Without those found", "n"]
    shown = table(head, rows, ["left", "right", "right", "right", "right"])
    return Markdown(f"{sentence}\n\n{shown}")


def _row(member: Member, result: ResultSet, clean: Score, book: Book) -> list[str] | None:
    if not clean.settings["overlapping"]:
        return None
    whole = result.score(clean.task, clean.metric)
    name = f"{label('tasks', whole.task)}: {label('metrics', whole.metric).replace('_', ' ')}"
    for score in (whole, clean):
        book.cite(member, name, number(score.value, decimals_of(score)), Found(score, result))
    return [name, _value(whole), str(whole.n), _value(clean), str(clean.n)]


def _value(score: Score) -> Markdown:
    return Markdown(with_interval(score.value, score.ci_low, score.ci_high, decimals_of(score)))
