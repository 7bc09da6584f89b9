"""Records: they survive JSON, refuse what is not theirs, and never change."""

import dataclasses
import json
import math
import typing
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit import records
from evalkit.records import Message, Prompt, ResultSet, Score, dumps, from_json, to_json

KINDS = sorted(
    (kind for kind in vars(records).values() if isinstance(kind, type)
     and dataclasses.is_dataclass(kind) and kind.__module__ == records.__name__),
    key=lambda kind: kind.__name__,
)  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2)
    ),
    max_leaves=3,
)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)


def _values(kind: Any) -> st.SearchStrategy[Any]:
    """Any value of an annotated type that records use."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        return st.builds(kind, **{name: _values(hint) for name, hint in hints.items()})
    if origin is typing.Literal:
        return st.sampled_from(arguments)
    if origin is Sequence:
        return st.lists(_values(arguments[0]), max_size=2)
    if origin is tuple:
        return st.lists(_values(arguments[0]), max_size=2).map(tuple)
    if arguments and type(None) in arguments:
        return st.none() | _values(next(one for one in arguments if one is not type(None)))
    if arguments:  # Mapping[str, ...]
        value = JSON if arguments[1] is Any else _values(arguments[1])
        return st.dictionaries(st.text(max_size=3), value, max_size=2)
    return {str: st.text(max_size=8), int: st.integers(), float: FLOATS, bool: st.booleans()}[kind]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@given(data=st.data())
def test_every_record_survives_a_line_of_json(kind: type[Any], data: st.DataObject) -> None:
    record = data.draw(_values(kind))
    line = dumps(record)
    assert "\n" not in line
    assert from_json(kind, json.loads(line)) == record
    assert dumps(from_json(kind, json.loads(line))) == line


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_record_is_frozen(kind: Any) -> None:
    assert kind.__dataclass_params__.frozen


def test_equal_records_give_equal_lines() -> None:
    """Keys are sorted, so the order in which a mapping was filled does not show."""
    one = Prompt("1", (), rule={"kind": "sort", "answer": "é"})
    two = Prompt("1", (), rule={"answer": "é", "kind": "sort"})
    assert dumps(one) == dumps(two)
    assert '"answer":"é"' in dumps(one)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_no_number_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="JSON"):
        dumps(Score("task", "acc", value, 1, "percent"))


def test_an_unknown_key_is_refused() -> None:
    with pytest.raises(TypeError, match="Message has no field \\['name'\\]"):
        from_json(Message, {"role": "user", "content": "hi", "name": "me"})


def test_a_missing_key_is_refused() -> None:
    with pytest.raises(TypeError, match="content"):
        from_json(Message, {"role": "user"})


def test_records_inside_records_come_back_as_records() -> None:
    prompt = from_json(Prompt, {"id": "1", "messages": [{"role": "user", "content": "hi"}]})
    assert prompt.messages == (Message("user", "hi"),)


def test_to_json_goes_through_containers() -> None:
    assert to_json({"a": [Message("user", "hi")], "b": (1, None)}) == {
        "a": [{"role": "user", "content": "hi"}],
        "b": [1, None],
    }


def test_a_score_is_found_by_task_and_metric() -> None:
    scores = (
        Score("arc", "acc", 50.0, 10, "percent"),
        Score("arc", "acc_norm", 60.0, 10, "percent"),
    )
    results = ResultSet("lm_eval_tasks", "base", "0" * 64, scores, {})
    assert results.score("arc", "acc_norm").value == 60.0
    with pytest.raises(KeyError, match="no score f1 of arc"):
        results.score("arc", "f1")
