"""Token ids of a pair as PairRM reads it: three marked segments that share one length budget.

    [CLS] <|source|> x [SEP]  [CLS] <|candidate1|> a [SEP]  [CLS] <|candidate2|> b [SEP]

Each segment is tokenized on its own, hence the three [CLS].
Source: yuchenlin/LLM-Blender llm_blender/pair_ranker/collator.py (CrossCompareCollator), and
llm_blender/blender/blender_utils.py (tokenize_pair), at 2a67366.
"""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from evalkit.errors import RecipeError, gist, missing_extra
from evalkit.judges.pair_rm_text import Source

SOURCE, CANDIDATE_1, CANDIDATE_2 = "<|source|>", "<|candidate1|>", "<|candidate2|>"
MARKERS = (SOURCE, CANDIDATE_1, CANDIDATE_2)  # in the order in which LLM-Blender adds them
# Inside a text these would be read as what they mean; "<|candidate|>" stands for either marker.
_RESERVED = ("[SEP]", *MARKERS, "<|candidate|>")
_AROUND = 3  # [CLS], the marker and [SEP] count as part of a segment's length
_REMEMBERED = 4096  # texts: the K responses to a prompt are read in K (K - 1) pairs


class EncodedPair(NamedTuple):
    """One input of the model, and where the three markers stand in it.

    cut: whether prompt or a response was too long to be in it as a whole.
    """

    ids: list[int]
    places: tuple[int, int, int]
    cut: bool = False


class PairEncoder:
    """Writes pairs as token ids, within the limits.

    source_max_length, candidate_max_length: tokens of a segment, the three around it included.
        What a source leaves of its own is shared by the candidates, half each.
    """

    def __init__(self, tokenizer: Any, source_max_length: int, candidate_max_length: int) -> None:
        self._tokenizer = tokenizer
        self._source_max = source_max_length
        self._candidate_max = candidate_max_length
        self._cls, _, self._sep = tokenizer.encode(SOURCE).ids
        self._marker_ids = {marker: tokenizer.token_to_id(marker) for marker in MARKERS}
        self._body = lru_cache(maxsize=_REMEMBERED)(self._tokens)

    def encode(self, source: Source, first: str, second: str) -> EncodedPair:
        """The pair's input; texts are cut at their ends where they are too long."""
        whole = self._body(source.text)
        body = whole[: self._source_max - _AROUND]
        cut = len(body) < len(whole)
        ids = self._segment(SOURCE, body)
        room = self._candidate_max + (self._source_max - len(ids)) // 2 - _AROUND
        places = [1]
        for marker, response in ((CANDIDATE_1, first), (CANDIDATE_2, second)):
            places.append(len(ids) + 1)
            body = self._body(source.earlier + source.label + response)
            cut = cut or len(body) > room
            ids += self._segment(marker, self._candidate(body, source, response, room))
        return EncodedPair(ids, (places[0], places[1], places[2]), cut)

    def _candidate(
        self, body: tuple[int, ...], source: Source, response: str, room: int
    ) -> tuple[int, ...]:
        excess = len(body) - room
        if excess > 0 and source.earlier:
            # Cut what all candidates have in common before what makes them different.
            common = len(body) - len(self._body(source.label + response))
            body = body[min(excess, max(common, 0)) :]
        return body[:room]

    def _segment(self, marker: str, body: tuple[int, ...]) -> list[int]:
        return [self._cls, self._marker_ids[marker], *body, self._sep]

    def _tokens(self, text: str) -> tuple[int, ...]:
        for reserved in _RESERVED:
            text = text.replace(reserved, " ")
        # That a marker stands in front may matter to the first word; which one does not.
        return tuple(self._tokenizer.encode(SOURCE + text).ids[2:-1])


def load_tokenizer(file: Path) -> Any:
    """The `tokenizers.Tokenizer` of a PairRM checkpoint, its markers added where it has none.

    A tokenizer.json is taken as it stands: transformers 5.17 would rebuild its normalizer, and
    lose the character map of DeBERTa's SentencePiece model.

    Raises:
        RecipeError: the file is damaged, or its tokenizer knows no [CLS] and [SEP].
        PrerequisiteError: tokenizers is not installed.
    """
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        raise missing_extra("tokenizers", "train") from error
    if file.suffix == ".model":
        from evalkit.judges.pair_rm_spm import deberta_tokenizer

        tokenizer = deberta_tokenizer(file)
    else:
        try:
            tokenizer = Tokenizer.from_file(str(file))
        except Exception as error:  # tokenizers raises nothing more precise
            raise RecipeError(
                f"{file} is no tokenizer: {gist(error)}", "fetch the checkpoint again"
            ) from error
    # Whoever saved it may have left the settings of the last training batch in it.
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.add_tokens([*_added_tokens(file), *MARKERS])
    if len(tokenizer.encode(SOURCE).ids) != _AROUND:
        raise RecipeError(
            f"{file} puts no [CLS] and [SEP] around a text, as PairRM's tokenizer does",
            "copy all files of the repository llm-blender/PairRM there",
        )
    return tokenizer


def _added_tokens(file: Path) -> list[str]:
    """Names of added_tokens.json in the order of their ids; spm.model knows nothing of them."""
    listed = file.with_name("added_tokens.json")
    if not listed.is_file():
        return []
    try:
        ids = dict(json.loads(listed.read_text("utf-8")))
        return sorted(ids, key=ids.__getitem__)
    except (ValueError, TypeError) as error:
        raise RecipeError(f"{listed} is damaged: {error}", "fetch it again") from error
