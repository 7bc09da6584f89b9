"""The journal of a publication: one small file per repository and one for the collection.

It lets a re-run go on where the last one stopped, and tells which repositories evalkit made.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from evalkit.durable import read_json, sync_folder, write_json

Stage = Literal["planned", "created", "pushed", "verified", "tagged", "public", "rolled back"]
COLLECTION = "collection.json"


@dataclass(frozen=True)
class Receipt:
    """How far one repository has come.

    hub: what records call the Hub; made_here: this publication created the repository.
    parent: its head before; commit: the head that holds `files` (path -> sha256).
    kind: `model` or `dataset`; tag: what names the commit, empty before.
    """

    repo_id: str
    hub: str
    made_here: bool
    parent: str
    stage: Stage
    commit: str = ""
    files: dict[str, str] = field(default_factory=dict)
    kind: str = "model"
    tag: str = ""

    def at(self, stage: Stage, **changes: Any) -> "Receipt":
        """The same, further on."""
        return replace(self, stage=stage, **changes)


class Receipts:
    """A folder of receipts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def get(self, repo_id: str, hub: str) -> Receipt | None:
        """The receipt of a repository on that Hub."""
        found = self._decoded(self._name(repo_id))
        return found if found is not None and found.hub == hub else None

    def all(self, hub: str) -> list[Receipt]:
        """Every receipt of that Hub, by name of the repository."""
        names = sorted(file.name for file in self.folder.glob("*.json") if file.name != COLLECTION)
        found = (self._decoded(name) for name in names)
        return [receipt for receipt in found if receipt is not None and receipt.hub == hub]

    def put(self, receipt: Receipt) -> Receipt:
        """Keeps `receipt`, durably; returns it."""
        write_json(self.folder / self._name(receipt.repo_id), vars(receipt))
        return receipt

    def collection(self, hub: str) -> str:
        """Slug of the family's collection on that Hub; empty when there is none yet."""
        value = self._read(COLLECTION) or {}
        return str(value.get("slug", "")) if value.get("hub") == hub else ""

    def made_collection(self, hub: str) -> bool:
        """Whether this publication made that collection."""
        value = self._read(COLLECTION) or {}
        return value.get("hub") == hub and bool(value.get("made_here"))

    def put_collection(self, hub: str, slug: str, made_here: bool = False) -> None:
        """Keeps the slug: it has a random tail on the public Hub."""
        write_json(self.folder / COLLECTION, {"hub": hub, "slug": slug, "made_here": made_here})

    def forget_collection(self) -> None:
        """Forgets the collection, which is no more."""
        (self.folder / COLLECTION).unlink(missing_ok=True)
        sync_folder(self.folder)

    def _decoded(self, name: str) -> Receipt | None:
        try:
            value = self._read(name)
            return Receipt(**value) if value else None
        except TypeError:  # another version's: as good as lost, and even then nothing is sent twice
            return None

    def _read(self, name: str) -> dict[str, Any] | None:
        file = self.folder / name
        hint = "remove it: what is on the Hub is then compared afresh"
        value: dict[str, Any] | None = read_json(file, hint=hint)
        return value

    @staticmethod
    def _name(repo_id: str) -> str:
        return repo_id.replace("/", "--") + ".json"
