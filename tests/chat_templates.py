"""Tiny tokenizers with chat templates shaped like those of well-known families."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

LLAMA_3 = (
    "{% for m in messages %}{% if loop.first %}{{ bos_token }}{% endif %}"
    "{{ '<|start_header_id|>' ~ m.role ~ '<|end_header_id|>\n\n' ~ m.content | trim"
    " ~ '<|eot_id|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}"
    "{% endif %}"
)
MISTRAL = (
    "{{ bos_token }}{% for m in messages %}"
    "{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate user/assistant') }}{% endif %}"
    "{% if m.role == 'user' %}{{ '[INST] ' ~ m.content ~ ' [/INST]' }}"
    "{% else %}{{ m.content ~ eos_token }}{% endif %}{% endfor %}"
)
GEMMA_2 = (
    "{{ bos_token }}{% if messages[0].role == 'system' %}"
    "{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for m in messages %}"
    "{% set role = 'model' if m.role == 'assistant' else m.role %}"
    "{{ '<start_of_turn>' ~ role ~ '\n' ~ m.content | trim ~ '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
ZEPHYR = (
    "{% for m in messages %}{{ '<|' ~ m.role ~ '|>\n' ~ m.content ~ eos_token ~ '\n' }}"
    "{% if loop.last and add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}{% endfor %}"
)
QWEN_2 = (
    "{% for m in messages %}{% if loop.first and m.role != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n' }}{% endif %}"
    "{{ '<|im_start|>' ~ m.role ~ '\n' ~ m.content ~ '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
# Knows no system role, and says nothing about it.
PHI_3 = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}"
    "{{ '<|user|>\n' ~ m.content ~ '<|end|>\n<|assistant|>\n' }}"
    "{% elif m.role == 'assistant' %}{{ m.content ~ '<|end|>\n' }}{% endif %}{% endfor %}"
)
CHATML = (
    "{% for m in messages %}"
    "{{ '<|im_start|>' ~ m.role ~ '\n' ~ m.content ~ '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


class Family(NamedTuple):
    """How a family renders. system: `own` role, or folded into the first turn.

    system_text: what a system message of "Be brief." looks like before the first user's "Hi."
    """

    template: str
    special: tuple[str, ...]
    bos: str | None
    eos: str
    adds_bos: bool
    end_of_turn: str
    system: Literal["own", "folded"]
    rendered: str


# rendered: [user "Hi.", assistant "Yes.", user "Why?"] up to the next answer.
FAMILIES = {
    "llama-3": Family(
        LLAMA_3,
        ("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
        "<|begin_of_text|>", "<|eot_id|>", True, "<|eot_id|>", "own",
        "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nHi.<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\nYes.<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nWhy?<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n",
    ),
    "mistral": Family(
        MISTRAL, ("<s>", "</s>"), "<s>", "</s>", True, "</s>", "folded",
        "<s>[INST] Hi. [/INST]Yes.</s>[INST] Why? [/INST]",
    ),
    "gemma-2": Family(
        GEMMA_2, ("<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>"),
        "<bos>", "<eos>", True, "<end_of_turn>", "folded",
        "<bos><start_of_turn>user\nHi.<end_of_turn>\n<start_of_turn>model\nYes.<end_of_turn>\n"
        "<start_of_turn>user\nWhy?<end_of_turn>\n<start_of_turn>model\n",
    ),
    "zephyr": Family(
        ZEPHYR, ("<s>", "</s>"), "<s>", "</s>", True, "</s>", "own",
        "<|user|>\nHi.</s>\n<|assistant|>\nYes.</s>\n<|user|>\nWhy?</s>\n<|assistant|>\n",
    ),
    "qwen-2": Family(
        QWEN_2, ("<|endoftext|>", "<|im_start|>", "<|im_end|>"),
        None, "<|im_end|>", False, "<|im_end|>", "own",
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
        "<|im_start|>user\nHi.<|im_end|>\n<|im_start|>assistant\nYes.<|im_end|>\n"
        "<|im_start|>user\nWhy?<|im_end|>\n<|im_start|>assistant\n",
    ),
    "phi-3": Family(
        PHI_3, ("<s>", "<|endoftext|>", "<|user|>", "<|assistant|>", "<|end|>"),
        "<s>", "<|endoftext|>", True, "<|end|>", "folded",
        "<s><|user|>\nHi.<|end|>\n<|assistant|>\nYes.<|end|>\n<|user|>\nWhy?<|end|>\n"
        "<|assistant|>\n",
    ),
    "chatml": Family(
        CHATML, ("<|endoftext|>", "<|im_start|>", "<|im_end|>"),
        "<|endoftext|>", "<|im_end|>", False, "<|im_end|>", "own",
        "<|im_start|>user\nHi.<|im_end|>\n<|im_start|>assistant\nYes.<|im_end|>\n"
        "<|im_start|>user\nWhy?<|im_end|>\n<|im_start|>assistant\n",
    ),
}  # fmt: skip


def tokenizer_of(family: Family) -> Any:
    """A tokenizer of bytes, the family's special tokens and a few merges, with its template."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [("H", "i"), ("Hi", "."), ("y", "Ġ"), (".", "Ċ"), ("Ċ", "Ċ")]
    vocabulary = {c: n for n, c in enumerate([*alphabet, *("".join(pair) for pair in merges)])}
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([AddedToken(token, special=True) for token in family.special])
    if family.adds_bos:
        number = backend.token_to_id(family.bos)
        backend.post_processor = processors.TemplateProcessing(
            single=f"{family.bos} $A", special_tokens=[(family.bos, number)]
        )
    options = {"bos_token": family.bos} if family.bos else {}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token=family.eos, **options)
    tokenizer.chat_template = family.template
    return tokenizer
