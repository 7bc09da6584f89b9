"""Text as the words that overlap is looked for in."""

from __future__ import annotations

import unicodedata


class _Kept(dict[int, int | None]):
    """For `str.translate`: every character itself, punctuation and symbols gone."""

    def __missing__(self, code: int) -> int | None:
        kept = None if unicodedata.category(chr(code))[0] in "PS" else code
        self[code] = kept
        return kept


_KEPT = _Kept()


def words(text: str) -> list[str]:
    """Lower-case words between white space, without punctuation, in Unicode form NFKC.

    A language written without spaces has few words so, and its texts are compared in long pieces.
    Source: Brown et al. 2020, appendix C: lower-cased, white-space delimited words without
    punctuation. What is deleted there are ASCII's 32 (EleutherAI/lm-evaluation-harness,
    lm_eval/decontamination/janitor.py); here all that Unicode calls punctuation or a symbol, so
    that typographic quotes make no difference.
    """
    return unicodedata.normalize("NFKC", text).lower().translate(_KEPT).split()
