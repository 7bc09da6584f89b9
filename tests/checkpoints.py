"""Makes the real, tiny checkpoints that `conftest.py` hands to tests."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

EVALKIT = Path(__file__).parent.parent / "evalkit"
# Enough for answers made of words, mostly the wrong ones. The quickstart's base takes 690.
POCKET_STEPS = 200
VOCABULARY = 384
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{{ '<|' + message['role'] + '|>' + message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}{{ '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
WORDS = "sort the words and repeat last first of list count letters in apple river stone cloud"


def write_tiny_llama(folder: Path, seed: int = 0) -> None:
    """Writes a random Llama of hidden size 128 with 2 layers, and its tokenizer."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = _tokenizer()
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=8192,
        initializer_range=0.1,  # wide: logits differ enough for greedy decoding to mean something
        tie_word_embeddings=False,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _tokenizer() -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<|bos|>", "<|end|>", "<|pad|>", "<|system|>", "<|user|>", "<|assistant|>"]
    tokenizer.train_from_iterator(
        _sentences(),
        trainers.BpeTrainer(
            vocab_size=VOCABULARY,
            special_tokens=special,
            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
            show_progress=False,
        ),
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<|bos|>",
        eos_token="<|end|>",
        pad_token="<|pad|>",
        chat_template=CHAT_TEMPLATE,
    )


def _sentences() -> Iterator[str]:
    words = WORDS.split()
    for step in range(1, len(words)):
        yield " ".join([*words[::step], str(step)])


def pocket_base(cache: Path, steps: int = POCKET_STEPS) -> Path:
    """The pocket base after `steps` pre-training steps, built once for each version of its code."""
    from evalkit import registry

    builder = registry.load("builders", "pocket")
    options = builder.Options(steps=steps)
    folder = cache / _digest(options.model_dump_json())
    if not folder.is_dir():
        partial = folder.with_name(f"{folder.name}.{os.getpid()}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        builder(options).build(partial, lambda done, total, note="": None)
        _rename_unless_there(partial, folder)
    return folder


def _rename_unless_there(partial: Path, folder: Path) -> None:
    try:
        partial.rename(folder)
    except OSError:  # another test process was quicker, and wrote the same
        shutil.rmtree(partial)


def _digest(options: str) -> str:
    """Of all that decides the weights: options, code, libraries, threads (they change rounding)."""
    import torch

    files = sorted((EVALKIT / "pocket").rglob("*.py"))
    files += [EVALKIT / "builders" / "pocket.py", EVALKIT / "rules.py"]
    sources = [file.read_text("utf-8") for file in files]
    libraries = {name: version(name) for name in ("torch", "transformers", "tokenizers")}
    everything = json.dumps([options, sources, libraries, torch.get_num_threads()])
    return hashlib.sha256(everything.encode()).hexdigest()[:16]
