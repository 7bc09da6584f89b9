"""A few web pages of the embedded Hub: what it holds, and how a card reads.

Card text is Markdown without raw HTML, every value is escaped, and the pages allow no script.
"""

from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from evalkit import frontmatter
from evalkit.hub.calls import Call, route
from evalkit.hub.repository import MAIN
from evalkit.hub.routes_collection import visible

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src 'self' data:; form-action 'none'"
_FRAME = """<!doctype html><html lang="en"><meta charset="utf-8">
<meta name="viewport" content="width=device-width"><title>{{ title }}</title>
{% if files %}<base href="{{ files }}/">{% endif %}
<style>body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}
table{border-collapse:collapse}td,th{border:1px solid #ccc;padding:.2rem .6rem}
pre{background:#f5f5f5;padding:.8rem;overflow:auto}.note{color:#666}img{max-width:100%}</style>
<p class="note"><a href="/">evalkit's embedded Hub</a>: a rehearsal stage on this machine</p>
<h1>{{ title }}</h1>{% block body %}{% endblock %}</html>"""
_INDEX = """{% extends "frame" %}{% block body %}
{% for heading, rows in groups %}<h2>{{ heading }}</h2>
<ul>{% for href, name in rows %}<li><a href="{{ href }}">{{ name }}</a></li>
{% else %}<li class="note">none that everyone may see</li>{% endfor %}</ul>{% endfor %}
{% endblock %}"""
_REPO = """{% extends "frame" %}{% block body %}
<p class="note">commit <code>{{ commit.id }}</code>, {{ commit.title }}</p>
{% if yaml %}<details><summary>front matter</summary><pre>{{ yaml }}</pre></details>{% endif %}
{{ card }}<h2>Files</h2><table>{% for path, entry in commit.tree.items() %}
<tr><td><a href="{{ prefix }}/resolve/{{ commit.id }}/{{ path|urlencode }}">{{ path }}</a></td>
<td>{{ entry.size }}</td><td><code>{{ entry.sha256[:16] }}</code></td></tr>{% endfor %}</table>
{% endblock %}"""
_COLLECTION = """{% extends "frame" %}{% block body %}<p>{{ value.description }}</p><ol>
{% for item in value["items"] %}<li>
<a href="/{{ 'datasets/' if item.type == 'dataset' }}{{ item.id }}">{{ item.id }}</a>
{{ item.note.text if item.note }}</li>{% endfor %}</ol>{% endblock %}"""


def index(call: Call) -> Response:
    """What the asker may see."""
    groups = []
    for kind, prefix in (("model", ""), ("dataset", "datasets/")):
        seen = [r.id for r in call.store.repositories(kind) if call.may_see(r)]
        groups.append((f"{kind.capitalize()}s", [(f"/{prefix}{name}", name) for name in seen]))
    lists = [value for value in call.store.collections.all() if not value["private"]]
    rows = [(f"/collections/{value['slug']}", value["title"]) for value in lists]
    return _page("index", title="Repositories", groups=[*groups, ("Collections", rows)])


def repository(call: Call) -> Response:
    """A repository's card and files."""
    found = call.readable()
    commit = found.commit_at(call.param("revision", MAIN))
    readme = commit.tree.get("README.md")
    text = call.store.read(readme).decode("utf-8", "replace") if readme else ""
    yaml_text, body = frontmatter.split(text)
    prefix = f"/{'datasets/' if found.kind == 'dataset' else ''}{found.id}"
    return _page(
        "repo",
        title=found.id,
        commit=commit,
        yaml=yaml_text,
        card=_rendered(body),
        prefix=prefix,
        files=f"{prefix}/resolve/{commit.id}",  # what a card's pictures are relative to
    )


def collection(call: Call) -> Response:
    """A collection's items."""
    value = visible(call)
    return _page("collection", title=value["title"], value=value)


def _rendered(markdown: str) -> object:
    from markdown_it import MarkdownIt
    from markupsafe import Markup

    # `html: False` turns raw HTML into text; links to javascript: and the like are left as text.
    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    return Markup(parser.render(markdown))


def _page(name: str, **values: object) -> Response:
    from jinja2 import DictLoader, Environment

    templates = {"frame": _FRAME, "index": _INDEX, "repo": _REPO, "collection": _COLLECTION}
    page = Environment(loader=DictLoader(templates), autoescape=True).get_template(name)
    return HTMLResponse(page.render(**values), headers={"Content-Security-Policy": _POLICY})


ROUTES: list[Route] = [
    route("/", index),
    route("/collections/{namespace}/{slug}", collection),
    route("/datasets/{namespace}/{name}", repository),
    route("/datasets/{namespace}/{name}/tree/{revision:path}", repository),
    route("/datasets/{namespace}/{name}/commit/{revision:path}", repository),
    route("/{namespace}/{name}", repository),
    route("/{namespace}/{name}/tree/{revision:path}", repository),
    route("/{namespace}/{name}/commit/{revision:path}", repository),
]
