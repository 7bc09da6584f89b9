"""Routes that bring content in: preupload, LFS upload, and the commit that makes it visible."""

import base64
import binascii
import json
from collections.abc import AsyncIterator
from fnmatch import fnmatch
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from evalkit.hub.calls import Call, answer, route
from evalkit.hub.discussions import Discussions
from evalkit.hub.refused import RefusedError
from evalkit.hub.repository import Change, Commit, Entry, Repository, check_path
from evalkit.hub.store import Store

REGULAR_LIMIT_BYTES = 5 * 1000**2  # larger files, and binary ones, go through LFS
_LINE_LIMIT_BYTES = 64 * 1024**2
_PIECE_BYTES = 4 * 1024**2


def validate_yaml(call: Call) -> Response:
    """Checks a README's front matter."""
    body = call.json()
    findings = call.validate(str(body.get("content", "")), str(body.get("repoType", "model")))
    value = {
        "errors": [{"message": message} for message in findings.errors],
        "warnings": [{"message": message} for message in findings.warnings],
    }
    return answer(value, 400 if findings.errors else 200)


def preupload(call: Call) -> Response:
    """How each file must be sent, and the id of what lies at its path now.

    Files that a `.gitignore` names are not ignored: what was asked for is published.
    """
    commit = _receiving(call).commit_at(call.param("revision"))
    patterns = _lfs_patterns(call.store, commit)
    rows = []
    for file in call.json().get("files", []):
        path = check_path(str(file["path"]))
        mode = "lfs" if _needs_lfs(path, file, patterns) else "regular"
        row = {"path": path, "uploadMode": mode, "shouldIgnore": False}
        there = commit.tree.get(path)
        if there is not None and there.lfs == (mode == "lfs"):
            row["oid"] = there.sha256 if there.lfs else there.oid
        rows.append(row)
    return answer({"files": rows})


def lfs_batch(call: Call) -> Response:
    """Where to send each LFS content; contents that are here already have no actions.

    Source: https://github.com/git-lfs/git-lfs/blob/main/docs/api/batch.md
    """
    call.need_user()  # anybody may upload for a pull request
    call.readable()
    body = call.json()
    if body.get("operation") != "upload":
        raise RefusedError(400, "only uploads go through the LFS batch; download from /resolve")
    rows = []
    for wanted in body.get("objects", []):
        oid, size = str(wanted["oid"]), int(wanted["size"])
        row: dict[str, Any] = {"oid": oid, "size": size}
        if call.store.blobs.size(oid) != size:
            href = f"{call.base_url()}/lfs/{oid}?{call.store.tokens.sign_upload(oid, size)}"
            verify = f"{call.base_url()}{call.request.url.path.removesuffix('/batch')}/verify"
            row["actions"] = {"upload": {"href": href}, "verify": {"href": verify}}
        rows.append(row)
    return answer({"transfer": "basic", "objects": rows})


def lfs_verify(call: Call) -> Response:
    """Whether an LFS content has arrived whole."""
    call.need_user()
    call.readable()
    body = call.json()
    call.store.lfs_entry(str(body.get("oid")), int(body.get("size", -1)))
    return answer({})


async def lfs_upload(request: Request) -> Response:
    """Takes in one LFS content of any size, a few MiB in memory at a time."""
    store: Store = request.app.state.hub.store
    oid, query = request.path_params["oid"], request.query_params
    size_bytes = int(query.get("size", -1))
    signature, expires = query.get("sig", ""), int(query.get("expires", 0))
    await run_in_threadpool(store.tokens.check_upload, oid, size_bytes, expires, signature)
    upload = await run_in_threadpool(store.blobs.begin)
    try:
        async for piece in _pieces(request.stream()):
            await run_in_threadpool(upload.write, piece)
        await run_in_threadpool(upload.finish, oid, size_bytes)
    finally:
        upload.discard()
    return Response(status_code=200)


async def commit(request: Request) -> Response:
    """Makes one commit of a stream of JSON lines; nothing is visible before its last line."""
    call = await run_in_threadpool(Call, request)
    repository = await run_in_threadpool(_receiving, call)
    draft = _Draft(call.store)
    async for line in _lines(request.stream()):
        await run_in_threadpool(draft.add, line)
    return answer(await run_in_threadpool(_finish, call, repository, draft))


def _finish(call: Call, repository: Repository, draft: "_Draft") -> dict[str, Any]:
    author, change, header = call.need_user().name, draft.change(), draft.header()
    prefix = "" if repository.kind == "model" else f"{repository.kind}s/"
    place = f"{call.base_url()}/{prefix}{repository.id}"
    more = {}
    if call.flag("create_pr"):
        with call.store.changing():
            number, made = Discussions(repository).propose(change, author, **header)
        more = {"pullRequestUrl": f"{place}/discussions/{number}"}
    else:
        made = repository.commit(call.param("revision"), change, author=author, **header)
    url = f"{place}/commit/{made.id}"
    return {"success": True, "commitOid": made.id, "commitUrl": url, "hookOutput": "", **more}


def _receiving(call: Call) -> Repository:
    """The repository that is committed to; a pull request anybody may open who sees it."""
    if not call.flag("create_pr"):
        return call.writable()
    call.need_user()
    return call.readable()


class _Draft:
    """A commit while its lines arrive. Contents are stored at once, so that memory holds one."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._header: dict[str, Any] | None = None
        self._put: dict[str, Entry] = {}
        self._remove: list[str] = []
        self._remove_folders: list[str] = []

    def add(self, line: bytes) -> None:
        """One operation; RefusedError (400) when it is not understood."""
        try:
            operation = json.loads(line)
            key, value = operation["key"], operation["value"]
            if key == "header":
                self._header = value
            elif key == "file":
                content = base64.b64decode(value["content"], validate=True)
                self._put[check_path(value["path"])] = self._store.put_regular(content)
            elif key == "lfsFile":
                size = value.get("size")  # none of a content that is copied from another commit
                entry = self._store.lfs_entry(value["oid"], None if size is None else int(size))
                self._put[check_path(value["path"])] = entry
            elif key == "deletedFile":
                self._remove.append(value["path"])
            elif key == "deletedFolder":
                self._remove_folders.append(value["path"])
            else:
                raise RefusedError(400, f"this Hub knows no commit operation {key!r}")
        except (ValueError, KeyError, TypeError, binascii.Error) as error:
            raise RefusedError(400, f"a line of the commit is malformed: {error!r}") from error

    def header(self) -> dict[str, Any]:
        """Title, message and parent of the commit."""
        if self._header is None:
            raise RefusedError(400, "the commit has no header line")
        title = str(self._header.get("summary") or "")
        if not title:
            raise RefusedError(400, "the commit has no summary")
        message = str(self._header.get("description") or "")
        return {"title": title, "message": message, "parent": self._header.get("parentCommit")}

    def change(self) -> Change:
        """What the commit does."""
        return Change(self._put, self._remove, self._remove_folders)


async def _lines(stream: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    buffer = bytearray()
    async for piece in stream:
        start = len(buffer)
        buffer += piece
        while (end := buffer.find(b"\n", start)) >= 0:
            line, buffer, start = bytes(buffer[:end]), buffer[end + 1 :], 0
            if line.strip():
                yield line
        if len(buffer) > _LINE_LIMIT_BYTES:
            raise RefusedError(413, "a line of the commit is too long: send the file through LFS")
    if buffer.strip():
        yield bytes(buffer)


async def _pieces(stream: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    buffer = bytearray()
    async for piece in stream:
        buffer += piece
        if len(buffer) >= _PIECE_BYTES:
            yield bytes(buffer)
            buffer.clear()
    if buffer:
        yield bytes(buffer)


def _lfs_patterns(store: Store, commit: Commit) -> list[str]:
    entry = commit.tree.get(".gitattributes")
    if entry is None:
        return []
    lines = store.read(entry).decode("utf-8", "replace").splitlines()
    rows = [line.split() for line in lines]
    return [row[0] for row in rows if "filter=lfs" in row[1:]]


def _needs_lfs(path: str, file: dict[str, Any], patterns: list[str]) -> bool:
    name = path.rsplit("/", 1)[-1]
    if any(fnmatch(name, pattern) or fnmatch(path, pattern) for pattern in patterns):
        return True
    sample = base64.b64decode(file.get("sample", ""))
    return int(file["size"]) > REGULAR_LIMIT_BYTES or b"\0" in sample


def no_xet(call: Call) -> Response:
    """There is no Xet storage here; clients that insist are told what to set."""
    call.readable()
    raise RefusedError(404, "this Hub has no Xet storage: set HF_HUB_DISABLE_XET=1 in the client")


_LFS = "/info/lfs/objects/batch"
_VERIFY = "/info/lfs/objects/verify"

ROUTES: list[Route] = [
    route("/api/validate-yaml", validate_yaml, "POST"),
    route("/api/{kinds}/{namespace}/{name}/preupload/{revision:path}", preupload, "POST"),
    Route("/api/{kinds}/{namespace}/{name}/commit/{revision:path}", commit, methods=["POST"]),
    route("/api/{kinds}/{namespace}/{name}/xet-write-token/{revision:path}", no_xet),
    Route("/lfs/{oid}", lfs_upload, methods=["PUT"]),
    route("/{namespace}/{name}" + _LFS, lfs_batch, "POST"),
    route("/{namespace}/{name}" + _VERIFY, lfs_verify, "POST"),
    route("/datasets/{namespace}/{name}" + _LFS, lfs_batch, "POST"),
    route("/datasets/{namespace}/{name}" + _VERIFY, lfs_verify, "POST"),
]
