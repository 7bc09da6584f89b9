"""The lineage manifest: which data, which reference and which settings made each checkpoint.

Made from receipts alone, so it says what was done, whatever the recipe says by now.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from evalkit.cards.values import portable
from evalkit.durable import read_json, write_text
from evalkit.pipeline import gating, judging
from evalkit.pipeline.layout import BASE, IterationSlot, checkpoint_names, iterations, step_of
from evalkit.pipeline.responses import step_name as responses_step
from evalkit.recipe import Recipe
from evalkit.rundir import LINEAGE, Receipt, RunDir

_AROUND = ("base_precision", "adapter")
_SAMPLED = ("responses", "mean_response_tokens", "unfinished", "duplicate_responses")


def manifest(recipe: Recipe, run: RunDir) -> dict[str, Any]:
    """Every finished checkpoint of a run, oldest first; nothing that differs between equal runs."""
    slots = {slot.name: slot for slot in iterations(recipe)}
    found = []
    for name in checkpoint_names(recipe):
        receipt = run.receipt(step_of(recipe, name))
        if receipt is None:
            continue
        if name == BASE:
            made = _base(receipt)
        elif name in slots:
            made = _iteration(run, slots[name], receipt)
        else:
            made = _variant(receipt)
        common = {key: receipt.result.get(key) for key in ("digest", "precision", "versions")}
        found.append({"name": name, **common, **made})
    checkpoints: list[Any] = portable(found)
    return {"family": recipe.name, "seed": recipe.seed, "checkpoints": checkpoints}


def of_line(whole: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The part of a manifest that one checkpoint comes from: itself and what is above it."""
    by_name = {one["name"]: one for one in whole["checkpoints"]}
    kept = [by_name[name]]
    while (parent := kept[0].get("parent")) in by_name:
        kept.insert(0, by_name[parent])
    return {**whole, "checkpoints": kept}


def as_text(whole: Mapping[str, Any]) -> str:
    """A manifest as the text of its file."""
    return json.dumps(whole, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"


def write(recipe: Recipe, run: RunDir) -> None:
    """Writes the manifest of what is finished into the run's folder."""
    write_text(run.path / LINEAGE, as_text(manifest(recipe, run)))


def read(run: RunDir) -> Any:
    """The manifest in a run's folder, None where none was written."""
    return read_json(run.path / LINEAGE, hint="run its recipe again: that writes it anew")


def rows(whole: Mapping[str, Any]) -> list[list[str]]:
    """The trained checkpoints as a table with a heading; empty where none was trained."""
    trained = [one for one in whole["checkpoints"] if one["kind"] == "iteration"]
    if not trained:
        return []
    head = ["checkpoint", "from", "reference", "method", "prompts", "data", "trained on", "gate"]
    return [head, *map(_row, trained)]


def _row(one: Mapping[str, Any]) -> list[str]:
    asked = one["prompts"]
    first, source = asked["first"], asked["source"]
    place = source.get("dataset") or source.get("name") or ""
    return [
        one["name"],
        one["parent"],
        _in_words(one["reference"]),
        one["method"]["name"],
        f"{first + 1}-{first + asked['count']} of {place}",
        str(source.get("digest", ""))[:12],
        ", ".join(part["iteration"] for part in one["trained_on"]),
        (one["gate"] or {}).get("outcome", ""),
    ]


def _in_words(reference: Mapping[str, Any] | None) -> str:
    if reference is None:
        return "none"
    adapter = reference.get("adapter")
    name: str = reference["checkpoint"]
    return f"{name} with the adapter of {adapter['iteration']}" if adapter else name


def _base(receipt: Receipt) -> dict[str, Any]:
    asked = receipt.settings["settings"]
    return {
        "kind": "base",
        "source": receipt.result.get("source"),
        "revision": receipt.result.get("revision"),
        "builder": asked.get("builder"),
    }


def _variant(receipt: Receipt) -> dict[str, Any]:
    return {
        "kind": "variant",
        "parent": receipt.result["parent"],
        "settings": receipt.settings["settings"],
        "calibration_samples": receipt.result["calibration_samples"],
    }


def _iteration(run: RunDir, slot: IterationSlot, trained: Receipt) -> dict[str, Any]:
    asked = trained.settings["settings"]
    return {
        "kind": "iteration",
        "iteration": slot.number,
        "parent": slot.parent,
        "start": _start(trained, slot),
        "reference": _reference(trained, slot),
        "method": asked["method"],
        "training": asked["training"],
        "seed": asked["seed"],
        "trained_on": trained.result.get("trained_on", []),
        "examples": trained.result["examples"],
        "dropped": trained.result["dropped"],
        **_gathered(run, slot),
        "judging": _judged(run, slot),
        "gate": _gate(run, slot),
    }


def _start(trained: Receipt, slot: IterationSlot) -> dict[str, Any]:
    """The checkpoint whose weights were loaded, in which precision, and the adapter around them."""
    name = trained.result.get("start", slot.parent)
    needs: Mapping[str, Any] = trained.settings["needs"]
    step = next(step for step in (name, f"{name}-train") if step in needs)
    around = {key: trained.result[key] for key in _AROUND if key in trained.result}
    return {"checkpoint": name, "digest": needs[step]["digest"], **around}


def _reference(trained: Receipt, slot: IterationSlot) -> dict[str, Any] | None:
    """What the loss was relative to, where training started; None for losses without one."""
    return None if trained.result.get("reference") is None else _start(trained, slot)


def _gathered(run: RunDir, slot: IterationSlot) -> dict[str, Any]:
    """Prompts, and who answered them how; what is gone from the run stays empty."""
    receipt = run.receipt(responses_step(slot.name))
    if receipt is None:
        return {"prompts": None, "responses": None}
    asked, made = receipt.settings["settings"], receipt.result
    (by,) = receipt.settings["needs"].values()
    responses = {
        "by": {"checkpoint": slot.parent, "digest": by["digest"]} if asked["sampling"] else None,
        "sampling": asked["sampling"],
        "engine": asked["engine"],
        "seed": asked["seed"],
        "groups_digest": made["digest"],
        **{key: made[key] for key in _SAMPLED if key in made},
    }
    prompts = {
        "plugin": asked["prompts"],
        "source": made["source"],
        "first": asked["first_prompt"],
        "count": made["prompts"],
    }
    return {"prompts": prompts, "responses": responses}


def _judged(run: RunDir, slot: IterationSlot) -> dict[str, Any] | None:
    receipt = run.receipt(judging.step_name(slot.name))
    if receipt is None:
        return None
    return {
        **receipt.settings["settings"],
        "identity": receipt.result["judge"],
        "stats": receipt.result["stats"],
        "groups_digest": receipt.result["digest"],
    }


def _gate(run: RunDir, slot: IterationSlot) -> dict[str, Any] | None:
    receipt = run.receipt(gating.step_name(slot.name))
    if receipt is None:
        return None
    return {key: value for key, value in receipt.result.items() if key != "digest"}
