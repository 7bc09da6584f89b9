"""Where a response ends: its end tokens, its stop strings, and the room in the model's context.

Every engine ends responses by these rules, so that they differ in speed and rounding alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from evalkit import rendering
from evalkit.errors import ScoreError
from evalkit.loading import config_of, json_object
from evalkit.records import Response
from evalkit.roles import GenerationRequest


def end_token_ids(tokenizer: Any, declared: int | Sequence[int] | None) -> frozenset[int]:
    """Every token that ends a response: the model's, the tokenizer's and the template's.

    declared: `eos_token_id` of the model's generation config.
    """
    listed = declared if isinstance(declared, list | tuple) else [declared]
    own = [tokenizer.eos_token_id, rendering.end_of_turn_id(tokenizer)]
    return frozenset(int(token_id) for token_id in [*listed, *own] if token_id is not None)


def declared_end(folder: str | Path) -> Any:
    """What a checkpoint folder declares as `eos_token_id`, without loading its model."""
    file = Path(folder) / "generation_config.json"
    settings = json_object(file) if file.is_file() else config_of(folder)
    return settings.get("eos_token_id")


def rooms(requests: Sequence[GenerationRequest], wanted: int, context: int | None) -> list[int]:
    """New tokens that each prompt has room for, at most those wanted.

    context: tokens that the model takes in all; None where it knows no limit.

    Raises:
        ScoreError: a prompt is empty, or leaves no room.
    """
    lengths = [len(request.prompt_token_ids) for request in requests]
    if not all(lengths):
        raise ScoreError("a prompt without tokens cannot be continued")
    if context is None:
        return [wanted] * len(lengths)
    if max(lengths, default=0) >= context:
        raise ScoreError(
            f"a prompt of {max(lengths)} tokens fills the model's context of {context}",
            "shorten the prompt (fewer few-shot examples), or use a model with longer context",
        )
    return [min(wanted, context - length) for length in lengths]


def up_to_stop(tokenizer: Any, token_ids: Sequence[int], stop: Sequence[str]) -> tuple[int, ...]:
    """The token ids up to the one that completes the first stop string; all if there is none."""
    for count in range(1, len(token_ids) + 1):
        text = rendering.decode(tokenizer, token_ids[:count])
        if any(one in text for one in stop):
            return tuple(token_ids[:count])
    return tuple(token_ids)


def response(
    tokenizer: Any, token_ids: Sequence[int], finished: bool, stop: Sequence[str]
) -> Response:
    """A response from its sampled tokens; its text ends before the first stop string.

    finished: whether it ended by itself, not for want of room.
    """
    text = rendering.decode(tokenizer, token_ids)
    places = [place for place in map(text.find, stop) if place >= 0]
    if places:
        text = text[: min(places)]
    return Response(text, tuple(token_ids), "stop" if finished or places else "length")
