"""The scoring of checkpoints, and the golden case; `test_scoring_layouts.py` has the layouts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from scoring_parts import random_requests, single_logps
from tiny_models import tiny_model
from torch import nn
from transformers.modeling_outputs import BaseModelOutputWithPast

from evalkit.errors import ScoreError
from evalkit.roles import LoadedModel, ScoringRequest
from evalkit.scoring import CheckpointScorer, ScoringModel, lay_out, linear_logps
from evalkit.scoring.layout import tree_length


def ignore(done: int, total: int, note: str = "") -> None:
    """No progress is shown."""


class Recorded(nn.Module):
    """A backbone whose hidden states are known beforehand."""

    def __init__(self, hidden_RTH: torch.Tensor) -> None:
        super().__init__()
        self._hidden_RTH = hidden_RTH
        self.embed_tokens = nn.Embedding(1, 1)  # transformers finds no head without one

    def forward(self, input_ids: torch.Tensor, **others: Any) -> BaseModelOutputWithPast:
        rows, width = input_ids.shape
        return BaseModelOutputWithPast(last_hidden_state=self._hidden_RTH[:rows, :width])


@pytest.mark.parametrize("layout", ["tree", "padded"])  # rows as recorded
@pytest.mark.parametrize("chunk", [1, 2, 1000])
def test_prompt_and_padding_are_masked_as_in_the_golden_case(
    shared: Path, layout: str, chunk: int, monkeypatch: pytest.MonkeyPatch
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
        monkeypatch.setitem(linear_logps.CHUNK_LOGITS, "cpu", 7 * chunk)
        logps = ScoringModel(model, layout)(lay_out(requests, [[0], [1]], layout)).logp_N
    assert logps.tolist() == pytest.approx(expected["sum_logps"], rel=1e-6)


@pytest.mark.parametrize("layout", [None, "padded"])
def test_scorer_answers_in_request_order_with_greedy_flags(layout: str | None) -> None:
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
    scorer = CheckpointScorer(LoadedModel(model, None), token_budget=150, layout=layout)
    scores = scorer.score(requests, lambda done, total, note="": calls.append((done, total)))
    flat = torch.tensor([score.logp for group in scores for score in group])
    with torch.no_grad():
        assert (flat - single_logps(model, requests)).abs().max() < 1e-4
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
