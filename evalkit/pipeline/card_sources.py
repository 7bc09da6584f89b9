"""Opens a card, however the command line names it: a file, a folder, or an id of the Hub."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from evalkit.card_reading import Document, read
from evalkit.card_reading.model_names import own_names
from evalkit.errors import CardError
from evalkit.fetching import fetch_some
from evalkit.lint.hub_card import hub_card, is_hub_id
from evalkit.lint.linting import CARD_FILE, read_text
from evalkit.score_records import FOLDER as RECORDS
from evalkit.verification.eval_results import FOLDER as RESULTS


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
        named = own_names(self.card).names
        return frozenset(one for one in (self.card.title, self.repo, *named) if one)

    def beside(self) -> Path:
        """The folder with its records and `.eval_results`, fetched where it is on the Hub.

        Raises:
            PrerequisiteError: they cannot be fetched.
        """
        if self.folder is not None:
            return self.folder
        return fetch_some(self.repo, self.revision, [f"{RECORDS}/*.json", f"{RESULTS}/*.yaml"])


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
