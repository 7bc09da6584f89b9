"""How a reward model reads a conversation: its own chat template, or a pair of texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal, NamedTuple

from evalkit import rendering
from evalkit.errors import RecipeError
from evalkit.records import Message

TooLong = Literal["missing", "cut_prompt"]
_SPEAKERS = {"user": "User", "assistant": "Assistant"}


class Input(NamedTuple):
    """One input of the model; cut: whether its prompt had to be shortened."""

    ids: tuple[int, ...]
    token_types: tuple[int, ...] | None = None
    cut: bool = False


class InputEncoder:
    """Writes a prompt and a response as token ids, within a limit.

    A response is never cut. A prompt that is too long beside it loses its beginning, turn by turn
    and the system message last, while the template around the turns stays whole (`cut_prompt`); or
    there is no input at all (`missing`).
    """

    def __init__(self, tokenizer: Any, max_length: int | None, too_long: TooLong) -> None:
        self._tokenizer, self._max_length, self._too_long = tokenizer, max_length, too_long

    def encode(self, messages: Sequence[Message], response: str) -> Input | str:
        """The input, or why there is none."""
        try:
            made = self._encoded(messages, response)
            limit = len(made.ids) if self._max_length is None else self._max_length
            if len(made.ids) <= limit:
                return made
            if self._too_long == "missing":
                return f"prompt and response have {len(made.ids)} tokens of at most {limit}"
            while len(made.ids) > limit:
                shorter = self._without_beginning(messages, len(made.ids) - limit)
                if shorter == messages:
                    return f"the response alone does not fit in {limit} tokens"
                messages, made = shorter, self._encoded(shorter, response)
            return made._replace(cut=True)
        except RecipeError as error:
            return error.message

    def _encoded(self, messages: Sequence[Message], response: str) -> Input:
        if rendering.has_template(self._tokenizer):
            whole = [*messages, Message("assistant", response)]
            return Input(rendering.conversation_token_ids(self._tokenizer, whole))
        return self._pair(prompt_text(messages), response)

    def _pair(self, prompt: str, response: str) -> Input:
        found = self._tokenizer(prompt, response)
        bos, ids = self._tokenizer.bos_token_id, found["input_ids"]
        # A decoder's tokenizer begins both texts; the model was trained on one beginning.
        kept = [n for n, one in enumerate(ids) if n == 0 or bos is None or one != bos]
        types = found.get("token_type_ids")
        return Input(
            tuple(ids[n] for n in kept),
            None if types is None else tuple(types[n] for n in kept),
        )

    def _without_beginning(self, messages: Sequence[Message], n_tokens: int) -> list[Message]:
        found = list(messages)
        order = sorted(range(len(found)), key=lambda i: (found[i].role == "system", i))
        for index in order:
            if n_tokens <= 0:
                break
            text = found[index].content
            starts = [start for start, end in self._offsets(text) if end > start]
            dropped = min(n_tokens, len(starts))
            rest = text[starts[dropped] :] if dropped < len(starts) else ""
            found[index] = replace(found[index], content=rest)
            n_tokens -= dropped
        return found

    def _offsets(self, text: str) -> list[tuple[int, int]]:
        found = self._tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        return list(found["offset_mapping"])


def prompt_text(messages: Sequence[Message]) -> str:
    """A prompt without a template: one turn bare, several with their speakers, the system above."""
    system = [message.content for message in messages if message.role == "system"]
    turns = [message for message in messages if message.role != "system"]
    if len(turns) == 1:
        return "\n\n".join([*system, turns[0].content])
    lines = [f"{_SPEAKERS[turn.role]}: {turn.content}" for turn in turns]
    return "\n\n".join([*system, "\n".join(lines)])
