"""One measured training run, alone in its process: `training_vs_trl.py` starts one per arm.

Prints one JSON line: seconds of the reference pass and of training, peak memory above the
loaded model, and the loss of each step.
"""

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import torch
from measuring.meter import Meter
from world import MAX_LENGTH, SHAPES, Group, groups, text

from evalkit.records import TrainingExample
from evalkit.training_settings import TrainingSettings

LEARNING_RATE, BETA = 1e-6, 0.001


def trl(arguments: argparse.Namespace, data: list[Group], work: Path) -> dict[str, Any]:
    """TRL's DPOTrainer with `sppo_hard`; `best` is batch 1 with a precomputed reference."""
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import DPOConfig, DPOTrainer

    best = arguments.arm.startswith("trl_best")
    # Its default is to recompute activations in the backward pass.
    checkpointed = arguments.arm in {"trl_default", "trl_best_checkpointed"}
    rows = [
        {"prompt": text(g.prompt), "chosen": text(g.responses[0]), "rejected": text(g.responses[1])}
        for g in data
    ]
    options = {"precompute_ref_log_probs": best, "gradient_checkpointing": checkpointed}
    config = DPOConfig(
        output_dir=str(work), loss_type="sppo_hard", beta=BETA, max_length=MAX_LENGTH,
        per_device_train_batch_size=1 if best else arguments.batch,
        gradient_accumulation_steps=arguments.batch if best else 1,
        bf16=arguments.dtype == "bfloat16", use_cpu=arguments.device == "cpu",
        learning_rate=LEARNING_RATE, lr_scheduler_type="constant", num_train_epochs=1,
        save_strategy="no", logging_steps=1, report_to="none", disable_tqdm=True,
        dataloader_pin_memory=False, **options,
    )  # fmt: skip
    model = AutoModelForCausalLM.from_pretrained(arguments.model_folder, dtype="float32")
    model.to(arguments.device)
    meter = Meter(arguments.device)
    holder: list[Any] = []

    def prepare() -> None:
        holder.append(
            DPOTrainer(
                model=model, args=config, train_dataset=Dataset.from_list(rows),
                processing_class=AutoTokenizer.from_pretrained(arguments.model_folder),
            )
        )  # fmt: skip

    setup_s = meter.seconds(prepare)
    train_s = meter.seconds(holder[0].train)
    losses = [entry["loss"] for entry in holder[0].state.log_history if "loss" in entry]
    return {
        "setup_s": setup_s, "train_s": train_s, "peak_bytes": meter.peak_bytes(),
        "losses": losses,
    }  # fmt: skip


def evalkit(arguments: argparse.Namespace, data: list[Group], work: Path) -> dict[str, Any]:
    """Our trainer; its setup is the reference pass.

    The arm's name says the layout, and whether activations are recomputed.
    """
    from evalkit.trainers.reference import reference_logps, training_model
    from evalkit.trainers.sppo import PLUGIN
    from evalkit.trainers.trainer import MethodTrainer

    pointwise = arguments.responses > 2
    method = PLUGIN(PLUGIN.Options(form="pointwise" if pointwise else "hard", eta=1 / BETA))
    settings = TrainingSettings(
        learning_rate=LEARNING_RATE, optimizer="adamw_torch", batch_size=arguments.batch,
        warmup_ratio=0.0, schedule="constant", max_length=MAX_LENGTH, precision=arguments.dtype,
        layout=arguments.arm.split("_")[1], attention=arguments.attention,
        token_budget=arguments.token_budget, save_steps="never",
        gradient_checkpointing=arguments.arm.endswith("_checkpointed") or "auto",
    )  # fmt: skip
    targets = tuple(n / (arguments.responses - 1) for n in reversed(range(arguments.responses)))
    examples = [
        TrainingExample(
            str(number), tuple(g.prompt), tuple(map(tuple, g.responses)), targets,
            ("stop",) * len(g.responses),
        )
        for number, g in enumerate(data)
    ]  # fmt: skip
    ready: list[TrainingExample] = []

    def score() -> None:
        ready.extend(reference_logps(examples, arguments.model_folder, settings, 0, _quiet))

    setup_s = Meter(arguments.device).seconds(score)
    model = training_model(arguments.model_folder, settings, examples=examples)
    meter = Meter(arguments.device)
    trainer = MethodTrainer(model, method, ready, settings, work, 0, _quiet)
    train_s = meter.seconds(trainer.train)
    scale = 1 if pointwise else 2  # TRL's `sppo_hard` is not halved
    losses = [scale * entry["loss"] for entry in trainer.metrics() if "loss" in entry]
    return {
        "setup_s": setup_s, "train_s": train_s, "peak_bytes": meter.peak_bytes(),
        "losses": losses,
    }  # fmt: skip


def plain(arguments: argparse.Namespace, data: list[Group], work: Path) -> dict[str, Any]:
    """The padded batch of K responses per prompt with full logits that one would write at first."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(arguments.model_folder, dtype="float32")
    model.to(arguments.device)
    meter = Meter(arguments.device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=0.0)
    count = arguments.responses
    target_K = torch.tensor([n / (count - 1) - 0.5 for n in reversed(range(count))]) / BETA
    target_K = target_K.to(arguments.device)
    reference: list[torch.Tensor] = []

    def autocast() -> Any:
        return torch.autocast(
            arguments.device, torch.bfloat16, enabled=arguments.dtype == "bfloat16"
        )

    def score() -> None:
        with torch.no_grad(), autocast():
            reference.extend(_plain_logps(model, group, arguments.device) for group in data)

    losses: list[float] = []

    def train() -> None:
        for start in range(0, len(data), arguments.batch):
            total = 0.0
            for index in range(start, min(start + arguments.batch, len(data))):
                with autocast():
                    delta_K = _plain_logps(model, data[index], arguments.device) - reference[index]
                loss = ((delta_K - target_K) ** 2).mean() / arguments.batch
                loss.backward()
                total += float(loss.detach())
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            losses.append(total)

    setup_s, train_s = meter.seconds(score), meter.seconds(train)
    return {
        "setup_s": setup_s, "train_s": train_s, "peak_bytes": meter.peak_bytes(),
        "losses": losses,
    }  # fmt: skip


def _plain_logps(model: Any, group: Group, device: str) -> torch.Tensor:
    width = max(map(len, group.responses)) + len(group.prompt)
    rows = [group.prompt + response for response in group.responses]
    ids_KT = torch.tensor([row + [0] * (width - len(row)) for row in rows], device=device)
    mask_KT = torch.tensor(
        [[1] * len(row) + [0] * (width - len(row)) for row in rows], device=device
    )
    logits_KTV = model(input_ids=ids_KT, attention_mask=mask_KT, use_cache=False).logits
    logp_KT = logits_KTV[:, :-1].float().log_softmax(-1)
    token_KT = logp_KT.gather(-1, ids_KT[:, 1:, None])[..., 0]
    scored_KT = mask_KT[:, 1:].clone()
    scored_KT[:, : len(group.prompt) - 1] = 0
    return (token_KT * scored_KT).sum(-1)


def _quiet(done: int, total: int, note: str = "") -> None:
    """Progress is not shown while time is taken."""


ARMS = {"trl": trl, "evalkit": evalkit, "plain": plain}


def main() -> None:
    """Runs one arm and prints what it took."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("arm")
    parser.add_argument("model_folder")
    parser.add_argument("--model", default="20m", choices=SHAPES)
    parser.add_argument("--count", type=int, default=16)
    parser.add_argument("--responses", type=int, default=2)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--attention", default="auto")
    parser.add_argument("--token-budget", type=int)
    arguments = parser.parse_args()
    data = groups(arguments.count, arguments.responses, SHAPES[arguments.model].vocabulary)
    with tempfile.TemporaryDirectory() as work:
        found = ARMS[arguments.arm.split("_")[0]](arguments, data, Path(work))
    print(json.dumps({"arm": arguments.arm, "tokens": sum(g.useful_tokens for g in data), **found}))


if __name__ == "__main__":
    main()
