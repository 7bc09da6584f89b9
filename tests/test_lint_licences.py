"""Rules about licences on cards of others: which of their licences are wrong, and no more.

What each of them finds is in `tests/cards/rules`.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from evalkit.card_reading import read
from evalkit.lint import context_of, lint
from evalkit.lint.licence_statements import stated

pytestmark = pytest.mark.real


def found(file: Path, *base: Path) -> Iterator[tuple[str, int, str | None]]:
    context = context_of(file, [read(one.read_text("utf-8")) for one in base])
    for one in lint(context):
        if one.rule.startswith("EK2"):
            yield one.rule, one.line, one.severity


def test_pages_of_other_sites(shared: Path) -> None:
    pages = {file.name[5:8]: file for file in (shared / "cards").glob("seed_*")}
    assert {name: list(found(file)) for name, file in sorted(pages.items())} == {
        "000": [],
        "001": [("EK204", 38, "warning")],
        "002": [("EK201", 21, "error"), ("EK202", 21, "error")],
        "003": [],
        "004": [("EK201", 68, "error"), ("EK202", 68, "error")],
    }
    assert list(found(pages["000"], pages["001"])) == [("EK204", 1, "warning")]


def test_real_cards(shared: Path) -> None:
    """One says apache-2.0 of a model made from Llama 3 8B Instruct, whose licence binds it."""
    files = sorted((shared / "cards" / "real").glob("*.md"))
    assert {file.name[:2]: list(found(file)) for file in files if list(found(file))} == {
        "01": [("EK202", 4, "error"), ("EK203", 9, "warning")]
    }


def test_labels_that_run_into_one_another(shared: Path) -> None:
    (page,) = (shared / "cards").glob("seed_002_*")
    first, second = stated(read(page.read_text("utf-8")))
    assert (first.line, first.licences) == (4, ("gemma",))
    assert (second.line, second.licences) == (21, ("apache-2.0",))
