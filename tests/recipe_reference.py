"""Writes docs/recipe.md from the recipe's models and the options of every shipped plug-in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from pydantic import BaseModel

from evalkit import registry
from evalkit.fields import FieldText, describe, model_of
from evalkit.preferences import PreferenceOptions
from evalkit.recipe import Audit, Base, Card, Evaluation, Publish, Recipe
from evalkit.roles import PluginRef
from evalkit.stages import Gate, SamplingSection, Stage
from evalkit.training_settings import Adapter, TrainingSettings

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "recipe.md"
HEAD = """\
# The recipe

Everything that decides a result stands in one YAML document; how to run it (`--out`, `--children`,
...) are flags. It is closed: a key that is not on this page is an error, told with its line and the
nearest known word, before any work. Any key can be changed for one run with `--set`, by its dotted
name: `--set stages.0.training.schedule_epochs=1 --set variants=[]`. `evalkit new NAME` writes a
recipe with comments; the resolved one, defaults filled in, is kept in the run folder and printed
on the cards. `recipes/` holds recipes of published models.

A **plug-in** is named by a text, `judge: rule`, or with its options beside the name:
`judge: {name: rule, temperature: 0.1}`. A hyphen in the name counts as an underscore, and a path
that ends in `.py` is a [plug-in of your own](plugins.md).

*This page is generated from the code: `pytest tests/test_docs.py --update-golden` rewrites it.*
"""


class Section(NamedTuple):
    """One part of the recipe: its heading, where it stands, its model and an example."""

    heading: str
    place: str
    model: type[BaseModel]
    example: str


SECTIONS = [
    Section("The whole", "", Recipe, """\
name: My-SPPO
seed: 1
base: {model: mistralai/Mistral-7B-Instruct-v0.2}
stages:
  - method: sppo
    prompts: {name: file, path: prompts.jsonl}
    judge: pair_rm
card: {title: My-SPPO, license: apache-2.0}
"""),
    Section("Base", "base", Base, """\
base:
  model: microsoft/phi-2
  revision: ef382358ec9e382308935a992d908de099b64c23
"""),
    Section("Stages", "stages[]", Stage, """\
stages:
  - method: {name: spin, beta: 0.1}
    iterations: 3
    prompts: {name: file, path: answered.jsonl}
    reuse_prompts: true
    per_iteration:
      - {}
      - training: {learning_rate: 1.0e-7}
      - training: {learning_rate: 1.0e-7}
        method: {beta: 5.0}
"""),
    Section("Gate", "stages[].gate", Gate, """\
gate: {action: stop, benchmarks: [alpaca_eval], require: better}
"""),
    Section("Sampling", "stages[].sampling", SamplingSection, """\
sampling: {temperature: 0.7, top_p: 0.9, max_new_tokens: 2048}
"""),
    Section("Preferences", "stages[].preferences", PreferenceOptions, """\
preferences: {aggregation: score_difference}
"""),
    Section("Training", "stages[].training", TrainingSettings, """\
training:
  learning_rate: 5.0e-7
  batch_size: 64
  micro_batch_size: 8
  precision: bfloat16
  gradient_checkpointing: true
"""),
    Section("Adapter", "stages[].training.adapter", Adapter, """\
adapter: {rank: 32, alpha: 64, base_precision: nf4}
"""),
    Section("Evaluation", "evaluation", Evaluation, """\
evaluation:
  judge: rule
  benchmarks:
    - {name: lm_eval_tasks, tasks: [arc_challenge], num_fewshot: 25}
"""),
    Section("Audit", "evaluation.audit", Audit, """\
audit: {items: 50, second: rule}
"""),
    Section("Card", "card", Card, """\
card:
  title: My-SPPO
  license: apache-2.0
  language: [en]
  summary: A model for answering questions about tea.
"""),
    Section("Publish", "publish", Publish, """\
publish: {endpoint: 'https://huggingface.co', namespace: me, private: false}
"""),
]  # fmt: skip
SECTION_MODELS = {section.model for section in SECTIONS}
PLACES = {
    "methods": "stages[].method",
    "sources": "stages[].prompts, calibration, and the data of benchmarks",
    "judges": "stages[].judge, evaluation.judge",
    "engines": "engine",
    "benchmarks": "evaluation.benchmarks[]",
    "schemes": "variants[]",
    "builders": "base.builder",
}


def render() -> str:
    """The whole page."""
    parts = [HEAD, *map(_section, SECTIONS), "## Plug-ins\n"]
    for kind, place in PLACES.items():
        parts.append(f"### {kind.capitalize()}: `{place}`\n")
        parts += [_plugin(kind, name) for name in registry.names(kind)]
    return "\n".join(parts)


def undocumented() -> list[str]:
    """Fields without a description, as `owner.field`."""
    models = [(section.place or "recipe", section.model) for section in SECTIONS]
    models += [
        (f"{kind}/{name}", registry.load(kind, name).Options)
        for kind in registry.ROOMS
        for name in registry.names(kind)
    ]
    return [
        f"{owner}.{field.name}"
        for owner, model in models
        for field in (describe(model) if model in SECTION_MODELS else _with_sections(model))
        if not field.description
    ]


def _section(section: Section) -> str:
    where = f"Under `{section.place}`: " if section.place else ""
    intro = where + (section.model.__doc__ or "").split("\n\n")[0].strip().replace("\n    ", "\n")
    table = "\n".join(_table(describe(section.model)))
    return f"## {section.heading}\n\n{intro}\n\n{table}\n\n```yaml\n{section.example}```\n"


def _plugin(kind: str, name: str) -> str:
    plugin = registry.load(kind, name)
    extras = sorted({extra for _, extra in plugin.requires})
    lines = [f"#### `{name}`", "", registry.summary(kind, name)]
    if extras:
        lines.append(f"Needs `pip install 'evalkit[{','.join(extras)}]'`.")
    fields = _with_sections(plugin.Options)
    lines += ["", *_table(fields)] if fields else ["", "It has no options."]
    example = _example(kind, name)
    if example:
        lines += ["", "```yaml", example, "```"]
    return "\n".join(lines) + "\n"


def _with_sections(model: type[BaseModel], prefix: str = "") -> list[FieldText]:
    """Fields, those of a section directly behind it."""
    found = []
    for field, info in zip(describe(model), model.model_fields.values(), strict=True):
        found.append(field._replace(name=prefix + field.name))
        inner = model_of(info.annotation)
        if inner is not None and inner is not PluginRef:
            listed = "[]" if field.type.startswith("list") else ""
            found += _with_sections(inner, f"{prefix}{field.name}{listed}.")
    return found


def _table(fields: list[FieldText]) -> Iterator[str]:
    yield "| key | type | default | what |"
    yield "|---|---|---|---|"
    for field in fields:
        default = "**must be given**" if field.default is None else f"`{field.default}`"
        cells = (f"`{field.name}`", field.type, default, field.description)
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _example(kind: str, name: str) -> str:
    """How a recipe of the repository uses a plug-in, with the most options there is."""
    singular = {"sources": "prompts", "schemes": "variants", "benchmarks": "benchmarks"}
    key = singular.get(kind, kind.removesuffix("s"))
    uses = [
        use
        for file in sorted((ROOT / "recipes").glob("*.yaml"))
        for use in _uses(yaml.safe_load(file.read_text("utf-8")), key, name)
    ]
    if not uses:
        return ""
    most: Any = max(uses, key=lambda use: len(str(use)))
    if isinstance(most, str):
        return f"{key}: [{most}]" if kind in ("benchmarks", "schemes") else f"{key}: {most}"
    shown = [most] if kind in ("benchmarks", "schemes") else most
    text: str = yaml.safe_dump({key: shown}, sort_keys=False, default_flow_style=None, width=100)
    return text.rstrip()


def _uses(value: Any, key: str, name: str, under: str = "") -> Iterator[Any]:
    """Every reference to a plug-in of this name that stands under a key."""
    if isinstance(value, dict):
        if under == key and str(value.get("name", "")).replace("-", "_") == name:
            yield value
        for child, inner in value.items():
            yield from _uses(inner, key, name, child)
    elif isinstance(value, list):
        for inner in value:
            yield from _uses(inner, key, name, under)
    elif under == key and isinstance(value, str) and value.replace("-", "_") == name:
        yield value
