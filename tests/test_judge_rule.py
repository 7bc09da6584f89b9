"""The rule judge: opposite logits for swapped responses, 1 to 10, nothing where no rule is."""

from typing import Any

import pytest

from evalkit import registry
from evalkit.records import Message, Prompt, Question, Turn
from evalkit.roles import PairRequest, RatingRequest

EXACT = {"kind": "exact", "answer": "red cat"}
PROMPT = Prompt("p", (Message("user", "Say red cat"),), rule=EXACT)
BARE = Prompt("bare", (Message("user", "Hello"),))
QUESTION = Question("q", "copy", (Turn("Say red cat", rule=EXACT), Turn("Why?")))


def silent(done: int, total: int, note: str = "") -> None:
    """A progress bar that nobody sees."""


@pytest.fixture
def judge() -> Any:
    plugin = registry.load("judges", "rule")
    return plugin(plugin.Options())


def test_logits_are_score_differences_over_the_temperature(judge: Any) -> None:
    good, bad = "red cat", "blue"
    requests = [
        PairRequest(PROMPT, good, bad),
        PairRequest(PROMPT, bad, good),
        PairRequest(PROMPT, bad, bad),
    ]
    assert [verdict.value for verdict in judge.compare(requests, silent)] == [5.0, -5.0, 0.0]


def test_the_temperature_is_an_option() -> None:
    plugin = registry.load("judges", "rule")
    warm = plugin(plugin.Options(temperature=1.0))
    assert warm.compare([PairRequest(PROMPT, "red cat", "blue")], silent)[0].value == 1.0
    assert warm.identity() != plugin(plugin.Options()).identity()


def test_equal_texts_of_different_prompts_are_judged_apart(judge: Any) -> None:
    other = Prompt("other", PROMPT.messages, rule={"kind": "exact", "answer": "blue"})
    requests = [PairRequest(PROMPT, "blue", "red cat"), PairRequest(other, "blue", "red cat")]
    assert [verdict.value for verdict in judge.compare(requests, silent)] == [-5.0, 5.0]


def test_ratings_run_from_1_to_10(judge: Any) -> None:
    answers = ("red cat", "blue", "red cat cat")
    verdicts = judge.rate([RatingRequest(QUESTION, (answer,)) for answer in answers], silent)
    assert [verdict.value for verdict in verdicts] == pytest.approx([10.0, 1.0, 4.0])


def test_without_a_rule_there_is_no_value_but_a_reason(judge: Any) -> None:
    (pair,) = judge.compare([PairRequest(BARE, "a", "b")], silent)
    second, third = judge.rate(
        [RatingRequest(QUESTION, ("red cat", "x")), RatingRequest(QUESTION, ("a", "b", "c"))],
        silent,
    )
    assert pair.value is None
    assert "bare has no rule" in pair.reason
    assert (second.value, second.reason) == (None, "turn 2 of question q has no rule")
    assert (third.value, third.reason) == (None, "question q has no turn 3")


def test_progress_reaches_the_end(judge: Any) -> None:
    seen: list[tuple[int, int]] = []
    judge.compare(
        [PairRequest(PROMPT, "a", "b")] * 3, lambda done, total, note="": seen.append((done, total))
    )
    assert seen[-1] == (3, 3)


def test_prompts_are_checked_before_any_response_is_made(judge: Any) -> None:
    bad = Prompt("bad", PROMPT.messages, rule={"kind": "members", "of": ["a"], "count": "x"})
    worse = Prompt("worse", PROMPT.messages, rule={"kind": "exakt"})
    without, wrong = judge.check_prompts([PROMPT, BARE, bad, worse])
    assert without.message == "1 of 4 prompts have no rule, first bare"
    assert wrong.message.startswith("2 of 4 prompts have a bad rule, first bad: 'count'")
    assert judge.check_prompts([PROMPT]) == []


def test_every_turn_of_a_question_needs_a_rule(judge: Any) -> None:
    (problem,) = judge.check_questions([QUESTION])
    assert problem.message == "1 of 2 turns have no rule, first q, turn 2"
    whole = Question("w", "copy", (QUESTION.turns[0],))
    assert judge.check_questions([whole]) == []
