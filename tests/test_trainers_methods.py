"""Each method makes its training examples from groups, and counts what it drops."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from evalkit import registry
from evalkit.records import Message, Prompt, PromptGroup, Response, TrainingExample
from evalkit.roles import DataNeeds, Method


def make(name: str, **options: Any) -> Method:
    plugin = registry.load("methods", name)
    method: Method = plugin(plugin.Options(**options))
    return method


def ids(text: str) -> tuple[int, ...]:
    return (*(ord(letter) for letter in text), 2)


def group(
    number: int,
    *texts: str,
    gold: str | None = None,
    rejected: str | None = None,
    win_probs: tuple[float, ...] | None = None,
    pair_probs: Any = None,
) -> PromptGroup:
    responses = [Response(text, ids(text), "stop") for text in texts]
    responses += [Response(t, ids(t), "gold") for t in (gold, rejected) if t is not None]
    prompt = Prompt(f"p{number}", (Message("user", "?"),), gold, rejected)
    return PromptGroup(prompt, (1, 5), tuple(responses), pair_probs=pair_probs, win_probs=win_probs)


def chosen_and_rejected(example: TrainingExample) -> tuple[str, str]:
    first, second = ("".join(map(chr, c[:-1])) for c in example.continuations)
    return first, second


def test_every_method_is_found() -> None:
    assert registry.names("methods") == ("dpo", "sft", "spin", "sppo")


def test_needs() -> None:
    assert make("sft").needs() == DataNeeds(gold=True, reference=False)
    assert make("dpo").needs() == DataNeeds(gold=True, rejected=True)
    assert make("dpo", pairs="judged", samples=3).needs() == DataNeeds(samples=3, judge=True)
    assert make("dpo", pairs="judged").needs().samples == 5
    with pytest.raises(ValidationError, match="samples 3 would change nothing"):
        make("dpo", samples=3)
    assert make("spin").needs() == DataNeeds(gold=True, samples=1, earlier="previous")
    assert make("spin", accumulate="all").needs().earlier == "all"
    assert make("sppo").needs() == DataNeeds(samples=5, judge=True)


def test_sft_takes_gold_alone() -> None:
    made = make("sft").examples([group(0, "own", gold="right"), group(1, "own")], [])
    assert made.examples == [TrainingExample("p0", (1, 5), (ids("right"),), (1.0,), ("gold",))]
    assert made.dropped == {"no_gold": 1}


def test_spin_adds_the_pairs_of_earlier_iterations() -> None:
    now = [group(0, "a", "right", gold="right"), group(1, "b", gold="good"), group(2, "c")]
    before = [group(0, "z", gold="right")]
    made = make("spin").examples(now, before)
    assert [chosen_and_rejected(e) for e in made.examples] == [
        ("right", "z"),
        ("right", "a"),
        ("good", "b"),
    ]
    assert made.dropped == {"equal_to_gold": 1, "no_gold": 1}


def test_dpo_pairs_from_the_data() -> None:
    groups = [
        group(0, gold="good", rejected="bad"),
        group(1, gold="good"),
        group(2, rejected="bad"),
        group(3, gold="same", rejected="same"),
    ]
    made = make("dpo").examples(groups, [])
    assert [chosen_and_rejected(e) for e in made.examples] == [("good", "bad")]
    assert made.dropped == {"no_rejected": 1, "no_gold": 1, "identical_responses": 1}


JUDGED = [
    group(0, "a", "b", "c", win_probs=(0.4, 0.7, 0.2), gold="given"),
    group(1, "a", "b", win_probs=(0.5, 0.5)),
    group(2, "a", "a", win_probs=(0.5, 0.5)),
    group(3, "a", "b"),
]
DROPPED = {"tied": 1, "identical_responses": 1, "unjudged": 1}


@pytest.mark.parametrize(("form", "targets"), [("pair", (0.7, 0.2)), ("hard", (1.0, 0.0))])
def test_sppo_pairs_best_with_worst(form: str, targets: tuple[float, float]) -> None:
    made = make("sppo", form=form).examples(JUDGED, JUDGED)
    assert [chosen_and_rejected(e) for e in made.examples] == [("b", "c")]
    assert made.examples[0].targets == targets
    assert made.dropped == DROPPED


def test_dpo_on_judged_samples() -> None:
    made = make("dpo", pairs="judged").examples(JUDGED, [])
    assert [chosen_and_rejected(e) for e in made.examples] == [("b", "c")]
    assert made.dropped == DROPPED


def test_sppo_pointwise_takes_all_samples() -> None:
    made = make("sppo", form="pointwise").examples(JUDGED, [])
    (example,) = made.examples
    assert example.continuations == (ids("a"), ids("b"), ids("c"))
    assert example.targets == (0.4, 0.7, 0.2)


def test_repeated_samples_weigh_as_often_as_they_were_drawn() -> None:
    """A prompt of equal samples says nothing; else how often one is drawn is its part of p."""
    judged = group(0, "a", "b", "a", win_probs=(0.6, 0.3, 0.6))
    (example,) = make("sppo", form="pointwise").examples([judged], []).examples
    assert example.continuations == (ids("a"), ids("b"), ids("a"))
    (pair,) = make("sppo").examples([judged], []).examples
    assert chosen_and_rejected(pair) == ("a", "b")
    (pair,) = make("dpo", pairs="judged").examples([judged], []).examples
    assert chosen_and_rejected(pair) == ("a", "b")
    same = group(1, "a", "a", "a", win_probs=(0.5, 0.5, 0.5))
    for method in (make("sppo"), make("sppo", form="pointwise"), make("dpo", pairs="judged")):
        assert method.examples([same], []).dropped == {"identical_responses": 1}
    made = make("spin", samples=3).examples([group(2, "a", "a", "right", gold="right")], [])
    assert [chosen_and_rejected(e) for e in made.examples] == [("right", "a")] * 2
    assert made.dropped == {"equal_to_gold": 1}


def test_spin_tells_the_pairs_of_earlier_iterations_apart() -> None:
    now, before = [group(0, "a", gold="right")], [group(0, "z", gold="right")]
    assert [e.earlier for e in make("spin").examples(now, before).examples] == [True, False]


def test_sppo_single_uses_the_pairs_own_probability() -> None:
    pair_probs = ((0.5, 0.4, None), (0.6, 0.5, 0.75), (None, 0.25, 0.5))
    judged = group(0, "a", "b", "c", win_probs=(0.4, 0.7, 0.2), pair_probs=pair_probs)
    method = make("sppo", form="single")
    (example,) = method.examples([judged], []).examples
    assert example.targets == (0.75, 0.25)
    unknown = group(0, "a", "b", "c", win_probs=(0.7, 0.4, 0.2), pair_probs=pair_probs)
    assert method.examples([unknown], []).dropped == {"unjudged": 1}


@pytest.mark.parametrize("name", ["dpo", "sft", "spin", "sppo"])
def test_what_a_method_requires_is_declared(name: str) -> None:
    """Preflight names missing packages before any work."""
    requires = dict(registry.load("methods", name).requires)
    assert requires == {"torch": "train", "transformers": "train", "accelerate": "train"}
