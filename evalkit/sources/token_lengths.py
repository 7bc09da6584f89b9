"""How long examples are in a model's tokens, and how training sees the first of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from evalkit import rendering
from evalkit.console import no_foreign_bars
from evalkit.errors import missing_extra
from evalkit.loading import load_tokenizer
from evalkit.records import Message, Prompt, Question
from evalkit.sources.inspection import Lengths, quantiles
from evalkit.sources.selection import Record

MEASURED = 2000  # examples; of more, as many are taken at even distances


@dataclass(frozen=True)
class Preview:
    """One example as training renders it."""

    id: str
    prompt_token_ids: tuple[int, ...]
    prompt: str
    response_token_ids: tuple[int, ...]
    response: str


@dataclass(frozen=True)
class TokenReport:
    """Lengths in tokens.

    bos: BOS tokens before a prompt; bos_missing: none, though the tokenizer begins other text so.
    measured: how many of `of` examples these figures are of.
    cut: examples with a response that does not fit into max_length beside its prompt.
    dropped: examples whose prompt alone fills max_length.
    """

    model: str
    template: str
    bos: int
    bos_missing: bool
    end_of_turn: str
    measured: int
    of: int
    lengths: dict[str, Lengths]
    max_length: int | None
    cut: int
    dropped: int
    preview: Preview


def measure(records: Sequence[Record], model: str, max_length: int | None) -> TokenReport:
    """Renders examples with the model's own tokenizer; its weights are not loaded.

    Raises:
        RecipeError: there is no tokenizer, or training could not rely on what it renders.
        PrerequisiteError: transformers is not installed.
    """
    try:
        with no_foreign_bars():
            tokenizer = load_tokenizer(model)
    except ImportError as error:
        raise missing_extra("transformers", "train") from error
    missing = rendering.bos_is_missing(tokenizer)
    checked = rendering.preflight(tokenizer, without_bos=missing)
    step = max(len(records) / MEASURED, 1.0)
    sample = [records[int(i * step)] for i in range(min(len(records), MEASURED))]
    lengths: dict[str, list[int]] = {}
    cut = dropped = 0
    for record in sample:
        prompt, responses = _token_counts(tokenizer, record)
        lengths.setdefault("prompt", []).append(prompt)
        for part, count in responses.items():
            lengths.setdefault(part, []).append(count)
        whole = prompt + max(responses.values(), default=0)
        lengths.setdefault("prompt and response", []).append(whole)
        if max_length is not None:
            dropped += prompt >= max_length
            cut += prompt < max_length < whole
    if set(lengths) == {"prompt", "prompt and response"}:
        del lengths["prompt and response"]
    return TokenReport(
        model=model,
        template="its own" if checked.has_template else "none of its own: a plain one stands in",
        bos=checked.bos_count,
        bos_missing=missing,
        end_of_turn=str(tokenizer.decode([checked.end_of_turn_id])),
        measured=len(sample),
        of=len(records),
        lengths={part: quantiles(counts) for part, counts in lengths.items()},
        max_length=max_length,
        cut=cut,
        dropped=dropped,
        preview=_preview(tokenizer, records[0]),
    )


def _token_counts(tokenizer: Any, record: Record) -> tuple[int, dict[str, int]]:
    messages, responses = _messages(record), _responses(record)
    return len(rendering.prompt_token_ids(tokenizer, messages)), {
        part: len(rendering.response_token_ids(tokenizer, messages, text))
        for part, text in responses.items()
    }


def _messages(record: Record) -> tuple[Message, ...]:
    """What a model is asked; of a multi-turn question, its first turn."""
    if isinstance(record, Question):
        return (Message("user", record.turns[0].content),)
    return record.messages


def _responses(record: Record) -> dict[str, str]:
    if not isinstance(record, Prompt):
        return {}
    given = {"response": record.gold, "rejected": record.rejected}
    return {part: text for part, text in given.items() if text is not None}


def _preview(tokenizer: Any, record: Record) -> Preview:
    messages = _messages(record)
    prompt = rendering.prompt_token_ids(tokenizer, messages)
    response: tuple[int, ...] = ()
    if _responses(record):
        text = next(iter(_responses(record).values()))
        response = rendering.response_token_ids(tokenizer, messages, text)
    return Preview(
        record.id,
        prompt,
        str(tokenizer.decode(list(prompt))),
        response,
        str(tokenizer.decode(list(response))),
    )
