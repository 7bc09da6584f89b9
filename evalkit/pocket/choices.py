"""Multiple-choice questions with four options: which word is an animal, which number is largest."""

from collections.abc import Callable
from random import Random
from typing import NamedTuple

from evalkit.errors import RecipeError
from evalkit.pocket.items import number_of, split_of_key
from evalkit.pocket.vocabulary import EVERY_WORD, GROUPS

OPTIONS = 4
_TRIES = 400


class Choice(NamedTuple):
    """A question, its options, and the index of the right one."""

    id: str
    subject: str
    question: str
    options: tuple[str, ...]
    answer: int


class _Draft(NamedTuple):
    wordings: tuple[str, ...]
    right: str
    wrong: list[str]
    field: str = ""


def draw_choices(split: str, count: int, seed: int) -> list[Choice]:
    """`count` different questions of a split, the subjects taking turns.

    Raises:
        RecipeError: the split has not that many.
    """
    rngs = [Random(f"{split}|{subject}|{seed}") for subject in SUBJECTS]
    subjects, seen, chosen = list(SUBJECTS), set[str](), []
    for number in range(count):
        turn = number % len(subjects)
        for _ in range(_TRIES):
            choice = any_choice(split, rngs[turn], subjects[turn])
            if choice.id not in seen:
                break
        else:
            raise RecipeError(f"the split {split} has fewer than {count} multiple-choice questions")
        seen.add(choice.id)
        chosen.append(choice)
    return chosen


def any_choice(split: str, rng: Random, subject: str | None = None) -> Choice:
    """One random question of a split, of `subject` or of any."""
    name = subject or rng.choice(sorted(SUBJECTS))
    while True:
        draft = SUBJECTS[name](rng)
        # All orders of the same options are one content.
        key = "|".join(("choice", name, draft.field, draft.right, *sorted(draft.wrong)))
        if split_of_key(key) == split:
            return _choice_of(name, draft, key)


def _choice_of(subject: str, draft: _Draft, key: str) -> Choice:
    order = Random(key)
    options = [draft.right, *sorted(draft.wrong)]
    order.shuffle(options)
    listing = " ".join(options)
    return Choice(
        id=f"{subject}-{number_of(key):016x}",
        subject=subject,
        question=order.choice(draft.wordings).format(options=listing, field=draft.field),
        options=tuple(options),
        answer=options.index(draft.right),
    )


def _group(rng: Random) -> _Draft:
    group = rng.choice(sorted(GROUPS))
    right = rng.choice(GROUPS[group])
    wrong = rng.sample([word for word in EVERY_WORD if word not in GROUPS[group]], OPTIONS - 1)
    return _Draft(
        ("Which is a {field}: {options}?", "Find the {field}: {options}"), right, wrong, group
    )


def _largest(rng: Random) -> _Draft:
    numbers = sorted(rng.sample(range(10, 100), OPTIONS))
    wordings = ("Which is the largest: {options}?", "Find the largest: {options}")
    return _Draft(wordings, str(numbers[-1]), [str(number) for number in numbers[:-1]])


def _smallest(rng: Random) -> _Draft:
    numbers = sorted(rng.sample(range(10, 100), OPTIONS))
    wordings = ("Which is the smallest: {options}?", "Find the smallest: {options}")
    return _Draft(wordings, str(numbers[0]), [str(number) for number in numbers[1:]])


SUBJECTS: dict[str, Callable[[Random], _Draft]] = {
    "group": _group,
    "largest": _largest,
    "smallest": _smallest,
}
