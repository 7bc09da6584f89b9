"""Every layout agrees with one plain forward pass per sequence, in values and gradients."""

from __future__ import annotations

import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scoring_parts import (
    gradient,
    random_requests,
    single_logps,
    token_distributions,
    uncompiled_flex_attention,
)
from tiny_models import ARCHITECTURES, tiny_model

from evalkit.errors import ScoreError
from evalkit.roles import ScoringRequest
from evalkit.scoring import ScoringModel, fill_rows, lay_out, split_by_tokens
from evalkit.scoring.architectures import inexact_because

LAYOUTS = ("tree", "cache", "packed", "padded")


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_layout_agrees_with_single_sequences(name: str) -> None:
    model, requests = tiny_model(name), random_requests()
    exact = [layout for layout in LAYOUTS if not inexact_because(model, layout)]
    assert exact == (["padded"] if name == "gpt_neox" else list(LAYOUTS))
    with torch.no_grad():
        expected = single_logps(model, requests)
        for layout in exact:
            scorer = ScoringModel(model, layout)
            for rows in (fill_rows(requests, layout), [[i] for i in range(6)], [list(range(6))]):
                logps = scorer(lay_out(requests, rows, layout)).logp_N
                # A layout takes its rows in any order, and answers in the order of requests.
                assert (logps - expected).abs().max() < 1e-4, (layout, rows)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_gradients_equal_those_of_single_sequences(name: str) -> None:
    """With gradient checkpointing, too, which every layout but the cache allows."""
    model, requests = tiny_model(name), random_requests(1, 3)
    weights_N = torch.linspace(-1, 2, 18)
    (single_logps(model, requests) * weights_N).sum().backward()
    expected = gradient(model)
    seen = 0
    for checkpointing in (False, True):
        if checkpointing:
            model.gradient_checkpointing_enable({"use_reentrant": False})
            model.train()
        for layout in LAYOUTS:
            if inexact_because(model, layout):
                continue
            scorer = ScoringModel(model, layout)
            logps = scorer(lay_out(requests, fill_rows(requests, layout), layout)).logp_N
            (logps * weights_N).sum().backward()
            difference = (gradient(model) - expected).norm()
            assert difference < 1e-5 * expected.norm(), (layout, checkpointing)
            seen += 1
    assert seen == (2 if name == "gpt_neox" else 7)


def test_a_mask_without_the_window_would_be_noticed() -> None:
    model, requests = tiny_model("mistral_window"), random_requests()
    scorer = ScoringModel(model)
    scorer._architecture = scorer._architecture._replace(windows={"": None})
    with torch.no_grad():
        logps = scorer(lay_out(requests, fill_rows(requests))).logp_N
        assert (logps - single_logps(model, requests)).abs().max() > 0.1


@pytest.mark.parametrize("name", ["llama", "gpt_neox"])
def test_tokens_are_told_in_the_order_they_are_read(name: str) -> None:
    model, requests = tiny_model(name), random_requests(5, 3)
    with torch.no_grad():
        distributions = token_distributions(model, requests)
        logp_S = torch.cat([logp.gather(1, ids[:, None])[:, 0] for logp, ids in distributions])
        greedy_S = torch.cat([logp.argmax(-1) == ids for logp, ids in distributions])
        entropy_S = torch.cat([-(logp.exp() * logp).sum(-1) for logp, _ in distributions])
        for layout in LAYOUTS:
            if inexact_because(model, layout):
                continue
            batch = lay_out(requests, fill_rows(requests, layout), layout)
            scores = ScoringModel(model, layout)(batch, watch=True)
            assert scores.n_tokens_N.tolist() == [len(ids) for _, ids in distributions]
            assert torch.allclose(scores.token_logp_S, logp_S, atol=1e-4)
            assert torch.allclose(scores.entropy_S, entropy_S, atol=1e-4)
            assert scores.greedy_S.equal(greedy_S)
            by_sum = [part.sum() for part in scores.token_logp_S.split(scores.n_tokens_N.tolist())]
            assert torch.allclose(torch.stack(by_sum), scores.logp_N, atol=1e-4)
            assert ScoringModel(model, layout)(batch).entropy_S is None


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), layout=st.sampled_from(LAYOUTS))
def test_grouping_and_order_of_requests_change_nothing(seed: int, layout: str) -> None:
    """Packing invariance: any requests in any rows of any passes."""
    draw = random.Random(seed)
    requests = random_requests(seed, 5)
    order = draw.sample(range(5), 5)
    scorer = ScoringModel(_LLAMA, layout)
    found: dict[int, list[float]] = {}
    with torch.no_grad():
        whole = scorer(lay_out(requests, fill_rows(requests, layout), layout)).logp_N
        while order:
            members = [order.pop() for _ in range(draw.randint(1, len(order)))]
            rows: list[list[int]] = [[] for _ in range(draw.randint(1, len(members)))]
            for number in range(len(members)):
                draw.choice(rows).append(number)
            part = [requests[index] for index in members]
            logps = scorer(lay_out(part, [row for row in rows if row], layout)).logp_N
            found |= zip(members, logps.view(len(members), 6).tolist(), strict=True)
    again = torch.tensor([found[index] for index in range(5)])
    assert torch.allclose(whole.view(5, 6), again, atol=1e-4)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), layout=st.sampled_from(LAYOUTS))
def test_the_order_of_continuations_changes_nothing(seed: int, layout: str) -> None:
    [request] = random_requests(seed, 1)
    order = random.Random(seed).sample(range(6), 6)
    permuted = ScoringRequest(
        request.prompt_token_ids, tuple(request.continuations[index] for index in order)
    )
    scorer = ScoringModel(_LLAMA, layout)
    with torch.no_grad():
        one, other = (scorer(lay_out([r], [[0]], layout)).logp_N for r in (request, permuted))
    assert torch.allclose(one[order], other, atol=1e-4)


_LLAMA = tiny_model("llama")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_passes_keep_within_the_budget(layout: str) -> None:
    requests = random_requests(4, 30)
    passes = split_by_tokens(requests, 260, layout)
    assert sorted(index for group in passes for index in group) == list(range(30))
    assert len(passes) < 30
    for group in passes:
        part = [requests[index] for index in group]
        batch = lay_out(part, fill_rows(part, layout), layout)
        assert batch.n_slots <= 260


@pytest.mark.parametrize(
    ("layout", "slots", "tokens"),
    [("tree", 14, 10), ("packed", 13, 13), ("padded", 18, 13), ("cache", 15, 10)],
)
def test_slots_are_tokens_and_padding(layout: str, slots: int, tokens: int) -> None:
    """A prompt of 3 and one of 1, continued by 4 and 2 tokens, and by 3: the last ones unread."""
    requests = [
        ScoringRequest((1, 2, 3), ((4, 5, 6, 7), (8, 9))),
        ScoringRequest((2,), ((3, 4, 5),)),
    ]
    batch = lay_out(requests, [[0], [1]], layout)
    assert (batch.n_slots, int(batch.n_tokens)) == (slots, tokens)


def test_one_sequence_a_row_needs_no_mask() -> None:
    """A plain causal pass is what kernels are fastest at."""
    requests = [ScoringRequest((1, 2), ((3, 4),)), ScoringRequest((5, 6, 7), ((8,),))]
    assert not lay_out(requests, [[0], [1]], "tree").forked
    assert lay_out(requests, [[0, 1]], "tree").forked


def test_where_length_decides_the_positions_each_sequence_is_alone() -> None:
    model = tiny_model(
        "phi3",
        max_position_embeddings=64,
        sliding_window=None,
        original_max_position_embeddings=16,
        rope_parameters={
            "rope_type": "longrope",
            "rope_theta": 10_000.0,
            "short_factor": [1.0] * 4,
            "long_factor": [7.0] * 4,
            "original_max_position_embeddings": 16,
        },
    )
    requests = random_requests()
    scorer = ScoringModel(model)
    assert scorer.layout == "padded"
    assert all(inexact_because(model, layout) for layout in LAYOUTS[:3])
    batch = lay_out(requests, fill_rows(requests, "padded"), "padded")
    with torch.no_grad():
        logps = scorer(batch).logp_N
        assert (logps - single_logps(model, requests)).abs().max() < 1e-4
        scorer._alone = False
        assert (scorer(batch).logp_N - logps).abs().max() > 0.1


def test_the_cache_is_refused_where_it_would_be_dropped() -> None:
    model = tiny_model("llama")
    scorer = ScoringModel(model, "cache").train()
    model.gradient_checkpointing_enable({"use_reentrant": False})
    with pytest.raises(ScoreError, match="checkpointing"):
        scorer(lay_out(random_requests(), [[0], [1], [2], [3], [4], [5]], "cache"))


def test_the_last_layer_is_never_recomputed() -> None:
    model = tiny_model("llama")
    scorer = ScoringModel(model)
    for whether in (True, False, True):
        scorer.recompute_activations(whether)
        flags = [layer.gradient_checkpointing for layer in model.model.layers]
        assert flags == [whether, whether, False]
        assert model.is_gradient_checkpointing == whether


def test_a_batch_of_another_layout_is_refused() -> None:
    with pytest.raises(ScoreError, match="laid out as padded"):
        ScoringModel(tiny_model("llama"))(lay_out(random_requests(), [[0]], "padded"))


@pytest.mark.parametrize("name", ["llama", "gemma2", "mistral_window", "qwen2_window"])
@pytest.mark.parametrize("layout", ["tree", "packed"])
def test_flex_attention_takes_block_masks(
    name: str, layout: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its uncompiled form, which takes the same masks; on a CPU it has no backward pass."""

    uncompiled_flex_attention(monkeypatch)
    model, requests = tiny_model(name), random_requests()
    with torch.no_grad():
        expected = single_logps(model, requests)
        model.set_attn_implementation("flex_attention")
        scorer = ScoringModel(model, layout)
        logps = scorer(lay_out(requests, fill_rows(requests, layout), layout)).logp_N
    assert (logps - expected).abs().max() < 1e-4


@pytest.mark.slow
def test_compiled_flex_attention_agrees() -> None:
    """Forward only: on a CPU its kernel has no backward pass."""
    model, requests = tiny_model("llama", hidden_size=64), random_requests()
    with torch.no_grad():
        expected = single_logps(model, requests)
        model.set_attn_implementation("flex_attention")
        logps = ScoringModel(model, "tree")(lay_out(requests, fill_rows(requests), "tree")).logp_N
    assert (logps - expected).abs().max() < 1e-4
