"""Two iterations of SPPO on the pocket world equal a straightforward script, to fp32 rounding.

`iteration` below is that script: padded rows, full logits, torch's optimizer, and the judge's raw
logits turned into targets. It shares no code with evalkit; only sampled responses are the run's.
"""

from __future__ import annotations

import json
import math
import random
from pathlib import Path
from typing import Any

import pytest
import runs
import torch
import yaml
from transformers import AutoModelForCausalLM

pytestmark = pytest.mark.slow

PAIR = {
    "method": {"name": "sppo", "form": "pair", "samples": 4},  # eta is 1000, as released
    "training": {
        "optimizer": "rmsprop", "learning_rate": 2e-5, "batch_size": 8, "warmup_ratio": 0.25,
        "schedule_epochs": 3, "stop_after_epochs": 2, "micro_batch_size": 4, "token_budget": 300,
    },
}  # fmt: skip


# --- the script -------------------------------------------------------------------------------


def win_probabilities(logits: list[list[float]]) -> list[float]:
    """Of each response against the policy, itself included; order bias taken out of the logits."""
    k = len(logits)
    margin = [[(logits[i][j] - logits[j][i]) / 2 for j in range(k)] for i in range(k)]
    return [sum(1 / (1 + math.exp(-margin[i][j])) for j in range(k)) / k for i in range(k)]


def rows_of(group: dict[str, Any], form: str) -> dict[str, Any] | None:
    """Prompt, responses and win probabilities to train on; None if all responses are as good."""
    texts = [response["text"] for response in group["responses"]]
    wins = win_probabilities(group["pair_logits"])
    if len(set(texts)) == 1 or max(wins) - min(wins) < 1e-9:
        return None
    kept = list(range(len(texts)))
    if form == "pair":
        kept = [wins.index(max(wins)), wins.index(min(wins))]
    responses = [group["responses"][i]["token_ids"] for i in kept]
    return {"prompt": group["prompt_token_ids"], "y": responses, "p": [wins[i] for i in kept]}


def sequence_logps(model: Any, prompt: list[int], responses: list[list[int]]) -> torch.Tensor:
    """Summed log-probability of each response, in right-padded rows."""
    longest = max(map(len, responses))
    rows = torch.tensor([prompt + y + [0] * (longest - len(y)) for y in responses])
    logps = model(rows).logits[:, len(prompt) - 1 : -1].float().log_softmax(-1)
    token_logps = logps.gather(-1, rows[:, len(prompt) :, None])[..., 0]
    lengths = torch.tensor([len(y) for y in responses])
    return (token_logps * (torch.arange(longest) < lengths[:, None])).sum(-1)


def iteration(model: Any, groups: list[dict[str, Any]], method: Any, t: Any, seed: int) -> None:
    """Trains the model on an iteration's groups, from itself as the reference."""
    data = [row for group in groups if (row := rows_of(group, method["form"]))]
    with torch.no_grad():
        reference = [sequence_logps(model, row["prompt"], row["y"]) for row in data]
    kinds = {"adamw_torch": torch.optim.AdamW, "rmsprop": torch.optim.RMSprop}
    optimizer = kinds[t["optimizer"]](model.parameters(), lr=0.0, weight_decay=0.0)
    batch, eta = t["batch_size"], method["eta"]
    steps_per_epoch = math.ceil(len(data) / batch)
    total = steps_per_epoch * t["schedule_epochs"]
    warm_up = math.ceil(total * t["warmup_ratio"])
    for step in range(int(steps_per_epoch * (t["stop_after_epochs"] or t["schedule_epochs"]))):
        order = list(range(len(data)))
        random.Random(f"{seed} epoch {step // steps_per_epoch}").shuffle(order)
        first = step % steps_per_epoch * batch
        members = order[first : first + batch]
        for i in members:
            delta = sequence_logps(model, data[i]["prompt"], data[i]["y"]) - reference[i]
            errors = (delta - eta * (torch.tensor(data[i]["p"]) - 0.5)) ** 2
            loss = errors.sum() / 2 if method["form"] == "pair" else errors.mean()
            (loss / len(members) / (eta if method["divide_by_eta"] else 1)).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        rate = step / warm_up if step < warm_up else (total - step) / (total - warm_up)
        optimizer.param_groups[0]["lr"] = t["learning_rate"] * rate
        optimizer.step()
        optimizer.zero_grad()


# --- the comparison ---------------------------------------------------------------------------


def test_pointwise_with_adamw(micro_run: Path) -> None:
    compare(micro_run / "run")


def test_pairs_as_released_with_rmsprop(tmp_path: Path) -> None:
    recipe = yaml.safe_load((runs.RECIPES / "micro.yaml").read_text())
    recipe["stages"][0] |= PAIR
    file = tmp_path / "pair.yaml"
    file.write_text(yaml.safe_dump(recipe))
    runs.finish(file, tmp_path, "--until", "iter2-train")
    compare(tmp_path / "run")
    # Trained again with another learning rate, the reference pass is found where it was kept.
    [kept] = (tmp_path / "run" / "cache" / "iter1-train").iterdir()
    before, weights = kept.stat().st_mtime_ns, tmp_path / "run/steps/iter1-train/checkpoint"
    first = (weights / "model.safetensors").read_bytes()
    recipe["stages"][0]["training"]["learning_rate"] = 1e-5
    file.write_text(yaml.safe_dump(recipe))
    runs.finish(file, tmp_path, "--redo", "iter1-train", "--until", "iter1-train")
    assert kept.stat().st_mtime_ns == before
    assert (weights / "model.safetensors").read_bytes() != first


def compare(run: Path) -> None:
    """Every iteration's weights, the script going on from its own."""
    [stage] = yaml.safe_load((run / "recipe.yaml").read_text())["stages"]
    training, steps = stage["training"], run / "steps"
    model = AutoModelForCausalLM.from_pretrained(steps / "base" / "checkpoint", dtype="float32")
    for name in ("iter1", "iter2"):
        receipt = json.loads((steps / f"{name}-train" / "receipt.json").read_text())
        lines = (steps / f"{name}-judge" / "groups.jsonl").read_text().splitlines()
        before = {key: value.clone() for key, value in model.state_dict().items()}
        method = receipt["settings"]["settings"]["method"]["options"]
        seed = receipt["settings"]["settings"]["seed"]
        iteration(model, [json.loads(line) for line in lines], method, training, seed)
        ours = AutoModelForCausalLM.from_pretrained(steps / f"{name}-train" / "checkpoint")
        theirs = model.state_dict()
        moved = distance(ours.state_dict(), before)
        apart = distance(ours.state_dict(), theirs)
        print(f"{name}: moved {moved:.3g}, apart {apart:.3g}")
        assert moved > 1e-3
        assert apart < 2e-5 * moved


def distance(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    """Euclidean distance of two models' weights."""
    return math.sqrt(sum(float((one[n].double() - other[n].double()).square().sum()) for n in one))
