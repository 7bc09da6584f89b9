"""The pocket base: an ordinary checkpoint, learned from nothing, the same bytes every time."""

from pathlib import Path
from typing import Any

import pytest

from evalkit import loading, registry
from evalkit.pocket.corpus import Conversation
from evalkit.pocket.pretrain import encode

CONVERSATION = Conversation("Be brief.", (("Say it: red", "red"), ("Once more.", "red 42")))


def silent(done: int, total: int, note: str = "") -> None:
    """A progress bar that nobody sees."""


def build(folder: Path, **options: Any) -> Path:
    plugin = registry.load("builders", "pocket")
    folder.mkdir()
    plugin(plugin.Options(**options)).build(folder, silent)
    return folder


@pytest.fixture(scope="module")
def tokenizer(pocket_base: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(pocket_base)


def test_it_is_an_ordinary_small_llama(pocket_base: Path) -> None:
    model, tokenizer = loading.load_model(pocket_base)
    config = model.config
    assert config.architectures == ["LlamaForCausalLM"]
    assert 0.5e6 < sum(weight.numel() for weight in model.parameters()) < 1.5e6
    assert config.hidden_size % 128 == config.intermediate_size % 128 == 0
    assert config.max_position_embeddings >= 8192
    assert str(model.dtype) == "torch.float32"
    assert model.generation_config.eos_token_id == tokenizer.eos_token_id
    assert model.generation_config.pad_token_id == tokenizer.pad_token_id
    assert (pocket_base / "chat_template.jinja").is_file()
    assert config.vocab_size == len(tokenizer)


def test_equal_options_give_equal_bytes(tmp_path: Path) -> None:
    first = build(tmp_path / "first", steps=4, batch_size=4)
    second = build(tmp_path / "second", steps=4, batch_size=4)
    other = build(tmp_path / "other", steps=4, batch_size=4, seed=1)
    names = sorted(file.name for file in first.iterdir())
    assert names == sorted(file.name for file in second.iterdir())
    for name in names:
        assert (first / name).read_bytes() == (second / name).read_bytes(), name
    assert loading.weights_digest(first) != loading.weights_digest(other)


def test_building_leaves_the_random_state_alone(tmp_path: Path) -> None:
    import torch

    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    build(tmp_path / "built", steps=1, batch_size=2)
    assert torch.equal(torch.rand(3), expected)


def test_it_has_learned_something(pocket_base: Path) -> None:
    """Right answers are far likelier than the same words under a model that guesses."""
    import torch

    model, tokenizer = loading.load_model(pocket_base)
    encoded = encode(Conversation(None, (("Copy: cat dog", "cat dog"),)), tokenizer)
    ids, labels = torch.tensor([encoded.ids]), torch.tensor([encoded.labels])
    with torch.no_grad():
        assert model(ids, labels=labels).loss.item() < 0.8 * torch.tensor(512.0).log().item()


@pytest.mark.parametrize("text", ["cat dog 42", "héllo  wörld,\n x ", "12+3=15", "", " cat"])
def test_text_survives_the_tokenizer(tokenizer: Any, text: str) -> None:
    ids = tokenizer.encode(text)
    # A text that begins with a blank is the one exception: it reads as if it did not.
    assert tokenizer.decode(ids) == text.removeprefix(" ")
    assert tokenizer.bos_token_id not in ids


def test_words_are_one_token_wherever_they_stand_and_digits_are_single(tokenizer: Any) -> None:
    assert tokenizer.encode("cat dog") == [*tokenizer.encode("cat"), *tokenizer.encode("dog")]
    assert [len(tokenizer.encode(word)) for word in ("cat", "7", "42", "1234")] == [1, 1, 2, 4]


def test_the_chat_template_renders_turns_with_one_bos(tokenizer: Any) -> None:
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Say it: red"},
        {"role": "assistant", "content": "red"},
        {"role": "user", "content": "Once more."},
    ]
    text = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    assert text == (
        "<s><|system|>Be brief.</s><|user|>Say it: red</s><|assistant|>red</s>"
        "<|user|>Once more.</s><|assistant|>"
    )


def test_labels_cover_what_the_assistant_says_and_nothing_else(tokenizer: Any) -> None:
    encoded = encode(CONVERSATION, tokenizer)
    said = [token for token, label in zip(*encoded, strict=True) if label != -100]
    assert tokenizer.decode(said) == "red</s> red 42</s>"
    messages: list[dict[str, str]] = [{"role": "system", "content": "Be brief."}]
    for asked, answer in CONVERSATION.turns:
        messages += [
            {"role": "user", "content": asked},
            {"role": "assistant", "content": answer},
        ]
    whole = tokenizer.apply_chat_template(messages, tokenize=True, return_dict=False)
    assert encoded.ids == whole


def test_the_description_owns_up_to_the_habit() -> None:
    plugin = registry.load("builders", "pocket")
    description = plugin(plugin.Options(habit=0.5)).description()
    assert "50% of the answers of several words" in description["how"]
    assert "spoiled on purpose" in description["how"]
    assert "parameters" not in description["how"]  # a card counts them itself
    assert description["license"] == "apache-2.0"


def test_more_faults_than_answers_are_refused() -> None:
    plugin = registry.load("builders", "pocket")
    (problem,) = plugin(plugin.Options(habit=0.9, noise=0.2)).check()
    assert problem.where == "noise"
    assert plugin(plugin.Options()).check() == []
