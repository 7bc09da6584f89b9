"""Runs the embedded Hub: `serve` until interrupted, `running` beside other work in this process."""

import fcntl
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from evalkit.durable import read_json, write_json
from evalkit.errors import PrerequisiteError, PublishError, RecipeError, missing_extra
from evalkit.hub.client import HubTarget
from evalkit.hub.metadata import Validator, check
from evalkit.recipe import LOCAL_HUB

LOOPBACK = "127.0.0.1"
DEFAULT_USER = "evalkit"
ANNOUNCEMENT = "server.json"  # says where the folder is being served
Wrap = Callable[[Any], Any]
_START_S, _STOP_S = 20.0, 5.0


@dataclass(frozen=True)
class Server:
    """A running embedded Hub: where it is, and a token of one of its users."""

    endpoint: str
    token: str = field(repr=False)
    user: str = DEFAULT_USER

    def target(self, private: bool = False) -> HubTarget:
        """What `publish` needs. Records name it `local`: its port differs from run to run."""
        return HubTarget(self.endpoint, self.token, private, recorded_as=LOCAL_HUB)


def make_token(root: Path, user: str = DEFAULT_USER, orgs: Sequence[str] = ()) -> str:
    """A token of `user` on the Hub in `root`, made when there is none; `orgs` are added to theirs.

    A server that runs on `root` knows it at once.

    Raises:
        RecipeError: nobody can be called `user`.
        PrerequisiteError: `root` holds something, and is no Hub folder.
    """
    from evalkit.hub.plan import name_problems
    from evalkit.hub.store import refuse_foreign
    from evalkit.hub.tokens import Tokens

    for problem in name_problems(f"{user}/model"):
        raise RecipeError(f"no user can be called '{user}': it {problem.message}", problem.hint)
    refuse_foreign(root)
    root.mkdir(parents=True, exist_ok=True)
    return Tokens(root).token_of(user, orgs)


def serve(
    root: Path,
    port: int = 0,
    *,
    host: str = LOOPBACK,
    user: str = DEFAULT_USER,
    ready: Callable[[Server], None] | None = None,
    validate: Validator = check,
) -> None:
    """Serves `root` until interrupted (Ctrl-C or SIGTERM).

    port: 0 takes any free one. ready: called once it answers.

    Raises:
        PrerequisiteError: the extra is not installed, the port is taken, or `root` is served
            already or is no Hub folder.
    """
    with _owned(root) as owned:
        if not owned:
            raise PrerequisiteError(
                f"{root} is served already, at {_announced(root) or 'another process'}",
                "use that one, or choose another --root",
            )
        server, listener, found = _prepare(root, host, port, user, validate, None)
        threading.Thread(target=_announce, args=(server, found, root, ready), daemon=True).start()
        try:
            server.run(sockets=[listener])
        except KeyboardInterrupt:
            pass
        finally:
            _withdraw(root, listener)


@contextmanager
def running(
    root: Path,
    *,
    user: str = DEFAULT_USER,
    orgs: Sequence[str] = (),
    validate: Validator = check,
    wrap: Wrap | None = None,
) -> Iterator[Server]:
    """Serves `root` on a free port while the block runs; joins a server that serves it already.

    wrap: put around the ASGI application, for tests that make it fail.

    Raises:
        PrerequisiteError: as for `serve`, or it did not start.
    """
    token = make_token(root, user, orgs)
    with _owned(root) as owned:
        if not owned:
            yield _joined(root, token, user)
            return
        server, listener, found = _prepare(root, LOOPBACK, 0, user, validate, wrap)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        try:
            _wait_until_up(server, thread.is_alive)
            write_json(root / ANNOUNCEMENT, {"endpoint": found.endpoint})
            yield found
        finally:
            server.should_exit = True
            thread.join(_STOP_S)
            server.force_exit = True
            thread.join(_STOP_S)
            _withdraw(root, listener)


def _prepare(
    root: Path, host: str, port: int, user: str, validate: Validator, wrap: Wrap | None
) -> tuple[Any, socket.socket, Server]:
    try:
        import uvicorn

        from evalkit.hub.server import LOOPBACK_NAMES, application
    except ImportError as error:
        raise missing_extra("starlette and uvicorn", "hub") from error
    from evalkit.hub.store import Store

    store = Store(root)
    store.blobs.sweep()
    (root / ANNOUNCEMENT).unlink(missing_ok=True)  # of a server that was killed
    names = LOOPBACK_NAMES if host in LOOPBACK_NAMES else ("*",)
    app: Any = application(store, validate=validate, allowed_hosts=names)
    listener = _listen(host, port)
    config = uvicorn.Config(
        wrap(app) if wrap else app, log_level="warning", access_log=False, lifespan="off",
        timeout_graceful_shutdown=2, server_header=False,
    )  # fmt: skip
    shown = LOOPBACK if host in ("0.0.0.0", *LOOPBACK_NAMES) else host
    endpoint = f"http://{shown}:{listener.getsockname()[1]}"
    return uvicorn.Server(config), listener, Server(endpoint, make_token(root, user), user)


def _listen(host: str, port: int) -> socket.socket:
    # Named, for asyncio sets TCP_NODELAY only then; without it each answer waits 40 ms.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except (OSError, UnicodeError) as error:
        listener.close()
        raise PrerequisiteError(
            f"cannot listen on {host}:{port}: {getattr(error, 'strerror', '') or error}",
            "choose another --port, or 0",
        ) from error
    return listener


@contextmanager
def _owned(root: Path) -> Iterator[bool]:
    """Whether this process alone serves `root` now; the lock dies with the process."""
    from evalkit.hub.store import refuse_foreign

    refuse_foreign(root)
    root.mkdir(parents=True, exist_ok=True)
    with (root / ".serving.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
            return
        yield True


def _joined(root: Path, token: str, user: str) -> Server:
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline:
        endpoint = _announced(root)
        if endpoint:
            return Server(endpoint, token, user)
        time.sleep(0.1)
    raise PrerequisiteError(f"another process serves {root}, but does not say where", "end it")


def _announced(root: Path) -> str:
    return str((read_json(root / ANNOUNCEMENT) or {}).get("endpoint", ""))


def _announce(
    server: Any, found: Server, root: Path, ready: Callable[[Server], None] | None
) -> None:
    with suppress(PublishError):
        _wait_until_up(server, lambda: True)
        write_json(root / ANNOUNCEMENT, {"endpoint": found.endpoint, "pid": os.getpid()})
        if ready:
            ready(found)


def _withdraw(root: Path, listener: socket.socket) -> None:
    (root / ANNOUNCEMENT).unlink(missing_ok=True)
    listener.close()


def _wait_until_up(server: Any, alive: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _START_S
    while not server.started:
        if time.monotonic() > deadline or not alive():
            raise PublishError("the embedded Hub did not start", "look at its log on stderr")
        time.sleep(0.01)
