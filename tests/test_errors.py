"""The tree of errors, its drawing, and the hints."""

import re

import pytest

from evalkit import errors
from evalkit.errors import EvalkitError, Problem, RecipeError, did_you_mean, missing_extra


def test_the_drawing_names_every_error() -> None:
    """The module's docstring draws exactly the classes there are."""
    drawn = set(re.findall(r"(?:\|--|`--) (\w+)", errors.__doc__ or ""))
    assert drawn == {error.__name__ for error in EvalkitError.__subclasses__()}


def test_message_and_hint_are_kept_apart() -> None:
    error = RecipeError("a.yaml:3  nothing is called 'x'", "did you mean 'y'?")
    assert str(error) == error.message == "a.yaml:3  nothing is called 'x'"
    assert error.hint == "did you mean 'y'?"
    assert error.problems == ()


def test_a_recipe_error_carries_every_problem() -> None:
    problems = [Problem("a.yaml:1", "one"), Problem("a.yaml:2", "two", "fix it")]
    assert RecipeError("2 problems", problems=problems).problems == tuple(problems)


@pytest.mark.parametrize(
    ("word", "known", "hint"),
    [
        (
            "fp-8",
            ["w4a16_rtn", "fp8_dynamic", "w4a16_gptq"],
            "did you mean 'fp8_dynamic'?",
        ),
        ("fp8dynamic", ["w4a16", "fp8_dynamic"], "did you mean 'fp8_dynamic'?"),
        ("sspo", ["spin", "sppo"], "did you mean 'sppo'?   (known: spin, sppo)"),
        ("anything", [], "known: none"),
    ],
)
def test_did_you_mean(word: str, known: list[str], hint: str) -> None:
    assert did_you_mean(word, known).startswith(hint)


def test_a_missing_extra_says_what_to_install() -> None:
    error = missing_extra("torch", "train")
    assert "torch" in error.message
    assert error.hint == "pip install 'evalkit[train]'"
