"""Built cards as readers see them: on the embedded Hub's page, in a real browser."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from card_families import pocket_family
from test_cards_charts import rated_family
from test_cards_orders import ORDERS, SYSTEMS

pytest.importorskip("huggingface_hub")
pytest.importorskip("starlette")

from huggingface_hub import HfApi

from evalkit import frontmatter
from evalkit.cards import CARD_FILE, build_files
from evalkit.hub.client import open_api
from evalkit.hub.serve import running
from evalkit.pipeline.card_order import read_order
from evalkit.pipeline.ordered_card import build

pytestmark = [
    pytest.mark.browser,
    pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning"),
]
DOCS = Path(__file__).parent.parent / "docs"
NARROW = {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def page() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        yield browser.new_page()
        browser.close()


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HfApi]:
    with (
        running(tmp_path_factory.mktemp("hub")) as server,
        open_api(server.target()) as found,
    ):
        yield found


def shown(api: HfApi, name: str, folder: Path) -> str:
    """The address of a public repository with the folder's files."""
    api.create_repo(f"evalkit/{name}", private=False, exist_ok=True)
    api.upload_folder(repo_id=f"evalkit/{name}", folder_path=folder)
    return f"{api.endpoint}/evalkit/{name}"


def check(page: Any, address: str, text: str) -> None:
    """Title, tables, pictures and folded protocols are laid out; no mark of ours is to be seen."""
    page.goto(address)
    article = page.locator("article")
    title = next(line for line in text.splitlines() if line.startswith("# ")).removeprefix("# ")
    assert article.locator("h1").first.inner_text() == title
    seen = article.inner_text()
    for mark in ("evalkit:keep", "evalkit:sealed", "<details>", "| ---", "{{"):
        assert mark not in seen, mark
    lines = frontmatter.parse(text).body.splitlines()
    assert article.locator("table").count() == sum(line.startswith("| ---") for line in lines)
    pictures = article.locator("img")
    assert pictures.count() == text.count("![")
    for picture in pictures.all():
        assert picture.evaluate("one => one.naturalWidth") > 300
        assert len(picture.get_attribute("alt")) > 80
    fits = "document.documentElement.scrollWidth <= document.documentElement.clientWidth"
    assert page.evaluate(fits), "the page scrolls sideways"


@pytest.mark.parametrize("name", SYSTEMS)
def test_cards_of_published_systems(api: HfApi, page: Any, tmp_path: Path, name: str) -> None:
    """The five systems' cards: tables, pictures with words, nothing left of marks or templates."""
    built = build(read_order(ORDERS / f"{name}.yaml"), tmp_path, f"evalkit card build {name}.yaml")
    check(page, shown(api, name, tmp_path), built.card.read_text())


@pytest.mark.parametrize("width", ["wide", "narrow"])
def test_a_run_s_cards(api: HfApi, page: Any, tmp_path: Path, width: str) -> None:
    """An iteration's and a variant's card, on a desktop and on a telephone."""
    if width == "narrow":
        page.set_viewport_size(NARROW)
    for family, name in ((rated_family(), "iter2"), (pocket_family(), "iter2-w4a16_gptq")):
        member = family.member(name)
        folder = tmp_path / name
        for path, content in build_files(family, member).items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(content)
        address = shown(api, f"{member.title}-{width}", folder)
        check(page, address, (folder / CARD_FILE).read_text())
    page.set_viewport_size({"width": 1280, "height": 720})


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_readme_s_picture(
    api: HfApi, page: Any, tmp_path: Path, scheme: str, request: pytest.FixtureRequest
) -> None:
    """The head of a card in both colour schemes; `--update-golden` writes it into docs/."""
    build(read_order(ORDERS / "gemma-iter3.yaml"), tmp_path, "evalkit card build gemma-iter3.yaml")
    page.set_viewport_size({"width": 1000, "height": 1200})
    page.emulate_media(color_scheme=scheme)
    page.goto(shown(api, "Gemma-2-9B-It-SPPO-Iter3", tmp_path))
    plot = page.locator("article img").bounding_box()
    page.set_viewport_size({"width": 1000, "height": int(plot["y"] + plot["height"]) + 30})
    picture = page.screenshot()
    page.emulate_media(color_scheme=None)
    page.set_viewport_size({"width": 1280, "height": 720})
    assert picture.startswith(b"\x89PNG")
    assert len(picture) > 50_000  # a blank page has a tenth of it
    if request.config.getoption("--update-golden"):
        (DOCS / f"card_{scheme}.png").write_bytes(picture)
