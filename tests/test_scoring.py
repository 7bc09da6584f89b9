"""The scoring core agrees with one plain forward pass per sequence, for every architecture."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_models import ARCHITECTURES, tiny_model
from torch import nn
from transformers.modeling_outputs import BaseModelOutputWithPast

from evalkit.errors import ScoreError
from evalkit.roles import LoadedModel, ScoringRequest
from evalkit.scoring import CheckpointScorer, ScoringModel, fill_rows, lay_out, split_by_tokens
from evalkit.scoring.layout import tree_length


def random_requests(seed: int = 0, n: int = 6) -> list[ScoringRequest]:
    draw = random.Random(seed)

    def tokens(length: int) -> tuple[int, ...]:
        return tuple(draw.randrange(3, 61) for _ in range(length))

    header = tokens(4)
    requests = []
    for _ in range(n):
        prompt = header + tokens(draw.randint(1, 20))
        first = tokens(draw.randint(2, 9))
        others = [tokens(draw.randint(1, 9)) for _ in range(2)]
        # A duplicate, a prefix of another, and a common beginning are all allowed.
        requests.append(
            ScoringRequest(prompt, (first, *others, first, first[:1], first[:2] + tokens(3)))
        )
    return requests


def reference_logps(model: torch.nn.Module, requests: list[ScoringRequest]) -> torch.Tensor:
    """One sequence at a time through the model's ordinary forward."""
    logps = []
    for prompt, continuations in requests:
        for continuation in continuations:
            ids = torch.tensor([[*prompt, *continuation]])
            logits = model(input_ids=ids).logits[0, len(prompt) - 1 : -1].float()
            target = torch.tensor(continuation)[:, None]
            logps.append(logits.log_softmax(-1).gather(1, target).sum())
    return torch.stack(logps)


def ignore(done: int, total: int, note: str = "") -> None:
    """No progress is shown."""


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_both_layouts_agree_with_single_sequences(name: str) -> None:
    model, requests = tiny_model(name), random_requests()
    with torch.no_grad():
        expected = reference_logps(model, requests)
        for shared in (None, False):
            scorer = ScoringModel(model, shared)
            assert scorer.shared == (shared is None and name != "gpt_neox")
            for rows in (fill_rows(requests), [[i] for i in range(6)], [list(range(6))]):
                logps = scorer(lay_out(requests, rows, scorer.shared)).logp_N
                assert (logps - expected).abs().max() < 1e-4


def test_a_mask_without_the_window_would_be_noticed() -> None:
    model, requests = tiny_model("mistral_window"), random_requests()
    scorer = ScoringModel(model)
    scorer._attention = scorer._attention._replace(windows={"": None})
    with torch.no_grad():
        logps = scorer(lay_out(requests, fill_rows(requests))).logp_N
        assert (logps - reference_logps(model, requests)).abs().max() > 0.1


@pytest.mark.parametrize("name", ["llama", "gemma2", "mistral_window", "gpt_neox"])
def test_gradients_equal_those_of_single_sequences(name: str) -> None:
    model, requests = tiny_model(name), random_requests(1, 3)
    weights_N = torch.linspace(-1, 2, 18)
    (reference_logps(model, requests) * weights_N).sum().backward()
    expected = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    scorer = ScoringModel(model)
    logps = scorer(lay_out(requests, fill_rows(requests), scorer.shared)).logp_N
    (logps * weights_N).sum().backward()
    total = torch.cat([p.grad.flatten() for p in model.parameters()])
    wanted = torch.cat([g.flatten() for g in expected])
    assert (total - wanted).norm() < 1e-5 * wanted.norm()


def test_chunked_and_recomputed_head_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    model, requests = tiny_model("llama"), random_requests(2)
    batch = lay_out(requests, fill_rows(requests))
    scorer = ScoringModel(model)
    whole = scorer(batch).logp_N
    whole.sum().backward()
    expected = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    monkeypatch.setattr("evalkit.scoring.model.CHUNK_LOGITS", 61 * 7)
    monkeypatch.setattr("evalkit.scoring.model.KEPT_LOGITS", 1)
    pieces = scorer(batch).logp_N
    pieces.sum().backward()
    assert torch.allclose(whole, pieces, atol=1e-5)
    for parameter, gradient in zip(model.parameters(), expected, strict=True):
        assert torch.allclose(parameter.grad, gradient, atol=1e-4)


class Recorded(nn.Module):
    """A backbone whose hidden states are known beforehand."""

    def __init__(self, hidden_RTH: torch.Tensor) -> None:
        super().__init__()
        self._hidden_RTH = hidden_RTH
        self.embed_tokens = nn.Embedding(1, 1)  # transformers finds no head without one

    def forward(self, input_ids: torch.Tensor, **others: Any) -> BaseModelOutputWithPast:
        rows, width = input_ids.shape
        return BaseModelOutputWithPast(last_hidden_state=self._hidden_RTH[:rows, :width])


@pytest.mark.parametrize("tree", [None, False])
@pytest.mark.parametrize("chunk", [1, 2, 1000])
def test_prompt_and_padding_are_masked_as_in_the_golden_case(
    shared: Path, tree: bool | None, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Head, chunks, log-softmax and sums over recorded logits give the golden sums."""
    cases = json.loads((shared / "golden" / "loss.json").read_text("utf-8"))["cases"]
    case = next(case for case in cases if case["name"] == "sequence_logprob_masking")
    ids, labels = case["inputs"]["input_ids"], case["inputs"]["labels"]
    length = case["params"]["prompt_len"]
    requests = [
        ScoringRequest(tuple(row[:length]), (tuple(t for t in scored if t >= 0),))
        for row, scored in zip(ids, labels, strict=True)
    ]
    expected = case["expected"]
    assert [len(r.continuations[0]) for r in requests] == expected["n_scored"]
    model = tiny_model("llama", vocab_size=7)
    model.model = Recorded(torch.tensor(case["inputs"]["logits"]))
    model.lm_head = nn.Linear(7, 7, bias=False)  # hands the recorded logits through
    with torch.no_grad():
        model.lm_head.weight.copy_(torch.eye(7))
        monkeypatch.setattr("evalkit.scoring.model.CHUNK_LOGITS", 7 * chunk)
        scorer = ScoringModel(model, tree)
        logps = scorer(lay_out(requests, [[0], [1]], scorer.shared)).logp_N
    assert scorer.shared == (tree is None)
    assert logps.tolist() == pytest.approx(expected["sum_logps"], rel=1e-6)


@pytest.mark.parametrize("shared", [None, False])
def test_scorer_answers_in_request_order_with_greedy_flags(shared: bool | None) -> None:
    model, requests = tiny_model("llama"), random_requests(3, 9)
    prompt = requests[4].prompt_token_ids
    with torch.no_grad():
        ids = torch.tensor([prompt])
        for _ in range(3):
            ids = torch.cat([ids, model(input_ids=ids).logits[:, -1:].argmax(-1)], dim=1)
    greedy = tuple(ids[0, len(prompt) :].tolist())
    requests[4] = ScoringRequest(prompt, (greedy, (5, 6)))
    requests.insert(0, ScoringRequest((1, 2), ()))
    calls: list[tuple[int, int]] = []
    scorer = CheckpointScorer(LoadedModel(model, None), token_budget=150, shared=shared)
    scores = scorer.score(requests, lambda done, total, note="": calls.append((done, total)))
    flat = torch.tensor([score.logp for group in scores for score in group])
    with torch.no_grad():
        assert (flat - reference_logps(model, requests)).abs().max() < 1e-4
    assert scores[0] == ()
    assert [score.is_greedy for score in scores[5]] == [True, False]
    assert scores[5][0].n_tokens == 3
    assert calls[-1] == (10, 10)
    assert len(calls) > 1


def test_common_prefix_is_laid_out_once() -> None:
    request = ScoringRequest((1, 2, 3), ((4, 5, 6), (4, 5, 7), (9,)))
    assert tree_length(request) == 5
    batch = lay_out([request], [[0]])
    assert batch.input_ids_RT.tolist() == [[1, 2, 3, 4, 5]]
    assert batch.position_U.tolist() == [2, 3, 4]
    assert len(batch.target_S) == 7


def test_passes_keep_within_the_budget() -> None:
    requests = random_requests(4, 30)
    passes = split_by_tokens(requests, 120, shared=True)
    assert sorted(index for group in passes for index in group) == list(range(30))
    assert all(sum(tree_length(requests[i]) for i in group) <= 120 for group in passes)


def test_nothing_to_predict_from_is_refused() -> None:
    with pytest.raises(ScoreError):
        lay_out([ScoringRequest((), ((1,),))], [[0]])
    with pytest.raises(ScoreError):
        lay_out([ScoringRequest((1,), ((),))], [[0]])


def test_damaged_weights_are_an_error() -> None:
    model = tiny_model("llama")
    with torch.no_grad():
        model.lm_head.weight[3, 0] = float("nan")
    with pytest.raises(ScoreError):
        CheckpointScorer(LoadedModel(model, None)).score(random_requests(), ignore)
