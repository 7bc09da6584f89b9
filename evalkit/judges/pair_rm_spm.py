"""DeBERTa's tokenizer from its SentencePiece model, for checkpoints without a tokenizer.json.

transformers needs sentencepiece or protobuf for it, and its version 5.17 leaves out the character
map that the model was trained with; the few fields that matter are read here instead.
Source: google/sentencepiece src/sentencepiece_model.proto; protobuf.dev, Encoding; the order of
normalization from transformers' DebertaV2Converter (convert_slow_tokenizer.py).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from evalkit.errors import RecipeError

# Field numbers of ModelProto, SentencePiece, TrainerSpec and NormalizerSpec.
_PIECES, _TRAINER, _NORMALIZER = 1, 2, 3
_PIECE, _SCORE, _TYPE = 1, 2, 3
_UNK_ID = 40
_CHARSMAP = 2
_CONTROL, _USER_DEFINED = 3, 4  # of SentencePiece.Type
_FIXED_SIZES = {1: 8, 5: 4}  # bytes, by wire type


class _Model(NamedTuple):
    pieces: list[tuple[str, float]]
    kinds: list[int]
    unk_id: int
    charsmap: bytes


def deberta_tokenizer(file: Path) -> Any:
    """The `tokenizers.Tokenizer` of an spm.model, with [CLS] and [SEP] around every text.

    Raises:
        RecipeError: the file is no SentencePiece model, or not one of DeBERTa's.
    """
    from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers
    from tokenizers.processors import TemplateProcessing

    spm = _read(file)
    tokenizer = Tokenizer(models.Unigram(spm.pieces, spm.unk_id, byte_fallback=False))
    charsmap = [normalizers.Precompiled(spm.charsmap)] if spm.charsmap else []
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Strip(), *charsmap, normalizers.Replace(Regex(" {2,}"), " ")]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace("▁", prepend_scheme="always")
    special = [
        AddedToken(piece, normalized=False, special=kind == _CONTROL)
        for (piece, _), kind in zip(spm.pieces, spm.kinds, strict=True)
        if kind in (_CONTROL, _USER_DEFINED)
    ]
    tokenizer.add_tokens([*special, AddedToken("[MASK]", normalized=False, special=True)])
    around = [(name, tokenizer.token_to_id(name)) for name in ("[CLS]", "[SEP]")]
    if any(token_id is None for _, token_id in around):
        raise RecipeError(f"{file} is not DeBERTa's: it has no [CLS] and [SEP]")
    tokenizer.post_processor = TemplateProcessing("[CLS] $A [SEP]", special_tokens=around)
    return tokenizer


def _read(file: Path) -> _Model:
    try:
        fields = list(_fields(file.read_bytes()))
        pieces = [dict(_fields(value)) for number, value in fields if number == _PIECES]
        trainer = dict(_fields(_last(fields, _TRAINER)))
        normalizer = dict(_fields(_last(fields, _NORMALIZER)))
        model = _Model(
            [
                (piece[_PIECE].decode("utf-8"), struct.unpack("<f", piece.get(_SCORE, bytes(4)))[0])
                for piece in pieces
            ],
            [piece.get(_TYPE, 1) for piece in pieces],
            trainer.get(_UNK_ID, 0),
            normalizer.get(_CHARSMAP, b""),
        )
    except (LookupError, ValueError, TypeError, AttributeError, struct.error) as error:
        raise RecipeError(f"{file} is no SentencePiece model", "fetch it again") from error
    if not model.pieces:
        raise RecipeError(f"{file} is no SentencePiece model", "fetch it again")
    return model


def _last(fields: list[tuple[int, Any]], wanted: int) -> bytes:
    return next((value for number, value in reversed(fields) if number == wanted), b"")


def _fields(data: bytes) -> Iterator[tuple[int, Any]]:
    """Number and value of each field of a protobuf message: an int, or the bytes as they are."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        number, wire_type = key >> 3, key & 7
        if wire_type == 0:
            value, at = _varint(data, at)
            yield number, value
            continue
        size, at = _varint(data, at) if wire_type == 2 else (_FIXED_SIZES[wire_type], at)
        if at + size > len(data):
            raise ValueError("a field ends beyond the data")
        yield number, data[at : at + size]
        at += size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
