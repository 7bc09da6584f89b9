"""PairRM itself: a DeBERTa-v3 encoder and a regression head on the states of three marker tokens.

Shapes: B pairs, T tokens, H hidden.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn
from transformers import DebertaV2Config, DebertaV2Model

from evalkit.errors import PrerequisiteError, RecipeError, gist
from evalkit.judges.pair_rm_checkpoint import PairRMFiles
from evalkit.judges.pair_rm_tokens import EncodedPair

BACKBONE, HEAD = "pretrained_model.", "head_layer."
_EMBEDDINGS = f"{BACKBONE}embeddings.word_embeddings.weight"
_POSITIONS = f"{BACKBONE}embeddings.position_ids"  # stored by transformers before 4.31


class PairRM:
    """Scores both candidates of a pair in one pass; the difference of scores is the logit.

    The head runs in float32: rounded to float16, differences of a few hundredths would be lost.

    Source: yuchenlin/LLM-Blender llm_blender/pair_ranker/ranker.py (CrossCompareReranker) and
    pairrm.py (DebertaV2PairRM) at 2a67366; Jiang, Ren and Lin 2023 (arXiv:2306.02561), section 3.
    """

    def __init__(self, backbone: DebertaV2Model, head: nn.Sequential) -> None:
        self._backbone, self._head = backbone, head

    def logits(self, pairs: Sequence[EncodedPair]) -> list[float]:
        """For each pair, the logit that the first candidate beats the second; one batch.

        Raises:
            PrerequisiteError: the batch does not fit in the GPU's memory.
        """
        try:
            with torch.inference_mode():
                return [float(logit) for logit in self._logits_B(pairs)]
        except torch.OutOfMemoryError as error:
            raise PrerequisiteError(
                f"a batch of {len(pairs)} pairs does not fit in the GPU's memory",
                "set a smaller batch_size for pair_rm",
            ) from error

    def _logits_B(self, pairs: Sequence[EncodedPair]) -> torch.Tensor:
        device = self._backbone.device
        width = max(len(pair.ids) for pair in pairs)
        padding = self._backbone.config.pad_token_id
        rows = [pair.ids + [padding] * (width - len(pair.ids)) for pair in pairs]
        lengths_B = torch.tensor([len(pair.ids) for pair in pairs], device=device)
        mask_BT = (torch.arange(width, device=device) < lengths_B[:, None]).long()
        hidden_BTH = self._backbone(
            input_ids=torch.tensor(rows, device=device), attention_mask=mask_BT
        ).last_hidden_state
        places_B3 = torch.tensor([pair.places for pair in pairs], device=device)
        marked_B3H = hidden_BTH[torch.arange(len(pairs), device=device)[:, None], places_B3]
        source_BH, first_BH, second_BH = marked_B3H.float().unbind(1)
        scores = [
            self._head(torch.cat([source_BH, candidate_BH], dim=-1))
            for candidate_BH in (first_BH, second_BH)
        ]
        return (scores[0] - scores[1]).mean(dim=-1)


def resolve_precision(precision: str) -> str:
    """`auto` as float16 on a GPU, as released, and float32 on a CPU."""
    if precision != "auto":
        return precision
    return "float16" if torch.cuda.is_available() else "float32"


def load_pair_rm(files: PairRMFiles, precision: str, n_tokens: int) -> PairRM:
    """The model on the first GPU where there is one, else on the CPU, ready to score.

    precision: name of a torch dtype.
    n_tokens: size of the tokenizer's vocabulary, which the embeddings must cover.

    Raises:
        RecipeError: the weights are damaged, or not those of such a model.
    """
    state = _read_weights(files.weights)
    rows = len(state.get(_EMBEDDINGS, ()))
    if rows < n_tokens:
        raise _misfit(files.weights, f"{rows} embeddings for a tokenizer of {n_tokens} tokens")
    config = DebertaV2Config(**{**files.backbone, "vocab_size": rows})
    hidden = config.hidden_size
    parts = {
        BACKBONE: DebertaV2Model(config),
        HEAD: nn.Sequential(
            nn.Dropout(),
            nn.Linear(2 * hidden, hidden),
            nn.Tanh(),
            nn.Dropout(),
            nn.Linear(hidden, files.n_tasks),
        ),
    }
    device = "cuda" if torch.cuda.is_available() else "cpu"
    for prefix, part in parts.items():
        _fill(part, prefix, state, files.weights)
        part.eval().to(device)
    return PairRM(parts[BACKBONE].to(getattr(torch, precision)), parts[HEAD].float())


def _fill(part: nn.Module, prefix: str, state: dict[str, torch.Tensor], file: Path) -> None:
    own = {
        name.removeprefix(prefix): tensor
        for name, tensor in state.items()
        if name.startswith(prefix) and name != _POSITIONS
    }
    try:
        part.load_state_dict(own)
    except RuntimeError as error:
        first = next(iter(str(error).split("\n\t")[1:]), str(error))
        raise _misfit(file, first) from error


def _misfit(file: Path, reason: str) -> RecipeError:
    return RecipeError(
        f"{file} does not hold the weights that its config describes: {reason}",
        "fetch the checkpoint again; only DeBERTa-v3 pair rankers are known",
    )


def _read_weights(file: Path) -> dict[str, Any]:
    try:
        if file.suffix == ".safetensors":
            return dict(load_file(file))
        # weights_only: a pickle could otherwise run any code.
        return dict(torch.load(file, map_location="cpu", weights_only=True))
    except (SafetensorError, UnpicklingError, RuntimeError, ValueError, TypeError, EOFError) as e:
        raise RecipeError(
            f"{file} holds no tensors that can be read: {gist(e)}",
            "fetch the checkpoint again",
        ) from e
