"""The pages under docs/ say what is so: generated ones are fresh, the others are tried."""

from __future__ import annotations

import re
from fnmatch import translate
from pathlib import Path

import architecture_page
import pytest
import recipe_reference
import yaml

from evalkit.recipe import Recipe

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
LINK = re.compile(r"\]\((?!https?:|#)([^)#\s]+)")


def _fresh(file: Path, text: str, request: pytest.FixtureRequest) -> None:
    if request.config.getoption("--update-golden"):
        file.write_text(text, "utf-8")
    assert file.read_text("utf-8") == text, f"{file.name} is stale: pytest --update-golden"


def test_the_recipe_reference_is_fresh(request: pytest.FixtureRequest) -> None:
    _fresh(recipe_reference.PAGE, recipe_reference.render(), request)


def test_every_key_and_option_is_described() -> None:
    assert recipe_reference.undocumented() == []


@pytest.mark.parametrize("section", recipe_reference.SECTIONS, ids=lambda one: one.heading)
def test_the_examples_of_the_reference_are_valid(section: recipe_reference.Section) -> None:
    part = yaml.safe_load(section.example)
    if section.model is Recipe:
        Recipe.model_validate(part)
        return
    value = next(iter(part.values()))
    section.model.model_validate(value[0] if isinstance(value, list) else value)
    assert section.place.rstrip("[]").endswith(next(iter(part)))


def test_the_floors_picture_is_fresh(request: pytest.FixtureRequest) -> None:
    page = DOCS / "architecture.md"
    text = page.read_text("utf-8")
    before, _, rest = text.partition(architecture_page.BEGIN)
    _, _, after = rest.partition(architecture_page.END)
    picture = f"{architecture_page.BEGIN}\n{architecture_page.picture()}\n{architecture_page.END}"
    _fresh(page, before + picture + after, request)


@pytest.mark.parametrize("page", sorted(DOCS.rglob("*.md")), ids=lambda page: page.stem)
def test_links_lead_somewhere(page: Path) -> None:
    links = LINK.findall(page.read_text("utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


# --- docs/run_folder.md -----------------------------------------------------------------------


def _patterns() -> list[str]:
    text = (DOCS / "run_folder.md").read_text("utf-8")
    table = text[text.index("## Every file") : text.index("Two more are seen")]
    return re.findall(r"^\| `([^`]+)` \|", table, re.MULTILINE)


def _matcher(pattern: str) -> re.Pattern[str]:
    """`**` is any path, `*` any part of a name."""
    parts = pattern.split("**")
    return re.compile(".*".join(translate(p)[4:-3].replace(".*", "[^/]*") for p in parts) + r"\Z")


def test_patterns_match_within_a_name_only() -> None:
    assert _matcher("steps/*/receipt.json").match("steps/base/receipt.json")
    assert not _matcher("steps/*/receipt.json").match("steps/base/checkpoint/receipt.json")
    assert _matcher("steps/*/checkpoint/**").match("steps/base/checkpoint/a/b.json")
    assert not _matcher("plan.json").match("steps/plan.json")


@pytest.mark.slow
def test_every_file_of_a_run_is_documented_and_there(micro_run: Path) -> None:
    run = micro_run / "run"
    files = [str(file.relative_to(run)) for file in run.rglob("*") if file.is_file()]
    patterns = {pattern: _matcher(pattern) for pattern in _patterns()}
    assert len(patterns) > 15
    strange = [file for file in files if not any(p.match(file) for p in patterns.values())]
    assert strange == []
    unused = [name for name, p in patterns.items() if not any(p.match(file) for file in files)]
    assert unused == []


@pytest.mark.slow
def test_the_python_of_the_run_folder_page_works(
    micro_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("pandas")
    text = (DOCS / "run_folder.md").read_text("utf-8")
    code = re.search(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert code
    place = 'Path("runs/Pocket-SPPO")'
    assert place in code[1]
    exec(compile(code[1].replace(place, f"Path({str(micro_run / 'run')!r})"), "page", "exec"), {})
    shown = capsys.readouterr().out
    assert "order_bias" in shown
    assert "Micro-SPPO-Iter2" in shown
