"""Training texts that hold evaluation items: all are found, and nothing else is."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.console import no_progress
from evalkit.contamination import ngrams
from evalkit.contamination.overlap import Overlap, TrainingText, find_overlap
from evalkit.contamination.words import words
from evalkit.roles import EvaluationItem


def _overlap(
    items: Sequence[EvaluationItem], training: Sequence[TrainingText], n: int = 13
) -> Overlap:
    return find_overlap(items, training, n, no_progress)


def _item(*texts: str, name: str = "0") -> EvaluationItem:
    return EvaluationItem(name, "task", texts)


def _hit_ids(found: Overlap) -> set[tuple[str, str]]:
    return {(hit.task, hit.id) for hit in found.hits}


# --- against the definition ------------------------------------------------------------------

few_words = st.lists(st.sampled_from("ab"), max_size=9).map(" ".join)
trained = st.builds(
    lambda prompt, responses: (prompt, tuple(responses)), few_words, st.lists(few_words, max_size=2)
)


def _sequences(text: list[str], n: int) -> set[tuple[str, ...]]:
    length = min(n, len(text))
    return {tuple(text[i : i + length]) for i in range(len(text) - length + 1)} - {()}


def _holds(document: tuple[str, tuple[str, ...]], sequence: tuple[str, ...]) -> bool:
    prompt, responses = document
    wholes = [(prompt + " " + response).split() for response in responses] or [prompt.split()]
    length = len(sequence)
    return any(
        tuple(whole[i : i + length]) == sequence
        for whole in wholes
        for i in range(len(whole) - length + 1)
    )


@given(
    items=st.lists(st.lists(few_words, min_size=1, max_size=3), min_size=1, max_size=5),
    training=st.lists(trained, max_size=4),
    n=st.integers(1, 6),
)
def test_what_the_definition_says_is_found_and_nothing_else(
    items: list[list[str]], training: list[tuple[str, tuple[str, ...]]], n: int
) -> None:
    asked = [_item(*texts, name=str(i)) for i, texts in enumerate(items)]
    found = _overlap(asked, [TrainingText(f"d{i}", *one) for i, one in enumerate(training)], n)
    by_id = {hit.id: hit for hit in found.hits}
    for number, texts in enumerate(items):
        forms = [_sequences(text.split(), n) for text in texts]
        holding = [
            f"d{i}"
            for i, document in enumerate(training)
            if any(_holds(document, sequence) for form in forms for sequence in form)
        ]
        assert (str(number) in by_id) == bool(holding)
        if holding:
            assert by_id[str(number)].documents == len(holding)
            assert by_id[str(number)].examples == tuple(holding[:3])
    assert found.tasks[0].items == len(items)
    assert found.tasks[0].hits == len(found.hits)
    assert found.tasks[0].empty == sum(not "".join(texts).strip() for texts in items)


@given(
    items=st.lists(few_words, min_size=1, max_size=5),
    training=st.lists(trained, max_size=5),
    n=st.integers(1, 4),
    order=st.randoms(use_true_random=False),
)
def test_the_order_of_prompts_changes_nothing(
    items: list[str], training: list[tuple[str, tuple[str, ...]]], n: int, order: random.Random
) -> None:
    asked = [_item(text, name=str(i)) for i, text in enumerate(items)]
    texts = [TrainingText(f"d{i}", *one) for i, one in enumerate(training)]
    shuffled = list(texts)
    order.shuffle(shuffled)
    assert _overlap(asked, texts, n) == _overlap(asked, shuffled, n)


# --- planted -----------------------------------------------------------------------------------


def _words(count: int, of: str) -> list[str]:
    return [f"{of}{number}" for number in range(count)]


@pytest.mark.parametrize("n", [5, 13])
def test_a_planted_sequence_is_found_at_every_position_of_item_and_prompt(n: int) -> None:
    item, filler = _words(40, "word"), _words(60, "other")
    for start in range(len(item) - n + 1):
        for place in (0, start, len(filler)):
            text = [*filler[:place], *item[start : start + n], *filler[place:]]
            (hit,) = _overlap([_item(" ".join(item))], [TrainingText("p", " ".join(text))], n).hits
            assert hit.text.split() == item[start : start + n]
            assert (hit.words, hit.documents, hit.short) == (n, 1, False)
            assert hit.share == round(1 / (len(item) - n + 1), 4)


@pytest.mark.parametrize("changed", range(13))
def test_a_sequence_with_one_word_changed_is_not_found(changed: int) -> None:
    item = _words(30, "word")
    planted = item[4:17]
    planted[changed] = "other"
    assert _overlap([_item(" ".join(item))], [TrainingText("p", " ".join(planted))]).hits == ()


def test_words_count_wherever_batches_end(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(3)
    items = [_item(" ".join(rng.choices("abcdefgh", k=12)), name=str(i)) for i in range(40)]
    texts = [TrainingText(str(i), " ".join(rng.choices("abcdefgh", k=50))) for i in range(60)]
    whole = _overlap(items, texts, 5)
    monkeypatch.setattr("evalkit.contamination.overlap._WORDS_AT_ONCE", 70)
    assert _overlap(items, texts, 5) == whole
    assert 0 < len(whole.hits) < len(items)


def test_overlap_spans_prompt_and_response_but_not_two_texts() -> None:
    item = _words(20, "word")
    first, second = " ".join(item[:10]), " ".join(item[10:])
    asked = [_item(" ".join(item))]
    assert len(_overlap(asked, [TrainingText("p", first, ("no", second))]).hits) == 1
    assert _overlap(asked, [TrainingText("p", first), TrainingText("q", second)]).hits == ()
    assert _overlap(asked, [TrainingText("p", "no", (first, second))]).hits == ()


def test_a_short_item_is_met_whole_or_not_at_all() -> None:
    asked = [_item("Who wrote Faust?")]
    (hit,) = _overlap(asked, [TrainingText("p", "tell me: who wrote faust, and when")]).hits
    assert (hit.short, hit.words, hit.share) == (True, 3, 1.0)
    assert _overlap(asked, [TrainingText("p", "who wrote")]).hits == ()


def test_punctuation_case_and_forms_of_letters_make_no_difference() -> None:
    text = "“Don’t” — the \ufb01le's\tNUMBER: \uff12_3 $4."  # a ligature, and a wide digit
    assert words(text) == ["dont", "the", "files", "number", "23", "4"]
    assert words("don't") == words("Don’t!")
    assert words(" \n?!") == []


def test_two_sequences_of_one_hash_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = ngrams._values
    tried: list[int] = []

    def colliding(size: int, salt: int) -> ngrams.Hashes:
        tried.append(salt)
        values = honest(size, salt)
        if salt == 0:
            values[1:] = np.uint64(7)  # then every window of a length has the same hash
        return values

    items = [_item("a b c d", name="0"), _item("d c b a", name="1")]
    texts = [TrainingText("p", "x b c d y")]
    expected = _hit_ids(_overlap(items, texts, 3))
    monkeypatch.setattr(ngrams, "_values", colliding)
    assert _hit_ids(_overlap(items, texts, 3)) == expected == {("task", "0")}
    assert tried == [0, 1]


def test_a_training_text_of_the_same_hash_is_no_hit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        ngrams, "_values", lambda size, salt: np.arange(size, dtype=np.uint64) % np.uint64(2)
    )
    # Words are numbered as they come: a 1, b 2, c 3; so that a and c are worth the same.
    assert (
        _overlap([_item("a b"), _item("b c b", name="1")], [TrainingText("p", "c b")], 3).hits == ()
    )
