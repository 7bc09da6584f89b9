"""How a prompt and two responses are written for PairRM: a source text and two candidate texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from evalkit.records import Message

# The sentence PairRM saw above every conversation in training, its misspelling included.
# Source: yuchenlin/LLM-Blender llm_blender/blender/blender_utils.py, get_pair_from_conv, 2a67366.
_TASK = (
    "Finish the following coversation in each i-th turn by filling in <Response i> with your"
    " response."
)


class Source(NamedTuple):
    """What is asked, and how an answer to it is written as a candidate.

    earlier: what every candidate begins with: the assistant's responses so far, "" without any.
    label: what stands before the response that is judged.
    """

    text: str
    earlier: str = ""
    label: str = ""


def source_of(messages: Sequence[Message]) -> Source:
    """The source of a prompt.

    A system prompt stands above it, as the instruction that PairRM was trained with. One turn is
    its bare text. A conversation has a slot for each of the assistant's turns, and the candidates
    fill in all of them, as `Blender.compare_conversations` does it. No chat template is used: the
    released SPPO scripts rank with one, which PairRM never saw in training.

    Source: yuchenlin/LLM-Blender llm_blender/blender/blender_utils.py (RankerDataset,
    get_pair_from_conv) at 2a67366.
    """
    system = [message.content for message in messages if message.role == "system"]
    turns = [message for message in messages if message.role != "system"]
    if all(turn.role == "user" for turn in turns):
        return Source("\n".join([*system, *(turn.content for turn in turns)]))
    lines: list[str] = []
    responses: list[str] = []
    for turn in turns:
        if turn.role == "user":
            lines.append(f"USER: {turn.content}")
        else:
            responses.append(f"<Response {len(responses) + 1}>: {turn.content}\n")
            lines.append(f"Assistant: <Response {len(responses)}>")
    last = f"<Response {len(responses) + 1}>"
    conversation = _TASK + "\n".join([*lines, f"Assistant: {last}"])
    return Source("\n".join([*system, conversation]), "".join(responses), f"{last}: ")
