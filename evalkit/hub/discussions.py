"""Discussions and pull requests of a repository: what was said, one JSON file each.

What a pull request holds, and whether it is merged, stands in `refs.json` with the commits: that
alone is believed, so that a server killed between the two files leaves nothing half merged.
"""

import hashlib
from typing import Any

from evalkit.durable import read_json, write_json
from evalkit.hub.refused import RefusedError
from evalkit.hub.repository import Change, Commit, Repository, now

STATUSES = ("draft", "open", "closed")
MERGED = "merged"


class Discussions:
    """The discussions of one repository; the caller holds the store's lock while it changes any."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository
        self._folder = repository.folder / "discussions"

    def all(self) -> list[dict[str, Any]]:
        """Every discussion, newest first."""
        numbers = sorted((int(file.stem) for file in self._folder.glob("*.json")), reverse=True)
        return [self.get(number) for number in numbers]

    def get(self, number: int) -> dict[str, Any]:
        """One discussion.

        Raises:
            RefusedError: there is none of that number (404).
        """
        value = read_json(self._folder / f"{number}.json")
        if value is None:
            raise RefusedError(404, f"Discussion {number} not found")
        if str(number) in self._repository.refs()["merged"]:
            value["status"] = MERGED
        return dict(value)

    def open(self, title: str, text: str, author: str, pull_request: bool = False) -> int:
        """A new discussion, or a pull request (a draft) that changes nothing yet; its number."""
        number = self._next_number()
        if pull_request:
            self._repository.propose(number, Change({}), title=title, message="", author=author)
        self._begin(number, title, text, author, "draft" if pull_request else "open", pull_request)
        return number

    def propose(self, change: Change, author: str, **header: Any) -> tuple[int, Commit]:
        """A pull request with one commit. header: as for `Repository.commit`."""
        number = self._next_number()
        commit = self._repository.propose(number, change, author=author, **header)
        self._begin(number, header["title"], header["message"], author, "open", True)
        self._add(number, author, "commit", {"subject": commit.title, "oid": commit.id})
        return number, commit

    def merge(self, number: int, author: str) -> Commit:
        """Merges an open pull request into main.

        Raises:
            RefusedError: it is none, is not open, or conflicts with main.
        """
        value = self.get(number)
        if not value["is_pull_request"] or value["status"] != "open":
            raise RefusedError(409, f"{number} is not an open pull request")
        title = f"{value['title']} (#{number})"
        commit = self._repository.merge(number, title=title, author=author)
        self._add(number, author, "status-change", {"status": MERGED}, status=MERGED)
        return commit

    def comment(self, number: int, author: str, text: str) -> dict[str, Any]:
        """Adds a comment; the event it became."""
        return self._add(number, author, "comment", _said(text))

    def set_status(self, number: int, author: str, status: str) -> dict[str, Any]:
        """Opens or closes a discussion; the event it became.

        Raises:
            RefusedError: there is no such status (400), or it is merged (409).
        """
        if status not in STATUSES:
            raise RefusedError(400, f"a discussion cannot be set {status!r}")
        if self.get(number)["status"] == MERGED:
            raise RefusedError(409, f"{number} is merged")
        return self._add(number, author, "status-change", {"status": status}, status=status)

    def rename(self, number: int, author: str, title: str) -> dict[str, Any]:
        """Gives a discussion another title; the event it became."""
        data = {"from": self.get(number)["title"], "to": title}
        return self._add(number, author, "title-change", data, title=title)

    def _begin(
        self, number: int, title: str, text: str, author: str, status: str, pull_request: bool
    ) -> None:
        value = {
            "num": number, "title": title, "author": author, "status": status,
            "created_at": now(), "is_pull_request": pull_request, "events": [],
        }  # fmt: skip
        write_json(self._folder / f"{number}.json", value)
        self._add(number, author, "comment", _said(text))

    def _add(
        self, number: int, author: str, kind: str, data: dict[str, Any], **changes: str
    ) -> dict[str, Any]:
        value = {**self.get(number), **changes}
        place = f"{self._repository.id}\0{number}\0{len(value['events'])}"
        event = {
            "id": hashlib.sha256(place.encode()).hexdigest()[:24], "type": kind,
            "createdAt": now(), "author": {"name": author}, "data": data,
        }  # fmt: skip
        value["events"].append(event)
        write_json(self._folder / f"{number}.json", value)
        return event

    def _next_number(self) -> int:
        """Also beyond those pull requests that a killed server began and nobody can see."""
        begun = [int(number) for number in self._repository.refs()["pulls"]]
        told = [int(value["num"]) for value in self.all()]
        return max([0, *begun, *told]) + 1


def _said(text: str) -> dict[str, Any]:
    latest = {"raw": text, "html": "", "updatedAt": now()}
    return {"edited": False, "hidden": False, "latest": latest, "history": []}
