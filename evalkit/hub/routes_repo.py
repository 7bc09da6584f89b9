"""Routes that read repositories, and that create, change and delete them."""

from typing import Any
from urllib.parse import parse_qs

from starlette.responses import FileResponse, Response
from starlette.routing import Route

from evalkit.hub import wire
from evalkit.hub.calls import Call, answer, route
from evalkit.hub.refused import RefusedError, repo_not_found
from evalkit.hub.repository import MAIN, Repository
from evalkit.hub.store import PLURALS


def whoami(call: Call) -> Response:
    """Who the token names."""
    return answer(wire.whoami(call.need_user()))


def create(call: Call) -> Response:
    """Makes a repository; 409 with its address when there is one."""
    body = call.json()
    kind, namespace, repo_id = _named(call, body)
    user = call.need_namespace(namespace)
    prefix = "" if kind == "model" else f"{kind}s/"
    place = {"url": f"{call.base_url()}/{prefix}{repo_id}", "name": repo_id}
    try:
        call.store.create(kind, repo_id, private=_private(body), author=user.name)
    except RefusedError as refusal:
        refusal.body = place
        raise
    return answer(place)


def delete(call: Call) -> Response:
    """Deletes a repository of the asker's."""
    kind, namespace, repo_id = _named(call, call.json())
    user = call.need_user()
    repository = call.store.repository(kind, repo_id)
    if not repository.exists or not call.may_see(repository):
        raise repo_not_found(repo_id, True)
    if not user.may_write(namespace):
        raise RefusedError(403, f"{user.name} may not delete {repo_id}")
    call.store.delete(repository)
    return answer({})


def settings(call: Call) -> Response:
    """Changes privacy or gating."""
    repository, body = call.writable(), call.json()
    changes: dict[str, Any] = {"gated": body["gated"]} if "gated" in body else {}
    if "private" in body or "visibility" in body:
        changes["private"] = _private(body)
    repository.update_settings(**changes)
    return answer({"private": repository.settings()["private"]})


def listing(call: Call) -> Response:
    """The repositories that the asker may see, filtered by author and by words in the name."""
    query = call.request.query_params
    kind = PLURALS.get(call.param("kinds"))
    if kind is None:
        # Clients ask for lists of other things (api/agent-harnesses) and misread an empty answer.
        raise RefusedError(404, f"this Hub has no list of {call.param('kinds')}")
    found = [
        repository
        for repository in call.store.repositories(kind)
        if call.may_see(repository)
        and query.get("author") in (None, repository.namespace)
        and all(word.lower() in repository.id.lower() for word in query.getlist("search"))
    ]
    found = found[: int(query.get("limit", len(found)))]
    return answer([_info(call, repository, MAIN) for repository in found])


def info(call: Call) -> Response:
    """A repository at a revision."""
    return answer(_info(call, call.readable(), call.param("revision", MAIN)))


def tree(call: Call) -> Response:
    """Files and folders of a revision."""
    commit = call.readable().commit_at(call.param("revision"))
    return answer(wire.tree(commit, call.param("path").strip("/"), call.flag("recursive")))


def paths_info(call: Call) -> Response:
    """Some files and folders of a revision; asked with a form or with JSON."""
    commit = call.readable().commit_at(call.param("revision"))
    if call.request.headers.get("content-type", "").startswith("application/json"):
        paths = call.json().get("paths", [])
    else:
        paths = parse_qs(call.body.decode("utf-8", "replace")).get("paths", [])
    return answer(wire.paths_info(commit, paths))


def refs(call: Call) -> Response:
    """Branches and tags."""
    return answer(wire.refs(call.readable()))


def commits(call: Call) -> Response:
    """The history of a revision."""
    return answer(wire.commits(call.readable().history(call.param("revision"))))


def auth_check(call: Call) -> Response:
    """Whether the asker may read (or write) a repository."""
    if call.param("right") == "write":
        call.writable()
    else:
        call.downloadable()
    return answer({})


def create_branch(call: Call) -> Response:
    """A new branch at a revision, by default at the head of main."""
    start = call.json().get("startingPoint", MAIN)
    call.writable().create_ref("branches", call.param("branch"), start)
    return answer({}, 201)


def delete_branch(call: Call) -> Response:
    """Removes a branch."""
    call.writable().delete_ref("branches", call.param("branch"))
    return answer({})


def create_tag(call: Call) -> Response:
    """A new tag at a revision."""
    call.writable().create_ref("tags", str(call.json().get("tag", "")), call.param("revision"))
    return answer({}, 201)


def delete_tag(call: Call) -> Response:
    """Removes a tag."""
    call.writable().delete_ref("tags", call.param("revision"))
    return answer({})


def resolve(call: Call) -> Response:
    """A file's bytes, whole or a range, with the headers that downloads are checked by.

    LFS files are answered here and not redirected: clients follow a redirect to the same host and
    would then miss X-Repo-Commit.
    """
    path = call.param("path")
    commit, entry = call.downloadable().entry(call.param("revision"), path)
    headers = {"X-Repo-Commit": commit.id, "X-Content-Type-Options": "nosniff"}
    headers["Content-Security-Policy"] = "default-src 'none'; sandbox"
    headers["ETag"] = f'"{entry.sha256 if entry.lfs else entry.oid}"'
    if entry.lfs:
        headers["X-Linked-Etag"] = headers["ETag"]
        headers["X-Linked-Size"] = str(entry.size)
    text = path.endswith((".md", ".json", ".txt", ".yaml", ".yml", ".jinja", ".jsonl", ".csv"))
    kind = "text/plain; charset=utf-8" if text and not entry.lfs else "application/octet-stream"
    if path.endswith(".png"):  # pictures of cards: told not to sniff, browsers want to be told
        kind = "image/png"
    return FileResponse(call.store.blobs.path(entry.sha256), headers=headers, media_type=kind)


def _info(call: Call, repository: Repository, revision: str) -> dict[str, Any]:
    commit = repository.commit_at(revision)
    return wire.repo_info(call.store, repository, commit, call.flag("blobs"))


def _named(call: Call, body: dict[str, Any]) -> tuple[str, str, str]:
    namespace = body.get("organization") or call.need_user().name
    return str(body.get("type", "model")), namespace, f"{namespace}/{body.get('name')}"


def _private(body: dict[str, Any]) -> bool:
    if "visibility" in body:
        return str(body["visibility"]) != "public"
    return bool(body.get("private", False))


_REPO = "/api/{kinds}/{namespace}/{name}"

ROUTES: list[Route] = [
    route("/api/whoami-v2", whoami),
    route("/api/repos/create", create, "POST"),
    route("/api/repos/delete", delete, "DELETE"),
    route("/api/{kinds}", listing),
    route(f"{_REPO}", info),
    route(f"{_REPO}/settings", settings, "PUT"),
    route(f"{_REPO}/revision/{{revision:path}}", info),
    route(f"{_REPO}/tree/{{revision}}", tree),
    route(f"{_REPO}/tree/{{revision}}/{{path:path}}", tree),
    route(f"{_REPO}/paths-info/{{revision}}", paths_info, "POST"),
    route(f"{_REPO}/refs", refs),
    route(f"{_REPO}/commits/{{revision:path}}", commits),
    route(f"{_REPO}/auth-check", auth_check),
    route(f"{_REPO}/auth-check/{{right}}", auth_check),
    route(f"{_REPO}/branch/{{branch:path}}", create_branch, "POST"),
    route(f"{_REPO}/branch/{{branch:path}}", delete_branch, "DELETE"),
    route(f"{_REPO}/tag/{{revision:path}}", create_tag, "POST"),
    route(f"{_REPO}/tag/{{revision:path}}", delete_tag, "DELETE"),
    route("/datasets/{namespace}/{name}/resolve/{revision}/{path:path}", resolve),
    route("/{namespace}/{name}/resolve/{revision}/{path:path}", resolve),
]
