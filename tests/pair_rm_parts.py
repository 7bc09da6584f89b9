"""Tiny PairRM checkpoints with random weights, in the file layouts of the published ones."""

import json
import struct
from pathlib import Path
from typing import Any

WORDS = "what is the capital of france paris rome a city say hello hi user assistant response good"
PIECES = ["[PAD]", "[CLS]", "[SEP]", "[UNK]"]
PIECES += [f"▁{word}" for word in WORDS.split()] + ["▁", *"abcdefghijklmnopqrstuvwxyz0123456789"]
PIECES += list(".,:<>?!'|[]_-")
ADDED = ("[MASK]", "<|source|>", "<|candidate1|>", "<|candidate2|>", "<|candidate|>")
CONTROL = 3  # SentencePiece.Type
BACKBONE = {
    "model_type": "deberta-v2",
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "hidden_act": "gelu",
    "initializer_range": 0.2,
    "layer_norm_eps": 1e-7,
    "max_position_embeddings": 512,
    "max_relative_positions": -1,
    "norm_rel_ebd": "layer_norm",
    "pad_token_id": 0,
    "pos_att_type": ["p2c", "c2p"],
    "position_biased_input": False,
    "position_buckets": 256,
    "relative_attention": True,
    "share_att_key": True,
    "type_vocab_size": 0,
    "vocab_size": 128100,  # LLM-Blender cuts its backbone's embeddings to the tokenizer's size
}
# All keys of LLM-Blender's RankerConfig (llm_blender/pair_ranker/config.py at 2a67366).
RANKER = {
    "ranker_type": "pairranker",
    "model_type": "deberta",
    "model_name": "backbone",
    "cache_dir": None,
    "load_checkpoint": None,
    "source_maxlength": 1224,
    "candidate_maxlength": 412,
    "n_tasks": 1,
    "num_pos": 1,
    "num_neg": 1,
    "sub_sampling_mode": "all_pair",
    "sub_sampling_ratio": 0.5,
    "loss_type": "instructgpt",
    "reduce_type": "linear",
    "inference_mode": "bubble",
    "drop_out": 0.05,
    "fp16": True,
    "device": None,
}


def write_blender(folder: Path, weights: str = "model.safetensors", seed: int = 0) -> Path:
    """A checkpoint like llm-blender/PairRM's: a RankerConfig that names its backbone."""
    backbone = folder / "backbone"
    backbone.mkdir(parents=True)
    (backbone / "config.json").write_text(json.dumps(BACKBONE))
    (folder / "config.json").write_text(json.dumps(RANKER))
    write_tokenizer(folder / "tokenizer.json")
    _write_weights(folder / weights, seed)
    return folder


def write_tokenizer(file: Path) -> Path:
    """A tokenizer.json with what the trainer's last batch left behind in it."""
    tokenizer = tiny_tokenizer()
    tokenizer.enable_truncation(9)
    tokenizer.enable_padding(length=12)
    tokenizer.save(str(file))
    return file


def write_port(folder: Path, seed: int = 0) -> Path:
    """A checkpoint like llm-blender/PairRM-hf's, with nothing but spm.model as a tokenizer."""
    from tokenizers import Tokenizer

    folder.mkdir(parents=True)
    tokenizer: Tokenizer = tiny_tokenizer()
    ids = {name: tokenizer.token_to_id(name) for name in ADDED}
    names = ("source", "cand1", "cand2", "cand")
    marks = {f"{name}_prefix_id": ids[token] for name, token in zip(names, ADDED[1:], strict=True)}
    config = {
        **BACKBONE,
        **marks,
        "architectures": ["DebertaV2PairRM"],
        "attention_probs_dropout_prob": 0.1,
        "pooler_dropout": 0,
        "pos_att_type": "p2c|c2p",
        "torch_dtype": "float32",
        "transformers_version": "4.36.1",
        "vocab_size": tokenizer.get_vocab_size(),
        "sep_token_id": 2,
        "n_tasks": 1,
        "drop_out": 0.05,
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "added_tokens.json").write_text(json.dumps(ids))
    (folder / "spm.model").write_bytes(spm_bytes())
    _write_weights(folder / "model.safetensors", seed)
    return folder


def backbone_config() -> Any:
    """The DebertaV2Config of these checkpoints."""
    from transformers import DebertaV2Config

    return DebertaV2Config(**{**BACKBONE, "vocab_size": tiny_tokenizer().get_vocab_size()})


def tiny_state(seed: int) -> dict[str, Any]:
    """Random weights under the names that LLM-Blender's own model gives them."""
    import torch
    from transformers import DebertaV2Model

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        backbone = DebertaV2Model(backbone_config())
        hidden = BACKBONE["hidden_size"]
        head = {
            "head_layer.1.weight": torch.randn(hidden, 2 * hidden) / 4,
            "head_layer.1.bias": torch.randn(hidden) / 4,
            "head_layer.4.weight": torch.randn(1, hidden) / 2,
            "head_layer.4.bias": torch.randn(1),
        }
    return {f"pretrained_model.{name}": t for name, t in backbone.state_dict().items()} | head


def _write_weights(file: Path, seed: int) -> None:
    import torch
    from safetensors.torch import save_file

    state = tiny_state(seed)
    if file.suffix == ".safetensors":
        save_file(state, file, metadata={"format": "pt"})
    else:  # saved by a transformers that still stored the positions
        positions = torch.arange(512).expand((1, -1))
        torch.save({**state, "pretrained_model.embeddings.position_ids": positions}, file)


def tiny_tokenizer() -> Any:
    """DebertaV2TokenizerFast's pipeline, as transformers 4 wrote it, over a small vocabulary."""
    from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers
    from tokenizers.processors import TemplateProcessing

    scores = [(piece, score) for piece, score, _ in _pieces()]
    tokenizer = Tokenizer(models.Unigram(scores, 3, byte_fallback=False))
    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.Strip(),
            normalizers.Precompiled(charsmap("ﬁ", "fi")),
            normalizers.Replace(Regex(" {2,}"), " "),
        ]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace("▁", prepend_scheme="always")
    special = [*PIECES[:4], "[MASK]"]
    tokenizer.add_tokens([AddedToken(name, normalized=False, special=True) for name in special])
    tokenizer.add_tokens(list(ADDED[1:]))
    tokenizer.post_processor = TemplateProcessing(
        "[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    return tokenizer


def charsmap(before: str, after: str) -> bytes:
    """A SentencePiece character map of one rule: a double-array trie, and the texts it leads to.

    Source: s-yata/darts-clone include/darts.h, DoubleArrayUnit; google/sentencepiece
    src/normalizer.cc, DecodePrecompiledCharsMap.
    """
    key = before.encode()
    units = [0] * (256 * (len(key) + 2))
    node = 256
    units[0] = node << 10
    for depth, byte in enumerate(key, start=2):
        here, node = node ^ byte, 256 * depth
        is_last = depth == len(key) + 1
        units[here] = (here ^ node) << 10 | is_last << 8 | byte
    units[node] = 1 << 31  # a leaf: the text at place 0
    trie = struct.pack(f"<{len(units)}I", *units)
    return struct.pack("<I", len(trie)) + trie + after.encode() + b"\0"


def spm_bytes() -> bytes:
    """The same vocabulary and character map as a SentencePiece ModelProto."""
    pieces = b"".join(
        _message(
            1, _message(1, piece.encode()) + b"\x15" + struct.pack("<f", score) + _number(3, kind)
        )
        for piece, score, kind in _pieces()
    )
    trainer = _message(2, _number(3, 1) + _number(40, 3))  # UNIGRAM, and [UNK]
    return pieces + trainer + _message(3, _message(2, charsmap("ﬁ", "fi")))


def _pieces() -> list[tuple[str, float, int]]:
    kinds = {"[PAD]": CONTROL, "[CLS]": CONTROL, "[SEP]": CONTROL, "[UNK]": 2}
    return [
        (piece, 0.0 if piece in kinds else -2.0 - 8 * (len(piece) == 1), kinds.get(piece, 1))
        for piece in PIECES
    ]


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _message(field: int, content: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    out = b""
    while value >= 0x80:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])
