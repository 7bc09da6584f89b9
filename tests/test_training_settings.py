"""Training settings refuse what cannot be, and read without torch."""

from __future__ import annotations

import subprocess
import sys

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
