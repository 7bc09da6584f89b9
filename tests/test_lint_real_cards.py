"""Lint on cards as the Hub and other sites show them: what careful readers found, at its line."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from evalkit.card_reading import read
from evalkit.lint import Context, Finding, context_of, lint, rules

# Which rules find what a reader called so.
RULES_OF = {
    "average-mismatch": {"average-mismatch"},
    "code": {"code-name"},
    "conflicting-average": {"conflicting-average"},
    "derived-mismatch": {"derived-mismatch"},
    "duplicate-section": {"duplicate-section"},
    "duplicate-table": {"duplicate-table"},
    "local-base-model": {"local-base-model"},
    "missing-judge": {"missing-judge"},
    "missing-license": {"missing-license"},
    "missing-shots": {"missing-shots"},
    "name-mismatch": {"foreign-family", "mislabelled-baseline"},
    "size-mismatch": {"size-of-base"},
    "template-leftover": {"template-leftover"},
    "template-title": {"placeholder-title"},
}
# By file: line, rule, severity, and what the finding says.
SEEDS = {
    "seed_000": [],
    "seed_001": [(38, "superseded-license", "warning", "mit")],
    "seed_002": [
        (4, "context-length", "error", "8,192"),
        (20, "context-length", "error", "8,192"),
        (21, "license-contradiction", "error", "gemma"),
        (25, "misattribution", "error", "50.93"),
    ],
    "seed_003": [],
    "seed_004": [
        (64, "parameter-count", "error", "9.24B"),
        (68, "license-contradiction", "error", "gemma"),
        (22, "mirrored-link", "warning", "git.lnyan.com"),
        (40, "mirrored-link", "warning", "git.lnyan.com"),
        (90, "mirrored-link", "warning", "git.lnyan.com"),
    ],
}
NUMBERS_LACK = {"missing-judge", "missing-shots", "missing-harness", "missing-interval"}
NAMES = {rule.code: rule.name for rule in rules()}


@pytest.fixture(scope="module")
def cards(shared: Path) -> Path:
    """The folder of cards by others."""
    return shared / "cards"


def _expected(cards: Path) -> dict[str, list[dict[str, str | int]]]:
    found: dict[str, list[dict[str, str | int]]]
    found = json.loads((cards / "real" / "findings.json").read_text("utf-8"))
    return found


def _of(found: list[Finding], line: int, names: set[str]) -> list[Finding]:
    return [one for one in found if one.line == line and NAMES[one.rule] in names]


def test_what_careful_readers_found_is_found(cards: Path) -> None:
    missed = []
    for name, expected in _expected(cards).items():
        found = lint(context_of(cards / "real" / name))
        for one in expected:
            if not _of(found, int(one["line"]), RULES_OF[str(one["kind"])]):
                missed.append(f"{name}:{one['line']} {one['kind']}")
    assert missed == []


def test_cards_without_defects_have_no_errors(cards: Path) -> None:
    clean = [name for name, expected in _expected(cards).items() if not expected]
    assert len(clean) == 3
    for name in clean:
        found = lint(context_of(cards / "real" / name))
        assert [one for one in found if one.severity == "error"] == [], name


def _rules(found: list[Finding]) -> set[str]:
    return {NAMES[one.rule] for one in found}


def _seeds(cards: Path) -> Iterator[tuple[str, Path]]:
    for file in sorted(cards.glob("seed_*.txt")):
        yield file.name[:8], file


def test_pages_of_other_sites(cards: Path) -> None:
    for name, file in _seeds(cards):
        found = lint(context_of(file))
        for line, rule, severity, said in SEEDS[name]:
            there = _of(found, line, {rule})
            assert there, f"{name}:{line} {rule} is missing"
            assert {one.severity for one in there} == {severity}
            assert any(said in f"{one.message} {one.evidence}" for one in there), there


def test_a_parents_scores_on_a_quantized_card(cards: Path) -> None:
    (file,) = cards.glob("seed_004*")
    found = lint(context_of(file))
    assert any(_of(found, line, {"parent-scores"}) for line in (82, 86, 88, 90))


def test_the_terms_of_a_base_whose_card_is_given(cards: Path) -> None:
    """With phi-2's page of 2023 beside it, the licence of its derivative has been superseded."""
    by_name = dict(_seeds(cards))
    base = read(by_name["seed_001"].read_text("utf-8"))
    card = read(by_name["seed_000"].read_text("utf-8"))
    assert "superseded-license" in _rules(lint(Context(card, base_cards=(base,))))
    assert "superseded-license" not in _rules(lint(Context(card)))


def test_numbers_that_say_too_little(cards: Path) -> None:
    """Pages that state scores without judge, shots or harness are told so at the scores' lines."""
    by_name = dict(_seeds(cards))
    for name, lines in {"seed_000": {18}, "seed_003": {12, 13}}.items():
        found = lint(context_of(by_name[name]))
        assert all(_of(found, line, NUMBERS_LACK) for line in lines), name
