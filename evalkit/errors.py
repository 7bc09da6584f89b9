"""Every error that evalkit raises on purpose, each with what to do about it.

    EvalkitError
    |-- RecipeError         the recipe, or another input file, says something impossible
    |-- PrerequisiteError   a token, key, GPU, disk space, port or extra is missing
    |-- StaleStepError      a finished expensive step no longer fits its recipe
    |-- JudgeError          a judge cannot answer what it is asked
    |-- ScoreError          numbers that cannot be computed or compared
    |-- CardError           a card or table that must not be written
    `-- PublishError        a repository that must not, or could not, be published

Anything else that escapes is a bug of evalkit and keeps its traceback.
"""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import NamedTuple


class EvalkitError(Exception):
    """What is wrong (`message`: what, which file and line) and what to do (`hint`)."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class Problem(NamedTuple):
    """One thing wrong with an input: `where` is `file:line` or a key, `hint` what to type.

    prerequisite: the input is right, but this machine lacks something (a package, a token, the
        network): `--dry-run` prints its plan all the same.
    """

    where: str
    message: str
    hint: str = ""
    prerequisite: bool = False

    @classmethod
    def of(cls, where: str, error: "EvalkitError") -> "Problem":
        """An error that was raised while `where` was checked."""
        return cls(where, error.message, error.hint, isinstance(error, PrerequisiteError))


class RecipeError(EvalkitError):
    """The recipe, or another input file, says something impossible; carries every problem found."""

    def __init__(self, message: str, hint: str = "", problems: Sequence[Problem] = ()) -> None:
        super().__init__(message, hint)
        self.problems = tuple(problems)


class PrerequisiteError(EvalkitError):
    """Something outside the recipe is missing: an extra, a token, a GPU, disk space, a port."""


class StaleStepError(EvalkitError):
    """A finished, expensive step was made with other settings than the recipe now has."""


class JudgeError(EvalkitError):
    """A judge cannot answer what it is asked."""


class ScoreError(EvalkitError):
    """Numbers that cannot be computed or must not be compared."""


class CardError(EvalkitError):
    """A card or table that must not be written."""


class PublishError(EvalkitError):
    """A repository that must not be published, or could not be."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A hint naming the nearest known word, or all of them when none is near."""
    options = sorted(known)
    begins = [option for option in options if _plain(option).startswith(_plain(word) or "?")]
    near = get_close_matches(word, options, n=1, cutoff=0.6) or begins
    listing = ", ".join(options) or "none"
    return f"did you mean '{near[0]}'?   (known: {listing})" if near else f"known: {listing}"


def _plain(word: str) -> str:
    return "".join(letter for letter in word.lower() if letter.isalnum())


def missing_extra(package: str, extra: str) -> PrerequisiteError:
    """The error to raise when a heavy optional `package` cannot be imported."""
    return PrerequisiteError(
        f"the Python package '{package}' is not installed",
        f"pip install 'evalkit[{extra}]'",
    )
