"""Which of two responses is better, asked as AlpacaEval 2 asks it: one token, `m` or `M`."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple, cast

from evalkit.chat_client import ChatAnswer
from evalkit.errors import RecipeError, did_you_mean, missing_extra
from evalkit.records import Message, Prompt
from evalkit.roles import PairRequest, Verdict

FIRST, SECOND = "m", "M"
# Beyond it a probability is 0 or 1 in double precision: what AlpacaEval gives where one of the two
# tokens is not among the top ones, which it takes for a log-probability of minus infinity.
CERTAIN = 40.0
FIELDS = ("instruction", "output_1", "output_2")
_TURN = re.compile(r"<\|im_start\|>(\w+)\n(.*?)<\|im_end\|>", re.DOTALL)
_FIELD = re.compile(r"\{(" + "|".join(FIELDS) + r")\}")
_ROLES = ("system", "user", "assistant")


class PairPrompt(NamedTuple):
    """A prompt file in alpaca_eval's format: ChatML turns with the three fields in them."""

    messages: tuple[Message, ...]
    sha256: str

    def filled(self, request: PairRequest) -> tuple[Message, ...]:
        """The conversation that asks about a pair; what stands in the responses stays text."""
        values = {
            "instruction": conversation_text(request.prompt),
            "output_1": request.first,
            "output_2": request.second,
        }
        return tuple(
            Message(turn.role, _FIELD.sub(lambda field: values[field[1]], turn.content))
            for turn in self.messages
        )


def read_pair_prompt(name: str) -> PairPrompt:
    """A template of the installed alpaca_eval by the name of its folder, or any file `*.txt`.

    Raises:
        PrerequisiteError: alpaca_eval is not installed.
        RecipeError: there is no such template, or it does not ask for `m` or `M`.
    """
    file = Path(name) if name.endswith(".txt") else _packaged(name)
    try:
        content = file.read_bytes()
        text = content.decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"cannot read the template {file}: {error}") from error
    turns = [(role, inner.strip()) for role, inner in _TURN.findall(text)]
    if not turns or any(role not in _ROLES for role, _ in turns):
        raise RecipeError(
            f"{file.name} has no turns <|im_start|>user ... <|im_end|>",
            "write it as alpaca_eval's prompt files are written",
        )
    _check_words(file.name, "\n".join(inner for _, inner in turns))
    messages = tuple(Message(cast(Any, role), inner) for role, inner in turns)
    return PairPrompt(messages, hashlib.sha256(content).hexdigest())


def _check_words(file: str, text: str) -> None:
    lacking = [name for name in FIELDS if f"{{{name}}}" not in text]
    if lacking:
        raise RecipeError(f"{file} has no field {{{lacking[0]}}}", f"it needs {', '.join(FIELDS)}")
    if not all(re.search(rf"\b{token}\b", text) for token in (FIRST, SECOND)):
        raise RecipeError(
            f"{file} does not call the two models {FIRST} and {SECOND}",
            "the verdict is read from these two tokens: take alpaca_eval_clf_gpt4_turbo, say",
        )


def _packaged(name: str) -> Path:
    # Found, not imported: importing alpaca_eval takes seconds, and reads the environment.
    spec = find_spec("alpaca_eval")
    if spec is None or not spec.submodule_search_locations:
        raise missing_extra("alpaca_eval", "eval")
    folder = Path(spec.submodule_search_locations[0]) / "evaluators_configs"
    files = {file.parent.name: file for file in sorted(folder.glob("*/*.txt"))}
    if name not in files:
        near = did_you_mean(name, files).partition("   (known:")[0]
        raise RecipeError(
            f"alpaca_eval has no template '{name}'",
            near if near.startswith("did") else "give the path of a prompt file (*.txt)",
        )
    return files[name]


def conversation_text(prompt: Prompt) -> str:
    """What the responses answer: the one message, or all of them with who said it."""
    if len(prompt.messages) == 1:
        return prompt.messages[0].content
    return "\n\n".join(f"{turn.role.title()}: {turn.content}" for turn in prompt.messages)


def pair_verdict(answer: ChatAnswer, with_text: bool) -> Verdict:
    """The logit that the first response is better: the difference of two log-probabilities.

    with_text: where the server gives no log-probabilities the answer itself decides, for certain.

    Source: tatsu-lab/alpaca_eval, completion_parsers.py, `logprob_parser` (release 0.6.6), with
    weighted_alpaca_eval_gpt4_turbo/configs.yaml; its preference is 2 minus the logit's sigmoid.
    """
    if answer.top_logprobs is not None:
        return _from_logprobs(answer.top_logprobs)
    if answer.text is None:
        return Verdict(None, answer.reason)
    if not with_text:
        return Verdict(None, "the server gave no log-probabilities (see the option `logprobs`)")
    said = answer.text.strip()
    if said not in (FIRST, SECOND):
        return Verdict(None, f"the answer is neither {FIRST} nor {SECOND}: {said!r:.80}")
    return Verdict(CERTAIN if said == FIRST else -CERTAIN)


def _from_logprobs(logprobs: Mapping[str, float]) -> Verdict:
    first, second = (logprobs.get(token, -float("inf")) for token in (FIRST, SECOND))
    if first == second == -float("inf"):
        tokens: Sequence[str] = sorted(logprobs, key=lambda token: -logprobs[token])
        return Verdict(None, f"neither {FIRST} nor {SECOND} is among the top tokens {tokens!r:.80}")
    return Verdict(max(-CERTAIN, min(CERTAIN, first - second)))
