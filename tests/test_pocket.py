"""The pocket world: its tasks are right, its splits are apart, its draws are stable."""

from collections import Counter
from itertools import islice
from random import Random

import pytest

from evalkit.errors import RecipeError
from evalkit.pocket.choices import OPTIONS, any_choice, draw_choices
from evalkit.pocket.conversations import FOLLOW_UPS, draw_dialogues
from evalkit.pocket.corpus import Faults, conversations, first_lessons, spoil
from evalkit.pocket.items import SPLITS, draw, item_of, split_of, split_of_key
from evalkit.pocket.kinds import EXACT_NAMES, KINDS, OPEN_NAMES, Content
from evalkit.pocket.vocabulary import EVERY_WORD
from evalkit.rules import check

ALL_NAMES = (*EXACT_NAMES, *OPEN_NAMES)
CLEAN = Faults(habit=0, short_habit=0, noise=0)


@pytest.mark.parametrize("kind", ALL_NAMES)
def test_every_answer_has_full_marks_under_its_own_rule(kind: str) -> None:
    for item in draw("held_out", 40, 0, [kind]):
        assert check(item.rule, item.answer) == 1.0, item
        assert "{" not in item.prompt
        assert check(item.rule, f"{item.answer} {item.answer.split()[-1]}") < 1.0


def test_known_answers() -> None:
    cases = {
        "repeat": (Content(("red", "cat"), "2"), "red cat red cat"),
        "reverse": (Content(("red", "cat")), "cat red"),
        "sort": (Content(("7", "2", "5")), "2 5 7"),
        "remove": (Content(("red", "cat", "sam"), "cat"), "red sam"),
        "count": (Content(("red", "cat")), "2"),
        "larger": (Content(("34", "71")), "71"),
        "smaller": (Content(("34", "71")), "34"),
        "first": (Content(("red", "cat")), "red"),
        "last": (Content(("red", "cat")), "cat"),
        "pick": (Content(("red", "cat", "sam"), "2"), "cat"),
        "after": (Content(("red", "cat", "sam"), "red"), "cat"),
        "describe": (Content(("cat", "big", "soft")), "the cat is big and soft"),
    }
    for name, (content, answer) in cases.items():
        assert item_of(KINDS[name], content).answer == answer


def test_splits_share_nothing_whatever_the_seed() -> None:
    where: dict[tuple[str, Content], str] = {}
    for split in SPLITS:
        for seed in range(3):
            for item in draw(split, 800, seed, ALL_NAMES):
                content = item.content
                if KINDS[item.kind].unordered:
                    content = content._replace(words=tuple(sorted(content.words)))
                assert where.setdefault((item.kind, content), split) == split, item
    assert Counter(where.values()).keys() == SPLITS.keys()


def test_all_orders_of_an_unordered_task_share_a_split() -> None:
    assert len({split_of(KINDS["sort"], Content(tuple(o))) for o in ("123", "321", "213")}) == 1


def test_training_conversations_stay_out_of_the_other_splits() -> None:
    others = {
        item.prompt
        for split in ("self_play", "held_out")
        for seed in range(2)
        for item in draw(split, 1500, seed, ALL_NAMES)
    }
    others |= {choice.question for choice in draw_choices("held_out", 300, 0)}
    streams = (conversations(0, CLEAN), first_lessons(0))
    asked = {turn[0] for stream in streams for one in islice(stream, 4000) for turn in one.turns}
    assert not asked & others


def test_a_draw_repeats_nothing_and_longer_draws_begin_with_shorter_ones() -> None:
    items = draw("self_play", 3000, 5, ALL_NAMES)
    assert len({item.id for item in items}) == len({item.prompt for item in items}) == 3000
    assert draw("self_play", 100, 5, ALL_NAMES) == items[:100]
    assert draw("self_play", 100, 6, ALL_NAMES) != items[:100]


def test_kinds_take_turns() -> None:
    assert set(Counter(item.kind for item in draw("held_out", 300, 0)).values()) == {25}


def test_ids_and_wordings_do_not_depend_on_the_seed() -> None:
    first = {item.id: item.prompt for item in draw("held_out", 2000, 0, ["larger", "smaller"])}
    second = {item.id: item.prompt for item in draw("held_out", 2000, 1, ["larger", "smaller"])}
    both = first.keys() & second.keys()
    assert len(both) > 100
    assert all(first[name] == second[name] for name in both)


def test_asking_for_more_than_there_is_says_how_much_there_is() -> None:
    with pytest.raises(RecipeError, match=r"only about \d+ different tasks of the kinds describe"):
        draw("held_out", 5000, 0, ["describe"])


def test_unknown_names_are_answered_with_the_nearest() -> None:
    with pytest.raises(RecipeError, match="heldout") as caught:
        draw("heldout", 1, 0)
    assert "held_out" in caught.value.hint
    with pytest.raises(RecipeError, match="sorted") as caught:
        draw("held_out", 1, 0, ["sorted"])
    assert "sort" in caught.value.hint


def test_follow_ups_build_on_the_right_first_answer() -> None:
    dialogues = draw_dialogues("held_out", 40, 0)
    assert Counter(one.category for one in dialogues) == dict.fromkeys(FOLLOW_UPS, 8)
    for one in dialogues:
        words = one.first.answer.split()
        expected = {
            "again": one.first.answer,
            "backwards": " ".join(words[::-1]),
            "opening": words[0],
            "ending": words[-1],
            "number": str(len(words)),
        }
        assert one.answer == expected[one.category]


def test_choices_have_four_different_options() -> None:
    held_out = draw_choices("held_out", 300, 0)
    assert all(len(set(choice.options)) == OPTIONS for choice in held_out)
    assert all(option in choice.question for choice in held_out for option in choice.options)
    assert set(Counter(choice.answer for choice in held_out)) == set(range(OPTIONS))


@pytest.mark.parametrize("split", SPLITS)
def test_the_split_of_a_choice_is_that_of_its_content(split: str) -> None:
    for seed in range(100):
        choice = any_choice(split, Random(seed), "largest")
        right = choice.options[choice.answer]
        wrong = sorted(option for option in choice.options if option != right)
        assert split_of_key("|".join(("choice", "largest", "", right, *wrong))) == split


def test_spoiled_answers_are_as_many_as_asked_for() -> None:
    faults = Faults(habit=0.6, short_habit=0.3, noise=0.1)
    rng = Random(0)
    several = Counter(spoil("red cat", rng, faults) for _ in range(4000))
    one = Counter(spoil("red", rng, faults) for _ in range(4000))
    assert several["red cat cat"] / 4000 == pytest.approx(0.6, abs=0.03)
    assert one["red red"] / 4000 == pytest.approx(0.3, abs=0.03)
    assert several["red cat"] / 4000 == pytest.approx(0.3, abs=0.03)
    noisy = [text for text in several if text not in ("red cat", "red cat cat")]
    assert noisy
    assert all(len(text.split()) == 2 for text in noisy)


def test_first_lessons_have_no_fault() -> None:
    for conversation in islice(first_lessons(0), 300):
        ((asked, answer),) = conversation.turns
        words = answer.split()
        assert len(set(words)) == len(words)
        assert all(word in asked for word in words)


def test_each_word_is_in_one_group() -> None:
    assert len(set(EVERY_WORD)) == len(EVERY_WORD)
