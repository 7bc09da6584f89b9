"""The shapes that people keep their data in: recognised from columns, turned into records.

| shape                  | columns it is recognised by                  | which becomes            |
|------------------------|----------------------------------------------|--------------------------|
| multi-turn questions   | turns, references?                           | a multi-turn question    |
| preference pairs       | prompt?, chosen, rejected; real, generated   | prompt, gold, rejected   |
| conversations          | messages; conversations                      | prompt, gold if answered |
| prompts with responses | prompt, response; instruction, output; ...   | prompt, gold             |
| prompts                | prompt; instruction; question                | prompt                   |

The first that fits is taken. `system`, `id`, `category` and `rule` may stand in any of them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple

from evalkit.errors import RecipeError
from evalkit.sources.columns import check_column

# What each of our fields is called in published data sets, the likelier word first.
NAMES: dict[str, tuple[str, ...]] = {
    "prompt": ("prompt", "instruction", "question", "query", "input"),
    "response": ("response", "completion", "answer", "output"),
    "chosen": ("chosen", "real"),
    "rejected": ("rejected", "generated"),
    "messages": ("messages", "conversations", "conversation"),
    "turns": ("turns",),
    "references": ("references", "reference"),
    "input": ("input", "context"),
    "system": ("system", "system_prompt"),
    "id": ("id", "question_id"),
    "category": ("category",),
    "rule": ("rule",),
}
FIELDS = tuple(NAMES)
_ANYWHERE = ("id", "category", "system", "rule")


class Shape(NamedTuple):
    """One way to keep data. required, optional: fields, of which at least the first are there."""

    name: str
    label: str
    required: tuple[str, ...]
    optional: tuple[str, ...] = ()


QUESTIONS = Shape("questions", "multi-turn questions", ("turns",), ("references",))
PAIRS = Shape("preference_pairs", "preference pairs", ("chosen", "rejected"), ("prompt", "input"))
CONVERSATIONS = Shape("conversations", "conversations", ("messages",))
ANSWERED = Shape("answered_prompts", "prompts with responses", ("prompt", "response"), ("input",))
PROMPTS = Shape("prompts", "prompts", ("prompt",), ("input",))
SHAPES = (QUESTIONS, PAIRS, CONVERSATIONS, ANSWERED, PROMPTS)
_DECIDING = {field for shape in SHAPES for field in shape.required}


class Recognised(NamedTuple):
    """A shape, and the column of each of its fields that the data has."""

    shape: Shape
    columns: dict[str, str]

    @property
    def said(self) -> str:
        """In words: `preference pairs (prompt, chosen, rejected)`, in the data's own columns."""
        order = ("prompt", "input", *self.shape.required, "references")
        shown = [self.columns[field] for field in dict.fromkeys(order) if field in self.columns]
        return f"{self.shape.label} ({', '.join(shown)})"


def recognise(
    columns: Collection[str], mapping: Mapping[str, str | None], table: str
) -> Recognised:
    """The first shape that the columns fit; where the mapping says what they are, that shape.

    mapping: field -> column, for columns with names of their own; None leaves a field out. Once
        it names what decides a shape, nothing more is read into other columns: with `prompt`
        alone, an `answer` beside it is not used.

    Raises:
        OptionError: the mapping names a column that is not there.
        RecipeError: no shape fits.
    """
    for field, column in mapping.items():
        if column is not None:
            check_column(column, columns, f"columns.{field}", table)
    found = _fields(columns, mapping)
    wanted = {field for field, column in mapping.items() if column is not None} & _DECIDING
    shapes = sorted(SHAPES, key=lambda shape: len(shape.required)) if wanted else SHAPES
    for shape in shapes:
        fields = (*shape.required, *shape.optional)
        if wanted <= set(fields) and all(field in found for field in shape.required):
            kept = {field: found[field] for field in (*fields, *_ANYWHERE) if field in found}
            return Recognised(shape, kept if "input" in mapping else _without_doubles(kept))
    raise _nothing_fits(columns, wanted, table)


def _fields(columns: Collection[str], mapping: Mapping[str, str | None]) -> dict[str, str]:
    taken = {column for column in mapping.values() if column is not None}
    found = {field: column for field, column in mapping.items() if column is not None}
    for field, names in NAMES.items():
        if field not in mapping:
            free = [name for name in names if name in columns and name not in taken]
            if free:
                found[field] = free[0]
    return found


def _without_doubles(found: dict[str, str]) -> dict[str, str]:
    """Without `input` unless the prompt is an `instruction`, which is what Alpaca's inputs go with.

    What a `context` beside a `question` is, data sets disagree on; the mapping can say.
    """
    if found.get("prompt") == "instruction":
        return found
    return {field: column for field, column in found.items() if field != "input"}


def _nothing_fits(columns: Collection[str], wanted: set[str], table: str) -> RecipeError:
    if len(wanted) > 1:
        return RecipeError(
            f"no shape of data has {' and '.join(sorted(wanted))} together (columns of {table})",
            "map the fields of one shape; docs/data.md lists them",
        )
    plain = {name: field for field, names in reversed(NAMES.items()) for name in names}
    alike = next((c for c in columns if plain.get(c.lower().strip()) in _DECIDING), None)
    example = next(iter(columns), "text")
    field, column = (plain[alike.lower().strip()], alike) if alike else ("prompt", example)
    return RecipeError(
        f"{table} has the columns {', '.join(columns) or '(none)'}; no shape of data fits them",
        f"say which is which, for example columns: {{{field}: {column}}}; docs/data.md has all",
    )


def unused(columns: Collection[str], found: Recognised) -> list[str]:
    """Columns that become nothing."""
    used = {column for name in found.columns.values() for column in (name, name.split(".")[0])}
    return [column for column in columns if column not in used]
