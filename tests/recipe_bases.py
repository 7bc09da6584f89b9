"""Tiny random checkpoints that stand for the bases of `recipes/`: same architectures and templates.

Each has what is awkward about the real one: a sliding window shorter than the prompts, soft caps,
a vocabulary with spare rows, a template that refuses a system role, opens with one of its own, or
is not there at all.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

VOCABULARY = 384
SPARE_ROWS = 16  # of the embedding, behind the tokenizer's last token, as phi-2 has
WINDOW = 24  # tokens; every prompt is longer

# No system role, and turns must alternate: both are refused.
ALTERNATE = (
    "{{ bos_token }}{% for m in messages %}"
    "{% if m.role == 'system' or (m.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('only user and assistant, in turns') }}{% endif %}"
)
MISTRAL = ALTERNATE + (
    "{% if m.role == 'user' %}{{ '[INST] ' ~ m.content ~ ' [/INST]' }}"
    "{% else %}{{ ' ' ~ m.content ~ eos_token }}{% endif %}{% endfor %}"
)
GEMMA = ALTERNATE + (
    "{{ '<start_of_turn>' ~ ('model' if m.role == 'assistant' else m.role) ~ '\n'"
    " ~ m.content | trim ~ '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
LLAMA_3 = (
    "{% for m in messages %}{% if loop.first %}{{ bos_token }}{% endif %}"
    "{{ '<|start_header_id|>' ~ m.role ~ '<|end_header_id|>\n\n' ~ m.content | trim"
    " ~ '<|eot_id|>' }}{% endfor %}"
    "{% if add_generation_prompt %}"
    "{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
# Every turn ends in EOS, and BOS stands nowhere although the tokenizer puts it before plain text.
ZEPHYR = (
    "{% for m in messages %}{{ '<|' ~ m.role ~ '|>\n' ~ m.content ~ eos_token ~ '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
)
# ChatML with a system message of its own where the conversation has none; BOS opens every turn.
SMOLLM_2 = (
    "{% if messages[0].role != 'system' %}"
    "{{ '<|im_start|>system\nYou are small.<|im_end|>\n' }}{% endif %}"
    "{% for m in messages %}"
    "{{ '<|im_start|>' ~ m.role ~ '\n' ~ m.content ~ '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


class TinyBase(NamedTuple):
    """What to build: `config` goes to the model type's config class.

    adds_bos: the tokenizer puts BOS before plain text.
    ends: what else than EOS generation stops at.
    """

    model_type: str
    config: dict[str, Any]
    template: str | None
    special: tuple[str, ...]
    bos: str
    eos: str
    pad: str | None = None
    adds_bos: bool = False
    ends: tuple[str, ...] = ()
    dtype: str = "float32"


# Narrower weights, as with wide ones a tied model only ever repeats its last token.
_TIED = {"tie_word_embeddings": True, "initializer_range": 0.02}
_MISTRAL_CONFIG = {"num_key_value_heads": 2, "sliding_window": WINDOW}
BASES = {
    "mistral": TinyBase(
        "mistral", _MISTRAL_CONFIG, MISTRAL, ("<s>", "</s>"), "<s>", "</s>", adds_bos=True
    ),
    "llama-3": TinyBase(
        "llama",
        {"num_key_value_heads": 2, "rope_theta": 500000.0},
        LLAMA_3,
        ("<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>",
         "<|eot_id|>"),
        "<|begin_of_text|>",
        "<|eot_id|>",
        adds_bos=True,
        ends=("<|end_of_text|>",),
    ),
    "gemma-2": TinyBase(
        "gemma2",
        {
            "num_key_value_heads": 2,
            "head_dim": 32,
            "query_pre_attn_scalar": 32,
            "sliding_window": WINDOW,
            "attn_logit_softcapping": 50.0,
            "final_logit_softcapping": 30.0,
            **_TIED,
        },
        GEMMA,
        ("<pad>", "<eos>", "<bos>", "<start_of_turn>", "<end_of_turn>"),
        "<bos>",
        "<eos>",
        "<pad>",
        adds_bos=True,
    ),
    "zephyr": TinyBase(
        "mistral", _MISTRAL_CONFIG, ZEPHYR, ("<s>", "</s>"), "<s>", "</s>", "</s>", adds_bos=True
    ),
    "phi-2": TinyBase(
        "phi",
        {"partial_rotary_factor": 0.5},
        None,
        ("<|endoftext|>",),
        "<|endoftext|>",
        "<|endoftext|>",
    ),
    "smollm2": TinyBase(
        "llama",
        # Three heads of 64, as the real one has nine: no multiple of 128.
        {
            "hidden_size": 192,
            "num_attention_heads": 3,
            "num_key_value_heads": 1,
            **_TIED,
        },
        SMOLLM_2,
        ("<|endoftext|>", "<|im_start|>", "<|im_end|>"),
        "<|im_start|>",
        "<|im_end|>",
        "<|im_end|>",
        dtype="bfloat16",
    ),
}  # fmt: skip


def write_base(name: str, folder: Path) -> Path:
    """Writes the checkpoint that stands for a base, with its tokenizer, and returns its folder."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    tiny = BASES[name]
    tokenizer = _tokenizer(tiny)
    options = {
        "vocab_size": VOCABULARY + SPARE_ROWS,
        "hidden_size": 128,
        "intermediate_size": 256,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": 4096,
        "initializer_range": 0.1,
        "tie_word_embeddings": False,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        **tiny.config,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(tiny.model_type, **options))
    if tiny.ends:
        others = tokenizer.convert_tokens_to_ids(list(tiny.ends))
        model.generation_config.eos_token_id = [tokenizer.eos_token_id, *others]
    model.to(getattr(torch, tiny.dtype)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _tokenizer(tiny: TinyBase) -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=list(tiny.special),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    backend.train_from_iterator(_sentences(), trainer)
    if tiny.adds_bos:
        backend.post_processor = processors.TemplateProcessing(
            single=f"{tiny.bos} $A", special_tokens=[(tiny.bos, backend.token_to_id(tiny.bos))]
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token=tiny.bos,
        eos_token=tiny.eos,
        pad_token=tiny.pad,
        additional_special_tokens=list(tiny.special),
        chat_template=tiny.template,
    )


def _sentences() -> Iterator[str]:
    words = "name the river that runs past our town and say why it is long user assistant".split()
    for step in range(1, len(words)):
        yield " ".join([*words[::step], str(step)])
