"""Pairs judged by one of alpaca_eval's annotators: its configuration and prompt, read as data.

The installed package's folder is found and not imported: importing alpaca_eval takes seconds,
needs an old setuptools, and reads the environment.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple, cast

import yaml

from evalkit.chat_client import ChatAnswer
from evalkit.errors import RecipeError, did_you_mean, gist, missing_extra
from evalkit.judges.annotation_parsing import (
    LOGPROB_PARSER,
    deciding,
    logprob_verdict,
    text_parser,
    text_verdict,
    token_verdict,
)
from evalkit.records import Message, Prompt
from evalkit.roles import PairRequest, Verdict

DEFAULT = "weighted_alpaca_eval_gpt4_turbo"
FIELDS = ("instruction", "output_1", "output_2")
_CONFIGS = ("configs.yaml", "config.yaml")
_TURN = re.compile(r"<\|im_start\|>(\w+)\n(.*?)<\|im_end\|>", re.DOTALL)
_FIELD = re.compile(r"\{(" + "|".join(FIELDS) + r")\}")
_ROLES = ("system", "user", "assistant")
# The same field under the names that alpaca_eval's other clients have for it.
_RENAMED = {"max_tokens_to_sample": "max_tokens", "max_new_tokens": "max_tokens"}
_SENT = (
    "max_tokens temperature top_p logprobs top_logprobs tools tool_choice response_format stop seed"
).split()


class Changes(NamedTuple):
    """What a recipe has otherwise than the configuration; None leaves it as it is.

    logprobs: `required`, or `optional` or `off`, where the answer's text may decide.
    """

    logprobs: str = "required"
    temperature: float | None = None
    max_tokens: int | None = None
    top_logprobs: int | None = None


class Annotator(NamedTuple):
    """What a configuration asks, with which fields of the request, and how the answer is read.

    name: the configuration's. model: who judges by it. sha256: of what decides a verdict.
    reads_logprobs: whether a preference is read from log-probabilities, not from text.
    """

    name: str
    model: str
    messages: tuple[Message, ...]
    body: Mapping[str, Any]
    parser: str | None
    arguments: Mapping[str, Any]
    sha256: str

    @property
    def reads_logprobs(self) -> bool:
        return self.parser == LOGPROB_PARSER

    def filled(self, request: PairRequest) -> tuple[Message, ...]:
        """The conversation that asks about a pair; what stands in the responses stays text."""
        values = {
            "instruction": conversation_text(request.prompt),
            "output_1": request.first,
            "output_2": request.second,
        }
        return tuple(
            Message(turn.role, _FIELD.sub(lambda field: values[field[1]], turn.content).strip())
            for turn in self.messages
        )

    def verdict(self, answer: ChatAnswer, with_text: bool) -> Verdict:
        """The logit that the first response is better.

        with_text: where log-probabilities should decide and there are none, the answer itself does.
        """
        if not self.reads_logprobs:
            parse = text_parser(self.parser, self.arguments)
            return text_verdict(answer, parse)._replace(said=answer.text)
        if answer.logprobs is None and with_text:
            return token_verdict(answer, self.arguments)._replace(said=answer.text)
        verdict, top = logprob_verdict(answer, self.arguments), deciding(answer, self.arguments)
        return verdict._replace(said=answer.text if top is None else dict(top))

    def changed_body(self, changes: Changes) -> dict[str, Any]:
        """The fields of a request; where text may decide, it is not drawn but the likeliest."""
        body = dict(self.body)
        if self.reads_logprobs and changes.logprobs != "required":
            body["temperature"] = 0.0
        if self.reads_logprobs and changes.logprobs == "off":
            body = {key: body[key] for key in body if key not in ("logprobs", "top_logprobs")}
        for key in ("temperature", "max_tokens", "top_logprobs"):
            value = getattr(changes, key)
            if value is not None and not (key == "top_logprobs" and "logprobs" not in body):
                body[key] = value
        return body

    def identity(self, model: str, changes: Changes, body: Mapping[str, Any]) -> dict[str, Any]:
        """What pins the judging of pairs.

        as_published: whether `model` and `body`, what is sent, are those of the configuration.
        """
        shown = {key: value for key, value in body.items() if key not in ("tools", "tool_choice")}
        return {
            "annotator": Path(self.name).name,
            **_package_version(self.name),
            "sha256": self.sha256,
            "logprobs": changes.logprobs,
            "as_published": model == self.model and body == self.body,
            **shown,
        }


def read_annotator(name: str) -> Annotator:
    """A configuration of the installed alpaca_eval by its name, or one's own.

    name: of a folder of its `evaluators_configs`; a folder like those; or a prompt file `*.txt`,
        asked and read as `weighted_alpaca_eval_gpt4_turbo` is.

    Raises:
        PrerequisiteError: alpaca_eval is not installed.
        RecipeError: there is no such configuration, or one that cannot be asked in chat.
    """
    if name.endswith(".txt"):
        return _annotator(name, {**_config(_packaged(DEFAULT))[1], "prompt_template": name}, Path())
    folder = Path(name) if "/" in name or Path(name).is_dir() else _packaged(name)
    own, config = _config(folder)
    return _annotator(own, config, folder.parent)


def _package_version(name: str) -> dict[str, str]:
    """Of alpaca_eval, where the configuration comes with it."""
    try:
        return (
            {} if "/" in name or name.endswith(".txt") else {"alpaca_eval": version("alpaca_eval")}
        )
    except PackageNotFoundError:
        return {}


def conversation_text(prompt: Prompt) -> str:
    """What the responses answer: the one message, or all of them with who said it."""
    if len(prompt.messages) == 1:
        return prompt.messages[0].content
    return "\n\n".join(f"{turn.role.title()}: {turn.content}" for turn in prompt.messages)


def _annotator(name: str, config: Mapping[str, Any], base: Path) -> Annotator:
    """Source: tatsu-lab/alpaca_eval, annotators/base.py and pairwise_evaluator.py (0.6.6)."""
    if config.get("batch_size", 1) != 1:
        raise RecipeError(f"{name} asks about several pairs at once", "take one that asks singly")
    if not config.get("is_randomize_output_order", True):
        raise RecipeError(
            f"{name} always shows the same side first, so its liking for a place never cancels",
            "take one that draws the order, such as improved_lmsys_gpt4",
        )
    given = config.get("completions_kwargs") or {}
    body = {_RENAMED.get(key, key): value for key, value in given.items()}
    body = {key: body[key] for key in _SENT if key in body}
    content = _content(base / str(config.get("prompt_template")))
    parser, arguments = config.get("fn_completion_parser"), config.get("completion_parser_kwargs")
    messages = _turns(name, content.decode("utf-8"))
    if parser == LOGPROB_PARSER:
        _check_tokens(name, messages, arguments or {})
    else:
        text_parser(parser, arguments or {})
    decided = repr((sorted(body.items(), key=str), parser, arguments)).encode()
    sha256 = hashlib.sha256(content + b"\0" + decided).hexdigest()
    model = str(given.get("model_name", ""))
    return Annotator(name, model, messages, body, parser, arguments or {}, sha256)


def _turns(name: str, text: str) -> tuple[Message, ...]:
    turns = [(role, inner.strip()) for role, inner in _TURN.findall(text)]
    if not turns or any(role not in _ROLES for role, _ in turns):
        raise RecipeError(
            f"the prompt of {name} has no turns <|im_start|>user ... <|im_end|>",
            f"take one that is written for chat models, such as {DEFAULT}",
        )
    whole = "\n".join(inner for _, inner in turns)
    lacking = [field for field in FIELDS if f"{{{field}}}" not in whole]
    if lacking:
        raise RecipeError(
            f"the prompt of {name} has no field {{{lacking[0]}}}", f"it needs {', '.join(FIELDS)}"
        )
    return tuple(Message(cast(Any, role), inner) for role, inner in turns)


def _check_tokens(name: str, messages: tuple[Message, ...], arguments: Mapping[str, Any]) -> None:
    words = [arguments.get("numerator_token"), *arguments.get("denominator_tokens", ())]
    if None in words or len(set(words)) < 2:
        raise RecipeError(f"{name} does not say which tokens its log-probabilities are read from")
    text = "\n".join(turn.content for turn in messages)
    if not all(re.search(rf"\b{re.escape(str(word))}\b", text) for word in words):
        names = " and ".join(dict.fromkeys(map(str, words)))
        raise RecipeError(
            f"the prompt of {name} does not call the two outputs {names}",
            "the verdict is read from these tokens",
        )


def _content(file: Path) -> bytes:
    try:
        content = file.read_bytes()
        content.decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else gist(error)
        raise RecipeError(f"cannot read the prompt {file}: {reason}") from error
    return content


def _config(folder: Path) -> tuple[str, dict[str, Any]]:
    """The name and the settings of the one annotator in a folder."""
    files = [folder / name for name in _CONFIGS if (folder / name).is_file()]
    try:
        found = yaml.safe_load(files[0].read_text("utf-8")) if files else None
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise RecipeError(f"cannot read {files[0]}: {gist(error)}") from error
    if not isinstance(found, dict) or not all(isinstance(one, dict) for one in found.values()):
        raise RecipeError(f"{folder} holds no annotator", f"its {_CONFIGS[0]} names one")
    if len(found) != 1:
        raise RecipeError(
            f"{folder.name} is a pool of {len(found)} annotators", "take a single one"
        )
    return next(iter(found.items()))


def _packaged(name: str) -> Path:
    spec = find_spec("alpaca_eval")
    if spec is None or not spec.submodule_search_locations:
        raise missing_extra("alpaca_eval", "eval")
    folder = Path(spec.submodule_search_locations[0]) / "evaluators_configs"
    names = sorted(file.parent.name for file in folder.glob("*/config*.yaml"))
    if name not in names:
        near = did_you_mean(name, names).partition("   (known:")[0]
        raise RecipeError(
            f"alpaca_eval has no annotator '{name}'",
            near if near.startswith("did") else "give the path of a prompt file (*.txt)",
        )
    return folder / name
