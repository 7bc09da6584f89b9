"""Attention by branches: every token is computed once, and as under one dense mask."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scoring_parts import gradient, random_requests, single_logps
from tiny_models import ARCHITECTURES, tiny_model

from evalkit.roles import ScoringRequest
from evalkit.scoring import ScoringModel, backbone, branching, fill_rows, lay_out
from evalkit.scoring.architectures import attention_kernel
from evalkit.scoring.branching import BRANCHING, calls_of

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
