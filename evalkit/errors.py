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

import errno
import re
from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches
from typing import NamedTuple

MOST_KNOWN = 40  # names that a hint lists; of more, only the nearest
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_CLOSED = {errno.EACCES, errno.EPERM, errno.EROFS}
_ASKED_BYTES = re.compile(r"tried to allocate [\d.]+ ?\w+", re.IGNORECASE)
_RUST_ERRNO = re.compile(r"\(os error (\d+)\)")  # how libraries written in Rust name it
_NO_MEMORY = re.compile(
    r"out of memory|can't allocate memory|cannot allocate memory", re.IGNORECASE
)


class EvalkitError(Exception):
    """What is wrong (`message`: what, which file and line) and what to do (`hint`).

    problems: every single one, where an input was read to its end.
    """

    def __init__(self, message: str, hint: str = "", problems: "Sequence[Problem]" = ()) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.problems = tuple(problems)


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
    if len(options) > MOST_KNOWN:
        return f"did you mean '{near[0]}'?" if near else f"there are {len(options)} to choose from"
    listing = ", ".join(options) or "none"
    return f"did you mean '{near[0]}'?   (known: {listing})" if near else f"known: {listing}"


def _plain(word: str) -> str:
    return "".join(letter for letter in word.lower() if letter.isalnum())


def gist(error: BaseException, limit: int = 160) -> str:
    """The first sentence or so of somebody else's error, on one line."""
    text = str(error).strip()
    if not text or isinstance(error, KeyError):
        text = f"{type(error).__name__} {text}".strip()
    line = " ".join(text.split("\n\n")[0].split())
    return line if len(line) <= limit else line[:limit].rsplit(" ", 1)[0] + " ..."


def lacking(error: BaseException) -> PrerequisiteError | None:
    """What this machine lacks, where an error of Python or of a library comes from that."""
    for cause in _causes(error):
        if isinstance(cause, MemoryError) or _NO_MEMORY.search(str(cause)):
            asked = _ASKED_BYTES.search(str(cause))
            return PrerequisiteError(
                "there is not enough memory" + (f": {asked[0].lower()}" if asked else ""),
                "end other programs, or lower what is held at once",
            )
        number = _errno(cause)
        place = getattr(cause, "filename", None)
        at = f" for {place}" if place else ""
        if number in _FULL:
            return PrerequisiteError(f"there is no space left on the disk{at}", "free some space")
        if number in _CLOSED:
            return PrerequisiteError(
                f"this user may not write{at or ' there'}", "choose another folder, or its owner"
            )
    return None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _errno(error: BaseException) -> int | None:
    if isinstance(error, OSError):
        return error.errno
    found = _RUST_ERRNO.search(str(error))
    return int(found[1]) if found else None


def missing_extra(package: str, extra: str) -> PrerequisiteError:
    """The error to raise when a heavy optional `package` cannot be imported."""
    return PrerequisiteError(
        f"the Python package '{package}' is not installed",
        f"pip install 'evalkit[{extra}]'",
    )
