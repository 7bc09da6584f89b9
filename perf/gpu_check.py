"""Whether self-play works on a GPU: precision, freed memory, sharding. Minutes on one GPU.

python perf/gpu_check.py [--device cpu] [--json FILE]

A small SPPO recipe is trained in float32, in bfloat16, and in float32 sharded by FSDP2 on this one
GPU. Of each: memory still held after every step and its peak, the mean log-ratio between policy and
reference at step 0, and how far the weights are from those of float32.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import shutil
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from measuring import record

ROOT = Path(__file__).resolve().parent.parent
RECIPE = ROOT / "recipes" / "quickstart.yaml"
SMALL = (
    "base.builder={name: pocket, steps: 60}",
    "stages.0.iterations=1",
    "stages.0.prompts.count=96",
    "stages.0.prompts_per_iteration=96",
    "stages.0.training.schedule_epochs=1",
    "stages.0.training.batch_size=8",
    "stages.0.training.optimizer=sgd",  # Adam makes full steps of the last bits of small gradients
    "stages.0.training.learning_rate=0.1",
)
HELD_BYTES = 1 << 20  # what a step may leave behind: caches of kernels, no model
# How far weights may be from those of float32, as a part of how far training moved them (norms).
RELATIVE = {"float32": 0.0, "fsdp2": 1e-3, "bfloat16": 0.25}
STEP_0_NATS = {"float32": 1e-3, "fsdp2": 1e-3, "bfloat16": 0.5}


class Row(NamedTuple):
    """One line of the table; bound: what the figure must not exceed, None of what is only shown."""

    run: str
    what: str
    figure: float
    unit: str
    bound: float | None = None

    @property
    def good(self) -> bool:
        """Whether the figure is within its bound."""
        return self.bound is None or self.figure <= self.bound


def main() -> int:
    """Runs, prints the table, writes it; the exit code says whether all bounds hold."""
    parser = argparse.ArgumentParser(description="Check self-play on a GPU.")
    parser.add_argument("--device", choices=("auto", "cuda", "cpu"), default="auto")
    parser.add_argument("--json", type=Path, help="default perf/results/gpu_check_DEVICE.json")
    arguments = parser.parse_args()
    if arguments.device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # before torch is asked
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    if arguments.device not in ("auto", device):
        sys.exit("there is no GPU here; --device cpu checks the rest")
    with tempfile.TemporaryDirectory() as folder:
        rows = [row for name in RELATIVE for row in measured(name, Path(folder))]
    for row in rows:
        bound = "" if row.bound is None else f"at most {row.bound:.4g}"
        verdict = "" if row.bound is None else ("good" if row.good else "BAD")
        print(f"{row.run:<9} {row.what:<34} {row.figure:>12.4g} {row.unit:<9} {bound:<18}{verdict}")
    file = arguments.json or ROOT / "perf" / "results" / f"gpu_check_{device}.json"
    content = {"rows": [{**row._asdict(), "good": row.good} for row in rows]}
    record.keep(file, content, ("torch",), device)
    return 0 if all(row.good for row in rows) else 1


def measured(name: str, folder: Path) -> list[Row]:
    """Trains the recipe one way, step after step in this process but what is launched."""
    from evalkit.pipeline import run
    from evalkit.recipe_file import read_document

    precision = "bfloat16" if name == "bfloat16" else "float32"
    overrides = (*SMALL, f"stages.0.training.precision={precision}")
    sharded = {"launch": "fsdp2", "processes": 1} if name == "fsdp2" else {}
    if name != "float32":  # base, responses and verdicts are the same
        shutil.copytree(folder / "float32", folder / name, ignore=lambda *_: ["iter1-train"])
    orders = run.Orders(out=folder / name, hub_root=folder / "hub", children="never", **sharded)
    document = read_document(RECIPE, overrides)
    ready = run.prepare("train", document, orders)
    rows = []
    for step in ready.plan.steps:
        before = held()
        one = replace(orders, until=step.name)
        run.perform(run.prepare("train", document, one), one)
        rows += memory_rows(name, step.name, before)
    trained = ready.run.folder("iter1-train")
    first = json.loads((trained / "metrics.jsonl").read_text().splitlines()[0])
    drift = abs(first["kl_k1_nats"])
    rows.append(Row(name, "log-ratio at step 0, mean", drift, "nats", STEP_0_NATS[name]))
    weights = trained / "checkpoint"
    plain = folder / "float32" / "steps" / "iter1-train" / "checkpoint"
    base = ready.run.folder("base") / "checkpoint"
    apart = distance(weights, plain) / distance(plain, base)
    rows.append(Row(name, "apart from float32, by its change", apart, "", RELATIVE[name]))
    return rows


def memory_rows(name: str, step: str, before: int) -> list[Row]:
    """What a step used of the GPU at most, and what it still holds once models are released."""
    import torch

    from evalkit.pipeline.checkpoints import release

    if not torch.cuda.is_available():
        return []
    peak = torch.cuda.max_memory_allocated() / 2**20
    release()
    left = (held() - before) / 2**20
    torch.cuda.reset_peak_memory_stats()
    return [
        Row(name, f"peak of {step}", peak, "MiB"),
        Row(name, f"held after {step}", max(left, 0.0), "MiB", HELD_BYTES / 2**20),
    ]


def held() -> int:
    """Bytes of GPU memory that live tensors hold."""
    import torch

    gc.collect()
    return int(torch.cuda.memory_allocated()) if torch.cuda.is_available() else 0


def distance(one: Path, other: Path) -> float:
    """Norm of the difference of the weights of two checkpoints that have the same names."""
    from safetensors.torch import load_file

    a, b = (load_file(folder / "model.safetensors") for folder in (one, other))
    return sum(float((a[key].double() - b[key].double()).norm()) ** 2 for key in a) ** 0.5


if __name__ == "__main__":
    sys.exit(main())
