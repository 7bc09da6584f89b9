"""What is shown of a training while it runs: a line for people, and TensorBoard's event files."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import runs
from test_trainers_trainer import BASIC, examples, ignore, metrics, pointwise

from evalkit import console
from evalkit.errors import PrerequisiteError
from evalkit.pipeline.tracking import TRACKERS, require_trackers
from evalkit.trainers.reporting import Pace, Reports, line
from evalkit.trainers.training import train


def trained(folder: Path, start: Path, reports: Reports, progress: Any = ignore) -> Path:
    folder.mkdir()
    work = folder.with_name(folder.name + "-work")
    settings = BASIC.model_copy(update={"save_steps": 4})
    train(pointwise(), examples(), start, settings, folder, 3, progress, work, reports=reports)
    return folder


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """What TensorBoard itself reads of a folder's event files: (step, value) by tag."""
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = accumulator.EventAccumulator(str(folder))
    events.Reload()
    return {
        tag: [(event.step, event.value) for event in events.Scalars(tag)]
        for tag in events.Tags()["scalars"]
    }


def test_tensorboard_is_sent_every_metric_and_the_pace(tiny_llama: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    logs = tmp_path / "run" / "logs" / "iter1-train"
    told = trained(tmp_path / "told", tiny_llama, Reports(("tensorboard",), logs, "x/iter1-train"))
    plain = trained(tmp_path / "plain", tiny_llama, Reports())
    found = scalars(logs)
    lines = metrics(told)
    for name in set(lines[-1]) - {"step"}:
        wanted = [(line["step"], line[name]) for line in lines if name in line]
        assert found[f"train/{name}"] == [
            (step, pytest.approx(value, rel=1e-6)) for step, value in wanted
        ]
    pace = found["train/tokens_per_second"]
    assert [step for step, _ in pace] == list(range(1, 9))
    assert all(value > 0 for _, value in pace)
    # Watching changes nothing, and leaves nothing beside the checkpoint.
    assert {file.name for file in told.iterdir()} == {file.name for file in plain.iterdir()}
    for file in told.iterdir():
        assert file.read_bytes() == (plain / file.name).read_bytes(), file.name
    assert not (tmp_path / "plain-work").joinpath("runs").exists()


def test_nothing_that_depends_on_the_clock_is_kept(tiny_llama: Path, tmp_path: Path) -> None:
    folder = trained(tmp_path / "run", tiny_llama, Reports())
    (checkpoint,) = (tmp_path / "run-work").rglob("trainer_state.json")
    for text in ((folder / "metrics.jsonl").read_text(), checkpoint.read_text()):
        assert "tokens_per_step" in text
        assert "tokens_per_second" not in text


def test_the_line_says_what_a_person_watches() -> None:
    spoken = {
        "loss": 118234.5,
        "loss_over_eta2": 0.1182345,
        "margin_nats": 1.2345,
        "accuracy": 0.71875,
        "kl_k3_per_token_nats": 0.01234,
        "grad_norm": 913.4,
        "learning_rate": 5e-7,
        "delta_win_correlation": 0.5,
        "tokens_per_second": 1234.5,
    }
    assert line(spoken) == (
        "loss/η² 0.1182  margin 1.23  acc 0.72  KL/token 0.012  grad 913  tokens/s 1234"
    )
    assert line({"loss": 2.5, "tokens_per_second": 10.0}) == "loss 2.5  tokens/s 10"


def test_progress_tells_the_latest_line(tiny_llama: Path, tmp_path: Path) -> None:
    notes: list[tuple[int, int, str]] = []
    trained(
        tmp_path / "run",
        tiny_llama,
        Reports(),
        lambda done, total, note="": notes.append((done, total, note)),
    )
    told = [(done, note) for done, total, note in notes if note.startswith("training  ")]
    assert [done for done, _ in told][-1] == 8
    assert {total for _, total, note in notes if note.startswith("training")} == {8}
    last = metrics(tmp_path / "run")[-1]
    assert f"loss/η² {last['loss_over_eta2']:.4g}" in told[-1][1]
    assert "tokens/s" in told[-1][1]


def test_a_log_file_gets_a_line_every_thirty_seconds(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(console.time, "monotonic", lambda: now[0])
    with console.progress_line("iter1-train") as progress:
        for step in range(1, 101):
            now[0] = float(step)
            progress(step, 100, f"training  loss {step}")
    lines = capsys.readouterr().err.splitlines()
    assert lines == [f"  iter1-train: {n}/100 training  loss {n}" for n in (30, 60, 90)]
    monkeypatch.setenv("RANK", "1")
    with console.progress_line("iter1-train") as progress:
        now[0] += 60
        progress(1, 1, "training")
    assert capsys.readouterr().err == ""


def test_a_terminal_shows_the_bar_and_the_whole_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    for name, value in {"TERM": "xterm", "COLUMNS": "100", "FORCE_COLOR": "1"}.items():
        monkeypatch.setenv(name, value)
    spoken = (
        "training  loss/η² 0.1182  margin 1.23  acc 0.72  KL/token 0.012  grad 913  tokens/s 12"
    )
    with console.progress_line("iter1-train") as progress:
        progress(30, 100, spoken)
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", capsys.readouterr().err)
    assert spoken in shown
    assert "━" in shown
    assert " 30/100" in shown


def test_pace_is_of_the_steps_since_it_was_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("evalkit.trainers.reporting.time.monotonic", lambda: now[0])
    pace = Pace()
    pace.on_train_begin(None, SimpleNamespace(global_step=40), None)  # a resumed training
    now[0] += 5
    assert pace.tokens_per_second(50, {"tokens_per_step": 300.0}) == 600
    now[0] += 10
    assert pace.tokens_per_second(60, {"tokens_per_step": 300.0}) == 300


@pytest.mark.parametrize("name", TRACKERS)
def test_a_missing_tracker_is_told_before_any_work(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(PrerequisiteError, match=f"--report-to {name}: .* not installed") as caught:
        require_trackers([name])
    assert caught.value.hint == f"pip install {name}"


def test_wandb_has_a_run_of_its_own_for_each_training(
    tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each training is a run of W&B's own, kept in its own folder (offline)."""
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    for name in ("iter1-train", "iter2-train"):
        logs = tmp_path / "logs" / name
        trained(tmp_path / name, tiny_llama, Reports(("wandb",), logs, f"x/{name}"))
        assert len(list(logs.rglob("*.wandb"))) == 1


@pytest.mark.slow
def test_a_run_reports_beside_its_steps(micro_run: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    recipe = runs.RECIPES / "micro.yaml"
    done = runs.finish(recipe, tmp_path, "--until", "iter1-train", "--report-to", "tensorboard")
    assert "error" not in done.stderr
    found = scalars(tmp_path / "run" / "logs" / "iter1-train")
    assert {"train/loss", "train/tokens_per_second"} <= set(found)
    assert runs.unlike_steps(micro_run / "run", tmp_path / "run") == []
    again = runs.finish(recipe, tmp_path, "--until", "iter1-train")  # the flag decides nothing
    assert "nothing to do" in again.stderr
