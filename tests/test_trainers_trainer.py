"""Training: equal to a plain loop, unchanged by accumulation, and resumed bit for bit."""

from __future__ import annotations

import json
import math
import os
import random
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from evalkit import registry
from evalkit.errors import RecipeError
from evalkit.loading import weights_digest
from evalkit.records import TrainingExample
from evalkit.roles import Method
from evalkit.trainers.batches import epoch_order, fit_to_length
from evalkit.trainers.trainer import training_arguments
from evalkit.trainers.training import TrainingSummary, train
from evalkit.training_settings import TrainingSettings

BASIC = TrainingSettings(
    learning_rate=1e-3, optimizer="adamw_torch", batch_size=4, schedule_epochs=2, warmup_ratio=0.2
)


def ignore(done: int, total: int, note: str = "") -> None:
    """No progress is shown."""


def make(name: str, **options: Any) -> Method:
    plugin = registry.load("methods", name)
    method: Method = plugin(plugin.Options(**options))
    return method


def pointwise() -> Method:
    return make("sppo", form="pointwise", eta=20, divide_by_eta=True, samples=3)


def examples(count: int = 14, k: int = 3, seed: int = 0) -> list[TrainingExample]:
    draw = random.Random(seed)

    def tokens(low: int, high: int) -> tuple[int, ...]:
        return tuple(draw.randrange(10, 380) for _ in range(draw.randint(low, high)))

    return [
        TrainingExample(
            f"p{number}",
            tokens(4, 12),
            tuple(tokens(2, 8) for _ in range(k)),
            tuple(draw.random() for _ in range(k)),
            ("stop",) * k,
        )
        for number in range(count)
    ]


def run(
    folder: Path,
    start: Path,
    settings: TrainingSettings = BASIC,
    method: Method | None = None,
    data: list[TrainingExample] | None = None,
    progress: Any = ignore,
) -> TrainingSummary:
    folder.mkdir(parents=True, exist_ok=True)
    work = folder.with_name(folder.name + "-work")
    subject = method or pointwise()
    return train(subject, data or examples(), start, settings, folder, 3, progress, work)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return dict(AutoModelForCausalLM.from_pretrained(folder).state_dict())


def difference(a: Path, b: Path) -> float:
    one, other = weights(a), weights(b)
    return max(float((one[name] - other[name]).abs().max()) for name in one)


def metrics(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_equals_a_plain_training_loop(tiny_llama: Path, tmp_path: Path) -> None:
    """The same thing in straightforward torch, with none of our training code."""
    data = examples()
    run(tmp_path / "ours", tiny_llama, data=data)
    model = AutoModelForCausalLM.from_pretrained(tiny_llama)

    def logps(example: TrainingExample) -> torch.Tensor:
        sums = []
        for continuation in example.continuations:
            ids = torch.tensor([[*example.prompt_token_ids, *continuation]])
            table = model(ids).logits[0, len(example.prompt_token_ids) - 1 : -1].log_softmax(-1)
            sums.append(table.gather(1, torch.tensor(continuation)[:, None]).sum())
        return torch.stack(sums)

    with torch.no_grad():
        reference = [logps(example) for example in data]
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.0)
    total, warmup = 8, 2
    for step in range(total):
        epoch, batch = divmod(step, 4)
        members = epoch_order(len(data), 3, epoch)[4 * batch : 4 * batch + 4]
        loss = torch.zeros(())
        for i in members:
            error = logps(data[i]) - reference[i] - 20 * (torch.tensor(data[i].targets) - 0.5)
            loss = loss + (error**2).mean() / 20 / len(members)
        rate = step / warmup if step < warmup else (total - step) / (total - warmup)
        optimizer.param_groups[0]["lr"] = 1e-3 * rate
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    model.save_pretrained(tmp_path / "plain")
    assert difference(tmp_path / "ours", tmp_path / "plain") < 2e-5
    assert difference(tmp_path / "ours", tiny_llama) > 1e-3


@pytest.mark.parametrize("name", ["pointwise", "sft"])
def test_accumulation_and_budget_change_nothing(
    tiny_llama: Path, tmp_path: Path, name: str
) -> None:
    method = pointwise() if name == "pointwise" else make("sft")
    data = examples(k=3 if name == "pointwise" else 1)
    rest = {"optimizer": "sgd", "learning_rate": 1e-2}
    whole = BASIC.model_copy(update=rest)
    parts = BASIC.model_copy(update={**rest, "micro_batch_size": 2, "token_budget": 50})
    run(tmp_path / "whole", tiny_llama, whole, method, data)
    run(tmp_path / "parts", tiny_llama, parts, method, data)
    assert difference(tmp_path / "whole", tmp_path / "parts") < 1e-6
    assert difference(tmp_path / "whole", tiny_llama) > 1e-4
    for one, other in zip(metrics(tmp_path / "whole"), metrics(tmp_path / "parts"), strict=True):
        assert one.pop("padding_factor") >= 1
        assert other.pop("padding_factor") >= 1  # rows are filled otherwise
        # A correlation of log-ratios near 0 magnifies their rounding.
        correlations = (d.pop("delta_win_correlation", 0.0) for d in (one, other))
        assert next(correlations) == pytest.approx(next(correlations), abs=1e-2)
        assert one == pytest.approx(other, rel=1e-4, abs=1e-5)


class Killed(Exception):  # noqa: N818
    """Stands for a kill at this very moment."""


@pytest.mark.parametrize("stage", ["reference", "training"])
@pytest.mark.parametrize("at", [3, 4])
def test_a_killed_run_resumes_bit_for_bit(
    tiny_llama: Path, tmp_path: Path, stage: str, at: int
) -> None:
    settings = BASIC.model_copy(update={"save_steps": 3, "batch_size": 2, "micro_batch_size": 1})
    unbroken = run(tmp_path / "unbroken", tiny_llama, settings)

    def killer(done: int, total: int, note: str = "") -> None:
        if note.startswith(stage) and done >= at:
            raise Killed

    broken = tmp_path / "broken"
    with pytest.raises(Killed):
        run(broken, tiny_llama, settings, progress=killer)
    seen: list[int] = []

    def watch(done: int, total: int, note: str = "") -> None:
        if note.startswith("training"):
            seen.append(done)

    assert run(broken, tiny_llama, settings, progress=watch) == unbroken
    # The step at which it was killed had not been saved yet.
    assert seen[0] == (4 if stage == "training" and at == 4 else 1)
    assert {f.name for f in broken.iterdir()} == {f.name for f in (tmp_path / "unbroken").iterdir()}
    for file in sorted(broken.iterdir()):
        assert file.read_bytes() == (tmp_path / "unbroken" / file.name).read_bytes(), file.name


def test_half_written_checkpoints_are_never_resumed(tiny_llama: Path, tmp_path: Path) -> None:
    settings = BASIC.model_copy(update={"save_steps": 3})
    unbroken = run(tmp_path / "unbroken", tiny_llama, settings)
    work = tmp_path / "broken-work"
    (work / "partial" / "checkpoint-3").mkdir(parents=True)
    (work / "partial" / "checkpoint-3" / "weights.pt").write_bytes(b"half")
    (work / ".token_budget.json.draft").write_text('{"0"')
    assert run(tmp_path / "broken", tiny_llama, settings) == unbroken
    assert difference(tmp_path / "broken", tmp_path / "unbroken") == 0


def test_a_kill_while_the_result_is_written_costs_nothing(
    tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = BASIC.model_copy(update={"save_steps": 4})
    unbroken = run(tmp_path / "unbroken", tiny_llama, settings)

    def kill(*arguments: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("evalkit.trainers.training._write", kill)
        with pytest.raises(Killed):
            run(tmp_path / "broken", tiny_llama, settings)
    assert (tmp_path / "broken-work" / "checkpoint-8").is_dir()
    assert run(tmp_path / "broken", tiny_llama, settings) == unbroken
    assert difference(tmp_path / "broken", tmp_path / "unbroken") == 0
    assert metrics(tmp_path / "broken") == metrics(tmp_path / "unbroken")


def test_a_checkpoint_is_on_the_disk_before_it_has_its_name(
    tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine that loses power may keep a rename and lose what was renamed."""
    synced: list[str] = []
    renamed: list[tuple[str, set[str], list[str]]] = []
    real_sync, real_replace = os.fsync, Path.replace

    def sync(descriptor: int) -> None:
        real_sync(descriptor)
        synced.append(os.readlink(f"/proc/self/fd/{descriptor}"))

    def replace_path(self: Path, target: Path) -> Path:
        if self.name.startswith("checkpoint-"):
            held = {str(self), *(str(path) for path in self.rglob("*"))}
            renamed.append((str(target), held, list(synced)))
        return real_replace(self, target)

    monkeypatch.setattr("os.fsync", sync)
    monkeypatch.setattr(Path, "replace", replace_path)
    run(tmp_path / "run", tiny_llama, BASIC.model_copy(update={"save_steps": 3}))
    assert len(renamed) == 3  # behind steps 3 and 6, and the last
    for target, held, before in renamed:
        assert any(path.endswith("weights.pt") for path in held)
        assert any(path.endswith("optimizer.pt") for path in held)
        assert held <= set(before)
        assert str(Path(target).parent) in synced[len(before) :]  # then the rename itself


def test_result_is_an_ordinary_checkpoint(tiny_llama: Path, tmp_path: Path) -> None:
    summary = run(tmp_path / "out", tiny_llama)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert tokenizer.chat_template == AutoTokenizer.from_pretrained(tiny_llama).chat_template
    assert (tmp_path / "out" / "generation_config.json").is_file()
    assert weights_digest(tmp_path / "out") != weights_digest(tiny_llama)
    for file in (tmp_path / "out").iterdir():
        assert str(tmp_path).encode() not in file.read_bytes(), file.name
    assert summary.steps == 8
    assert summary.responses == 42
    lines = metrics(tmp_path / "out")
    assert [line["step"] for line in lines] == list(range(1, 9))
    assert lines[0]["delta_nats"] == 0
    assert lines[-1] == summary.metrics
    assert not any("time" in key or "second" in key for line in lines for key in line)
    assert lines[0]["loss"] > lines[4]["loss"]  # the same prompts, an epoch later


def test_schedule_may_be_longer_than_training(tiny_llama: Path, tmp_path: Path) -> None:
    settings = BASIC.model_copy(update={"schedule_epochs": 6.0, "stop_after_epochs": 1.0})
    run(tmp_path / "out", tiny_llama, settings)
    # 4 steps of 24, of which 5 warm up: the rate never reaches its peak.
    rates = [line["learning_rate"] for line in metrics(tmp_path / "out")]
    assert rates == pytest.approx([0, 2e-4, 4e-4, 6e-4])


def test_stopping_within_an_epoch_leaves_the_schedule_as_it_is(
    tiny_llama: Path, tmp_path: Path
) -> None:
    settings = BASIC.model_copy(update={"schedule_epochs": 6.0, "stop_after_epochs": 0.3})
    run(tmp_path / "out", tiny_llama, settings)
    rates = [line["learning_rate"] for line in metrics(tmp_path / "out")]
    assert rates == pytest.approx([0, 2e-4])  # the first 2 of the same 24 steps


def test_the_last_step_is_always_logged(tiny_llama: Path, tmp_path: Path) -> None:
    rare = run(tmp_path / "rare", tiny_llama, BASIC.model_copy(update={"log_steps": 50}))
    assert [line["step"] for line in metrics(tmp_path / "rare")] == [8]
    assert rare.metrics["step"] == 8
    run(tmp_path / "some", tiny_llama, BASIC.model_copy(update={"log_steps": 3}))
    some = metrics(tmp_path / "some")
    assert [line["step"] for line in some] == [3, 6, 8]
    run(tmp_path / "all", tiny_llama)
    last = metrics(tmp_path / "all")[6:]
    assert some[-1]["loss"] == pytest.approx(sum(line["loss"] for line in last) / 2, rel=1e-3)


def test_several_gpus_without_a_launcher_are_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wrapping in nn.DataParallel would multiply the batch and fail on our batches."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: None)
    on_gpu = SimpleNamespace(model=SimpleNamespace(device=torch.device("cuda:0")), config=None)
    arguments = training_arguments(BASIC, tmp_path, 0, on_gpu)
    assert arguments.device.type == "cuda"
    assert arguments.n_gpu == 1
    assert arguments.train_batch_size == BASIC.batch_size


def test_training_that_changed_nothing_says_so(
    tiny_llama: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first step of a warm-up has learning rate 0: alone, it changes nothing."""
    once = BASIC.model_copy(update={"batch_size": 14, "schedule_epochs": 1.0})
    run(tmp_path / "once", tiny_llama, once)
    assert difference(tmp_path / "once", tiny_llama) == 0
    assert "1 steps of training changed no stored weight" in capsys.readouterr().err
    run(tmp_path / "moved", tiny_llama, once.model_copy(update={"warmup_ratio": 0.0}))
    assert difference(tmp_path / "moved", tiny_llama) > 0
    assert "warning" not in capsys.readouterr().err


def test_updates_lost_in_storage_are_noticed(
    tiny_llama: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny_llama, dtype="bfloat16")
    model.save_pretrained(tmp_path / "start")
    AutoTokenizer.from_pretrained(tiny_llama).save_pretrained(tmp_path / "start")
    run(tmp_path / "out", tmp_path / "start", BASIC.model_copy(update={"learning_rate": 1e-12}))
    assert "8 steps of training changed no stored weight (kept as bfloat16)" in (
        capsys.readouterr().err
    )


@pytest.mark.parametrize("name", ["spin", "dpo"])
def test_pair_methods_learn_their_pairs(tiny_llama: Path, tmp_path: Path, name: str) -> None:
    data = [replace(example, targets=(1.0, 0.0)) for example in examples(k=2)]
    settings = BASIC.model_copy(update={"schedule_epochs": 4.0})
    run(tmp_path / "out", tiny_llama, settings, make(name), data)
    lines = metrics(tmp_path / "out")
    assert lines[0]["loss"] == pytest.approx(math.log(2))
    assert lines[0]["accuracy"] == 0
    assert lines[-1]["accuracy"] == 1
    assert lines[-1]["margin_nats"] > 1


def test_long_responses_are_cut_and_prompts_never() -> None:
    short, long = (
        TrainingExample("a", (1,) * 5, ((2,) * 3, (2,) * 9), (1.0, 0.0), ("stop", "stop")),
        None,
    )
    long = TrainingExample("b", (1,) * 10, ((2,),), (1.0,), ("stop",))
    fitted = fit_to_length([short, long], 10)
    assert [len(c) for c in fitted.examples[0].continuations] == [3, 5]
    assert fitted.examples[0].prompt_token_ids == short.prompt_token_ids
    assert (fitted.truncated, fitted.too_long) == (1, 1)


def test_nothing_to_train_on_is_an_error(tiny_llama: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="nothing to train on"):
        run(tmp_path, tiny_llama, BASIC.model_copy(update={"max_length": 3}))


@pytest.mark.parametrize("update", [{"gradient_checkpointing": True}, {"precision": "bfloat16"}])
def test_memory_savers_train_alike(
    tiny_llama: Path, tmp_path: Path, update: dict[str, Any]
) -> None:
    run(tmp_path / "plain", tiny_llama)
    run(tmp_path / "saving", tiny_llama, BASIC.model_copy(update=update))
    exact = "gradient_checkpointing" in update
    assert difference(tmp_path / "plain", tmp_path / "saving") < (1e-6 if exact else 1e-2)
