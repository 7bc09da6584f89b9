"""A card order: what a person states of a model that evalkit has not trained, as a YAML file.

    model: org/name
    base: org/base
    relation: finetune
    card: {license: apache-2.0, language: [en]}
    made:
      - {method: sppo, iteration: 3, data: [org/prompts], settings: {learning_rate: 5.0e-7}}
    results: [eval/]

`evalkit card build FILE` makes the card; docs/cards.md describes every key.
"""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, ValidationError, field_validator, model_validator

from evalkit.cards.links import is_hub_id
from evalkit.errors import Problem, RecipeError
from evalkit.family import Relation
from evalkit.field_errors import field_errors
from evalkit.recipe import Card
from evalkit.recipe_document import KeyPath
from evalkit.stages import Section
from evalkit.yaml_file import read_mapping


def _as_text(value: Any) -> Any:
    """A day as it is written: YAML makes a date of it."""
    return value.isoformat() if isinstance(value, date) else value


Day = Annotated[str, BeforeValidator(_as_text), Field(pattern=r"^(\d{4}(-\d{2}){0,2})?$")]


class MadeStep(Section):
    """One step of how it was made.

    method: sppo, spin, dpo, sft or any other. iteration: its number, of a method that iterates.
    started_from: the model's id. data: Hub ids or plain words. settings: its hyper-parameters.
    note: what else is to be said, in a few words.
    """

    method: str = Field(min_length=1)
    iteration: int | None = Field(None, ge=1)
    started_from: str = ""
    data: tuple[str, ...] = ()
    settings: dict[str, str | int | float | bool | None] = Field(default_factory=dict)
    note: str = ""


class Schedule(Section):
    """The steps that its authors plan or propose. reached: how many this model has behind it."""

    steps: tuple[str, ...] = Field(min_length=1)
    reached: int | None = Field(None, ge=0)

    @model_validator(mode="after")
    def _no_further_than_the_end(self) -> Self:
        if self.reached is not None and self.reached > len(self.steps):
            raise ValueError(f"reached is {self.reached}, and there are {len(self.steps)} steps")
        return self


class Quantized(Section):
    """What it is quantized to, such as `4-bit` or `FP8`, and by whom."""

    to: str = Field(min_length=1)
    by: str = ""


class Relative(Section):
    """Another model of the family: its id alone, or `model` with how it was `made`."""

    model: str = Field(min_length=1)
    made: tuple[MadeStep, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _a_name_alone_will_do(cls, value: Any) -> Any:
        return {"model": value} if isinstance(value, str) else value


class Figure(Section):
    """Somebody's number. task, metric: as in `leaderboards/*.yaml`, such as alpaca_eval, win_rate.

    model: whose, by default the card's own. value: as printed, in quotes if it ends in 0.
    source: the page that shows it. date: when it was put or read there. by: `card` for the model's
    publisher, `official` for the leaderboard that ran it. settings: what the page says of how it
    was made (judge, few_shot, n).
    """

    task: str
    metric: str
    value: str = Field(pattern=r"^-?\d+(\.\d+)?$")
    source: str = Field(pattern=r"^https?://\S+$")
    date: Annotated[Day, Field(min_length=4)]
    by: Literal["card", "official"] = "card"
    model: str = ""
    settings: dict[str, str | int | float | bool] = Field(default_factory=dict)

    @field_validator("value", mode="before")
    @classmethod
    def _as_printed(cls, value: Any) -> Any:
        return str(value) if isinstance(value, int | float) else value


class CardOrder(Section):
    """What a card is to say of a model that evalkit has not trained.

    model: its Hub id, or its name. base: Hub id of the model it derives from; relation: how.
    card: as a recipe's card section; its title is the model's name unless given.
    config: its config.json, or its folder. architecture, parameters (7.24B), context_length: where
    there is no config. made, schedule, quantized: how it came about. siblings: the other models of
    its family, in order. new_version: the sibling that supersedes it.
    results: files and folders of other tools; named: what they call the model, where they hold
    several; importer: what reads them. figures: numbers of others; figures_of_others: `known` shows
    those, too, that evalkit knows of these models. source, date: where all this is stated.
    """

    model: str = Field(min_length=1)
    base: Relative | None = None
    relation: Relation | None = None
    card: Card
    config: Path | None = None
    architecture: str | None = None
    parameters: str | None = None
    context_length: int | None = Field(None, ge=1)
    made: tuple[MadeStep, ...] = ()
    schedule: Schedule | None = None
    quantized: Quantized | None = None
    siblings: tuple[Relative, ...] = ()
    new_version: str | None = None
    results: tuple[Path, ...] = ()
    named: tuple[str, ...] = ()
    importer: str | None = None
    figures: tuple[Figure, ...] = ()
    figures_of_others: Literal["known", "none"] = "known"
    source: str = ""
    date: Day = ""

    @model_validator(mode="before")
    @classmethod
    def _title_is_the_name(cls, value: Any) -> Any:
        if isinstance(value, dict) and isinstance(value.get("card"), dict):
            name = str(value.get("model", "")).rstrip("/").rpartition("/")[2]
            # Nothing is claimed that nobody said, not even a language.
            return {**value, "card": {"title": name, "language": [], **value["card"]}}
        return value

    @field_validator("base")
    @classmethod
    def _of_the_hub(cls, value: Relative | None) -> Relative | None:
        if value is not None and not is_hub_id(value.model):
            raise ValueError("no id of a model on the Hub: org/name")
        return value

    @model_validator(mode="after")
    def _one_name_each(self) -> Self:
        names = [self.model, *(one.model for one in self.siblings)]
        names += [self.base.model] if self.base else []
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"{name} is named twice among the model, its base and siblings")
        if self.new_version is not None and self.new_version not in names[1:]:
            raise ValueError(f"new_version {self.new_version} is none of the siblings")
        unknown = {one.model for one in self.figures} - {"", *names}
        if unknown:
            raise ValueError(f"figures of {sorted(unknown)[0]}, which is no model of this card")
        if self.quantized is not None and self.relation not in (None, "quantized"):
            raise ValueError(f"it is quantized, and its relation is '{self.relation}'")
        return self


def is_card_order(path: Path) -> bool:
    """Whether a YAML file is a card order rather than a recipe.

    Raises:
        RecipeError: it is no YAML mapping.
    """
    data, _ = read_mapping(path)
    return isinstance(data.get("model"), str)  # of a recipe, `base` has it


def order_of_flags(**values: Any) -> CardOrder:
    """The card order that flags of the command line stand for.

    Raises:
        RecipeError: naming the flag that is wrong.
    """
    given = {key: value for key, value in values.items() if value}
    try:
        return CardOrder.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        key = next((str(part) for part in reversed(first["loc"]) if part != "card"), "license")
        said = first["msg"].removeprefix("Value error, ")
        shown = f" '{first['input']}'" if isinstance(first["input"], str) else ""
        hint = "the Hub's identifiers: apache-2.0, mit, llama3, gemma, other, ..."
        raise RecipeError(
            f"--{key.replace('_', '-')}{shown}: {said}", hint if key == "license" else ""
        ) from error


def read_order(path: Path) -> CardOrder:
    """The card order in a file; its paths are relative to it.

    Raises:
        RecipeError: with every mistake found, each with its line.
    """
    data, lines = read_mapping(path, "card order")
    try:
        order = CardOrder.model_validate(data)
    except ValidationError as error:
        problems = [
            Problem(f"{path}:{_line(lines, key)}  {'.'.join(map(str, key))}".rstrip(), what, hint)
            for key, what, hint in field_errors(CardOrder, error, "key")
        ]
        raise RecipeError(f"{path} is no card order", problems=problems) from None
    return order.model_copy(
        update={
            "results": tuple(path.parent / one for one in order.results),
            "config": path.parent / order.config if order.config else None,
        }
    )


def _line(lines: dict[KeyPath, int], key: KeyPath) -> int:
    """The line of a key, or of the nearest above it that the file has."""
    while key and key not in lines:
        key = key[:-1]
    return lines.get(key, 1)
