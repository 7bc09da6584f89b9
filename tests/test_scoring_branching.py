"""Attention by branches: every token is computed once, and as under one dense mask."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scoring_parts import gradient, random_requests, single_logps, uncompiled_flex_attention
from tiny_models import ARCHITECTURES, tiny_model

from evalkit.roles import LoadedModel, ScoringRequest
from evalkit.scoring import (
    CheckpointScorer,
    ScoringModel,
    backbone,
    branching,
    fill_rows,
    lay_out,
    prefix_tree,
)
from evalkit.scoring.architectures import attention_kernel
from evalkit.scoring.branching import BRANCHING, calls_of
from evalkit.scoring.stems import grown

SHORT = st.lists(st.integers(1, 3), min_size=1, max_size=6).map(tuple)
REQUESTS = st.lists(
    st.builds(ScoringRequest, SHORT, st.lists(SHORT, min_size=1, max_size=4).map(tuple)),
    min_size=1,
    max_size=5,
)


@pytest.fixture(params=[0, 3, 40])
def call_cost(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Costs at which rows of a few tokens fall into many calls, into some, and into few."""
    monkeypatch.setattr(branching, "CALL_COST", request.param)
    return int(request.param)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many calls each forward pass was divided into; 0 where one mask was used."""
    found: list[int] = []

    def count(batch: Any) -> Any:
        calls = calls_of(batch)
        found.append(0 if calls is None else sum(map(len, calls)))
        return calls

    monkeypatch.setattr(backbone, "calls_of", count)
    return found


BY_BRANCHES = [name for name in ARCHITECTURES if name not in {"gemma2", "gpt_neox"}]


@pytest.mark.parametrize("name", BY_BRANCHES)
def test_it_agrees_with_single_sequences(name: str, call_cost: int, counted: list[int]) -> None:
    model, requests = tiny_model(name), random_requests(2, 3)
    weights_N = torch.linspace(-1, 2, 18)
    single = single_logps(model, requests)
    (single * weights_N).sum().backward()
    expected = gradient(model)
    scorer = ScoringModel(model)
    assert attention_kernel(model) == BRANCHING
    for checkpointing in (False, True):
        if checkpointing:
            model.gradient_checkpointing_enable({"use_reentrant": False})
            scorer.train()
        for rows in (fill_rows(requests), [[0, 1, 2]], [[0], [1], [2]]):
            logps = scorer(lay_out(requests, rows)).logp_N
            assert (logps - single).abs().max() < 1e-4, rows
            (logps * weights_N).sum().backward()
            assert (gradient(model) - expected).norm() < 1e-5 * expected.norm(), rows
    windowed = name in {
        "mistral_window",
        "phi3",
        "qwen2_window",
    }  # which are narrower than these sequences
    assert (max(counted, default=0) == 0) == windowed


@given(requests=REQUESTS, cost=st.sampled_from([0, 2, 10, 50]))
@settings(max_examples=200, deadline=None)
def test_calls_let_every_token_see_what_a_mask_would(
    requests: list[ScoringRequest], cost: int
) -> None:
    batch = lay_out(requests, [list(range(len(requests)))])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(branching, "CALL_COST", cost)
        calls = calls_of(batch)
    if calls is None:
        return
    width = int(batch.length_R[0])
    assert sum(call.length for call in calls[0]) == width
    seen_TT = torch.zeros((width, width), dtype=torch.bool)
    starts: list[int] = []
    parts: list[torch.Tensor] = []
    for call in calls[0]:
        starts.append(sum(map(len, parts)))
        parts.append(torch.arange(starts[-1], starts[-1] + call.length))
        keys = torch.cat([parts[number] for number in (*call.ancestors, len(parts) - 1)])
        mask = call.mask_nm
        if mask is None:
            mask = torch.ones((len(keys), len(keys)), dtype=torch.bool).tril()[-call.length :]
        seen_TT[parts[-1][:, None], keys] = mask
    index_T = torch.arange(width)
    expected_TT = (index_T[:, None] >= index_T) & (index_T[:, None] < batch.subtree_end_RT[0])
    assert torch.equal(seen_TT, expected_TT)


def test_long_branches_are_sequences_and_short_ones_go_together() -> None:
    """A prompt of 1000 tokens with two responses of 900, and one with four choices of 3."""
    prompt = tuple(range(1000))
    long = ScoringRequest(prompt, tuple((5000 + n, *range(900)) for n in range(2)))
    short = ScoringRequest((7, *prompt), tuple((6000 + n, 8, 9) for n in range(4)))
    batch = lay_out([long, short], [[0], [1]])
    divided, together = calls_of(batch) or ([], [])
    assert [(call.length, call.mask_nm is None) for call in divided] == [
        (1000, True), (900, False), (900, False),
    ]  # fmt: skip
    assert [(call.length, call.mask_nm is None) for call in together] == [(1001, True), (8, False)]
    assert together[1].ancestors == (0,)


def test_short_rows_keep_one_mask() -> None:
    requests = random_requests()
    assert calls_of(lay_out(requests, fill_rows(requests))) is None


def test_the_kernel_is_not_written_into_a_checkpoint(tmp_path: Any) -> None:
    model = tiny_model("llama")
    ScoringModel(model)
    model.save_pretrained(tmp_path)
    assert BRANCHING not in (tmp_path / "config.json").read_text()


def test_generation_goes_on_as_before() -> None:
    """Whoever shares the model with a scorer sees no difference."""
    model = tiny_model("llama")
    ids = torch.tensor([[3, 4, 5, 6], [0, 0, 7, 8]])
    mask = torch.tensor([[1, 1, 1, 1], [0, 0, 1, 1]])
    options: dict[str, Any] = {"attention_mask": mask, "max_new_tokens": 5, "do_sample": False}
    before = model.generate(ids, **options)
    ScoringModel(model)
    assert torch.equal(model.generate(ids, **options), before)


# --- stems: what many rows go on from ---


def led_by(shared: int, leaves: int, seed: int = 0) -> list[ScoringRequest]:
    """Short requests that begin with the same `shared` tokens, and a few that do not."""
    draw = random.Random(seed)

    def tokens(length: int) -> tuple[int, ...]:
        return tuple(draw.randrange(3, 61) for _ in range(length))

    stem, second = tokens(shared), tokens(shared // 2)
    requests = []
    for number in range(leaves):
        prompt = stem + (second if number % 2 else ()) + tokens(draw.randint(1, 6))
        requests.append(ScoringRequest(prompt, (tokens(1), tokens(4), tokens(1))))
    # The stem itself, a request within it, and one that is no part of the tree.
    return [
        *requests,
        ScoringRequest(stem, (tokens(3),)),
        ScoringRequest(stem[: shared // 2], (tokens(2),)),
        ScoringRequest(tokens(4), (tokens(2),)),
    ]


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("budget", [32, 64])
def test_stems_agree_with_single_sequences(
    name: str, budget: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of branches and of dense masks, within windows and beyond; a stem may go on from another."""
    monkeypatch.setattr(prefix_tree, "STEM_TOKENS", 8)
    model, requests = tiny_model(name), led_by(40, 12)
    scorer = CheckpointScorer(LoadedModel(model, None), token_budget=budget)
    plan = scorer._plan(requests)
    if name != "gpt_neox":
        assert len(plan.stems) > 1
        assert any(stem.below is not None for stem in plan.stems)
    scores = scorer.score(requests, lambda done, total, note="": None)
    flat = torch.tensor([score.logp for group in scores for score in group])
    with torch.no_grad():
        assert (flat - single_logps(model, requests)).abs().max() < 1e-4


@pytest.mark.parametrize("kernel", ["sdpa", "flex_attention"])
@pytest.mark.parametrize("name", ["llama", "mistral_window", "qwen2_window"])
def test_stems_under_dense_masks_and_blocks(
    name: str, kernel: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a GPU: over what a cache holds. (FlexAttention uncompiled, which takes the same.)"""

    uncompiled_flex_attention(monkeypatch)
    requests = [r for r in led_by(40, 4) if len(r.prompt_token_ids) > 40]
    model = tiny_model(name)
    with torch.inference_mode():
        expected = single_logps(model, requests)
        scorer = ScoringModel(model)
        model.set_attn_implementation(kernel)
        stem = grown(model, requests[0].prompt_token_ids[:25], None)
        stem = grown(model, requests[0].prompt_token_ids[25:40], stem)
        for rows in ([[0, 1, 2, 3]], [[0, 1], [2], [3]]):
            logps = scorer(lay_out(requests, rows, above=40), stem=stem).logp_N
            assert (logps - expected).abs().max() < 1e-4, rows


@given(seed=st.integers(0, 999), row=st.integers(8, 80), minimum=st.integers(1, 20))
@settings(max_examples=60, deadline=None)
def test_a_plan_holds_every_request_once(seed: int, row: int, minimum: int) -> None:
    """In rows that fit or that one request fills, under stems that its prompt begins with."""
    requests = [*led_by(20, 9, seed), *random_requests(seed, 4)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prefix_tree, "STEM_TOKENS", minimum)
        plan = prefix_tree.plan_passes(requests, row, 2 * row)
    members = [index for one in plan.passes for index in one.members]
    assert sorted(members) == list(range(len(requests)))
    order = [-1 if one.stem is None else one.stem for one in plan.passes]
    assert order == sorted(order)
    for one in plan.passes:
        path = plan.path(one.stem)
        above = tuple(t for number in path for t in plan.stems[number].token_ids)
        for index in one.members:
            prompt = requests[index].prompt_token_ids
            assert prompt[: len(above)] == above
            assert len(above) < len(prompt)
        for members_of_row in one.rows:
            if len(members_of_row) > 1:
                batch = lay_out(
                    [requests[i] for i in members_of_row],
                    [list(range(len(members_of_row)))],
                    above=len(above),
                )
                shared = min(len(requests[i].prompt_token_ids) for i in members_of_row)
                assert batch.input_ids_RT.shape[1] <= row + max(0, shared - len(above))


def test_a_long_stem_of_many_leaves_is_computed_once() -> None:
    """512 shared tokens before 300 leaves: as many tokens as the tree has, in rows that fit."""
    requests = led_by(512, 300)
    plan = prefix_tree.plan_passes(requests, 512, 512)
    computed = sum(len(stem.token_ids) for stem in plan.stems)
    for one in plan.passes:
        above = 0 if one.stem is None else plan.stems[one.stem].length
        rows = [list(row) for row in one.rows]
        numbered, chosen = [], []
        for row in rows:
            numbered.append(list(range(len(chosen), len(chosen) + len(row))))
            chosen += [requests[i] for i in row]
        computed += int(lay_out(chosen, numbered, above=above).length_R.sum())
    everything = lay_out(requests, [list(range(len(requests)))])
    assert computed <= 1.02 * everything.input_ids_RT.shape[1] + 512
