"""The embedded Hub's pages: what they show, and that what a card holds runs nothing."""

import shutil
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("huggingface_hub")
pytest.importorskip("starlette")

import httpx
import hub_parts
from huggingface_hub import CommitOperationAdd, HfApi

from evalkit.hub.client import open_api
from evalkit.hub.rendering import rendered
from evalkit.hub.sanitizing import sanitized
from evalkit.hub.serve import Server, running

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")
REPO = "evalkit/shown"
CARD = """---
license: mit
language: en
tags: [spin, aligned]
base_model: evalkit/base
---
# A shown model

| Task | Score |
|---|---:|
| **sum** | 41.5 |

The loss is $$\\ell(x) = \\log(1 + e^{-x})$$ and \\\\(\\lambda = 0.1\\\\) inline; it cost $5 or $6.

![curves](figures/curve.png) and [the results](eval/results.json), [top](#a-shown-model).

<details><summary>More</summary>

Some <sub>small</sub> print.

</details>
"""
HOSTILE = """---
license: mit
tags: ['<script>document.title="pwned"</script>', '"><img src=x onerror=document.title="pwned">']
---
# Hostile </h1></article></body><script>document.title="pwned"</script>

<script>document.title="pwned"</script>
<SCRIPT SRC="/evalkit/shown/resolve/main/attack.js"></SCRIPT>
<img src=x onerror="document.title='pwned'">
<img src="data:image/svg+xml,<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>">
<svg onload="document.title='pwned'"><script>document.title="pwned"</script></svg>
<a href="javascript:document.title='pwned'" id="one">one</a>
<a href="jAva\tscript:document.title='pwned'" id="two">two</a>
<a href="data:text/html,<script>document.title='pwned'</script>" id="three">three</a>
<iframe srcdoc="<script>parent.document.title='pwned'</script>"></iframe>
<iframe src="javascript:parent.document.title='pwned'"></iframe>
<object data="data:text/html,<script>document.title='pwned'</script>"></object>
<form action="https://example.com"><input autofocus onfocus="document.title='pwned'"></form>
<style>body{display:none}</style><base href="https://example.com/">
<meta http-equiv="refresh" content="0;url=https://example.com/">
<math><mtext><img src=x onerror="document.title='pwned'"></mtext></math>
<div style="position:fixed;inset:0" onclick="document.title='pwned'">cover</div>
[md](javascript:document.title='pwned') ![md](data:text/html;base64,PHNjcmlwdD4=)
$$\\text{<script>document.title="pwned"</script>}$$ \\\\(\\href{javascript:alert(1)}{x}\\\\)
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with running(tmp_path / "hub") as server:
        yield server


@pytest.fixture
def api(server: Server) -> Iterator[HfApi]:
    with open_api(server.target()) as api:
        api.create_repo("evalkit/base", private=False)
        api.create_repo(REPO, private=False)
        yield api


def show(api: HfApi, card: str) -> str:
    """Commits a card with a picture and a script beside it; the page's address."""
    files = {
        "README.md": card.encode(), "figures/curve.png": png(),
        "attack.js": b"document.title='pwned'", "eval/results.json": b'{"score": 1}',
        "model.safetensors": hub_parts.safetensors_bytes(b"1"),
    }  # fmt: skip
    operations = [CommitOperationAdd(path, content) for path, content in files.items()]
    api.create_commit(REPO, operations, commit_message="Show <b>it</b>")
    return f"{api.endpoint}/{REPO}"


def png() -> bytes:
    """A picture of 3 x 2 pixels."""
    import struct
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    rows = b"".join(b"\0" + b"\xff\0\0" * 3 for _ in range(2))
    header = struct.pack(">IIBBBBB", 3, 2, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        (chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b""))
    )


class Elements(HTMLParser):
    """Every element of a page with its attributes."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def test_a_card_is_shown_with_all_that_it_holds(api: HfApi) -> None:
    page = httpx.get(show(api, CARD)).text
    assert '<div class="box" id="front-matter">' in page
    assert '<a href="/evalkit/base">evalkit/base</a>' in page
    assert "<td><strong>sum</strong></td>" in page
    assert page.count("<math") == 2
    assert "it cost $5 or $6" in page
    assert "<summary>More</summary>" in page
    assert "<sub>small</sub>" in page
    assert 'href="#a-shown-model"' in page


def test_files_history_commits_and_discussions_have_pages(api: HfApi) -> None:
    address = show(api, CARD)
    head = str(api.model_info(REPO).sha)
    files = httpx.get(f"{address}/tree/main").text
    assert "figures/" in files
    assert "LFS" in files
    assert "curve.png" in httpx.get(f"{address}/tree/{head}/figures").text
    assert "{&#34;score&#34;: 1}" in httpx.get(f"{address}/tree/main/eval/results.json").text
    assert httpx.get(f"{address}/tree/main/nothing").status_code == 404
    assert "Show &lt;b&gt;it&lt;/b&gt;" in httpx.get(f"{address}/commits/main").text
    commit = httpx.get(f"{address}/commit/{head}").text
    assert "<td>added</td><td>model.safetensors</td>" in commit
    done = api.create_commit(
        REPO,
        [CommitOperationAdd("new.txt", b"x")],
        commit_message="Try <i>this</i>",
        create_pr=True,
    )
    assert "Try &lt;i&gt;this&lt;/i&gt;" in httpx.get(f"{address}/discussions").text
    assert done.pr_url is not None
    assert "pull request" in httpx.get(f"{address}/discussions").text
    assert httpx.get(done.pr_url).status_code == 200


def test_private_repositories_have_no_pages_for_strangers(api: HfApi) -> None:
    address = show(api, CARD)
    api.update_repo_settings(REPO, private=True)
    for page in ("", "/tree/main", "/commits/main", "/discussions", "/tree/main/README.md"):
        assert httpx.get(address + page).status_code == 401, page
    token = {"Authorization": f"Bearer {api.token}"}
    assert "private" in httpx.get(address, headers=token).text


def test_a_browser_is_asked_for_a_token_that_only_reads(api: HfApi) -> None:
    address = show(api, CARD)
    api.update_repo_settings(REPO, private=True)
    asking = {"Accept": "text/html"}
    refused = httpx.get(f"{api.endpoint}/login", headers=asking)
    assert (refused.status_code, "Basic" in refused.headers["www-authenticate"]) == (401, True)
    assert "www-authenticate" not in httpx.get(address).headers  # of no other client
    known = ("whoever", str(api.token))
    seen = httpx.get(f"{api.endpoint}/login", headers=asking, auth=known, follow_redirects=True)
    assert REPO in seen.text
    assert "seen by evalkit" in seen.text
    assert httpx.get(address, auth=known).status_code == 200
    assert httpx.get(address, auth=("whoever", "hf_wrong"), headers=asking).status_code == 401
    body = {"private": False}
    settings = f"{api.endpoint}/api/models/{REPO}/settings"
    assert httpx.put(settings, json=body, auth=known).status_code == 401
    assert api.model_info(REPO).private


def test_hostile_cards_lose_everything_that_acts(api: HfApi) -> None:
    answer = httpx.get(show(api, HOSTILE))
    assert "script-src" not in answer.headers["content-security-policy"]  # falls back to none
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    for tag, attributes in Elements(answer.text).found:
        assert tag not in ("script", "iframe", "object", "embed", "form", "input", "base", "svg")
        assert not [name for name in attributes if name.startswith("on")], (tag, attributes)
        assert tag != "meta" or "http-equiv" not in attributes
        for name in ("href", "src"):
            value = "".join((attributes.get(name) or "").split()).lower()
            assert not value.startswith(("javascript:", "data:", "vbscript:", "//")), value
    assert answer.text.count("<article>") == answer.text.count("</article>") == 1
    assert answer.text.count("<style>") == 1


@pytest.mark.parametrize(
    ("hostile", "left"),
    [
        ("<b>bold</b>", "<b>bold</b>"),
        ("<b>open", "<b>open</b>"),
        ("</div></article>text", "text"),
        ("<div><p>a</div>b", "<div><p>a</p></div>b"),
        ("<script>x</script>y", "y"),
        ("<scr<script>ipt>x</script>y", "ipt&gt;xy"),
        ("<svg><script>x</script></svg>y", "y"),
        ("<!-- <script>x</script> -->y", "y"),
        ("<img src=a onerror=b>", '<img src="a">'),
        ("<img src='//evil.example/a'>", "<img>"),
        ("<a href='jav&#x61;script:x'>y</a>", "<a>y</a>"),
        ("<a href='&#1;javascript:x'>y</a>", "<a>y</a>"),
        ("<a href=' java\nscript:x'>y</a>", "<a>y</a>"),
        ("<a href='https:\\\\evil'>y</a>", "<a>y</a>"),
        ('<p title="&quot;><script>">y</p>', '<p title="&quot;&gt;&lt;script&gt;">y</p>'),
        ("a &lt;b&gt; &amp; c", "a &lt;b&gt; &amp; c"),
        ("<custom-tag onclick=x>kept</custom-tag>", "kept"),
        ("<textarea><b>x</b></textarea>y", "y"),
    ],
)
def test_what_is_let_through(hostile: str, left: str) -> None:
    assert sanitized(hostile) == left
    assert sanitized(left) == left


def test_relative_addresses_lead_into_the_commit() -> None:
    html = rendered(
        "![p](figures/a%20b.png) [r](./eval/) [abs](/x/y) [s](https://a.b)", "/n/m", "c0"
    )
    assert 'src="/n/m/resolve/c0/figures/a%20b.png"' in html
    assert 'href="/n/m/tree/c0/eval"' in html
    assert 'href="/x/y"' in html
    assert 'href="https://a.b"' in html


def test_formulas_that_nobody_can_read_stay_text() -> None:
    assert rendered("$$\\frac{$$ and $$ $$ and $$open", "/n/m", "c").count("<script") == 0
    assert "<math" in rendered("$$x^2$$", "/n/m", "c")


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Any]:
    """A page of a headless Chromium."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        yield browser.new_page()
        browser.close()


@pytest.mark.browser
def test_a_browser_shows_the_card(api: HfApi, page: Any, tmp_path: Path) -> None:
    """Tables, maths, the picture and the front matter box are laid out and visible."""
    page.goto(show(api, CARD))
    assert page.locator("#front-matter").is_visible()
    assert page.locator("article table td").first.is_visible()
    width = "element => element.getBoundingClientRect().width"
    for formula in page.locator("article math").all():
        assert formula.evaluate(width) > 10
    assert page.locator("article img").evaluate("image => image.naturalWidth") == 3
    page.click("article >> text=the results")
    assert page.locator("pre").inner_text() == '{"score": 1}'
    page.click("nav >> text=History")
    assert page.locator("text=Show <b>it</b>").is_visible()


@pytest.mark.browser
def test_a_browser_runs_nothing_of_a_hostile_card(api: HfApi, page: Any) -> None:
    """No script, handler or address of a card does anything, when it is loaded or clicked."""
    told: list[str] = []
    asked: list[str] = []
    page.on("dialog", lambda dialog: told.append(dialog.message))
    page.on("request", lambda request: asked.append(request.url))
    address = show(api, HOSTILE)
    page.goto(address)
    for link in page.locator("article a").all():
        if link.get_attribute("href") is None:
            link.click(force=True, no_wait_after=True)
    page.wait_for_timeout(300)
    assert page.title() == REPO
    assert page.url == address
    assert told == []
    assert not [url for url in asked if not url.startswith(api.endpoint)]
    assert not [url for url in asked if "attack.js" in url]
    assert page.locator("h1.name").is_visible()
    page.goto(f"{address}/tree/main/README.md")
    assert page.title() == REPO


@pytest.mark.browser
def test_a_browser_shows_family_list_and_collection(api: HfApi, page: Any) -> None:
    """The list, a collection with its notes, and the way from one to the other."""
    show(api, CARD)
    slug = api.create_collection("The <i>family</i>").slug
    api.add_collection_item(slug, REPO, "model", note="first & best")
    page.goto(api.endpoint)
    page.click("text=The <i>family</i>")
    assert page.locator("li").inner_text() == f"{REPO} first & best"
    page.click(f"text={REPO}")
    assert page.title() == REPO
