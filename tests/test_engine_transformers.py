"""The transformers engine samples what the model says, reproducibly, batch by batch."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_models import tiny_model
from transformers import AutoModelForCausalLM, Gemma3Config

from evalkit import rendering
from evalkit.engines import transformers as engine_file
from evalkit.engines.endings import end_token_ids
from evalkit.errors import RecipeError, ScoreError
from evalkit.loading import load_model
from evalkit.records import Checkpoint, Message, Response
from evalkit.roles import Engine, GenerationRequest, LoadedModel, Sampling
from evalkit.scoring import CheckpointScorer

GREEDY = Sampling(temperature=0, max_new_tokens=12)


def ignore(done: int, total: int, note: str = "") -> None:
    """No progress is shown."""


@pytest.fixture(scope="module")
def loaded(tiny_llama: Path) -> LoadedModel:
    return load_model(tiny_llama)


def engine(loaded: LoadedModel, **options: Any) -> engine_file.TransformersEngine:
    plugin = engine_file.PLUGIN
    checkpoint = Checkpoint("base", "held in memory", "", "float32")
    return plugin(plugin.Options(**options)).serve(checkpoint, lambda: loaded)


def random_requests(count: int, n: int = 1, seed: int = 0) -> list[GenerationRequest]:
    draw = random.Random(seed)
    return [
        GenerationRequest(
            tuple(draw.randrange(10, 380) for _ in range(draw.randint(3, 25))), n, 1000 + number
        )
        for number in range(count)
    ]


def test_greedy_equals_one_forward_per_token(loaded: LoadedModel) -> None:
    requests = random_requests(7)
    answers = engine(loaded, batch_rows=3).generate(requests, GREEDY, ignore)
    ends = end_token_ids(loaded.tokenizer, loaded.model.generation_config.eos_token_id)
    for request, (answer,) in zip(requests, answers, strict=True):
        ids = list(request.prompt_token_ids)
        with torch.no_grad():
            for _ in range(GREEDY.max_new_tokens):
                ids.append(int(loaded.model(torch.tensor([ids])).logits[0, -1].argmax()))
                if ids[-1] in ends:
                    break
        assert answer.token_ids == tuple(ids[len(request.prompt_token_ids) :])
        assert answer.text == rendering.decode(loaded.tokenizer, answer.token_ids)


@pytest.mark.parametrize("name", ["mistral_window", "gemma2", "gpt_neox"])
def test_other_architectures_decode_like_a_full_forward(name: str, loaded: LoadedModel) -> None:
    model = tiny_model(name)
    other = engine(LoadedModel(model, loaded.tokenizer))
    draw = random.Random(1)
    requests = [
        GenerationRequest(tuple(draw.randrange(3, 61) for _ in range(length)))
        for length in (4, 9, 9, 15)
    ]
    answers = other.generate(requests, GREEDY, ignore)
    for request, (answer,) in zip(requests, answers, strict=True):
        prompt = len(request.prompt_token_ids)
        with torch.no_grad():
            logits = model(torch.tensor([request.prompt_token_ids + answer.token_ids])).logits
        chosen = logits[0, prompt - 1 : -1].gather(1, torch.tensor(answer.token_ids)[:, None])
        assert (logits[0, prompt - 1 : -1].amax(-1) - chosen[:, 0]).max() < 1e-4


def test_a_batch_alone_gives_the_same_responses(loaded: LoadedModel) -> None:
    requests, sampling = random_requests(23, n=3), Sampling(1.0, 1.0, 8)
    tested = engine(loaded, batch_rows=12)
    whole = tested.generate(requests, sampling, ignore)
    batches = tested.batches(requests)
    assert sorted(index for batch in batches for index in batch) == list(range(23))
    assert len(batches) == 6
    for batch in batches:
        chosen = [requests[index] for index in batch]
        assert tested.batches(chosen) == [list(range(len(batch)))]
        assert tested.generate(chosen, sampling, ignore) == [whole[index] for index in batch]


def test_samples_depend_on_seed_and_number_only(loaded: LoadedModel) -> None:
    (request,) = random_requests(1)
    tested, sampling = engine(loaded), Sampling(1.0, 1.0, 8)
    one = tested.generate([request], sampling, ignore)[0]
    five = tested.generate([request._replace(n=5)], sampling, ignore)[0]
    assert five[0] == one[0]
    assert len(set(five)) == 5
    other = tested.generate([request._replace(seed=7)], sampling, ignore)[0]
    assert other != one


@pytest.mark.parametrize("top_p", [1.0, 0.6])
@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_first_tokens_follow_the_models_distribution(
    loaded: LoadedModel, temperature: float, top_p: float
) -> None:
    (request,) = random_requests(1, n=2000)
    with torch.no_grad():
        logits = loaded.model(torch.tensor([request.prompt_token_ids])).logits[0, -1].double()
    probability, order = (logits / temperature).softmax(-1).sort(descending=True)
    kept = (probability.cumsum(-1) - probability) < top_p
    probability = torch.where(kept, probability, 0.0)
    expected = dict(zip(order.tolist(), (probability / probability.sum()).tolist(), strict=True))
    (answers,) = engine(loaded).generate([request], Sampling(temperature, top_p, 1), ignore)
    counts = Counter(answer.token_ids[0] for answer in answers)
    assert all(expected[token_id] > 0 for token_id in counts)
    for token_id, share in expected.items():
        spread = (share * (1 - share) / 2000) ** 0.5
        assert abs(counts[token_id] / 2000 - share) < 5 * spread + 1e-3


def test_end_tokens_stop_and_are_kept(loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    tested = engine(loaded)
    (request,) = random_requests(1)
    free = tested.generate([request], GREEDY, ignore)[0][0]
    assert free.finish_reason == "length"
    monkeypatch.setattr(tested, "_end_ids", lambda: frozenset({free.token_ids[4]}))
    stopped = tested.generate([request], GREEDY, ignore)[0][0]
    first = free.token_ids.index(free.token_ids[4])
    assert stopped.token_ids == free.token_ids[: first + 1]
    assert stopped.finish_reason == "stop"


def test_stop_strings_are_cut_from_the_text(loaded: LoadedModel) -> None:
    tested = engine(loaded)
    prompt = rendering.prompt_token_ids(loaded.tokenizer, (Message("user", "sort the words"),))
    requests = [GenerationRequest(prompt, 1, seed) for seed in range(20)]
    sampling = Sampling(1.0, 1.0, 20)
    free = [group[0] for group in tested.generate(requests, sampling, ignore)]
    stopped = tested.generate([r._replace(stop=("e",)) for r in requests], sampling, ignore)
    seen = 0
    for whole, (answer,) in zip(free, stopped, strict=True):
        if "e" in whole.text:
            seen += 1
            assert answer.finish_reason == "stop"
            assert answer.text == whole.text[: whole.text.index("e")]
            assert answer.token_ids == whole.token_ids[: len(answer.token_ids)]
        else:
            assert answer == whole
    assert seen > 3


def test_finished_rows_leave_the_batch_unchanged(
    loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dropping finished rows from the cache must not disturb those that go on."""
    tested, sampling = engine(loaded), Sampling(1.0, 1.0, 16)
    requests = random_requests(12, n=4, seed=3)
    monkeypatch.setattr(tested, "_end_ids", lambda: frozenset(range(10, 60)))
    together = tested.generate(requests, sampling, ignore)
    lengths = {len(response.token_ids) for group in together for response in group}
    assert len(lengths) > 3
    apart = [tested.generate([request], sampling, ignore)[0] for request in requests]
    assert together == apart


def test_context_and_misuse_are_refused(loaded: LoadedModel) -> None:
    tested = engine(loaded)
    with pytest.raises(ScoreError, match="context"):
        tested.generate([GenerationRequest((5,) * 8192)], GREEDY, ignore)
    with pytest.raises(ScoreError, match="without tokens"):
        tested.generate([GenerationRequest(())], GREEDY, ignore)
    with pytest.raises(RecipeError):
        engine_file.PLUGIN(engine_file.PLUGIN.Options()).generate(
            random_requests(1), GREEDY, ignore
        )


def test_the_context_of_a_model_that_also_sees_is_known(loaded: LoadedModel) -> None:
    text = {
        "vocab_size": 400, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
        "num_key_value_heads": 1, "intermediate_size": 32, "head_dim": 16, "sliding_window": 16,
        "max_position_embeddings": 12,
    }  # fmt: skip
    sight = {
        "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
        "intermediate_size": 32, "image_size": 28, "patch_size": 14,
    }  # fmt: skip
    config = Gemma3Config(text_config=text, vision_config=sight, mm_tokens_per_image=4)
    seeing = LoadedModel(AutoModelForCausalLM.from_config(config).eval(), loaded.tokenizer)
    assert CheckpointScorer(seeing).max_length == 12
    request = GenerationRequest((2, 5, 6, 7, 8))
    ((answer,),) = engine(seeing).generate([request], GREEDY, ignore)
    assert len(answer.token_ids) <= 7 < GREEDY.max_new_tokens
    with pytest.raises(ScoreError, match="fills the model's context of 12"):
        engine(seeing).generate([GenerationRequest((2,) * 12)], GREEDY, ignore)


def test_identity_and_role(loaded: LoadedModel) -> None:
    tested = engine(loaded)
    assert isinstance(tested, Engine)
    assert tested.identity()["dtype"] == "float32"
    assert tested.tokenizer is loaded.tokenizer
    assert isinstance(tested.generate(random_requests(1), GREEDY, ignore)[0][0], Response)


def test_a_long_prompt_shortens_no_other_response(
    loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Context 256: the long prompts have room for 4 and 2 tokens, the short ones for all 12."""
    tested = engine(LoadedModel(tiny_model("llama"), loaded.tokenizer))
    monkeypatch.setattr(tested, "_end_ids", lambda: frozenset())
    draw = random.Random(2)
    requests = [
        GenerationRequest(tuple(draw.randrange(3, 61) for _ in range(length)), n=2)
        for length in (9, 252, 12, 254)
    ]
    assert len(tested.batches(requests)) == 1
    answers = tested.generate(requests, GREEDY, ignore)
    assert [[len(r.token_ids) for r in group] for group in answers] == [
        [12, 12],
        [4, 4],
        [12, 12],
        [2, 2],
    ]
    assert answers == [tested.generate([request], GREEDY, ignore)[0] for request in requests]


def test_what_it_requires_is_declared() -> None:
    assert dict(engine_file.PLUGIN.requires).keys() == {"torch", "transformers"}
