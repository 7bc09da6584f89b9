"""Runs llmcompressor's `oneshot` on a checkpoint and writes a complete compressed checkpoint.

Weights are rounded to bfloat16 before they are quantized, whatever the parent
was stored in: what is not quantized (embeddings, norms, head) and every scale is
bfloat16, and sizes are stated against bfloat16. llmcompressor is imported only
here, inside functions: it takes seconds.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from evalkit.checkpoint_size import checkpoint_bytes, is_linear, parameters, tensors
from evalkit.errors import PrerequisiteError, Problem, RecipeError, missing_extra
from evalkit.memory import memory_bytes
from evalkit.quantize.calibration import Calibration, batches
from evalkit.quantize.companions import carry_over
from evalkit.quantize.quiet import quiet
from evalkit.records import Checkpoint

FACTS_FILE = "quantization.json"
IGNORED = ("lm_head",)  # tied to the embeddings in many models, and what they lose most by
_WRITERS = ("llmcompressor", "compressed-tensors")
REQUIRES = (("llmcompressor", "quantize"), ("compressed_tensors", "quantize"))

MakeModifier = Callable[[], Any]


def parent_folder(checkpoint: Checkpoint) -> Path:
    """The folder of a checkpoint's files.

    Raises:
        RecipeError: there is none.
    """
    folder = Path(checkpoint.path)
    if not folder.is_dir():
        raise RecipeError(
            f"{checkpoint.name} cannot be quantized: there is no folder {checkpoint.path}",
            "give a folder that holds a checkpoint; a Hub id has to be fetched first",
        )
    return folder


def refuse(problems: list[Problem], checkpoint: Checkpoint) -> None:
    """Raises all problems at once as one RecipeError, if there are any."""
    if problems:
        first = problems[0]
        raise RecipeError(
            f"{checkpoint.name} cannot be quantized: {first.message}",
            first.hint,
            problems,
        )


def compress(
    parent: Path,
    folder: Path,
    make_modifier: MakeModifier,
    facts: Mapping[str, Any],
    calibration: Calibration | None = None,
) -> dict[str, Any]:
    """Writes the quantized checkpoint of `parent` into `folder`; returns what a Scheme returns.

    make_modifier: builds llmcompressor's modifier; called where importing it is quiet.
    facts: what `quantization.json` records beside versions and calibration.

    Raises:
        PrerequisiteError: llmcompressor is not installed, disk or memory are too full, or
            the parent's weights are not safetensors.
        RecipeError: a layer that should have been quantized was not.
    """
    _require_llmcompressor()
    _check_disk(parent, folder)
    _check_memory(parent)
    with quiet():
        _run(parent, folder, make_modifier(), calibration)
    carry_over(parent, folder)
    _check_coverage(parent, folder)
    record = {**facts, "parent_dtype": _dtype(parent), **_common_facts(calibration)}
    text = json.dumps(record, indent=2, sort_keys=True) + "\n"
    (folder / FACTS_FILE).write_text(text, "utf-8")
    return {**record, "calibration_samples": len(calibration.sequences) if calibration else 0}


def _require_llmcompressor() -> None:
    if find_spec("llmcompressor") is None:
        raise missing_extra("llmcompressor", "quantize")


def _run(parent: Path, folder: Path, modifier: Any, calibration: Calibration | None) -> None:
    import torch
    from llmcompressor import oneshot
    from llmcompressor.core import reset_session
    from transformers import AutoModelForCausalLM, AutoTokenizer

    # Loading and iterating draw from torch's global generator: later steps must
    # not depend on whether this one ran in their process.
    with torch.random.fork_rng(devices=[]):
        model = AutoModelForCausalLM.from_pretrained(parent, dtype=torch.bfloat16)
        tokenizer = AutoTokenizer.from_pretrained(parent)
        loader = None if calibration is None else _loader(calibration)
        try:
            oneshot(model=model, tokenizer=tokenizer, recipe=modifier, dataset=loader)
            model.save_pretrained(folder)
        finally:
            reset_session()  # a global that would keep the model in memory


def _loader(calibration: Calibration) -> Any:
    import torch
    from torch.utils.data import DataLoader

    made = []
    for group in batches(calibration):
        ids_BT = torch.tensor(group)
        made.append({"input_ids": ids_BT, "attention_mask": torch.ones_like(ids_BT)})
    return DataLoader(made, batch_size=None, shuffle=False)


def _check_disk(parent: Path, folder: Path) -> None:
    needed, free = checkpoint_bytes(parent), shutil.disk_usage(folder).free
    if free < needed:
        raise PrerequisiteError(
            f"quantizing {parent.name} needs up to {needed / 1e9:.1f} GB of disk,"
            f" {free / 1e9:.1f} GB are free",
            "free some space, or put the run on another disk",
        )


def _check_memory(parent: Path) -> None:
    """The whole model is held in main memory, in 16 bits; layers go to a GPU one by one."""
    needed, free = 2 * parameters(parent), memory_bytes()["available"]
    if 0 < free < needed:
        raise PrerequisiteError(
            f"quantizing {parent.name} holds {needed / 1e9:.1f} GB in main memory,"
            f" {free / 1e9:.1f} GB are free",
            "end what else runs, or quantize on a machine with more memory",
        )


def _check_coverage(parent: Path, folder: Path) -> None:
    # A name that llmcompressor does not match is skipped in silence.
    wanted = {t.name.removesuffix(".weight") for t in tensors(parent) if is_linear(t)}
    stored = {t.name for t in tensors(folder)}
    left = sorted(module for module in wanted if f"{module}.weight_scale" not in stored)
    if left:
        raise RecipeError(
            f"{len(left)} of {len(wanted)} linear layers were left unquantized: {left[0]}, ...",
            "this architecture names its layers differently; leave this variant out",
        )


def _dtype(parent: Path) -> str:
    return ", ".join(sorted({tensor.dtype for tensor in tensors(parent) if is_linear(tensor)}))


def _common_facts(calibration: Calibration | None) -> dict[str, Any]:
    return {
        "ignored": list(IGNORED),
        "rounded_to": "BF16",
        "calibration": None if calibration is None else calibration.record(),
        "versions": {name: version(name) for name in _WRITERS},
    }
