"""The rule that chooses layout and kernel; the meta device stands in for a GPU."""

from __future__ import annotations

import pytest
import torch
from tiny_models import tiny_model
from transformers import utils

from evalkit.errors import EvalkitError, PrerequisiteError, RecipeError
from evalkit.roles import ScoringRequest
from evalkit.scoring import Choice, choose


def requests(prompt: int, responses: int, length: int) -> list[ScoringRequest]:
    continuations = tuple((number + 3,) * length for number in range(responses))
    return [ScoringRequest((1,) * prompt, continuations)] * 3


def on_gpu(name: str = "llama", **changes: object) -> torch.nn.Module:
    """Of hidden size 4096, as a 7B model, in as many bytes as its weights on `meta` take: none."""
    with torch.device("meta"):
        return tiny_model(name, hidden_size=4096, **changes)


@pytest.fixture
def flash(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(utils, "is_flash_attn_2_available", lambda: True)


def test_on_a_cpu_prompts_are_shared() -> None:
    assert choose(tiny_model("llama"), requests(5, 2, 9)) == Choice("tree", "sdpa")
    assert choose(tiny_model("gemma2"), requests(5, 2, 9)) == Choice("tree", "eager")
    assert choose(tiny_model("gpt_neox"), requests(5, 2, 9)) == Choice("padded", "sdpa")


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((150, 2, 800), Choice("packed", "flash_attention_2")),  # little to share
        ((340, 2, 340), Choice("tree", "sdpa")),  # a third of the work saved
        ((170, 5, 340), Choice("tree", "sdpa")),
        ((400, 5, 800), Choice("tree", "flex_attention")),  # worth it, but a row is long
        ((10, 5, 800), Choice("packed", "flash_attention_2")),
        ((600, 1, 600), Choice("packed", "flash_attention_2")),  # nothing to share
    ],
)
def test_on_a_gpu_sharing_must_outweigh_the_mask(
    flash: None, shape: tuple[int, int, int], expected: Choice
) -> None:
    assert choose(on_gpu(), requests(*shape), precision="bfloat16") == expected


def test_a_smaller_model_has_less_linear_work_to_save(flash: None) -> None:
    with torch.device("meta"):
        small = tiny_model("llama", hidden_size=512)
    assert choose(small, requests(340, 2, 340), precision="bfloat16").layout == "packed"


def test_without_flash_attention_rows_are_padded() -> None:
    pairs = requests(150, 2, 800)
    assert choose(on_gpu(), pairs, precision="bfloat16") == Choice("padded", "sdpa")
    assert choose(on_gpu(), pairs, precision="float32") == Choice("padded", "sdpa")


@pytest.mark.parametrize(("prompt", "layout"), [(400, "tree"), (10, "packed")])
def test_a_kernel_that_was_asked_for_stays(prompt: int, layout: str) -> None:
    model = on_gpu(attn_implementation="flex_attention")
    chosen = choose(model, requests(prompt, 2, 400), attention="flex_attention")
    assert chosen == Choice(layout, "flex_attention")


def test_the_order_of_requests_decides_nothing(flash: None) -> None:
    some = requests(150, 2, 400) + requests(500, 5, 300)
    model = on_gpu()
    one, other = (choose(model, r, precision="bfloat16") for r in (some, some[::-1]))
    assert one == other


@pytest.mark.parametrize("layout", ["tree", "cache", "packed", "padded"])
def test_a_layout_can_be_forced(layout: str) -> None:
    assert choose(tiny_model("llama"), requests(5, 2, 9), layout) == Choice(layout, "sdpa")


def test_a_forced_layout_takes_the_kernel_that_suits_it(flash: None) -> None:
    """One row of many sequences is what FlashAttention is for; others need a dense mask for it."""
    some = requests(150, 2, 400)
    for layout, kernel in (("packed", "flash_attention_2"), ("tree", "sdpa"), ("padded", "sdpa")):
        chosen = choose(on_gpu(), some, layout, precision="bfloat16")
        assert chosen == Choice(layout, kernel)
    asked = choose(on_gpu(), some, "packed", attention="sdpa", precision="bfloat16")
    assert asked == Choice("packed", "sdpa")
    assert choose(on_gpu(), some, "packed") == Choice("packed", "sdpa")  # not in float32


def checkpointed() -> torch.nn.Module:
    model = tiny_model("llama")
    model.gradient_checkpointing_enable({"use_reentrant": False})
    return model


@pytest.mark.parametrize(
    ("model", "asked", "error", "message"),
    [
        (lambda: tiny_model("gpt_neox"), {"layout": "packed"}, RecipeError, "'gpt_neox'"),
        (checkpointed, {"layout": "cache"}, RecipeError, "drops the cache"),
        (
            lambda: tiny_model("llama"),
            {"attention": "flash_attention_2", "precision": "bfloat16"},
            PrerequisiteError,
            "on a GPU only",
        ),
        (on_gpu, {"attention": "flash_attention_2"}, RecipeError, "16 bits"),
        (
            lambda: on_gpu("gemma2", attn_implementation="sdpa"),
            {"attention": "sdpa"},
            RecipeError,
            "soft cap",
        ),
    ],
)
def test_what_would_not_be_exact_is_refused(
    model: object, asked: dict[str, str], error: type[EvalkitError], message: str
) -> None:
    with pytest.raises(error, match=message) as raised:
        choose(model(), requests(5, 2, 9), **asked)
    assert raised.value.hint
