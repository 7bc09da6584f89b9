"""The rule by which a layout and an attention kernel are chosen for a set of requests.

A choice depends on model, device and the requests' lengths alone, so that the reference pass
and the policy, on every process, make the same one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from evalkit.errors import PrerequisiteError, RecipeError
from evalkit.roles import ScoringRequest
from evalkit.scoring.architectures import attention_kernel, causal_lm, inexact_because
from evalkit.scoring.layout import BatchLayout, tree_length
from evalkit.scoring.planning import separate_length
from evalkit.training_settings import Attention, Layout, Precision

DENSE_ROW_TOKENS = 2048  # longest row for which a dense mask is made: it grows with its square
BLOCK_MASK_GAIN = 1.1  # FlexAttention's own slowness against FlashAttention, to be outweighed
_GPU_KERNELS = ("flash_attention_2", "flex_attention")


class Choice(NamedTuple):
    """A layout, and the attention kernel to compute it with (as named by transformers)."""

    layout: BatchLayout
    attention: str


class _Shape(NamedTuple):
    """What sharing prompts would save, and what the rows would then look like."""

    gain: float  # tokens of separate sequences over tokens of trees
    row: float  # mean length of the row that a token is in
    longest: int


def choose(
    model: Any,
    requests: Sequence[ScoringRequest],
    layout: Layout = "auto",
    attention: Attention = "auto",
    precision: Precision = "float32",
) -> Choice:
    """Layout and kernel of every forward pass over `requests`, the fastest that are exact.

    model: loaded with the kernel that `attention` names, where it names one.

    Raises:
        RecipeError: what the recipe asks for would give other log-probabilities.
        PrerequisiteError: the kernel that it asks for needs a GPU.
    """
    inside = causal_lm(model)
    on_gpu = inside.device.type != "cpu"
    _check_kernel(inside, attention, precision, on_gpu)
    if layout != "auto":
        refuse_inexact(inside, layout)
        flash = _flash(precision) if on_gpu and attention == "auto" and layout == "packed" else None
        return Choice(layout, flash or attention_kernel(inside))
    if inexact_because(inside, "packed"):
        return Choice("padded", attention_kernel(inside))
    if not on_gpu:
        return Choice("tree", attention_kernel(inside))
    return _on_gpu(inside, _shape(requests), attention, precision)


def refuse_inexact(model: Any, layout: str) -> None:
    """Raises RecipeError where `layout` would give other log-probabilities; needs no weights."""
    if reason := inexact_because(model, layout):
        raise RecipeError(
            f"training.layout: {layout} is not exact for this model: {reason}",
            "use layout: auto, which takes the fastest that is",
        )


def _on_gpu(model: Any, shape: _Shape, attention: str, precision: str) -> Choice:
    """The rule for a GPU.

    A tree does 1/gain of the linear work, but its mask is dense: 12 * layers * hidden * row FLOPs
    per token and direction at a third of a flash kernel's speed, beside 2 * 12 * layers *
    hidden**2 of linear work, that is row / (2 * hidden) more. FlexAttention skips what the mask
    hides. Without either, sequences end to end keep a GPU as busy without any padding.
    Source: arithmetic of Kaplan et al. 2020 (arXiv:2001.08361), section 2.1; on a CPU measured.
    """
    kernel = attention_kernel(model)
    dense: str | None
    flex: str | None
    if attention == "auto":
        dense, flex, flash = kernel, "flex_attention", _flash(precision)
    else:
        dense = kernel if kernel in {"sdpa", "eager"} else None
        flex = kernel if kernel == "flex_attention" else None
        flash = kernel if kernel == "flash_attention_2" else None
    penalty = shape.row / (2 * model.config.get_text_config().hidden_size)
    if dense and shape.longest <= DENSE_ROW_TOKENS and shape.gain > 1 + penalty:
        return Choice("tree", dense)
    if flex and shape.gain >= BLOCK_MASK_GAIN and (shape.longest > DENSE_ROW_TOKENS or not dense):
        return Choice("tree", flex)
    if flash:
        return Choice("packed", flash)
    if dense:
        # One row of many sequences would need a dense mask, a batch of plain rows needs none.
        return Choice("padded", dense)
    return Choice("packed", kernel)


def _shape(requests: Sequence[ScoringRequest]) -> _Shape:
    trees = [tree_length(request) for request in requests]
    separate = sum(separate_length(request) for request in requests)
    total = max(1, sum(trees))
    return _Shape(separate / total, sum(n * n for n in trees) / total, max(trees, default=0))


def _flash(precision: str) -> str | None:
    from transformers.utils import is_flash_attn_2_available

    usable = precision == "bfloat16" and is_flash_attn_2_available()
    return "flash_attention_2" if usable else None


def _check_kernel(model: Any, attention: str, precision: str, on_gpu: bool) -> None:
    if attention in _GPU_KERNELS and not on_gpu:
        raise PrerequisiteError(
            f"training.attention: {attention} trains on a GPU only, and there is none",
            "use attention: auto",
        )
    if attention == "flash_attention_2" and precision == "float32":
        raise RecipeError(
            "training.attention: flash_attention_2 computes in 16 bits only",
            "set training.precision: bfloat16, or use attention: sdpa",
        )
    capped = getattr(model.config, "attn_logit_softcapping", None) is not None
    if capped and attention_kernel(model) == "sdpa":
        raise RecipeError(
            "training.attention: sdpa leaves out the soft cap of this model's attention",
            "use attention: auto, eager or flex_attention",
        )
