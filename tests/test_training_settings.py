"""Training settings refuse what cannot be, and read without torch."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from pydantic import ValidationError

from evalkit.training_settings import TrainingSettings


@pytest.mark.parametrize(
    "wrong",
    [
        {"batch_size": 5, "micro_batch_size": 2},
        {"stop_after_epochs": 2, "schedule_epochs": 1},
        {"save_steps": 5, "log_steps": 2},
        {"learning_rate": 0},
        {"optimizer": "lion"},
        {"learning_rat": 1e-4},
        {"layout": "cache", "gradient_checkpointing": True},
        {"layout": "tree", "attention": "flash_attention_2"},
        {"optimizer_state": "kept", "optimizer": "sgd"},
    ],
)
def test_what_cannot_be_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        TrainingSettings(**wrong)


def test_reading_them_needs_no_torch() -> None:
    code = (
        "import sys, evalkit.training_settings, evalkit.preferences; print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, 50),
        ({"log_steps": 20}, 60),  # whole lines of metrics
        ({"log_steps": 100}, 100),
        ({"save_steps": 7}, 7),
        ({"save_steps": "never"}, None),
    ],
)
def test_a_training_that_says_nothing_is_saved_all_the_same(given: Any, expected: Any) -> None:
    settings = TrainingSettings(**given)
    assert settings.checkpoint_steps == expected
    assert settings.model_dump()["save_steps"] == given.get("save_steps")
