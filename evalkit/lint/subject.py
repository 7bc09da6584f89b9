"""Whose card it is: the names of its model, what it was made from, how large it may be."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from evalkit import baselines
from evalkit.baselines import KnownModel
from evalkit.card_reading import Document
from evalkit.lint.facts import families_in, with_kin
from evalkit.lint.mentions import Mention, origins
from evalkit.lint.names import billions, is_mixture, plain, sizes_in
from evalkit.model_size import parameters_of

if TYPE_CHECKING:
    from evalkit.lint.context import Context

_TITLE_PREFIX = re.compile(r"^(?:model card (?:for|of)|introducing|about)[:\s]+", re.IGNORECASE)
_BETWEEN = re.compile(r"[^\w./+-]")
_NAME = re.compile(r"(?:[\w.-]+/)?[\w.+-]+")
_MOST_WORDS = 5  # of a title that is a name
_SAVED_LINES = 3  # of a page without headings, of which one may be the model's name
_OTHER_SIZE = re.compile(
    r"\bmerg|\bprun|\bdistil|upscal|expan|passthrough|frankenm|draft|slice|\bstack|"
    r"mixture[ -]of[ -]experts|\bmoe\b|\bexperts\b",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Name:
    """A name that the card gives its model; line 0 where it stands outside the card."""

    line: int
    text: str


@dataclass(frozen=True)
class KnownSize:
    """A number of parameters that the model may rightly be said to have, and why.

    exact: counted, not read from a name. without_embeddings: as some publishers count.
    """

    parameters: float
    why: str
    exact: bool
    without_embeddings: float | None = None


@dataclass(frozen=True)
class Subject:
    """The model that a card is about, as far as the card and what lies beside it tell."""

    context: Context

    @property
    def card(self) -> Document:
        """Its card."""
        return self.context.card

    @cached_property
    def names(self) -> tuple[Name, ...]:
        """What the card calls its model: in `model-index`, in its title, on the Hub."""
        found = [Name(0, self.context.model)] if self.context.model else []
        return tuple(dict.fromkeys([*found, *_index_names(self.card), *_title_names(self.card)]))

    @cached_property
    def base_ids(self) -> tuple[Name, ...]:
        """`base_model` of the metadata, each with its line."""
        value = self.card.metadata.get("base_model")
        listed = value if isinstance(value, list) else [value]
        return tuple(
            Name(self.card.key_line("base_model", n), one.strip())
            for n, one in enumerate(listed)
            if isinstance(one, str) and one.strip()
        )

    @cached_property
    def origins(self) -> tuple[Mention, ...]:
        """What its text says it was made from."""
        return origins(self.card)

    @cached_property
    def relation(self) -> str:
        """What it is to its base: as stated, or as its metadata shows; `finetune` by default."""
        stated = self.card.metadata.get("base_model_relation")
        if isinstance(stated, str):
            return stated
        tags = {str(tag).lower() for tag in _listed(self.card.metadata.get("tags"))}
        library = str(self.card.metadata.get("library_name", "")).lower()
        if library == "peft" or tags & {"lora", "peft", "adapter"}:
            return "adapter"
        if tags & {"merge", "mergekit"} or len(self.base_ids) > 1:
            return "merge"
        if "quantization_config" in self.context.config or self._is_quantized(tags):
            return "quantized"
        return "finetune"

    @cached_property
    def published(self) -> tuple[KnownModel, ...]:
        """Facts of this very model where it is a known one, then of its bases and theirs."""
        named = [one.text for one in (*self.names, *self.base_ids)]
        named += [one.known_as for one in self.origins]
        found: dict[str, KnownModel] = {}
        for name in named:
            model = baselines.known(name)
            while model is not None and model.id not in found:
                found[model.id] = model
                model = baselines.known(model.base) if model.base else None
        return tuple(found.values())

    @cached_property
    def families(self) -> frozenset[str]:
        """Families of models that it belongs to or derives from; empty where that is unknown."""
        named = [one.text for one in (*self.names, *self.base_ids)]
        named += [one.name for one in self.origins] + [one.id for one in self.origins]
        named += [model.id for model in self.published]
        named.append(str(self.context.config.get("model_type", "")))
        return with_kin(one.family for name in named for one in families_in(name))

    @cached_property
    def is_of_other_size(self) -> bool:
        """Whether it may have another size than its base: merged, pruned, distilled, of experts."""
        if self.relation == "merge" or any(is_mixture(one.text) for one in self.names):
            return True
        return bool(_OTHER_SIZE.search(self.card.text))

    @cached_property
    def sizes(self) -> tuple[KnownSize, ...]:
        """What its size may rightly be called, the surest first."""
        return tuple(_sizes(self))

    def is_called(self, name: str) -> bool:
        """Whether a name is one of this model's."""
        return plain(name) in {plain(one.text) for one in self.names}

    def is_foreign(self, text: str) -> bool:
        """Whether a text names a model that is neither this one nor one that it was made from."""
        own = [one.text for one in (*self.names, *self.base_ids)]
        own += [one.known_as for one in self.origins]
        allowed = {plain(one) for one in own}
        for name in families_in(text):
            word = plain(_word_at(text, name.start))
            if not any(word in one or one in word for one in allowed if one and word):
                return True
        return False

    def is_base(self, name: str) -> bool:
        """Whether a name is one of those that it was made from."""
        bases = [one.text for one in self.base_ids] + [one.known_as for one in self.origins]
        return plain(name) in {plain(one) for one in bases}

    def _is_quantized(self, tags: set[str]) -> bool:
        marks = {"gguf", "gptq", "awq", "exl2", "fp8", "int8", "int4", "compressed-tensors"}
        return bool(tags & marks) or any(one.how == "quantized" for one in self.origins)


def _word_at(text: str, position: int) -> str:
    """The word, or the name with hyphens, dots and slashes, that a position lies in."""
    start = max((mark.end() for mark in _BETWEEN.finditer(text, 0, position)), default=0)
    end = _BETWEEN.search(text, position)
    return text[start : end.start() if end else len(text)].rstrip(".-")


def _sizes(subject: Subject) -> Iterator[KnownSize]:
    count = parameters_of(subject.context.config)
    if count is not None:
        yield KnownSize(
            count.total,
            f"its config.json gives {billions(count.total)} parameters",
            exact=True,
            without_embeddings=count.total - count.embedding,
        )
    stored = subject.context.stored_parameters
    if stored is not None:
        yield KnownSize(stored, f"its weights hold {billions(stored)} parameters", exact=True)
    for model in subject.published:
        if model.parameters is not None:
            why = f"{model.id} has {billions(model.parameters)} parameters ({model.source})"
            yield KnownSize(model.parameters, why, exact=True)
    for name in (*subject.names, *subject.base_ids):
        for size in sizes_in(name.text):
            yield KnownSize(size.parameters, f"the name {name.text} says {size.text}", exact=False)
    for mention in subject.origins:
        for size in sizes_in(mention.name):
            why = f"'{mention.evidence}' says {size.text}"
            yield KnownSize(size.parameters, why, exact=False)


def _index_names(card: Document) -> Iterator[Name]:
    for number, entry in enumerate(_listed(card.metadata.get("model-index"))):
        name = entry.get("name") if isinstance(entry, Mapping) else None
        if isinstance(name, str) and name.strip():
            yield Name(card.key_line("model-index", number, "name"), name.strip())


def _title_names(card: Document) -> Iterator[Name]:
    """The title where it is a name; of a page without headings, its first line that is one."""
    if card.sections:
        title = _TITLE_PREFIX.sub("", card.sections[0].title)
        if title and len(title.split()) <= _MOST_WORDS and not title.endswith((".", ":", "?")):
            yield Name(card.sections[0].line, title)
        return
    if card.has_metadata:
        return
    shown = [line for line in card.prose if line.text.strip()][:_SAVED_LINES]
    for line in shown:
        text = line.text.strip()
        if _NAME.fullmatch(text) and (families_in(text) or "/" in text):
            yield Name(line.number, text)
            return


def _listed(value: Any) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]
