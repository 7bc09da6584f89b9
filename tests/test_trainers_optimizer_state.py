"""The optimizer's state goes from one iteration to the next: moments and step count, no more."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from test_trainers_trainer import BASIC, difference, examples, ignore, metrics, pointwise
from transformers import AutoModelForCausalLM

from evalkit.errors import RecipeError
from evalkit.pipeline import launching
from evalkit.roles import Progress
from evalkit.trainers.batches import epoch_order
from evalkit.trainers.before import NOTHING, Before
from evalkit.trainers.training import TrainingSummary, train
from evalkit.training_settings import Adapter, TrainingSettings

KEPT = BASIC.model_copy(update={"optimizer_state": "kept"})
FROZEN = KEPT.model_copy(update={"adapter": Adapter(rank=4, previous="frozen")})


def run(
    folder: Path,
    start: Path,
    settings: TrainingSettings = KEPT,
    before: Before = NOTHING,
    progress: Progress = ignore,
) -> TrainingSummary:
    folder.mkdir(exist_ok=True)
    work = folder.with_name(folder.name + "-work")
    return train(pointwise(), examples(), start, settings, folder, 3, progress, work, before)


def test_equals_a_plain_loop_with_one_optimizer(tiny_llama: Path, tmp_path: Path) -> None:
    """Two iterations, each with its own reference and schedule, in straightforward torch."""
    data = examples()
    run(tmp_path / "one", tiny_llama)
    before = Before(optimizer=tmp_path / "one" / "optimizer.pt")
    run(tmp_path / "two", tmp_path / "one", before=before)
    fresh = KEPT.model_copy(update={"optimizer_state": "fresh"})
    run(tmp_path / "fresh", tmp_path / "one", fresh)

    model = AutoModelForCausalLM.from_pretrained(tiny_llama)

    def logps(i: int) -> torch.Tensor:
        sums = []
        for continuation in data[i].continuations:
            ids = torch.tensor([[*data[i].prompt_token_ids, *continuation]])
            table = model(ids).logits[0, len(data[i].prompt_token_ids) - 1 : -1].log_softmax(-1)
            sums.append(table.gather(1, torch.tensor(continuation)[:, None]).sum())
        return torch.stack(sums)

    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.0)
    for _ in range(2):
        with torch.no_grad():
            reference = [logps(i) for i in range(len(data))]
        for step in range(8):
            epoch, batch = divmod(step, 4)
            members = epoch_order(len(data), 3, epoch)[4 * batch : 4 * batch + 4]
            loss = torch.zeros(())
            for i in members:
                error = logps(i) - reference[i] - 20 * (torch.tensor(data[i].targets) - 0.5)
                loss = loss + (error**2).mean() / 20 / len(members)
            optimizer.param_groups[0]["lr"] = 1e-3 * (step / 2 if step < 2 else (8 - step) / 6)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
    model.save_pretrained(tmp_path / "plain")
    assert difference(tmp_path / "two", tmp_path / "plain") < 3e-5
    assert difference(tmp_path / "two", tmp_path / "fresh") > 1e-4
    rates = [line["learning_rate"] for line in metrics(tmp_path / "two")]
    assert rates == [line["learning_rate"] for line in metrics(tmp_path / "one")]
    kept = torch.load(tmp_path / "two" / "optimizer.pt", weights_only=True)
    assert {float(state["step"]) for state in kept["state"].values()} == {16.0}
    assert not (tmp_path / "fresh" / "optimizer.pt").exists()


class Killed(Exception):  # noqa: N818
    """Stands for a kill at this very moment."""


@pytest.mark.parametrize("at", [pytest.param(2, marks=pytest.mark.slow), 5])
def test_a_killed_iteration_resumes_bit_for_bit(tiny_llama: Path, tmp_path: Path, at: int) -> None:
    """Killed before the first checkpoint it takes the state over again, after it never twice."""
    settings = FROZEN.model_copy(update={"save_steps": 3})
    run(tmp_path / "one", tiny_llama, settings)
    before = Before(tmp_path / "one" / "adapter", tmp_path / "one" / "optimizer.pt")
    unbroken = run(tmp_path / "unbroken", tiny_llama, settings, before)

    def killer(done: int, total: int, note: str = "") -> None:
        if note.startswith("training") and done == at:
            raise Killed

    with pytest.raises(Killed):
        run(tmp_path / "broken", tiny_llama, settings, before, killer)
    assert run(tmp_path / "broken", tiny_llama, settings, before) == unbroken
    for name in ("optimizer.pt", "model.safetensors", "metrics.jsonl"):
        files = [tmp_path / kind / name for kind in ("unbroken", "broken")]
        assert files[0].read_bytes() == files[1].read_bytes(), name


def test_a_state_that_does_not_fit_is_refused(tiny_llama: Path, tmp_path: Path) -> None:
    run(tmp_path / "one", tiny_llama)
    before = Before(optimizer=tmp_path / "one" / "optimizer.pt")
    other = KEPT.model_copy(update={"optimizer": "rmsprop"})
    with pytest.raises(RecipeError, match="was adamw_torch, and is rmsprop now"):
        run(tmp_path / "two", tmp_path / "one", other, before)
    with pytest.raises(RecipeError, match="which is not trained now"):
        run(tmp_path / "three", tmp_path / "one", FROZEN, before)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["rmsprop", "adafactor"])
def test_every_optimizer_hands_on_what_it_has(tiny_llama: Path, tmp_path: Path, name: str) -> None:
    settings = FROZEN.model_copy(update={"optimizer": name, "schedule_epochs": 1.0})
    run(tmp_path / "one", tiny_llama, settings)
    start = Before(adapter=tmp_path / "one" / "adapter")
    run(tmp_path / "fresh", tiny_llama, settings, start)
    kept = start._replace(optimizer=tmp_path / "one" / "optimizer.pt")
    run(tmp_path / "kept", tiny_llama, settings, kept)
    moved = difference(tmp_path / "fresh", tmp_path / "kept")
    assert moved > 0


def two_iterations(folder: Path, start: Path) -> None:
    """An adapter and the optimizer's state handed on once; run by every process of a launch."""
    from accelerate import PartialState

    settings = FROZEN.model_copy(update={"save_steps": 4})
    run(folder / "one", start, settings)
    PartialState().wait_for_everyone()
    before = Before(folder / "one" / "adapter", folder / "one" / "optimizer.pt")
    run(folder / "two", start, settings, before)


@pytest.mark.slow
def test_two_sharded_processes_hand_on_what_one_does(tiny_llama: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    launch = ["-m", launching.__name__, *launching.words_of(launching.find_launch("fsdp2", 2))]
    for name, words in (("alone", []), ("together", launch)):
        folder = tmp_path / name
        folder.mkdir()
        command = [sys.executable, *words, __file__, str(folder), str(tiny_llama)]
        subprocess.run(command, check=True, env=environment, timeout=300)
    assert difference(tmp_path / "alone" / "two", tmp_path / "together" / "two") < 1e-5
    one, two = (
        torch.load(tmp_path / name / "two" / "optimizer.pt", weights_only=True)["state"]
        for name in ("alone", "together")
    )
    assert one.keys() == two.keys()
    for name, state in one.items():
        assert all((value - two[name][key]).abs().max() < 1e-5 for key, value in state.items())
    assert list((tmp_path / "together" / "two-work").glob("fsdp*"))  # it was sharded


if __name__ == "__main__":
    torch.set_num_threads(1)
    two_iterations(*map(Path, sys.argv[1:]))
