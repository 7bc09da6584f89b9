"""`compat: released`: renderings of the released code token by token, its cuts, its recipe key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from chat_templates import FAMILIES, tokenizer_of

from evalkit.errors import RecipeError
from evalkit.pipeline.stage_rendering import example_lines
from evalkit.preferences import PreferenceOptions
from evalkit.recipe import Recipe
from evalkit.recipe_file import read_recipe
from evalkit.records import Message, Prompt, TrainingExample
from evalkit.rendering import prompt_token_ids
from evalkit.trainers.released import check, cut, sampling_token_ids, sequences

HELLO = (Message("user", "Hi."),)


def shown(tokenizer: Any, ids: tuple[int, ...]) -> str:
    return str(tokenizer.decode(list(ids)))


# --- SPPO -----------------------------------------------------------------------------------------


def test_sppo_scores_the_assistant_s_header_between_two_bos_and_two_ends() -> None:
    tokenizer = tokenizer_of(FAMILIES["llama-3"])
    made = sequences("sppo", tokenizer, HELLO, ["Yes."])
    bos = "<|begin_of_text|>"
    assert shown(tokenizer, made.prompt_token_ids) == (
        f"{bos}{bos}<|start_header_id|>user<|end_header_id|>\n\nHi.<|eot_id|>"
    )
    assert shown(tokenizer, made.responses[0]) == (
        "<|start_header_id|>assistant<|end_header_id|>\n\nYes.<|eot_id|><|eot_id|>"
    )


def test_sppo_on_gemma_and_mistral() -> None:
    gemma = tokenizer_of(FAMILIES["gemma-2"])
    made = sequences("sppo", gemma, HELLO, ["Yes."])
    assert shown(gemma, made.prompt_token_ids) == (
        "<bos><bos><start_of_turn>user\nHi.<end_of_turn>\n"
    )
    assert shown(gemma, made.responses[0]) == "<start_of_turn>model\nYes.<end_of_turn>\n<eos>"
    mistral = tokenizer_of(FAMILIES["mistral"])
    made = sequences("sppo", mistral, HELLO, ["Yes.", ""])
    assert shown(mistral, made.prompt_token_ids) == "<s><s>[INST] Hi. [/INST]"
    assert [shown(mistral, ids) for ids in made.responses] == ["Yes.</s></s>", "</s></s>"]


def test_sppo_samples_for_a_prompt_with_header_and_two_bos() -> None:
    for name in ("llama-3", "gemma-2", "mistral", "phi-3"):
        tokenizer = tokenizer_of(FAMILIES[name])
        ids = sampling_token_ids("sppo", tokenizer, HELLO)
        assert ids == (tokenizer.bos_token_id, *prompt_token_ids(tokenizer, HELLO))
        assert ids[:2] == (tokenizer.bos_token_id,) * 2


def test_a_merge_across_the_boundary_moves_it_one_token_left() -> None:
    tokenizer = tokenizer_of(
        FAMILIES["mistral"]._replace(
            template="{{ bos_token }}{% for m in messages %}{{ m.content }}{% endfor %}"
        )
    )
    made = sequences("sppo", tokenizer, (Message("user", "why"),), [" not", "no"])
    # "y" and the blank are one token; the boundary moves for both responses.
    assert shown(tokenizer, made.prompt_token_ids) == "<s><s>wh"
    assert [shown(tokenizer, ids) for ids in made.responses] == ["y not</s>", "yno</s>"]
    assert len(made.responses[0]) == 5


# --- SPIN -----------------------------------------------------------------------------------------


def test_spin_has_an_empty_system_no_bos_and_two_ends() -> None:
    tokenizer = tokenizer_of(FAMILIES["zephyr"])
    made = sequences("spin", tokenizer, HELLO, ["yo"])
    assert shown(tokenizer, made.prompt_token_ids) == (
        "<|system|>\n</s>\n<|user|>\nHi.</s>\n<|assistant|>\n"
    )
    assert shown(tokenizer, made.responses[0]) == "yo</s>\n</s>"
    assert sampling_token_ids("spin", tokenizer, HELLO) == made.prompt_token_ids
    said = sequences("spin", tokenizer, (Message("system", "Be brief."), *HELLO), [])
    assert shown(tokenizer, said.prompt_token_ids).startswith("<|system|>\nBe brief.</s>\n")


def test_spin_tokenises_prompt_and_response_apart() -> None:
    tokenizer = tokenizer_of(FAMILIES["zephyr"])
    made = sequences("spin", tokenizer, HELLO, ["\nyo"])
    (break_alone,) = tokenizer("\n", add_special_tokens=False)["input_ids"]
    assert made.prompt_token_ids[-1] == made.responses[0][0] == break_alone
    together = tokenizer("<|assistant|>\n\nyo", add_special_tokens=False)["input_ids"]
    assert together.count(break_alone) == 0  # two breaks are one token there


def test_spin_takes_single_turns() -> None:
    turns = (*HELLO, Message("assistant", "Yes."), Message("user", "Why?"))
    with pytest.raises(RecipeError, match="takes the first turn alone, and here are 3"):
        sequences("spin", tokenizer_of(FAMILIES["zephyr"]), turns, ["yo"])


# --- what cannot be rendered so -------------------------------------------------------------------


def test_a_tokenizer_without_bos_stops_sppo_as_it_stopped_the_released_code() -> None:
    qwen = tokenizer_of(FAMILIES["qwen-2"])
    with pytest.raises(RecipeError, match="puts bos_token into every sequence"):
        check("sppo", qwen)
    check("spin", qwen)
    qwen.chat_template = None
    with pytest.raises(RecipeError, match="has none"):
        check("spin", qwen)


def test_a_template_that_refuses_an_empty_system_message() -> None:
    with pytest.raises(
        RecipeError, match=r"refuses what 'compat: released' renders \(system, user"
    ):
        check("spin", tokenizer_of(FAMILIES["gemma-2"]))


def test_an_example_is_shown() -> None:
    stage = {"method": "sppo", "prompts": "pocket", "judge": "rule", "compat": "released"}
    card = {"title": "x", "license": "mit"}
    recipe = Recipe.model_validate(
        {"name": "x", "base": {"model": "x"}, "stages": [stage], "card": card}
    )
    row = Prompt("row-7", (Message("user", "Say hello."),))
    lines = example_lines(tokenizer_of(FAMILIES["llama-3"]), recipe, 0, row)
    assert lines[0] == (
        "compat released (sppo) renders the first row of stages.0.prompts (row-7) so:"
    )
    assert "[<|begin_of_text|>][<|begin_of_text|>]" in lines[2]


# --- cutting --------------------------------------------------------------------------------------


def example(prompt: int, *responses: int) -> TrainingExample:
    made = tuple(tuple(range(length)) for length in responses)
    ends = ("stop",) * len(responses)
    return TrainingExample("p", tuple(range(prompt)), made, (1.0,) * len(made), ends)


# prompt, responses -> prompt, responses; max_length 1024, max_prompt_length 512.
# Source: the released arithmetic, executed: uclaml/SPPO sppo/trainer.py:653-671 at 5e61c4e.
CUTS = {
    (50, (970,)): (50, (970,)),
    (54, (970,)): (54, (970,)),
    (55, (970,)): (55, (512,)),
    (50, (980,)): (50, (512,)),
    (50, (600, 980)): (50, (512, 512)),
    (50, (300, 980)): (50, (300, 512)),
    (700, (300,)): (700, (300,)),
    (700, (400,)): (512, (400,)),
    (2000, (512,)): (512, (512,)),
    (2000, (513,)): (512, (512,)),
}


@pytest.mark.parametrize(("given", "kept"), CUTS.items())
def test_cuts_are_the_released_ones(given: Any, kept: Any) -> None:
    (prompt, responses), (prompt_kept, responses_kept) = given, kept
    made = cut([example(prompt, *responses)], 1024, 512)
    (one,) = made.examples
    assert one.prompt_token_ids == tuple(range(prompt))[-prompt_kept:]
    assert one.continuations == tuple(tuple(range(length)) for length in responses_kept)
    assert made.prompts == int(prompt_kept < prompt)
    lost = tuple(b < a for a, b in zip(responses, responses_kept, strict=True))
    assert made.responses == sum(lost)
    assert one.truncated == (lost if any(lost) else None)


def test_what_is_cut_fits() -> None:
    for prompt in range(1, 40, 3):
        for first in range(1, 40, 2):
            (one,) = cut([example(prompt, first, 7)], 20, 8).examples
            assert len(one.prompt_token_ids) + max(map(len, one.continuations)) <= 20


# --- the recipe -----------------------------------------------------------------------------------

RECIPE = """\
name: Tiny
base: {model: some/model}
stages:
  - method: sppo
    prompts: {name: pocket, split: self_play}
    judge: rule
    compat: released
card: {title: Tiny, license: mit}
"""


def problems(tmp_path: Path, old: str, new: str) -> list[str]:
    file = tmp_path / "mine.yaml"
    file.write_text(RECIPE.replace(old, new))
    try:
        read_recipe(file)
    except RecipeError as error:
        return [problem.message for problem in error.problems]
    return []


def test_released_preferences_are_the_default_with_compat(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(RECIPE)
    stage = read_recipe(file).recipe.stages[0]
    assert stage.preferences == PreferenceOptions(aggregation="score_difference")
    assert stage.max_prompt_length == 512
    file.write_text(RECIPE.replace("    compat: released\n", ""))
    stage = read_recipe(file).recipe.stages[0]
    assert stage.preferences == PreferenceOptions()
    assert stage.max_prompt_length is None


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            "compat: released",
            "compat: released\n    preferences: {aggregation: pairwise}",
            "preferences contradict 'compat'",
        ),
        (
            "compat: released",
            "compat: released\n    preferences: {temperature: 2}",
            "preferences contradict 'compat'",
        ),
        ("compat: released", "max_prompt_length: 512", "max_prompt_length without compat"),
        ("method: sppo", "method: dpo", "there is no released code of dpo"),
        (
            "compat: released",
            "compat: released\n    max_prompt_length: 1024",
            "leaves no room for a response",
        ),
    ],
)
def test_contradictions_are_told(tmp_path: Path, old: str, new: str, said: str) -> None:
    (problem,) = problems(tmp_path, old, new)
    assert said in problem
    assert problems(tmp_path, old, old) == []
