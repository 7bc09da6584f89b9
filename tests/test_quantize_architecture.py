"""What a config.json says before any weight is read."""

from typing import Any

import pytest

from evalkit import registry
from evalkit.errors import Problem
from evalkit.quantize.architecture import fp8_problems, group_problems

LLAMA = {
    "model_type": "llama",
    "hidden_size": 128,
    "intermediate_size": 512,
    "num_attention_heads": 4,
}


def config(**changes: Any) -> dict[str, Any]:
    """A good config with changes; None removes a key."""
    merged = {**LLAMA, **changes}
    return {key: value for key, value in merged.items() if value is not None}


def only(problems: list[Problem]) -> Problem:
    """The one problem there is."""
    assert len(problems) == 1, problems
    return problems[0]


def test_a_fitting_model_has_no_problems_tied_or_not() -> None:
    for tied in (True, False):
        assert group_problems(config(tie_word_embeddings=tied), 128) == []
        assert fp8_problems(config(tie_word_embeddings=tied)) == []


@pytest.mark.parametrize(
    ("changes", "where", "hint"),
    [
        ({"intermediate_size": 352}, "intermediate_size", "group_size: 32"),
        ({"intermediate_size": 448}, "intermediate_size", "group_size: 64"),
        ({"head_dim": 48}, "num_attention_heads x head_dim", "group_size: 64"),
        ({"intermediate_size": 344}, "intermediate_size", "fp8_dynamic"),
    ],
)
def test_a_width_that_the_group_does_not_divide(
    changes: dict[str, int], where: str, hint: str
) -> None:
    problem = only(group_problems(config(**changes), 128))
    assert problem.where == ""  # the recipe's line is the caller's to fill in
    assert problem.message.startswith(f"config.json: {where}: ")
    assert hint in problem.hint


def test_every_bad_width_is_reported_at_once() -> None:
    bad = config(hidden_size=192, intermediate_size=320)
    assert len(group_problems(bad, 128)) == 3
    assert group_problems(bad, 64) == []


def test_fp8_needs_multiples_of_sixteen() -> None:
    assert fp8_problems(config(intermediate_size=352)) == []
    assert "16" in only(fp8_problems(config(intermediate_size=344))).message


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"model_type": "mamba"}, "model_type"),
        ({"num_local_experts": 8}, "num_local_experts"),
        ({"quantization_config": {"quant_method": "gptq"}}, "quantization_config"),
        ({"intermediate_size": None}, "intermediate_size"),
    ],
)
def test_models_that_cannot_be_done_are_refused_with_a_hint(
    changes: dict[str, Any], where: str
) -> None:
    for problems in (group_problems(config(**changes), 128), fp8_problems(config(**changes))):
        problem = only(problems)
        assert problem.where == ""
        assert problem.message.startswith(f"config.json: {where}: ")
        assert problem.hint


@pytest.mark.parametrize("name", registry.names("schemes"))
def test_an_untested_architecture_can_be_tried_on_request(name: str) -> None:
    plugin = registry.load("schemes", name)
    olmo = config(model_type="olmo2")
    assert "untested_architecture" in only(plugin(plugin.Options()).check_model(olmo)).hint
    assert plugin(plugin.Options(untested_architecture=True)).check_model(olmo) == []
