"""Opens a card, however the command line names it: a file, a folder, or an id of the Hub."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from evalkit.card_reading import Document, read
from evalkit.errors import CardError
from evalkit.fetching import fetch_some
from evalkit.lint.hub_card import hub_card, is_hub_id
from evalkit.lint.linting import CARD_FILE, read_text
from evalkit.score_records import FOLDER, Store, read_store


@dataclass(frozen=True)
class OpenedCard:
    """A card, and where what lies beside it is found.

    name: as it was asked for. folder: None for one on the Hub, which has `repo` and `revision`.
    """

    name: str
    card: Document
    folder: Path | None = None
    repo: str = ""
    revision: str = ""

    @property
    def model(self) -> str:
        """What loads its model: a Hub id with its revision, a folder; empty without weights."""
        if self.folder is None:
            return f"{self.repo}@{self.revision}"
        return str(self.folder) if (self.folder / "config.json").is_file() else ""

    @property
    def names(self) -> frozenset[str]:
        """What its model is called: in its title, in its metadata, as a repository."""
        index = self.card.metadata.get("model-index")
        entries = index if isinstance(index, list) else []
        named = [one.get("name") for one in entries if isinstance(one, dict)]
        return frozenset(str(one) for one in (self.card.title, self.repo, *named) if one)

    def store(self) -> Store | None:
        """The records beside it, fetched where it is on the Hub; None where there are none.

        Raises:
            CardError: they were altered, or are not whole.
            PrerequisiteError: they cannot be fetched.
        """
        if self.folder is not None:
            return read_store(self.folder)
        return read_store(fetch_some(self.repo, self.revision, [f"{FOLDER}/*.json"]))


def open_card(text: str) -> OpenedCard:
    """The card at a path, or of a Hub id (`org/name`, `org/name@revision`).

    Raises:
        CardError: it is neither, or there is no card.
        RecipeError: the Hub has no such model, or no card of it.
        PrerequisiteError: it is on the Hub, and cannot be fetched.
    """
    path = Path(text)
    if path.exists():
        folder = path if path.is_dir() else path.parent
        file = path / CARD_FILE if path.is_dir() else path
        return OpenedCard(text, read(read_text(file)), folder)
    if not is_hub_id(text):
        hint = "give a file, a folder, or a model's id on the Hub"
        raise CardError(f"there is no card {text}", hint)
    found = hub_card(text)
    repo = text.partition("@")[0]
    return OpenedCard(text, found.context.card, None, repo, found.revision)
