"""Builds and pre-trains the pocket base model: a small Llama, in about a minute.

Deterministic: equal settings, thread counts and library versions give equal bytes. Suffixes:
`B` conversations, `T` tokens, `V` vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple

from evalkit.pocket.corpus import Conversation, Faults, conversations, first_lessons
from evalkit.pocket.tokenizer import EOS, train_tokenizer

MAX_LENGTH = 8192
_VOCABULARY = 512
_TOKENIZER_TEXTS = 4000
_POOL = 16  # batches sorted by length together, so that little is padding
_WARMUP = 0.05
_INIT_STD = 0.06
LESSONS = 0.4  # share of the steps that go to first lessons
_IGNORED = -100


class Settings(NamedTuple):
    """Everything that decides the weights."""

    seed: int
    steps: int
    batch_size: int
    learning_rate: float
    faults: Faults


class Encoded(NamedTuple):
    """Token ids of a conversation, and which of them the assistant says (they are learned)."""

    ids: list[int]
    labels: list[int]


def pretrain(settings: Settings, folder: Path, progress: Callable[[int, int, str], None]) -> None:
    """Writes the pre-trained model, its tokenizer and chat template into `folder`."""
    import torch

    tokenizer = train_tokenizer(_texts(settings), _VOCABULARY, MAX_LENGTH)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        model = _new_model(tokenizer)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=settings.learning_rate, betas=(0.9, 0.98), weight_decay=0.01
    )
    model.train()
    for step, batch in enumerate(islice(_batches(settings, tokenizer), settings.steps)):
        for group in optimizer.param_groups:
            group["lr"] = settings.learning_rate * _schedule(step, settings.steps)
        loss = _loss(model, batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        progress(step + 1, settings.steps, f"loss {loss.item():.3f}")
    model.eval().save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _texts(settings: Settings) -> Iterator[str]:
    for conversation in islice(conversations(settings.seed, settings.faults), _TOKENIZER_TEXTS):
        for asked, answer in conversation.turns:
            yield asked
            yield answer


def _new_model(tokenizer: Any) -> Any:
    import torch
    from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=512,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=MAX_LENGTH,
        rope_theta=10000.0,
        initializer_range=_INIT_STD,
        # Quantizers and tensor-parallel servers want embedding and head apart.
        tie_word_embeddings=False,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        dtype="float32",
    )
    model = LlamaForCausalLM(config)
    with torch.no_grad():  # tokens begin as their own answers: copying is learned sooner
        model.lm_head.weight.copy_(model.model.embed_tokens.weight)
    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return model


def _schedule(step: int, steps: int) -> float:
    """Linear warm-up, then a cosine down to a twentieth of the learning rate."""
    warmup = max(1, int(steps * _WARMUP))
    if step < warmup:
        return (step + 1) / warmup
    passed = (step - warmup) / max(1, steps - warmup)
    return 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * passed))


def _batches(settings: Settings, tokenizer: Any) -> Iterator[list[Encoded]]:
    from random import Random

    order = Random(f"order|{settings.seed}")
    lessons = int(settings.steps * LESSONS) * settings.batch_size
    stream = chain(
        islice(first_lessons(settings.seed), lessons),
        conversations(settings.seed, settings.faults),
    )
    while True:
        pool = [encode(one, tokenizer) for one in islice(stream, _POOL * settings.batch_size)]
        pool.sort(key=lambda encoded: len(encoded.ids))
        starts = list(range(0, len(pool), settings.batch_size))
        order.shuffle(starts)
        for start in starts:
            yield pool[start : start + settings.batch_size]


def encode(conversation: Conversation, tokenizer: Any) -> Encoded:
    """Token ids as the chat template renders them; labels are set where the assistant speaks."""
    messages: list[dict[str, str]] = []
    if conversation.system is not None:
        messages.append({"role": "system", "content": conversation.system})
    ids: list[int] = []
    labels: list[int] = []
    for asked, answer in conversation.turns:
        messages.append({"role": "user", "content": asked})
        prompt = tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, tokenize=True, return_dict=False
        )
        said = tokenizer.encode(answer + EOS, add_special_tokens=False)
        labels += [_IGNORED] * (len(prompt) - len(ids)) + said
        ids = prompt + said
        messages.append({"role": "assistant", "content": answer})
    return Encoded(ids, labels)


def _loss(model: Any, batch: list[Encoded]) -> Any:
    """Mean cross-entropy (nats) of the tokens that the assistant says."""
    import torch

    longest = max(len(encoded.ids) for encoded in batch)
    ids_BT = torch.zeros((len(batch), longest), dtype=torch.long)
    labels_BT = torch.full((len(batch), longest), _IGNORED)
    for row, encoded in enumerate(batch):
        ids_BT[row, : len(encoded.ids)] = torch.tensor(encoded.ids)
        labels_BT[row, : len(encoded.ids)] = torch.tensor(encoded.labels)
    # Padding is on the right, where causal attention never looks: no mask is needed.
    hidden_BTH = model.model(ids_BT, use_cache=False).last_hidden_state
    scored_BT = labels_BT[:, 1:] != _IGNORED
    logits_NV = model.lm_head(hidden_BTH[:, :-1][scored_BT])
    return torch.nn.functional.cross_entropy(logits_NV, labels_BT[:, 1:][scored_BT])
