"""What models are, or were, trained on, as texts: of a run's prompt groups, or of a source."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from evalkit.contamination.overlap import TrainingText
from evalkit.durable import damaged
from evalkit.pipeline.groups import GROUPS
from evalkit.records import Message
from evalkit.roles import Source


def of_groups(folder: Path, prefix: str) -> Iterator[TrainingText]:
    """Every prompt of a finished step with its responses: sampled, gold and rejected ones.

    Read line by line, and of each line the words alone: token ids are most of it.

    prefix: what stands before each prompt's id.
    """
    file = folder / GROUPS
    with file.open(encoding="utf-8") as stream:
        for line in stream:
            try:
                yield _of_group(json.loads(line), prefix)
            except (ValueError, KeyError, TypeError) as error:
                raise damaged(file, error, f"--redo {folder.name} makes the step again") from None


def of_source(source: Source, prefix: str = "") -> Iterator[TrainingText]:
    """Every prompt of a source with the responses that its data has."""
    for prompt in source.prompts():
        given = [text for text in (prompt.gold, prompt.rejected) if text]
        yield TrainingText(prefix + prompt.id, _joined(prompt.messages), tuple(given))


def _of_group(group: dict[str, Any], prefix: str) -> TrainingText:
    prompt = group["prompt"]
    messages = [Message(one["role"], one["content"]) for one in prompt["messages"]]
    texts = [one["text"] for one in group["responses"]]
    texts += [prompt[key] for key in ("gold", "rejected") if prompt.get(key)]
    return TrainingText(
        prefix + prompt["id"], _joined(tuple(messages)), tuple(dict.fromkeys(texts))
    )


def _joined(messages: tuple[Message, ...]) -> str:
    return "\n".join(message.content for message in messages)
