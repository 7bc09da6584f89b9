"""A card's Markdown as the HTML of its page: tables, maths, pictures, and what HTML is harmless."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from evalkit.hub.sanitizing import sanitized

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.rules_inline import StateInline

# How the Hub's cards write maths.
# Source: https://huggingface.co/docs/hub/model-cards ("How can I write LaTeX in my model card?")
_DELIMITERS = (("$$", "$$", "block"), ("\\\\(", "\\\\)", "inline"))


def rendered(markdown: str, prefix: str, commit: str) -> str:
    """The HTML of a card's body; `prefix` is the path of its repository, `commit` its state."""

    def rewrite(element: str, address: str) -> str:
        place = "resolve" if element == "img" else "tree"
        path = urlsplit(address).path.removeprefix("./").rstrip("/")
        return f"{prefix}/{place}/{commit}/{path}"

    return sanitized(_parser().render(markdown), rewrite)


@cache
def _parser() -> MarkdownIt:
    from markdown_it import MarkdownIt

    parser = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    parser.inline.ruler.before("escape", "math", _math)
    return parser


def _math(state: StateInline, silent: bool) -> bool:
    """An inline rule: a formula between the Hub's delimiters."""
    for opening, closing, display in _DELIMITERS:
        if not state.src.startswith(opening, state.pos):
            continue
        end = state.src.find(closing, state.pos + len(opening))
        formula = state.src[state.pos + len(opening) : end] if end > 0 else ""
        if not formula.strip():
            return False
        if not silent:
            state.push("html_inline", "", 0).content = _mathml(formula, display)
        state.pos = end + len(closing)
        return True
    return False


def _mathml(formula: str, display: str) -> str:
    """MathML, which browsers draw without scripts; the formula as it stands where that fails."""
    from markdown_it.common.utils import escapeHtml

    plain = f"<code>{escapeHtml(formula.strip())}</code>"
    if find_spec("latex2mathml") is None:
        return plain
    from latex2mathml.converter import convert

    try:
        return str(convert(formula.strip(), display=display))
    except Exception:  # the parser raises whatever comes to it on a formula that it cannot read
        return plain
