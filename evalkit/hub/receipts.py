"""The journal of a publication: one small file per repository and one for the collection.

It lets a re-run go on where the last one stopped, and tells which repositories evalkit made.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from evalkit.durable import read_json, write_json

Stage = Literal["planned", "created", "pushed", "verified", "public"]


@dataclass(frozen=True)
class Receipt:
    """How far one repository has come.

    hub: what records call the Hub; made_here: this publication created the repository.
    parent: its head before; commit: the head that holds `files` (path -> sha256).
    """

    repo_id: str
    hub: str
    made_here: bool
    parent: str
    stage: Stage
    commit: str = ""
    files: dict[str, str] = field(default_factory=dict)

    def at(self, stage: Stage, **changes: Any) -> "Receipt":
        """The same, further on."""
        return replace(self, stage=stage, **changes)


class Receipts:
    """A folder of receipts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def get(self, repo_id: str, hub: str) -> Receipt | None:
        """The receipt of a repository on that Hub."""
        value = self._read(self._name(repo_id))
        if not value or value["hub"] != hub:
            return None
        try:
            return Receipt(**value)
        except TypeError:  # another version's: as good as lost, and even then nothing is sent twice
            return None

    def put(self, receipt: Receipt) -> Receipt:
        """Keeps `receipt`, durably; returns it."""
        write_json(self.folder / self._name(receipt.repo_id), vars(receipt))
        return receipt

    def collection(self, hub: str) -> str:
        """Slug of the family's collection on that Hub; empty when there is none yet."""
        value = self._read("collection.json") or {}
        return str(value.get("slug", "")) if value.get("hub") == hub else ""

    def put_collection(self, hub: str, slug: str) -> None:
        """Keeps the slug: it has a random tail on the public Hub."""
        write_json(self.folder / "collection.json", {"hub": hub, "slug": slug})

    def _read(self, name: str) -> dict[str, Any] | None:
        file = self.folder / name
        hint = "remove it: what is on the Hub is then compared afresh"
        value: dict[str, Any] | None = read_json(file, hint=hint)
        return value

    @staticmethod
    def _name(repo_id: str) -> str:
        return repo_id.replace("/", "--") + ".json"
