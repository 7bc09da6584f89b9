"""What every route shares: who is asking, for which repository, and how refusals are answered."""

import base64
import errno
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from evalkit.hub.metadata import Validator
from evalkit.hub.refused import RefusedError, gated, repo_not_found
from evalkit.hub.repository import Repository
from evalkit.hub.store import PLURALS, Store
from evalkit.hub.tokens import User

_BODY_LIMIT_BYTES = 64 * 1024**2


@dataclass(frozen=True)
class Hub:
    """What the routes of one server work on."""

    store: Store
    validate: Validator


class Call:
    """One request as a route's function sees it."""

    def __init__(self, request: Request, body: bytes = b"") -> None:
        self.request = request
        self.body = body
        hub: Hub = request.app.state.hub
        self.store = hub.store
        self.validate = hub.validate
        self.user = self._user()

    def param(self, name: str, default: str = "") -> str:
        """A piece of the path, with its percent escapes undone."""
        return unquote(self.request.path_params.get(name, default))

    def flag(self, name: str) -> bool:
        """Whether a query parameter is switched on."""
        return self.request.query_params.get(name, "").lower() in ("1", "true", "yes")

    def json(self) -> dict[str, Any]:
        """The body.

        Raises:
            RefusedError: it is not a JSON object (400).
        """
        try:
            value = json.loads(self.body or b"{}")
        except ValueError as error:
            raise RefusedError(400, f"the body is not JSON: {error}") from error
        if not isinstance(value, dict):
            raise RefusedError(400, "the body is not a JSON object")
        return value

    def base_url(self) -> str:
        """The address by which the client reached this server."""
        return str(self.request.base_url).rstrip("/")

    def need_user(self) -> User:
        """The user who asks.

        Raises:
            RefusedError: the request carries no token (401).
        """
        if self.user is None:
            raise RefusedError(401, "Invalid username or password.")
        return self.user

    def need_namespace(self, namespace: str) -> User:
        """The user who asks, if `namespace` is theirs.

        Raises:
            RefusedError: it is not (403).
        """
        user = self.need_user()
        if not user.may_write(namespace):
            raise RefusedError(403, f"{user.name} has no rights under the namespace {namespace}")
        return user

    def readable(self) -> Repository:
        """The repository named in the path.

        Raises:
            RefusedError: there is none that the asker may see.
        """
        repo_id = f"{self.param('namespace')}/{self.param('name').removesuffix('.git')}"
        dataset = self.request.url.path.startswith("/datasets/")
        kind = PLURALS.get(self.param("kinds", "datasets" if dataset else "models"))
        if kind is None:
            raise repo_not_found(repo_id, self.user is not None)
        repository = self.store.repository(kind, repo_id)
        if not repository.exists or not self.may_see(repository):
            raise repo_not_found(repo_id, self.user is not None)
        return repository

    def downloadable(self) -> Repository:
        """The repository named in the path, if the asker may have its files; else RefusedError."""
        repository = self.readable()
        let_in = self.user is not None and self.user.may_write(repository.namespace)
        if repository.settings()["gated"] and not let_in:
            raise gated(repository.id, self.user is not None)
        return repository

    def writable(self) -> Repository:
        """The repository named in the path, if the asker may change it; RefusedError otherwise."""
        repository = self.readable()
        self.need_namespace(repository.namespace)
        return repository

    def may_see(self, repository: Repository) -> bool:
        """Whether the asker may read `repository`."""
        if not repository.settings()["private"]:
            return True
        return self.user is not None and self.user.may_write(repository.namespace)

    def _user(self) -> User | None:
        scheme, _, token = self.request.headers.get("authorization", "").partition(" ")
        # A browser asks for a name and a password, and sends both to whoever makes it ask for a
        # page here: they are good for reading alone.
        if scheme.lower() == "basic" and self.request.method in ("GET", "HEAD"):
            token = _password(token)
        elif scheme.lower() != "bearer":
            return None
        return self.store.tokens.user_of(token.strip()) if token.strip() else None


Handler = Callable[[Call], Response]


def route(path: str, handler: Handler, *methods: str) -> Route:
    """A route whose function runs in a worker thread, with the whole (small) body read before."""

    async def endpoint(request: Request) -> Response:
        body = await _small_body(request)
        return await run_in_threadpool(lambda: handler(Call(request, body)))

    return Route(path, endpoint, methods=list(methods or ("GET",)))


def answer(value: Any, status: int = 200) -> JSONResponse:
    """A JSON answer."""
    return JSONResponse(value, status)


def _password(credentials: str) -> str:
    """The password of basic credentials; empty where they are none."""
    try:
        return base64.b64decode(credentials, validate=True).decode().partition(":")[2]
    except ValueError:
        return ""


def refused(request: Request, refusal: Exception) -> Response:
    """A refusal as the Hub's clients understand it: they read the headers, people the body."""
    assert isinstance(refusal, RefusedError)
    headers = {"X-Error-Message": refusal.message.encode("ascii", "replace").decode()}
    headers["X-Error-Message"] = " ".join(headers["X-Error-Message"].split())
    if refusal.code:
        headers["X-Error-Code"] = refusal.code
    if refusal.status == 401 and "text/html" in request.headers.get("accept", ""):
        # Of browsers alone: they then ask for a name, which is not looked at, and the token.
        headers["WWW-Authenticate"] = 'Basic realm="a token of this Hub as password"'
    return JSONResponse({"error": refusal.message, **refusal.body}, refusal.status, headers)


def failed(request: Request, error: Exception) -> Response:
    """A full disk, said plainly; other OSErrors are bugs."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return refused(request, RefusedError(507, "the disk under this Hub is full"))
    raise error


def gone(_: Request, __: Exception) -> Response:
    """The client hung up: nobody reads this answer."""
    return Response(status_code=499)


HANDLERS: dict[Any, Any] = {RefusedError: refused, OSError: failed, ClientDisconnect: gone}


class KeepEscapes:
    """Routes by the path as it was sent: a branch `a/b` travels as one piece, `a%2Fb`."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope.get("raw_path"):
            scope = {**scope, "path": scope["raw_path"].decode("latin-1").split("?")[0]}
        await self.app(scope, receive, send)


async def _small_body(request: Request) -> bytes:
    pieces, size = [], 0
    async for piece in request.stream():
        size += len(piece)
        if size > _BODY_LIMIT_BYTES:
            raise RefusedError(413, "the body is too large")
        pieces.append(piece)
    return b"".join(pieces)
