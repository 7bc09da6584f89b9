"""The web pages of the embedded Hub: repositories, cards, files, history, collections.

Card text goes through `rendering`, every other value is escaped, and no page allows a script.
"""

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from evalkit import frontmatter
from evalkit.hub import metadata, page_templates, wire
from evalkit.hub.calls import Call, route
from evalkit.hub.discussions import Discussions
from evalkit.hub.refused import RefusedError
from evalkit.hub.rendering import rendered
from evalkit.hub.repository import MAIN, Commit, Repository
from evalkit.hub.routes_collection import may_see, visible

_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src 'self'; form-action 'none';"
    " base-uri 'none'; frame-ancestors 'none'"
)
_SHOWN_BYTES = 200_000
_SHOWN_LISTS = {"tags", "datasets", "language", "base_model", "metrics"}


def index(call: Call) -> Response:
    """What the asker may see."""
    groups = []
    for kind in ("model", "dataset"):
        seen = [r for r in call.store.repositories(kind) if call.may_see(r)]
        groups.append((f"{kind.capitalize()}s", [(_path(r), r.id) for r in seen]))
    lists = [value for value in call.store.collections.all() if may_see(call, value)]
    rows = [(f"/collections/{value['slug']}", value["title"]) for value in lists]
    groups.append(("Collections", rows))
    user = call.user.name if call.user else ""
    return _page("index", title="Repositories", groups=groups, user=user)


def login(call: Call) -> Response:
    """Makes a browser ask for a token, and shows the list once it has one."""
    call.need_user()
    return RedirectResponse("/", 303)


def card(call: Call) -> Response:
    """A repository's card, its front matter in a box."""
    repository = call.readable()
    commit = repository.commit_at(MAIN)
    readme = commit.tree.get("README.md")
    text = call.store.read(readme).decode("utf-8", "replace") if readme else ""
    yaml_text, body = frontmatter.split(text)
    return _repository_page(
        "card", repository, commit, "card",
        yaml=yaml_text, box=_box(call, metadata.read(text)), has_card=bool(body.strip()),
        card=_markup(rendered(body, _path(repository), commit.id)),
    )  # fmt: skip


def files(call: Call) -> Response:
    """A folder of a revision, or one file of it."""
    repository, path = call.readable(), call.param("path").strip("/")
    commit = repository.commit_at(call.param("revision", MAIN))
    if path in commit.tree:
        return _file(call, repository, commit, path)
    rows = wire.tree(commit, path, recursive=False)
    rows.sort(key=lambda row: (row["type"] == "file", row["path"]))
    return _repository_page("files", repository, commit, "files", path=path, rows=rows)


def history(call: Call) -> Response:
    """The commits of a revision."""
    repository = call.readable()
    revision = call.param("revision", MAIN)
    commit = repository.commit_at(revision)
    return _repository_page(
        "history", repository, commit, "history", commits=repository.history(revision)
    )


def one_commit(call: Call) -> Response:
    """What one commit did to which files."""
    repository = call.readable()
    commit = repository.commit_at(call.param("revision"))
    before: Mapping[str, Any] = repository.commit_at(commit.parent).tree if commit.parent else {}
    rows = [
        (
            "added" if path not in before else "removed" if path not in commit.tree else "changed",
            path,
        )
        for path in sorted({*before, *commit.tree})
        if before.get(path) != commit.tree.get(path)
    ]
    return _repository_page("commit", repository, commit, "history", rows=rows)


def discussions(call: Call) -> Response:
    """The discussions and pull requests of a repository."""
    repository = call.readable()
    rows = Discussions(repository).all()
    return _repository_page(
        "discussions", repository, repository.commit_at(MAIN), "discussions", rows=rows
    )


def discussion(call: Call) -> Response:
    """One discussion."""
    repository, number = call.readable(), call.param("number")
    if not number.isdecimal():
        raise RefusedError(404, f"{number!r} is no number of a discussion")
    value = Discussions(repository).get(int(number))
    return _repository_page(
        "discussion", repository, repository.commit_at(MAIN), "discussions", value=value
    )


def collection(call: Call) -> Response:
    """A collection's items."""
    value = visible(call)
    return _page("collection", title=value["title"], value=value)


def _file(call: Call, repository: Repository, commit: Commit, path: str) -> Response:
    """Text is shown, a picture too; of anything else the size and a link."""
    call.downloadable()
    entry = commit.tree[path]
    shown, text = "", ""
    if path.endswith(".png"):
        shown = "picture"
    elif not entry.lfs and entry.size <= _SHOWN_BYTES:
        shown, text = "text", call.store.read(entry).decode("utf-8", "replace")
    return _repository_page(
        "file", repository, commit, "files", path=path, entry=entry, shown=shown, text=text
    )


def _box(call: Call, values: Mapping[str, Any]) -> list[tuple[str, list[tuple[str, str]]]]:
    """Front matter as rows: a key, and its values with a link where this Hub has the page."""
    rows = []
    for key, value in values.items():
        if key == "model-index":
            continue  # the card's own tables show it
        listed = value if isinstance(value, list) else [value]
        simple = [str(item) for item in listed if isinstance(item, str | int | float | bool)]
        if simple:
            rows.append((key, [(text, _known(call, key, text)) for text in simple]))
    return rows


def _known(call: Call, key: str, text: str) -> str:
    kinds = {"base_model": "model", "new_version": "model", "datasets": "dataset"}
    if key not in kinds:
        return ""
    try:
        repository = call.store.repository(kinds[key], text)
    except RefusedError:
        return ""
    return _path(repository) if repository.exists and call.may_see(repository) else ""


def _path(repository: Repository) -> str:
    return f"/{'datasets/' if repository.kind == 'dataset' else ''}{repository.id}"


def _markup(html: str) -> object:
    from markupsafe import Markup

    return Markup(html)


def _repository_page(
    name: str, repository: Repository, commit: Commit, tab: str, **values: object
) -> Response:
    settings = repository.settings()
    private = bool(settings["private"])
    return _page(
        name, title=repository.id, prefix=_path(repository), commit=commit, tab=tab,
        private=private, kind=repository.kind, **values,
    )  # fmt: skip


def _page(name: str, **values: object) -> Response:
    from jinja2 import DictLoader, Environment

    environment = Environment(loader=DictLoader(page_templates.ALL), autoescape=True)
    environment.filters["address"] = lambda path: quote(str(path))
    html = environment.get_template(name).render(**values)
    headers = {"Content-Security-Policy": _POLICY, "Referrer-Policy": "no-referrer",
               "X-Content-Type-Options": "nosniff"}  # fmt: skip
    return HTMLResponse(html, headers=headers)


def _both(path: str) -> tuple[str, str]:
    return f"/datasets/{{namespace}}/{{name}}{path}", f"/{{namespace}}/{{name}}{path}"


ROUTES: list[Route] = [
    route("/", index),
    route("/login", login),
    route("/collections/{namespace}/{slug}", collection),
    *(
        route(path, handler)
        for suffix, handler in (
            ("", card),
            ("/tree/{revision}", files),
            ("/tree/{revision}/{path:path}", files),
            ("/blob/{revision}/{path:path}", files),
            ("/commits/{revision:path}", history),
            ("/commit/{revision}", one_commit),
            ("/discussions", discussions),
            ("/discussions/{number}", discussion),
        )
        for path in _both(suffix)
    ),
]
