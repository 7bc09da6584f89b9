"""What training is measured on: random Llamas, and pairs with the lengths of UltraFeedback.

Token ids are random: speed and memory depend on lengths alone. A word-level tokenizer turns
`w17` into one token, so that trainers which insist on text get the very same ids.
"""

import random
from pathlib import Path
from typing import NamedTuple

import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

MAX_LENGTH = 1024
# Means that a tokenizer of 32k tokens gives on UltraFeedback, in tokens; lognormal, this spread.
PROMPT_MEAN, RESPONSE_MEAN, SPREAD = 158, 338, 0.5
SPECIAL = 3  # ids of <pad>, <s> and </s>


class Shape(NamedTuple):
    """Size of a random Llama."""

    vocabulary: int
    hidden: int
    layers: int
    heads: int
    intermediate: int


SHAPES = {
    "20m": Shape(16_000, 384, 8, 6, 1024),
    "85m": Shape(16_000, 768, 12, 12, 2048),  # its head is a small part of the work
    "1b": Shape(32_000, 2048, 16, 32, 8192),
    "test": Shape(500, 32, 2, 4, 64),
}


class Group(NamedTuple):
    """Token ids of a prompt and its responses, each of which ends with </s>."""

    prompt: list[int]
    responses: list[list[int]]

    @property
    def useful_tokens(self) -> int:
        """Prompt and responses, each counted once."""
        return len(self.prompt) + sum(map(len, self.responses))


def groups(count: int, responses: int, vocabulary: int, seed: int = 0) -> list[Group]:
    """Random groups; every sequence keeps within MAX_LENGTH."""
    draw = random.Random(seed)

    def ids(length: int) -> list[int]:
        return [draw.randrange(SPECIAL, vocabulary) for _ in range(length)]

    made = []
    for _ in range(count):
        prompt = ids(_length(draw, PROMPT_MEAN, MAX_LENGTH // 2))
        room = MAX_LENGTH - len(prompt) - 1
        made.append(
            Group(prompt, [[*ids(_length(draw, RESPONSE_MEAN, room)), 2] for _ in range(responses)])
        )
    return made


def _length(draw: random.Random, mean: float, limit: int) -> int:
    # A lognormal's mean is exp(mu + sigma^2 / 2).
    drawn = draw.lognormvariate(0.0, SPREAD) * mean / 2.718281828 ** (SPREAD**2 / 2)
    return max(4, min(limit, round(drawn)))


def write_model(folder: Path, name: str, dtype: str) -> None:
    """A random Llama with its tokenizer, as `from_pretrained` reads them."""
    shape = SHAPES[name]
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.hidden,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.heads,
        intermediate_size=shape.intermediate,
        max_position_embeddings=2 * MAX_LENGTH,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        tie_word_embeddings=False,
    )
    model = LlamaForCausalLM(config).to(getattr(torch, dtype))
    model.save_pretrained(folder)
    _tokenizer(shape.vocabulary).save_pretrained(folder)


def text(ids: list[int]) -> str:
    """Text that the tokenizer turns into these ids; a closing </s> is left to the trainer."""
    words = ids[:-1] if ids[-1] == 2 else ids
    return "".join(f"w{number} " for number in words)


def _tokenizer(vocabulary: int) -> PreTrainedTokenizerFast:
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import WhitespaceSplit

    words = {"<pad>": 0, "<s>": 1, "</s>": 2}
    words |= {f"w{number}": number for number in range(SPECIAL, vocabulary)}
    model = Tokenizer(WordLevel(words, unk_token="<pad>"))
    model.pre_tokenizer = WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=model, pad_token="<pad>", bos_token="<s>", eos_token="</s>"
    )
