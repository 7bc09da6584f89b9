"""HTML from anybody, cut down to what cannot do anything: allowed elements, attributes, addresses.

What is not on a list is left out: the lists say what cards need, not what attackers use.
"""

from collections.abc import Callable
from html import escape
from html.parser import HTMLParser
from urllib.parse import urlsplit

_TEXT = (
    "a abbr b blockquote br center code dd del details div dl dt em figcaption figure h1 h2 h3 h4"
    " h5 h6 hr i img ins kbd li mark ol p picture pre q s samp small span strong sub summary sup"
    " table tbody td tfoot th thead tr tt u ul var"
)
_MATH = (
    "math mfrac mi mn mo mover mpadded mphantom mroot mrow ms mspace msqrt mstyle msub msubsup"
    " msup mtable mtd mtext mtr munder munderover menclose mmultiscripts mprescripts none"
)
_ALLOWED = frozenset(f"{_TEXT} {_MATH}".split())
_VOID = frozenset(("br", "hr", "img"))
# Left out with all that is in them; of other unknown elements the text stays.
_SWALLOWED = frozenset(
    "script style iframe object embed template noscript textarea title select svg head".split()
)
_ATTRIBUTES = frozenset(
    "align alt colspan height open rowspan start title valign width"
    " display mathvariant stretchy fence separator form lspace rspace columnalign rowspacing"
    " columnspacing columnlines rowlines minsize maxsize movablelimits accent accentunder"
    " linethickness scriptlevel displaystyle depth voffset notation".split()
)
_SCHEMES = ("", "http", "https", "mailto")
Rewrite = Callable[[str, str], str]  # (element, relative address) -> address


def sanitized(html: str, rewrite: Rewrite = lambda element, address: address) -> str:
    """Balanced HTML that runs nothing, fetches nothing by itself but pictures, and posts nothing.

    rewrite: gives the addresses that stand in place of relative ones.
    """
    writer = _Writer(rewrite)
    writer.feed(html)
    writer.close()
    return writer.text()


class _Writer(HTMLParser):
    def __init__(self, rewrite: Rewrite) -> None:
        super().__init__(convert_charrefs=True)
        self._rewrite = rewrite
        self._pieces: list[str] = []
        self._open: list[str] = []
        self._swallowing: list[str] = []

    def text(self) -> str:
        """All that was let through, every element closed."""
        return "".join([*self._pieces, *(f"</{name}>" for name in reversed(self._open))])

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _SWALLOWED:
            self._swallowing.append(tag)
        elif not self._swallowing and tag in _ALLOWED:
            self._pieces.append(f"<{tag}{self._attributes(tag, attrs)}>")
            if tag not in _VOID:
                self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in _SWALLOWED:
            self.handle_starttag(tag, attrs)
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        if self._swallowing:
            if tag in self._swallowing:
                del self._swallowing[self._swallowing.index(tag) :]
        elif tag in self._open:
            # Closes what stands open within it too, so that nobody closes an element of the page.
            while True:
                name = self._open.pop()
                self._pieces.append(f"</{name}>")
                if name == tag:
                    break

    def handle_data(self, data: str) -> None:
        if not self._swallowing:
            self._pieces.append(escape(data))

    def _attributes(self, tag: str, attrs: list[tuple[str, str | None]]) -> str:
        kept: dict[str, str] = {}
        for name, value in attrs:
            text = value or ""
            if name in _ATTRIBUTES:
                kept[name] = text
            elif (tag, name) in (("a", "href"), ("img", "src")) and _is_harmless(tag, text):
                kept[name] = self._placed(tag, text.strip())
            elif (tag, name) == ("code", "class") and text.startswith("language-"):
                kept[name] = text
        if tag == "a" and "href" in kept:
            kept["rel"] = "nofollow noopener noreferrer"
        return "".join(f' {name}="{escape(value)}"' for name, value in kept.items())

    def _placed(self, tag: str, address: str) -> str:
        relative = not urlsplit(address).scheme and not address.startswith(("/", "#", "?"))
        return self._rewrite(tag, address) if relative else address


def _is_harmless(tag: str, address: str) -> bool:
    """Whether an address only leads somewhere, or, of a picture, only fetches it."""
    # Browsers skip these characters within a scheme: `java\\tscript:` is one.
    plain = "".join(letter for letter in address if letter > " " and letter != "\x7f")
    if plain.startswith("//") or "\\" in plain:
        return False
    try:
        scheme = urlsplit(plain).scheme.lower()
    except ValueError:
        return False
    return scheme in (_SCHEMES if tag == "a" else _SCHEMES[:3])
