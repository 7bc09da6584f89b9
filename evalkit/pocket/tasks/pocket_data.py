"""The documents of the pocket lm-eval tasks; the YAML files beside this one name its functions.

The harness passes a task's `metadata` and `dataset_kwargs` as keyword arguments.
"""

from typing import Any

from datasets import Dataset

from evalkit.pocket.choices import Choice, draw_choices
from evalkit.pocket.items import draw


def exact(count: int, seed: int = 0, **_: Any) -> dict[str, Dataset]:
    """Held-out tasks with one right answer."""
    rows = [
        {"id": item.id, "kind": item.kind, "prompt": item.prompt, "answer": item.answer}
        for item in draw("held_out", count, seed)
    ]
    return {"test": Dataset.from_list(rows)}


def choice(count: int, shots: int, seed: int = 0, **_: Any) -> dict[str, Dataset]:
    """Held-out multiple-choice questions; `train` holds others to take few-shot examples from."""
    return {
        "train": Dataset.from_list(_rows(draw_choices("self_play", shots, seed))),
        "test": Dataset.from_list(_rows(draw_choices("held_out", count, seed))),
    }


def _rows(choices: list[Choice]) -> list[dict[str, Any]]:
    return [
        {
            "id": choice.id,
            "subject": choice.subject,
            "question": choice.question,
            "options": list(choice.options),
            "answer": choice.answer,
        }
        for choice in choices
    ]
