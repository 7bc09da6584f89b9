"""Text from outside stays text: what a Markdown reader shows is what was put in."""

import html

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from evalkit.markdown import Markdown, bold, code, escape, fence, link, printable, prose, table

READER = MarkdownIt("commonmark").enable(["table", "strikethrough"])
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=60) | st.text(
    "*_`[]()<>!|#-+=~\\{}&;:/.1 a\n@$'\"%", max_size=40
)


def plain(text: str) -> str:
    """What a reader should see: the text on one line."""
    return " ".join(printable(text).split())


@settings(max_examples=400, deadline=None)
@given(TEXT)
@example("1. one")
@example("---")
@example("a_b _c_ __d__")
@example("<script>alert(1)</script> &amp; &lt;")
@example("[x](javascript:alert(1)) ![y](z)")
@example("{{ 7 * 7 }} {% include 'x' %}")
def test_escaped_text_is_shown_as_it_is(text: str) -> None:
    shown = html.unescape(READER.render(escape(text)))
    assert shown == (f"<p>{plain(text)}</p>\n" if plain(text) else "")
    assert "{{" not in escape(text)
    assert "{%" not in escape(text)


@settings(max_examples=300, deadline=None)
@given(TEXT, TEXT)
def test_a_cell_stays_a_cell(one: str, two: str) -> None:
    tokens = READER.parse(table(["a", "b"], [[one, two], [code(one), bold(two)]]))
    assert sum(token.type == "td_open" for token in tokens) == 4
    assert sum(token.type == "tr_open" for token in tokens) == 3


@settings(max_examples=300, deadline=None)
@given(st.text(st.sampled_from("`~a \n#-{"), max_size=40), st.sampled_from(["", "yaml"]))
def test_nothing_inside_closes_a_fence(text: str, language: str) -> None:
    tokens = READER.parse(fence(text, language) + "\n\nafter")
    assert [token.type for token in tokens] == [
        "fence",
        "paragraph_open",
        "inline",
        "paragraph_close",
    ]
    assert tokens[0].content.rstrip("\n") == text.rstrip("\n")


@settings(max_examples=300, deadline=None)
@given(TEXT)
@example("text\n```\n# heading\n<details>\n~~~\n---\n| a |")
def test_prose_swallows_nothing_around_it(text: str) -> None:
    tokens = READER.parse(f"before\n\n{prose(text)}\n\n## after\n")
    kinds = [token.type for token in tokens]
    assert kinds[-3:] == ["heading_open", "inline", "heading_close"]
    assert not {"fence", "html_block", "hr", "table_open"} & set(kinds)
    assert kinds.count("heading_open") == 1
    inline = [child.type for token in tokens for child in token.children or []]
    assert "html_inline" not in inline


def test_people_keep_their_inline_markdown() -> None:
    assert prose("See *this* and [that](https://example.org):\n\n- one\n- two") == (
        "See *this* and [that](https://example.org):\n\n- one\n- two"
    )


@settings(max_examples=200, deadline=None)
@given(TEXT, TEXT)
def test_a_link_is_one_link(text: str, url: str) -> None:
    children = READER.parseInline(link(text, "https://example.org/" + url))[0].children or []
    kinds = [child.type for child in children]
    assert kinds.count("link_open") == 1
    assert (kinds[0], kinds[-1]) == ("link_open", "link_close")


@pytest.mark.parametrize(
    "text", ["http://x.org", "https://x.org", "www.x.org", "me@x.org", "ftp://x"]
)
def test_bare_addresses_are_no_links(text: str) -> None:
    """GitHub's dialect links them; an escaped character in the middle stops it."""
    assert "\\" in escape(text)
    assert html.unescape(READER.renderInline(escape(text))) == text


def test_usual_names_stay_legible() -> None:
    for name in ("Gemma-2-9B-It-SPPO-Iter3", "w4a16_gptq", "0.4.13", "61.3 %", "a (b), c: d; -1"):
        assert escape(name) == name


def test_dangerous_characters_go() -> None:
    assert escape("a\u202eb\u200bc\ufeff\x00d\ud800") == "abcd"
    assert escape(Markdown("*x*")) == r"\*x\*"
