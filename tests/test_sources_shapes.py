"""Own data: every shape in every format becomes the same prompts and questions."""

from pathlib import Path
from typing import Any, NamedTuple

import own_data
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.errors import RecipeError
from evalkit.records import Message, Prompt, Question, Turn

USER, ANSWER = {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}
WORSE = {"role": "assistant", "content": "What?"}
SYSTEM = {"role": "system", "content": "Be kind."}
MORE = {"role": "user", "content": "And now?"}
HI = (Message("user", "Hi"),)
LONGER = (*HI, Message("assistant", "Hello"), Message("user", "And now?"))
KIND = (Message("system", "Be kind."), *HI)


class Case(NamedTuple):
    """A row, and what it becomes (without its id)."""

    row: dict[str, Any]
    shape: str
    messages: tuple[Message, ...] = HI
    gold: str | None = None
    rejected: str | None = None


CASES = {
    "prompt": Case({"prompt": "Hi"}, "prompts"),
    "prompt as messages": Case({"prompt": [SYSTEM, USER]}, "prompts", KIND),
    "instruction alone": Case({"instruction": "Hi"}, "prompts"),
    "question alone": Case({"question": "Hi", "choices": ["a"]}, "prompts"),
    "system column": Case({"system_prompt": "Be kind.", "question": "Hi"}, "prompts", KIND),
    "prompt, response": Case(
        {"prompt": "Hi", "response": "Hello"}, "answered_prompts", gold="Hello"
    ),
    "prompt, completion": Case(
        {"prompt": "Hi", "completion": "Hello"}, "answered_prompts", gold="Hello"
    ),
    "question, answer": Case(
        {"question": "Hi", "answer": "Hello"}, "answered_prompts", gold="Hello"
    ),
    "prompt, completion as messages": Case(
        {"prompt": [USER], "completion": [ANSWER]}, "answered_prompts", gold="Hello",
    ),
    "Alpaca": Case(
        {"instruction": "Translate.", "input": "Hallo", "output": "Hello"}, "answered_prompts",
        (Message("user", "Translate.\n\nHallo"),), "Hello",
    ),
    "Alpaca without input": Case(
        {"instruction": "Hi", "input": "", "output": "Hello"}, "answered_prompts", gold="Hello"
    ),
    "Dolly": Case(
        {"instruction": "Translate.", "context": "Hallo", "response": "Hello"},
        "answered_prompts", (Message("user", "Translate.\n\nHallo"),), "Hello",
    ),
    "input, output": Case({"input": "Hi", "output": "Hello"}, "answered_prompts", gold="Hello"),
    "messages": Case({"messages": [USER, ANSWER]}, "conversations", gold="Hello"),
    "messages that ask": Case({"messages": [SYSTEM, USER]}, "conversations", KIND),
    "messages of several turns": Case(
        {"messages": [USER, ANSWER, MORE, WORSE]}, "conversations", LONGER, "What?"
    ),
    "messages with an empty system": Case(
        {"messages": [{"role": "system", "content": ""}, USER]}, "conversations"
    ),
    "UltraChat": Case(
        {"prompt": "Hi", "prompt_id": "f0e", "messages": [USER, ANSWER]}, "conversations",
        gold="Hello",
    ),
    "ShareGPT": Case(
        {"conversations": [{"from": "system", "value": "Be kind."},
                           {"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}]},
        "conversations", KIND, "Hello",
    ),
    "preference pair": Case(
        {"prompt": "Hi", "chosen": "Hello", "rejected": "What?"}, "preference_pairs",
        gold="Hello", rejected="What?",
    ),
    "Orca pair": Case(
        {"system": "Be kind.", "question": "Hi", "chosen": "Hello", "rejected": "What?"},
        "preference_pairs", KIND, "Hello", "What?",
    ),
    "pair of answers as messages": Case(
        {"prompt": [USER], "chosen": [ANSWER], "rejected": [WORSE]}, "preference_pairs",
        gold="Hello", rejected="What?",
    ),
    "pair of conversations": Case(
        {"chosen": [USER, ANSWER, MORE, ANSWER], "rejected": [USER, ANSWER, MORE, WORSE]},
        "preference_pairs", LONGER, "Hello", "What?",
    ),
    "UltraFeedback": Case(
        {"prompt": "Hi ", "chosen": [USER, ANSWER], "rejected": [USER, WORSE],
         "messages": [USER, ANSWER], "score_chosen": 8.0},
        "preference_pairs", gold="Hello", rejected="What?",
    ),
    "pair with the prompt as messages in all": Case(
        {"prompt": [SYSTEM, USER], "chosen": [SYSTEM, USER, ANSWER],
         "rejected": [SYSTEM, USER, WORSE]},
        "preference_pairs", KIND, "Hello", "What?",
    ),
    "pair that repeats the prompt without its system message": Case(
        {"prompt": [SYSTEM, USER], "chosen": [USER, ANSWER], "rejected": [USER, WORSE]},
        "preference_pairs", KIND, "Hello", "What?",
    ),
    "pair whose prompt is its last turn": Case(
        {"prompt": "And now?", "chosen": [USER, ANSWER, MORE, ANSWER],
         "rejected": [USER, ANSWER, MORE, WORSE]},
        "preference_pairs", LONGER, "Hello", "What?",
    ),
    "HH transcripts": Case(
        {"chosen": "\n\nHuman: Hi\n\nAssistant: Hello\n\nHuman: And now?\n\nAssistant: Go.",
         "rejected": "\n\nHuman: Hi\n\nAssistant: Hello\n\nHuman: And now?\n\nAssistant: Stop."},
        "preference_pairs", LONGER, "Go.", "Stop.",
    ),
    "SPIN": Case(
        {"real": [USER, ANSWER], "generated": [USER, WORSE]}, "preference_pairs",
        gold="Hello", rejected="What?",
    ),
    "OpenAI's parts": Case(
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}]},
        "conversations",
    ),
}  # fmt: skip


@pytest.mark.parametrize("ending", own_data.FORMATS)
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_every_shape_in_every_format(tmp_path: Path, case: Case, ending: str) -> None:
    file = own_data.write(tmp_path, [case.row, case.row], ending)
    found = own_data.source("file", path=str(file)).examine()
    assert found.faults.problems == []
    assert found.found.shape.name == case.shape
    assert found.records[0] == Prompt("row-1", case.messages, case.gold, case.rejected)
    assert [record.id for record in found.records] == ["row-1", "row-2"]


@pytest.mark.parametrize("ending", own_data.FORMATS)
def test_questions_of_several_turns(tmp_path: Path, ending: str) -> None:
    rows = [
        {"question_id": 81, "category": "math", "turns": ["Hi", "And?"], "reference": ["1", "2"]},
        {"question_id": 82, "category": "chat", "turns": ["Ho", "Or?"], "reference": None},
        {"question_id": 83, "category": "chat", "turns": ["Hu"], "reference": []},
    ]
    first, second, third = own_data.source(
        "file", path=str(own_data.write(tmp_path, rows, ending))
    ).questions()
    assert first == Question("81", "math", (Turn("Hi", "1"), Turn("And?", "2")))
    assert second == Question("82", "chat", (Turn("Ho"), Turn("Or?")))
    assert third == Question("83", "chat", (Turn("Hu"),))


@pytest.mark.parametrize("ending", own_data.FORMATS)
def test_ids_categories_and_rules(tmp_path: Path, ending: str) -> None:
    rule = {"kind": "exact", "answer": "Hello"}
    rows = [
        {"prompt": "Hi", "id": 7, "category": "greeting", "rule": rule},
        {"prompt": "Ho", "id": 8, "category": "", "rule": {"kind": "exact", "answer": "No"}},
    ]
    first, second = own_data.source(
        "file", path=str(own_data.write(tmp_path, rows, ending))
    ).prompts()
    assert (first.id, first.category, first.rule) == ("7", "greeting", rule)
    assert (second.id, second.category) == ("8", "")


def test_parquets_nulls_in_rules_are_no_keys(tmp_path: Path) -> None:
    """Parquet gives every row of a struct all keys that any row has."""
    rules = [{"kind": "exact", "answer": "a"}, {"kind": "cover", "require": ["b"]}]
    rows = [{"prompt": f"p{n}", "rule": rule} for n, rule in enumerate(rules)]
    file = own_data.write(tmp_path, rows, "parquet")
    assert [p.rule for p in own_data.source("file", path=str(file)).prompts()] == rules


TEXT = st.text(
    st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1, max_size=30
).filter(str.strip)


@pytest.mark.parametrize("ending", ["jsonl", "json", "csv", "tsv", "parquet"])
@given(rows=st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=4))
def test_any_text_comes_back_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, ending: str, rows: list[tuple[str, str]]
) -> None:
    """Quotes, separators, line breaks of every kind and all scripts survive every format."""
    folder = tmp_path_factory.mktemp("texts")
    file = own_data.write(folder, [{"prompt": a, "response": b} for a, b in rows], ending)
    prompts = own_data.source("file", path=str(file)).prompts()
    assert [(prompt.messages[0].content, prompt.gold) for prompt in prompts] == rows


@given(
    turns=st.lists(TEXT, min_size=2, max_size=8).filter(lambda turns: len(turns) % 2 == 0),
    words=st.sampled_from([("user", "assistant", "role", "content"),
                           ("human", "gpt", "from", "value")]),
)  # fmt: skip
def test_a_conversation_in_either_spelling(
    tmp_path_factory: pytest.TempPathFactory, turns: list[str], words: tuple[str, str, str, str]
) -> None:
    *roles, who, what = words
    listed = [{who: roles[n % 2], what: text} for n, text in enumerate(turns)]
    file = own_data.write(tmp_path_factory.mktemp("chat"), [{"conversations": listed}])
    (prompt,) = own_data.source("file", path=str(file)).prompts()
    assert [message.content for message in prompt.messages] == turns[:-1]
    assert prompt.gold == turns[-1]


# --- mapping --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "columns", "messages", "gold"),
    [
        ({"ask": "Hi", "say": "Hello"}, {"prompt": "ask", "response": "say"}, HI, "Hello"),
        ({"question": "Hi", "answer": "Hello"}, {"prompt": "question"}, HI, None),
        ({"question": "Hi", "solution": "Hello"}, {"response": "solution"}, HI, "Hello"),
        (
            {"prompt": "x", "messages": [USER, ANSWER, MORE, WORSE]},
            {"prompt": "messages.0.content", "response": "messages.1.content"}, HI, "Hello",
        ),
        ({"a": {"b.c": "no"}, "a.b": "Hi"}, {"prompt": "a.b"}, HI, None),
        ({"turns": ["Hi", "Ho"]}, {"prompt": "turns.0"}, HI, None),
        ({"messages": [USER, ANSWER], "chosen": "a", "rejected": "b"},
         {"messages": "messages"}, HI, "Hello"),
        ({"real": [USER, ANSWER], "generated": [USER, ANSWER]}, {"messages": "real"}, HI, "Hello"),
        ({"prompt": "Hi", "response": "Hello"}, {"response": None}, HI, None),
        ({"prompt": "Hi", "hint": "Be kind."}, {"system": "hint"}, KIND, None),
        ({"question": "Hi", "passage": "Text."}, {"prompt": "question", "input": "passage"},
         (Message("user", "Hi\n\nText."),), None),
    ],
)  # fmt: skip
def test_a_mapping_decides(
    tmp_path: Path, row: Any, columns: Any, messages: Any, gold: str | None
) -> None:
    file = own_data.write(tmp_path, [row])
    (prompt,) = own_data.source("file", path=str(file), columns=columns).prompts()
    assert (prompt.messages, prompt.gold) == (messages, gold)


@pytest.mark.parametrize(
    ("row", "columns", "message", "hint"),
    [
        (
            {"question": "Hi"}, {"prompt": "qestion"},
            "{file} has no column 'qestion'", "did you mean 'question'?   (known: question)",
        ),
        (
            {"Prompt": "Hi", "n": 1}, {},
            "{file} has the columns Prompt, n; no shape of data fits them",
            "say which is which, for example columns: {{prompt: Prompt}}; docs/data.md has all",
        ),
        (
            {"text": "Hi", "label": 1}, {},
            "{file} has the columns text, label; no shape of data fits them",
            "say which is which, for example columns: {{prompt: text}}; docs/data.md has all",
        ),
        (
            {"a": "Hi", "b": ["x"]}, {"prompt": "a", "turns": "b"},
            "no shape of data has prompt and turns together (columns of {file})",
            "map the fields of one shape; docs/data.md lists them",
        ),
        (
            {"prompt": "Hi", "completion": "Ho", "label": False}, {},
            "{file} says in the column 'label' which responses are good",
            "keep those alone: filter: [{{column: label, equals: true}}]",
        ),
    ],
)  # fmt: skip
def test_data_that_no_shape_fits(
    tmp_path: Path, row: Any, columns: Any, message: str, hint: str
) -> None:
    file = own_data.write(tmp_path, [row])
    with pytest.raises(RecipeError) as caught:
        own_data.source("file", path=str(file), columns=columns).prompts()
    assert caught.value.message == message.format(file=file)
    assert caught.value.hint == hint.format()


def test_kto_rows_are_used_once_the_good_ones_are_chosen(tmp_path: Path) -> None:
    rows = [{"prompt": f"p{n}", "completion": "c", "label": n != 1} for n in range(3)]
    good = [{"column": "label", "equals": True}]
    source = own_data.source("file", path=str(own_data.write(tmp_path, rows)), filter=good)
    assert [prompt.id for prompt in source.prompts()] == ["row-1", "row-3"]


def test_prompts_and_questions_are_not_taken_for_each_other(tmp_path: Path) -> None:
    questions = own_data.source(
        "file", path=str(own_data.write(tmp_path, [{"turns": ["Hi"]}], name="q"))
    )
    with pytest.raises(RecipeError, match=r"holds multi-turn questions \(turns\), and prompts are"):
        questions.prompts()
    prompts = own_data.source("file", path=str(own_data.write(tmp_path, [{"prompt": "Hi"}])))
    with pytest.raises(RecipeError, match=r"holds prompts \(prompt\), and multi-turn questions"):
        prompts.questions()
