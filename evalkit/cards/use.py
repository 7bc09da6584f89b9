"""How readers load a model and build its page again: code and commands, as text to copy."""

from __future__ import annotations

import json
from typing import Any

import yaml

from evalkit.cards import values
from evalkit.cards.links import repository
from evalkit.family import Family, Member
from evalkit.recipe import Recipe

# Where a family is published decides no result, and its address may be private.
_NOT_REPRODUCED = ("publish",)


def model_id(family: Family, member: Member) -> str:
    """What a reader writes to load it: its Hub id, else a folder."""
    return repository(family, member) or f"./{member.title}"


def snippet(family: Family, member: Member) -> str:
    """Python that asks the model one question with transformers."""
    tokens = (member.training.sampling or {}).get("max_new_tokens") if member.training else None
    limit = f", max_new_tokens={int(tokens)}" if tokens else ""
    classes = ["from transformers import AutoModelForCausalLM, AutoTokenizer"]
    model = "AutoModelForCausalLM"
    if member.imported and member.imported.relation == "adapter":
        model = "AutoPeftModelForCausalLM"
        classes = [f"from peft import {model}", "from transformers import AutoTokenizer"]
    return "\n".join(
        [
            *classes,
            "",
            f"name = {json.dumps(model_id(family, member))}",
            "tokenizer = AutoTokenizer.from_pretrained(name)",
            f"model = {model}.from_pretrained(name)",
            "",
            'messages = [{"role": "user", "content": "Your question"}]',
            "inputs = tokenizer.apply_chat_template(",
            '    messages, add_generation_prompt=True, return_dict=True, return_tensors="pt"',
            ")",
            f"output = model.generate(**inputs{limit})",
            'answer = output[0, inputs["input_ids"].shape[1] :]',
            "print(tokenizer.decode(answer, skip_special_tokens=True))",
        ]
    )


def commands(family: Family) -> str:
    """What installs evalkit and runs the recipe again."""
    version = family.versions.get("evalkit")
    pinned = f"=={version}" if version else ""
    install = f"pip install 'evalkit[train,eval,quantize,hub]{pinned}'"
    return f"{install}\nevalkit train-and-publish recipe.yaml"


def recipe(family: Family) -> str:
    """The resolved recipe as YAML, its keys in the order of the reference."""
    known = [key for key in Recipe.model_fields if key in family.recipe]
    order = [*known, *sorted(set(family.recipe) - set(known))]
    kept = {key: family.recipe[key] for key in order if key not in _NOT_REPRODUCED}
    shown: Any = {key: values.portable(value) for key, value in kept.items()}
    plain = json.loads(json.dumps(shown, allow_nan=False))
    return yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, width=100).rstrip()
