"""Nothing from outside bends a card: no number that is none, no path, no hostile text."""

import math
import re
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from card_families import (
    CARD,
    RECIPE,
    card,
    changed,
    pocket_family,
    with_results,
)
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from evalkit import frontmatter
from evalkit.cards import (
    Book,
    PairsFacts,
    build_card,
    build_dataset_card,
    build_family_page,
    records_of,
    rendering,
)
from evalkit.cards.metadata import front_matter
from evalkit.cards.regions import regions
from evalkit.cards.values import portable
from evalkit.errors import CardError
from evalkit.family import Family
from evalkit.pipeline.card_order import CardOrder
from evalkit.pipeline.ordered_family import family_of

READER = MarkdownIt("commonmark").enable("table")
NAMES = [member.checkpoint.name for member in pocket_family().members]


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_number_that_is_none_stops_the_card(value: float) -> None:
    family = pocket_family()
    score = replace(family.member("iter1").results[0].scores[0], value=value)
    with pytest.raises(CardError):
        card(with_results(family, "iter1", score), "iter1")


def test_a_score_without_its_harness_stops_the_card() -> None:
    family = pocket_family()
    result = replace(family.member("iter1").results[0], provenance={})
    family = replace(changed(family, "iter1", results=(result,)), versions={}, comparisons=())
    with pytest.raises(CardError, match="which harness"):
        card(family, "iter1")


@pytest.mark.parametrize("template", ["base", "iteration", "variant", "card"])
def test_templates_leave_nothing_out_in_silence(template: str) -> None:
    with pytest.raises(CardError, match=r"undefined|cannot be filled"):
        rendering.render(f"cards/{template}.md.j2", {})


@pytest.mark.parametrize("text", ["{{ gone }}", "{% if gone %}x{% endif %}", "{{ card.gone }}"])
def test_a_missing_value_is_an_error(text: str) -> None:
    from jinja2 import UndefinedError

    with pytest.raises(UndefinedError, match="gone"):
        rendering._environment().from_string(text).render({"card": {}})


@pytest.mark.parametrize("value", [1.5, 3, None, True, object(), ["a"]])
def test_a_value_without_a_format_is_an_error(value: object) -> None:
    with pytest.raises(CardError, match="without saying how"):
        rendering._environment().from_string("{{ value }}").render({"value": value})


def test_a_comparison_without_its_score_stops_the_card() -> None:
    family = changed(pocket_family(), "iter1", results=())
    with pytest.raises(CardError, match="was compared on exact_match of pocket_exact"):
        card(family, "iter1")


@pytest.mark.parametrize("field", ["parent", "superseded_by"])
def test_relatives_outside_the_family_are_refused(field: str) -> None:
    family = pocket_family()
    member = family.member("iter1")
    change: dict[str, Any] = (
        {"checkpoint": replace(member.checkpoint, parent="gone")}
        if field == "parent"
        else {"superseded_by": "gone"}
    )
    with pytest.raises(CardError, match="'gone', which is not in the family"):
        card(changed(family, "iter1", **change), "iter1")


def test_no_path_or_host_of_this_machine() -> None:
    assert portable({"a": ["/home/me/x.json", "~/y", "C:\\z\\w"]}) == {
        "a": ["…/x.json", "…/y", "…/w"]
    }
    blanks = ["/data/my models/x.jsonl", "/srv/models/", "file:///opt/a b", "C:\\My Data\\z"]
    assert portable(blanks) == ["…/x.jsonl", "…/models", "…/a b", "…/z"]
    assert portable(["/no_think now", "/"]) == ["/no_think now", "/"]
    assert portable("http://127.0.0.1:8000/v1") == "http://…/v1"
    assert portable("http://judge-box:8000") == "http://…"
    assert portable("https://api.openai.com/v1") == "https://api.openai.com/v1"
    assert portable("google/gemma-2-9b-it and/or 1/2") == "google/gemma-2-9b-it and/or 1/2"
    recipe = {
        **RECIPE,
        "evaluation": {"judge": {"base_url": "http://10.0.0.7:80/v1", "path": "/srv/j"}},
    }
    text = card(replace(pocket_family(), recipe=recipe), "iter2")
    assert "10.0.0.7" not in text
    assert "/srv" not in text
    assert "namespace" not in text


HOSTILE = [
    "---\nlicense: evil\n---",
    "{{ 7 * 7 }}{% for x in y %}",
    "| a | b |\n|---|---|",
    "</details><script>alert(1)</script>",
    "```\n# Owned\n```",
    "[x](javascript:alert(1)) ![i](http://x/y.png)",
    "*bold* _it_ ~~no~~ <b>",
    "\u202eabc\x00\x1b[31m",
    "no",
    "1e3",
    "'\"\\",
    "# h\n\n## h",
]


def poisoned(text: str) -> Family:
    """The family with `text` wherever a name or a word comes from outside."""
    family = pocket_family()
    training = family.member("iter2").training
    assert training is not None
    bad = replace(
        training,
        data={"name": text, "note": text, "digest": "a" * 64},
        judge={"name": text, "prompt": text},
        dropped={text: 3},
        options={text: text},
        facts={"said": text},
    )
    family = changed(family, "iter2", training=bad)
    for name in NAMES:
        member = family.member(name)
        results = tuple(
            replace(
                result,
                provenance={
                    **result.provenance,
                    "judge": {"name": text},
                    "harness": text,
                    text: text,
                },
                scores=tuple(
                    replace(s, settings={**s.settings, text: text}) for s in result.scores
                ),
            )
            for result in member.results
        )
        family = changed(family, name, results=results, title=f"{member.title}{text}")
    words = {**CARD, "authors": [text], "tags": [text], "summary": text, "limitations": text}
    return replace(
        family,
        card={**words, "intended_use": text, "citation": text},
        recipe={**RECIPE, "note": text},
        versions={**family.versions, "other": text},
    )


def skeleton(text: str) -> list[tuple[str, str]]:
    """Headings by level, fences, tables and raw HTML of a card's body, in order."""
    body = re.sub("sealed [0-9a-f]{64}", "sealed", frontmatter.parse(text).body)
    tokens = READER.parse(body)
    kinds = ("heading_open", "fence", "table_open", "html_block")
    blocks = [
        (t.type, t.tag if t.type != "html_block" else t.content) for t in tokens if t.type in kinds
    ]
    inline = [
        (c.type, c.content) for t in tokens for c in t.children or [] if c.type == "html_inline"
    ]
    return blocks + inline


@cache
def harmless(name: str) -> list[tuple[str, str]]:
    """The skeleton where an ordinary word comes from outside."""
    return skeleton(card(poisoned("word"), name))


@settings(max_examples=25, deadline=None)
@given(
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30)
    | st.sampled_from(HOSTILE)
)
@example(HOSTILE[0])
@example(HOSTILE[4])
def test_nothing_from_outside_bends_a_card(text: str) -> None:
    family = poisoned(text)
    for name in ("base", "iter2", "iter2-w4a16_gptq"):
        written = card(family, name)
        book = Book(records_of(family))
        assert frontmatter.parse(written).metadata == front_matter(
            family, family.member(name), book
        )
        body = frontmatter.parse(written).body
        assert skeleton(written) == harmless(name)
        outside = re.sub(r"(?ms)^(`{3,})\w*\n.*?^\1$", "", body)
        assert "{{" not in outside
        assert "{%" not in outside


def poisoned_order(text: str, quantized: bool) -> CardOrder:
    """A card order with `text` wherever somebody may write what they like."""
    step = {"method": text, "started_from": text, "data": [text, "org/data"], "note": text,
            "settings": {text: text}, "iteration": 2}  # fmt: skip
    page = {"source": "https://example.org/page", "date": "2024-05", "settings": {text: text}}
    figures = [
        {"task": text, "metric": text, "value": "1.5", **page},
        {"task": "alpaca_eval", "metric": "win_rate", "value": "50.10", **page},
        {"task": "alpaca_eval", "metric": "win_rate", "value": "40", "model": "org/base", **page},
        {"task": "mt_bench", "metric": "score", "value": "7", "model": f"sibling {text}", **page},
    ]
    return CardOrder.model_validate(
        {
            "model": f"mine {text}",
            "base": {"model": "org/base", "made": [step]},
            **({"quantized": {"to": text, "by": text}} if quantized else {"relation": "merge"}),
            "card": {
                "title": text, "license": "other", "license_name": text, "license_link": "LICENSE",
                "summary": text, "authors": [text], "tags": [text], "intended_use": text,
                "limitations": text, "citation": text, "hardware": text, "energy": text,
            },
            "architecture": text,
            "made": [step],
            "schedule": {"steps": [text, "b"], "reached": 1},
            "siblings": [{"model": f"sibling {text}", "made": [step]}],
            "new_version": f"sibling {text}",
            "figures": figures,
            "source": text,
        }
    )  # fmt: skip


def ordered(text: str, quantized: bool) -> tuple[str, Family]:
    order = poisoned_order(text, quantized)
    family = family_of(order, f"evalkit card build {text}")
    return build_card(family, family.member(order.model), pictured=True), family


@cache
def harmless_order(quantized: bool) -> list[tuple[str, str]]:
    return skeleton(ordered("word", quantized)[0])


@settings(max_examples=25, deadline=None)
@given(
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30).filter(str.strip)
    | st.sampled_from(HOSTILE),
    st.booleans(),
)
@example(HOSTILE[0], True)
@example(HOSTILE[3], False)
@example("<!-- /evalkit:keep -->", False)
def test_nothing_that_a_person_states_bends_a_card(text: str, quantized: bool) -> None:
    written, family = ordered(text, quantized)
    member = next(one for one in family.members if one.stated and one.checkpoint.parent)
    found = frontmatter.parse(written)
    assert found.metadata == front_matter(family, member, Book(records_of(family)))
    assert skeleton(written) == harmless_order(quantized)
    outside = re.sub(r"(?ms)^(`{3,})\w*\n.*?^\1$", "", found.body)
    assert "{{" not in outside
    assert "{%" not in outside
    assert [one.name for one in regions(written)] == ["introduction", "use", "limitations"]
    page = build_family_page(family)
    assert [one.name for one in regions(page)] == ["introduction", "limitations"]


@settings(max_examples=15, deadline=None)
@given(st.sampled_from(HOSTILE) | st.text(min_size=1, max_size=20))
def test_nothing_bends_the_card_of_a_data_set(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        return
    family = poisoned(text)
    facts = PairsFacts("data/train.jsonl", 3, 4, "f" * 64, "org/pairs")
    written = build_dataset_card(family, family.member("iter2"), facts)
    harmless_family = poisoned("word")
    plain = build_dataset_card(harmless_family, harmless_family.member("iter2"), facts)
    assert skeleton(written) == skeleton(plain)
    assert frontmatter.parse(written).metadata["size_categories"] == ["n<1K"]


@pytest.mark.slow
def test_the_snippet_runs(
    tiny_llama: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    family = replace(pocket_family(), published=False)
    (tmp_path / "Pocket-SPPO-Iter2").symlink_to(tiny_llama)
    monkeypatch.chdir(tmp_path)
    found = re.search(r"```python\n(.*?)```", card(family, "iter2"), re.DOTALL)
    assert found
    exec(compile(found[1], "snippet", "exec"), {})
    assert capsys.readouterr().out.strip()
