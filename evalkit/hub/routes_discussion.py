"""Routes of discussions and pull requests."""

from typing import Any

from starlette.responses import Response
from starlette.routing import Route

from evalkit.hub.calls import Call, answer, route
from evalkit.hub.discussions import Discussions
from evalkit.hub.refused import RefusedError
from evalkit.hub.repository import MAIN, Repository

_PAGE = 10  # as many as the public Hub lists at once


def listing(call: Call) -> Response:
    """A page of the discussions, filtered by author, type and status."""
    repository, query = call.readable(), call.request.query_params
    wanted_type, status = query.get("type", "all"), query.get("status", "all")
    found = [
        value
        for value in Discussions(repository).all()
        if query.get("author") in (None, value["author"])
        and (wanted_type == "all" or (wanted_type == "pull_request") == value["is_pull_request"])
        and (status == "all" or (status == "open") == (value["status"] in ("open", "draft")))
    ]
    start = _number(query.get("p", "0")) * _PAGE
    rows = [_row(repository, value) for value in found[start : start + _PAGE]]
    return answer({"count": len(found), "start": start, "discussions": rows})


def details(call: Call) -> Response:
    """One discussion with all that happened in it."""
    repository, number = call.readable(), _asked(call)
    value = Discussions(repository).get(number)
    row = {**_row(repository, value), "events": value["events"], "diff": ""}
    if value["is_pull_request"]:
        merged = repository.refs()["merged"].get(str(number))
        row["changes"] = {
            "base": f"refs/heads/{MAIN}",
            **({"mergeCommitId": merged} if merged else {}),
        }
        row["filesWithConflicts"] = [] if merged else repository.conflicts(number)
    return answer(row)


def create(call: Call) -> Response:
    """A new discussion or pull request; anybody who may read the repository may open one."""
    repository, user, body = call.readable(), call.need_user(), call.json()
    title = str(body.get("title") or "").strip()
    if not 3 <= len(title) <= 200:
        raise RefusedError(400, "a title has 3 to 200 characters")
    with call.store.changing():
        number = Discussions(repository).open(
            title, str(body.get("description") or ""), user.name, bool(body.get("pullRequest"))
        )
    prefix = "" if repository.kind == "model" else f"{repository.kind}s/"
    url = f"{call.base_url()}/{prefix}{repository.id}/discussions/{number}"
    return answer({"num": number, "url": url, "pullRequest": bool(body.get("pullRequest"))})


def comment(call: Call) -> Response:
    """A comment."""
    repository, user = call.readable(), call.need_user()
    text = str(call.json().get("comment") or "")
    with call.store.changing():
        event = Discussions(repository).comment(_asked(call), user.name, text)
    return answer({"newMessage": event})


def change_status(call: Call) -> Response:
    """Opens or closes; a reason becomes a comment."""
    repository, user, body = call.writable(), call.need_user(), call.json()
    with call.store.changing():
        discussions = Discussions(repository)
        event = discussions.set_status(_asked(call), user.name, str(body.get("status")))
        if body.get("comment"):
            discussions.comment(_asked(call), user.name, str(body["comment"]))
    return answer({"newStatus": event})


def rename(call: Call) -> Response:
    """Another title."""
    repository, user = call.writable(), call.need_user()
    with call.store.changing():
        title = str(call.json().get("title") or "")
        event = Discussions(repository).rename(_asked(call), user.name, title)
    return answer({"newTitle": event})


def merge(call: Call) -> Response:
    """Merges a pull request into main."""
    repository, user, body = call.writable(), call.need_user(), call.json()
    with call.store.changing():
        discussions = Discussions(repository)
        discussions.merge(_asked(call), user.name)
        if body.get("comment"):
            discussions.comment(_asked(call), user.name, str(body["comment"]))
    return answer({})


def _row(repository: Repository, value: dict[str, Any]) -> dict[str, Any]:
    return {
        "num": value["num"], "title": value["title"], "status": value["status"],
        "author": {"name": value["author"]}, "createdAt": value["created_at"],
        "isPullRequest": value["is_pull_request"],
        "repo": {"name": repository.id, "type": repository.kind},
    }  # fmt: skip


def _asked(call: Call) -> int:
    return _number(call.param("number"))


def _number(text: str) -> int:
    if not text.isdecimal() or len(text) > 9:
        raise RefusedError(404, f"{text!r} is no number of a discussion")
    return int(text)


_ALL = "/api/{kinds}/{namespace}/{name}/discussions"
_ONE = f"{_ALL}/{{number}}"

ROUTES: list[Route] = [
    route(_ALL, listing),
    route(_ALL, create, "POST"),
    route(_ONE, details),
    route(f"{_ONE}/comment", comment, "POST"),
    route(f"{_ONE}/status", change_status, "POST"),
    route(f"{_ONE}/title", rename, "POST"),
    route(f"{_ONE}/merge", merge, "POST"),
]
