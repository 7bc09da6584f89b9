"""Writes a first recipe from three answers: a base, a method, and where the prompts are."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from evalkit import resources
from evalkit.durable import write_text
from evalkit.errors import RecipeError, did_you_mean
from evalkit.pipeline.composing import UNKNOWN_LICENCE, read_model, stated_in_card
from evalkit.recipe_document import Document, KeyPath
from evalkit.recipe_file import SUFFIXES, validated
from evalkit.sources.readers import READERS, ending

TEMPLATE = "recipes/new.yaml.j2"
POCKET = "pocket"
METHODS = ("sppo", "spin", "dpo", "sft", "none")
_HUB_DATASET = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
# What a row of the data must hold, for the comment above `prompts`.
WANTED = {
    "sppo": "Prompts alone are enough: the model answers them, and the judge compares.",
    "spin": "Prompts with good responses, which the model learns to prefer to its own.",
    "dpo": "Prompts with a chosen and a rejected response.",
    "sft": "Prompts with responses to imitate.",
    "none": "",
}


class Answers(NamedTuple):
    """What `evalkit new` asks. data: `pocket`, a file, a folder, a Hub dataset, or nothing."""

    name: str
    base: str
    method: str
    data: str = ""
    namespace: str = ""


def recipe_path(name: str) -> Path:
    """Where the recipe of that name is written: `NAME.yaml`, here or in the folder it names."""
    return Path(name if name.endswith(SUFFIXES) else f"{name}{SUFFIXES[0]}")


def write_recipe(file: Path, answers: Answers, *, force: bool = False) -> None:
    """Writes the recipe that the answers stand for.

    Raises:
        RecipeError: the file is there already, or an answer names nothing that exists.
    """
    if file.exists() and not force:
        raise RecipeError(f"{file} is there already", "choose another name, or --force")
    text = recipe_text(file, answers)
    origins: dict[KeyPath, str] = {(): "the answers", ("name",): "NAME"}
    origins[("publish",)] = f"--publish {answers.namespace}"
    validated(Document(yaml.safe_load(text), origins))
    file.parent.mkdir(parents=True, exist_ok=True)
    write_text(file, text)


def recipe_text(file: Path, answers: Answers) -> str:
    """The commented recipe, with the errors of `write_recipe` about answers."""
    from jinja2 import Environment, StrictUndefined

    if answers.method not in METHODS:
        raise RecipeError(
            f"there is no method '{answers.method}'", did_you_mean(answers.method, METHODS)
        )
    base, data = _base(answers.base), _data(answers)
    environment = Environment(
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    environment.filters["yaml"] = _scalar
    method, on_pocket = answers.method, data["kind"] == "pocket"
    context: dict[str, Any] = {
        "name": answers.name,
        "file": str(file),
        "base": base,
        "method": method,
        "data": data,
        "namespace": answers.namespace,
        "license": base["license"],
        "pocket_size": base["kind"] == "pocket",
        "self_play": method in ("sppo", "spin"),
        "samples": method in ("sppo", "spin") or (method == "dpo" and on_pocket),
        "judged": method == "sppo" or (method == "dpo" and on_pocket),
        "judge": "rule" if on_pocket else "pair_rm",
        "wanted": WANTED["sppo" if method == "dpo" and on_pocket else method],
        "prompts": lambda indent, key: _prompts(data, indent, key),
    }
    return environment.from_string(resources.template(TEMPLATE)).render(context)


def _base(text: str) -> dict[str, Any]:
    if text == POCKET and not Path(text).is_dir():
        return {"kind": "pocket", "license": "apache-2.0"}
    model = read_model(text)
    if not model.is_folder:
        return {"kind": "hub", "model": model.path, "revision": model.revision,
                "license": UNKNOWN_LICENCE}  # fmt: skip
    licence = stated_in_card(Path(text)).get("license", UNKNOWN_LICENCE)
    return {"kind": "folder", "model": text, "license": licence}


def _data(answers: Answers) -> dict[str, Any]:
    text = answers.data
    if not text:
        if answers.method != "none":
            raise RecipeError(f"{answers.method} needs prompts", "--data FILE, DATASET or pocket")
        return {"kind": "none"}
    if text == POCKET and not Path(text).exists():
        split = "pretrain" if answers.method == "none" else "self_play"
        count = 3000 if answers.method == "sppo" else 1500
        return {"kind": "pocket", "source": {"name": "pocket", "split": split, "count": count}}
    if Path(text).exists():
        return {"kind": "file", "source": {"name": "file", "path": text}}
    if ending(text) or not _HUB_DATASET.fullmatch(text):
        there = [str(file) for file in Path(text).parent.glob("*") if ending(file.name)]
        raise RecipeError(
            f"there is no data at {text}",
            did_you_mean(text, there) if there
            else f"give a file ({', '.join(f'.{word}' for word in READERS)}), a folder,"
            " a Hub dataset such as org/name, or pocket",
        )  # fmt: skip
    return {"kind": "dataset", "source": {"name": "dataset", "dataset": text, "split": "train"}}


def _prompts(data: dict[str, Any], indent: int, key: str) -> str:
    """A reference to the data as YAML, with what may be added to it."""
    pairs = ", ".join(f"{name}: {_scalar(value)}" for name, value in data["source"].items())
    lines = [f"{key}: {{{pairs}}}"]
    if data["kind"] != "pocket":
        lines.append("# options: count: 2000; columns: {prompt: question, response: answer}")
    return "\n".join(" " * indent + line for line in lines)


def _scalar(value: Any) -> str:
    """A value as YAML on one line, quoted only where it must be."""
    text = str(value)
    try:
        plain = isinstance(value, int) or yaml.safe_load(f"[{text}]") == [text]
    except yaml.YAMLError:
        plain = False
    return text if plain else json.dumps(text, ensure_ascii=False)
