"""Collections: ordered lists of repositories with a note on each, one JSON file per collection."""

import hashlib
import re
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evalkit.durable import read_json, sync_folder, write_json
from evalkit.hub.refused import RefusedError
from evalkit.hub.repository import now

ITEM_TYPES = ("model", "dataset", "space", "paper", "collection")
_SLUG = re.compile(r"[A-Za-z0-9._-]+/[a-z0-9-]+")


class Collections:
    """All collections of a Hub folder, as the plain values that its HTTP answers carry."""

    def __init__(self, root: Path, lock: threading.RLock) -> None:
        self._folder = root / "collections"
        self._lock = lock

    def all(self) -> list[dict[str, Any]]:
        """Every collection, by slug."""
        return [read_json(file) for file in sorted(self._folder.glob("*/*.json"))]

    def get(self, slug: str) -> dict[str, Any]:
        """The collection called `slug` (`namespace/title-id`).

        Raises:
            RefusedError: there is none (404).
        """
        value = read_json(self._file(slug)) if _SLUG.fullmatch(slug) else None
        if value is None:
            raise RefusedError(404, f"Collection {slug} not found")
        return dict(value)

    def create(self, namespace: str, title: str, private: bool, description: str) -> dict[str, Any]:
        """A new, empty collection.

        Raises:
            RefusedError: the namespace has one of this title (409, its slug in the body).
        """
        words = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")[:60] or "collection"
        slug = f"{namespace}/{words}-{_id(namespace, title)}"
        with self._lock:
            if self._file(slug).exists():
                raise RefusedError(409, f"Collection {slug} exists", body={"slug": slug})
            value = {
                "slug": slug, "title": title, "description": description, "private": private,
                "owner": {"name": namespace, "type": "user"}, "items": [], "position": 0,
                "theme": "orange", "upvotes": 0, "lastUpdated": now(),
            }  # fmt: skip
            write_json(self._file(slug), value)
            return value

    def update(self, slug: str, changes: Mapping[str, Any]) -> dict[str, Any]:
        """Changes title, description, privacy, theme or position."""
        known = ("title", "description", "private", "theme", "position")
        with self._lock:
            value = self.get(slug)
            return self._write({**value, **{k: changes[k] for k in known if k in changes}})

    def delete(self, slug: str) -> None:
        """Removes a collection, not what it lists."""
        with self._lock:
            self.get(slug)
            file = self._file(slug)
            file.unlink()
            sync_folder(file.parent)

    def add_item(self, slug: str, item_id: str, kind: str, note: str | None) -> dict[str, Any]:
        """Appends an item.

        Raises:
            RefusedError: it is listed already (409), or is of no known type (400).
        """
        if kind not in ITEM_TYPES:
            raise RefusedError(400, f"an item cannot be a {kind}")
        with self._lock:
            value = self.get(slug)
            object_id = _id(slug, kind, item_id)
            if any(item["_id"] == object_id for item in value["items"]):
                raise RefusedError(409, f"{item_id} is in the collection already")
            item = {"_id": object_id, "id": item_id, "type": kind, "position": len(value["items"])}
            value["items"].append({**item, **_note(note)})
            return self._write(value)

    def update_item(self, slug: str, object_id: str, changes: Mapping[str, Any]) -> dict[str, Any]:
        """Changes an item's note, or moves it to another position."""
        with self._lock:
            value, item = self._item(slug, object_id)
            item.update(_note(changes.get("note")))
            if "position" in changes:
                value["items"].remove(item)
                value["items"].insert(int(changes["position"]), item)
            return self._write(value)

    def delete_item(self, slug: str, object_id: str) -> dict[str, Any]:
        """Takes an item off the list."""
        with self._lock:
            value, item = self._item(slug, object_id)
            value["items"].remove(item)
            return self._write(value)

    def _item(self, slug: str, object_id: str) -> tuple[dict[str, Any], dict[str, Any]]:
        value = self.get(slug)
        for item in value["items"]:
            if item["_id"] == object_id:
                return value, item
        raise RefusedError(404, f"Collection {slug} has no item {object_id}")

    def _write(self, value: dict[str, Any]) -> dict[str, Any]:
        for position, item in enumerate(value["items"]):
            item["position"] = position
        value["lastUpdated"] = now()
        write_json(self._file(value["slug"]), value)
        return value

    def _file(self, slug: str) -> Path:
        return self._folder / f"{slug}.json"


def _note(text: str | None) -> dict[str, Any]:
    return {} if text is None else {"note": {"text": text, "html": ""}}


def _id(*words: str) -> str:
    return hashlib.sha256("\0".join(words).encode()).hexdigest()[:24]
