"""Tiny reward models with random weights: decoders with chat templates, encoders without."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedTokenizerFast,
)

SPECIAL = ("<s>", "</s>", "<pad>", "<|im_start|>", "<|im_end|>")
CHATML = (
    "{{ bos_token }}{% for m in messages %}"
    "{{ '<|im_start|>' ~ m.role ~ '\n' ~ m.content ~ '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
SIZES = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 256,
    "initializer_range": 0.3,
}
DECODERS = {
    "llama": {"num_key_value_heads": 2},
    "qwen2": {"num_key_value_heads": 2},
    "gemma2": {"num_key_value_heads": 2, "head_dim": 8, "sliding_window": 16},
}
ENCODERS = {
    "bert": {},
    "deberta-v2": {
        "relative_attention": True,
        "position_buckets": 16,
        "pos_att_type": ["p2c", "c2p"],
        "norm_rel_ebd": "layer_norm",
        "position_biased_input": False,
        "share_att_key": True,
        "type_vocab_size": 0,
    },
}


def write_reward_model(
    folder: Path, kind: str = "llama", *, template: str | None = CHATML, pad: bool = False,
    **config: Any,
) -> Path:  # fmt: skip
    """A reward model of one architecture; pad: whether config and tokenizer name a pad token."""
    encoder = kind in ENCODERS
    tokenizer = _encoder_tokenizer() if encoder else _decoder_tokenizer(template, pad)
    options = {
        **SIZES,
        **(ENCODERS | DECODERS)[kind],
        "vocab_size": len(tokenizer),
        "num_labels": 1,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        **config,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = AutoModelForSequenceClassification.from_config(
            AutoConfig.for_model(kind, **options)
        )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def plain_rewards(folder: Path, texts: list[Any]) -> list[list[float]]:
    """All outputs of the model for one input at a time, by transformers alone.

    texts: (prompt, response) pairs of an encoder, or lists of turns of a decoder with a template.
    """
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    if getattr(model.config, "attn_logit_softcapping", None):
        model.set_attn_implementation("eager")
    found = []
    for text in texts:
        if isinstance(text, tuple):
            inputs = dict(tokenizer(*text, return_tensors="pt"))
        else:
            ids = tokenizer.apply_chat_template(text, tokenize=True, return_dict=False)
            inputs = {"input_ids": torch.tensor([ids])}
        with torch.no_grad():
            found.append(model(**inputs).logits[0].tolist())
    return found


def _decoder_tokenizer(template: str | None, pad: bool) -> Any:
    backend = _byte_level(SPECIAL)
    backend.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", backend.token_to_id("<s>"))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>" if pad else None,
        chat_template=template,
    )


def _encoder_tokenizer() -> Any:
    backend = _byte_level(("[PAD]", "[CLS]", "[SEP]"))
    names = [(name, backend.token_to_id(name)) for name in ("[CLS]", "[SEP]")]
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=names
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        cls_token="[CLS]",
        sep_token="[SEP]",
        pad_token="[PAD]",
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )


def _byte_level(special: tuple[str, ...]) -> Tokenizer:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(models.BPE(vocab={c: n for n, c in enumerate(alphabet)}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens(list(special))
    return backend
