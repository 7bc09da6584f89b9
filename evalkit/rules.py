"""Checks a response against a rule, and says how good it is from 0 to 1.

A rule is a JSON mapping with a `kind` (carried by `Prompt.rule` and `Turn.rule`):

| kind      | other keys                            | 1.0 means                                  |
|-----------|---------------------------------------|--------------------------------------------|
| `exact`   | `answer`                              | the answer, but for blanks around words    |
| `cover`   | `require`, `forbid`?, `max_words`?    | all required words, no padding             |
| `members` | `of`, `count`, `forbid`?              | `count` different members, nothing else    |

`cover` and `members` are for free-form answers: what they reward is never length in
itself, so that the longer of two answers may be the better one or the worse one.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from evalkit.errors import RecipeError, did_you_mean

PARTIAL_CREDIT = 0.5  # the most that an answer other than the exact one can earn
_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)?")


def check(rule: Mapping[str, Any], response: str) -> float:
    """How well `response` follows `rule`: 1 is perfect, 0 worthless.

    Raises:
        RecipeError: what `problem` says of the rule.
    """
    wrong = problem(rule)
    if wrong is not None:
        raise RecipeError(wrong, _kind_hint(rule))
    return _CHECKERS[rule["kind"]](rule, response)


def problem(rule: Mapping[str, Any]) -> str | None:
    """What is wrong with a rule: its kind, a key it lacks or should not have, a value's type."""
    kind = rule.get("kind")
    keys = _KEYS.get(kind) if isinstance(kind, str) else None
    if keys is None:
        return f"no rule is of kind {kind!r}"
    for key, (required, wanted, fits) in keys.items():
        if key not in rule:
            if required:
                return f"a rule of kind '{kind}' needs the key '{key}'"
        elif not fits(rule[key]):
            return f"'{key}' of a rule of kind '{kind}' must be {wanted}, not {rule[key]!r:.60}"
    unknown = sorted(str(key) for key in rule if key != "kind" and key not in keys)
    return f"a rule of kind '{kind}' has no key '{unknown[0]}'" if unknown else None


def similarity(first: Sequence[str], second: Sequence[str]) -> float:
    """1 minus the edit distance (insert, delete, replace) over the longer length."""
    longest = max(len(first), len(second))
    return 1.0 - edit_distance(first, second) / longest if longest else 1.0


def edit_distance(first: Sequence[str], second: Sequence[str]) -> int:
    """The fewest insertions, deletions and replacements that turn `first` into `second`."""
    row = list(range(len(second) + 1))
    for i, left in enumerate(first, start=1):
        diagonal, row[0] = row[0], i
        for j, right in enumerate(second, start=1):
            replaced = diagonal + (left != right)
            diagonal = row[j]
            row[j] = min(replaced, row[j] + 1, row[j - 1] + 1)
    return row[-1]


def _kind_hint(rule: Mapping[str, Any]) -> str:
    kind = str(rule.get("kind"))
    return f"its keys: {', '.join(_KEYS[kind])}" if kind in _KEYS else did_you_mean(kind, _KEYS)


def _is_answer(value: Any) -> bool:
    return isinstance(value, str | int | float) and not isinstance(value, bool)


def _is_words(value: Any) -> bool:
    return (
        isinstance(value, Sequence)
        and not isinstance(value, str)
        and all(isinstance(word, str) for word in value)
    )


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _exact(rule: Mapping[str, Any], response: str) -> float:
    given, wanted = response.split(), str(rule["answer"]).split()
    return 1.0 if given == wanted else PARTIAL_CREDIT * similarity(given, wanted)


def _cover(rule: Mapping[str, Any], response: str) -> float:
    words = _words(response)
    required = [word.lower() for word in rule["require"]]
    covered = sum(word in words for word in required) / len(required) if required else 1.0
    excess = max(0, len(words) - rule.get("max_words", len(words)))
    echoed = sum(left == right for left, right in pairwise(words))
    padding = (excess + echoed) / len(words) if words else 1.0
    return covered * max(0.0, 1.0 - padding) * _obedience(rule, words)


def _members(rule: Mapping[str, Any], response: str) -> float:
    words, wanted = _words(response), int(rule["count"])
    found = set(words) & {member.lower() for member in rule["of"]}
    found -= _forbidden(rule)
    # Every word beyond what was asked for dilutes the answer: fillers, echoes, a fourth of three.
    return min(len(found), wanted) / max(len(words), wanted, 1) * _obedience(rule, words)


def _obedience(rule: Mapping[str, Any], words: Sequence[str]) -> float:
    """Halved by each forbidden word that is used."""
    return float(0.5 ** len(_forbidden(rule) & set(words)))


def _forbidden(rule: Mapping[str, Any]) -> set[str]:
    return {word.lower() for word in rule.get("forbid", ())}


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


_CHECKERS: dict[str, Callable[[Mapping[str, Any], str], float]] = {
    "exact": _exact,
    "cover": _cover,
    "members": _members,
}

_Key = tuple[bool, str, Callable[[Any], bool]]  # required, wanted, fits
_REQUIRED_WORDS: _Key = (True, "a list of words", _is_words)
_FORBIDDEN_WORDS: _Key = (False, "a list of words", _is_words)
_KEYS: dict[str, dict[str, _Key]] = {
    "exact": {"answer": (True, "a text", _is_answer)},
    "cover": {
        "require": _REQUIRED_WORDS,
        "forbid": _FORBIDDEN_WORDS,
        "max_words": (False, "a whole number from 1", _is_count),
    },
    "members": {
        "of": _REQUIRED_WORDS,
        "count": (True, "a whole number from 1", _is_count),
        "forbid": _FORBIDDEN_WORDS,
    },
}
KINDS = tuple(sorted(_KEYS))
