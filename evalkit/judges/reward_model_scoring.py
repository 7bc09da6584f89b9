"""A reward model in memory: scores of batches of inputs.

Shapes: B inputs, T tokens, L labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoModelForSequenceClassification

from evalkit.console import no_foreign_bars
from evalkit.errors import PrerequisiteError, RecipeError, gist
from evalkit.judges.reward_model_text import Input
from evalkit.loading import keep_soft_cap


class RewardModel:
    """Scores inputs: the output of a single label, or the log-odds of one label among several.

    label: index of the output that is the reward.
    """

    def __init__(self, model: Any, label: int) -> None:
        self._model, self._label = model, label
        self._text_config = model.config.get_text_config()
        self._pads_apart = not self._has_pad_token()

    def scores(self, inputs: Sequence[Input]) -> list[float]:
        """The reward of each input; one batch, padded on the right.

        Raises:
            PrerequisiteError: the batch does not fit in the GPU's memory.
        """
        try:
            with torch.inference_mode():
                return [float(score) for score in self._scores_B(inputs)]
        except torch.OutOfMemoryError as error:
            raise PrerequisiteError(
                f"a batch of {len(inputs)} inputs does not fit in the GPU's memory",
                "set a smaller token_budget for reward_model",
            ) from error

    def _scores_B(self, inputs: Sequence[Input]) -> torch.Tensor:
        device = self._model.device
        width = max(len(one.ids) for one in inputs)
        padding = self._padding(inputs)
        ids_BT = torch.tensor([_padded(one.ids, width, padding) for one in inputs], device=device)
        lengths_B = torch.tensor([len(one.ids) for one in inputs], device=device)
        options = {
            "attention_mask": (torch.arange(width, device=device) < lengths_B[:, None]).long()
        }
        types = [one.token_types for one in inputs if one.token_types is not None]
        if types:
            rows = [_padded(row, width, 0) for row in types]
            options["token_type_ids"] = torch.tensor(rows, device=device)
        return self._rewards_B(self._model(input_ids=ids_BT, **options).logits.float())

    def _rewards_B(self, logits_BL: torch.Tensor) -> torch.Tensor:
        own_B = logits_BL[:, self._label]
        if logits_BL.shape[1] == 1 or self._model.config.problem_type == "regression":
            return own_B
        others = [index for index in range(logits_BL.shape[1]) if index != self._label]
        return own_B - logits_BL[:, others].logsumexp(dim=1)

    def _padding(self, inputs: Sequence[Input]) -> int:
        """The token to pad with.

        A decoder reads its reward at the last token that is no padding. Where it has no padding
        token, or an impossible one, that is the last of all: padded with a token that ends no
        input of the batch, and told so, it finds the same one.
        """
        if not self._pads_apart:
            return int(self._text_config.pad_token_id)
        ends = {one.ids[-1] for one in inputs}
        padding = next(i for i in range(self._text_config.vocab_size) if i not in ends)
        self._text_config.pad_token_id = padding
        return padding

    def _has_pad_token(self) -> bool:
        padding = self._text_config.pad_token_id
        return padding is not None and 0 <= padding < self._text_config.vocab_size


def resolve_precision(precision: str, stored: str) -> str:
    """`auto` as what is stored on a GPU, and float32 on a CPU."""
    if precision != "auto":
        return precision
    return stored if torch.cuda.is_available() else "float32"


def load_reward_model(folder: Path, precision: str, label: int) -> RewardModel:
    """The model on the first GPU where there is one, else on the CPU, ready to score.

    precision: name of a torch dtype.

    Raises:
        RecipeError: the weights are damaged, of an unknown architecture, or lack the score head.
    """
    with no_foreign_bars():
        try:
            model, info = AutoModelForSequenceClassification.from_pretrained(
                folder, dtype=getattr(torch, precision), output_loading_info=True
            )
        except (OSError, ValueError, RuntimeError, SafetensorError) as error:
            raise RecipeError(
                f"cannot load a reward model from {folder}: {gist(error)}",
                "check that its files are complete and that transformers knows its model_type;"
                " code from a repository is never run",
            ) from error
    if missing := sorted(info["missing_keys"]):
        raise RecipeError(
            f"{folder} lacks weights of a reward model: {missing[0]}",
            "a model whose score head was not trained has no opinion: give another",
        )
    keep_soft_cap(model)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return RewardModel(model.to(device).eval(), label)


def _padded(row: Sequence[int], width: int, padding: int) -> list[int]:
    return [*row, *([padding] * (width - len(row)))]
