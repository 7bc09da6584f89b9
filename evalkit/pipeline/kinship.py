"""Whether a judge and the model it judges are of one kind: judges tend to prefer their own.

Told from weights, from the bases that model cards name, and from names; never guessed from scores.
Source: Panickssery et al. 2024, LLM Evaluators Recognize and Favor Their Own Generations.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from evalkit import frontmatter
from evalkit.errors import EvalkitError
from evalkit.loading import config_of, weights_digest
from evalkit.pipeline import plugins
from evalkit.recipe import Recipe
from evalkit.roles import Judge

# What names of fine-tuned forms end in, beside the name of the base.
_FORM = re.compile(
    r"[-_.](instruct|chat|it|hf|base|dpo|sft|sppo|spin|rlhf|gguf|awq|gptq|fp8|w\d+a\d+|bf16)"
    r"(?=$|[-_.])"
)
_DATE = re.compile(r"[-@](\d{4}-\d{2}-\d{2}|\d{4,8})$")
_VOLATILE = ("_name_or_path", "transformers_version", "torch_dtype", "dtype")


class Origin(NamedTuple):
    """What is known of a model's descent.

    names: its own and its bases', plain. digest: of its weights. shape: architecture and sizes.
    """

    names: frozenset[str]
    digest: str = ""
    shape: str = ""


def of_folder(folder: Path, name: str = "") -> Origin:
    """What a checkpoint's folder says; what it does not say stays empty."""
    try:
        config = config_of(folder)
        digest = weights_digest(folder)
    except EvalkitError:
        return of_name(name)
    shape = {key: value for key, value in sorted(config.items()) if key not in _VOLATILE}
    stated = [name, *_bases_on_card(folder)]
    if "/" in str(config.get("_name_or_path", "")):
        stated.append(str(config["_name_or_path"]))
    return Origin(_plain_names(stated), digest, repr(shape))


def of_name(*names: str) -> Origin:
    """What is known of a model that is only a name: a Hub id, or an API's model."""
    return Origin(_plain_names(names))


def kin(judge: Origin, judged: Origin) -> str:
    """In which way they are of one kind, in words; empty where nothing says so."""
    if judge.digest and judge.digest == judged.digest:
        return "the judge and the judged model have the same weights"
    shared = sorted(judge.names & judged.names)
    if shared:
        return f"the judge and the judged model share the base {shared[0]}"
    if judge.shape and judge.shape == judged.shape:
        return "the judge and the judged model have one architecture in one size and vocabulary"
    return ""


def of_judge(judge: Judge) -> Origin:
    """A judge's own model; of a rule, nothing."""
    name = str(judge.identity().get("model") or "")
    folder = judge.weights_folder()
    return of_name(name) if folder is None else of_folder(folder, name)


def of_base(recipe: Recipe) -> Origin:
    """What all checkpoints of a recipe descend from."""
    model = recipe.base.model
    if model is None:
        return Origin(frozenset())
    return of_folder(Path(model)) if Path(model).is_dir() else of_name(model)


def warnings(recipe: Recipe) -> list[str]:
    """What is to be said before a run whose judges are of the kind of what they judge."""
    refs = {"evaluation.judge": recipe.evaluation.judge}
    refs |= {f"stages.{n}.judge": stage.judge for n, stage in enumerate(recipe.stages)}
    found = []
    for key, ref in refs.items():
        try:
            judge = Origin(frozenset()) if ref is None else of_judge(plugins.make("judges", ref))
        except EvalkitError:  # a mistake in the recipe, which the checks tell
            continue
        reason = kin(judge, of_base(recipe)) if judge != Origin(frozenset()) else ""
        if reason:
            found.append(f"{key}: {reason}: judges tend to prefer their own")
    return found


def _plain_names(names: Iterable[str]) -> frozenset[str]:
    """Names without organisation, date and form: of `org/Llama-3-8B-Instruct`, `llama-3-8b`."""
    found = set()
    for name in names:
        last = name.rstrip("/").rsplit("/", 1)[-1].lower()
        plain = _FORM.sub("", _DATE.sub("", last))
        if plain:
            found.add(plain)
    return frozenset(found)


def _bases_on_card(folder: Path) -> list[str]:
    try:
        metadata = frontmatter.parse((folder / "README.md").read_text("utf-8")).metadata
    except (OSError, UnicodeDecodeError, EvalkitError):
        return []
    stated = metadata.get("base_model") or []
    return [str(one) for one in (stated if isinstance(stated, list) else [stated])]
