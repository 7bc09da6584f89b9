"""The card of a model on the Hub, with its config.json; offline, from the Hub's cache."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from evalkit import fetching
from evalkit.card_reading import Document
from evalkit.errors import PrerequisiteError, RecipeError
from evalkit.lint.context import Context
from evalkit.lint.linting import CARD_FILE, context_of

# Source: huggingface_hub's rules for repository names; a revision may be a branch with slashes.
_HUB_ID = re.compile(r"(\w[\w.-]*/\w[\w.-]*)(?:@([\w./-]+))?", re.ASCII)


class HubCard(NamedTuple):
    """What is known of a card on the Hub, and the commit that it was read at."""

    context: Context
    revision: str


def is_hub_id(name: str) -> bool:
    """Whether a name has the form `owner/name` or `owner/name@revision`."""
    return bool(_HUB_ID.fullmatch(name)) and not name.lower().endswith((".md", ".txt"))


def hub_card(name: str, base_cards: Sequence[Document] = ()) -> HubCard:
    """README.md and config.json of a model, at the revision behind an `@`, else of `main`.

    Raises:
        RecipeError: it has no card.
        PrerequisiteError: the Hub has no such model, or cannot be reached, or huggingface_hub is
            not installed.
        CardError: the card is not text.
    """
    mark = _HUB_ID.fullmatch(name)
    assert mark is not None
    try:
        wanted = [CARD_FILE, "config.json"]
        fetching.check_model(mark[1], mark[2], wanted)
        folder = fetching.fetch_some(mark[1], mark[2] or "main", wanted)
    except (PrerequisiteError, RecipeError) as error:
        message = f"there is no file or folder {name} here, and as a Hub id: {error.message}"
        raise type(error)(message, error.hint) from error
    if not (folder / CARD_FILE).is_file():
        raise RecipeError(f"the model {mark[1]} has no card", "its repository holds no README.md")
    near = context_of(folder, base_cards)
    context = Context(near.card, None, near.config, near.base_cards, mark[1])
    return HubCard(context, folder.name)  # the cache names a snapshot's folder by its commit
