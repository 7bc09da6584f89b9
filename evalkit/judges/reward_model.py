"""Compares by the rewards of a sequence-classification model; runs on this machine."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

from pydantic import Field

from evalkit.errors import Problem
from evalkit.fetching import check_model, fetch_config
from evalkit.judges.model_place import Place, bring, find_place, place_problems
from evalkit.judges.reward_model_config import check_config, label_index, length_limit
from evalkit.judges.reward_model_text import Input, InputEncoder, TooLong
from evalkit.loading import check_folder, config_of, load_tokenizer, stored_dtype, weights_digest
from evalkit.records import Message, Prompt, Question
from evalkit.roles import Judge, Options, PairRequest, Prefetched, Progress, Verdict

if TYPE_CHECKING:
    from evalkit.judges.reward_model_scoring import RewardModel

EXAMPLE = "Skywork/Skywork-Reward-V2-Llama-3.1-8B"
_Text = tuple[tuple[Message, ...], str]  # a prompt's messages, and a response


class RewardModelOptions(Options):
    """Which model, and how its rewards become logits."""

    model: str = Field(description="a folder or a Hub id of a sequence-classification model")
    revision: str | None = Field(None, description="a commit, tag or branch of the Hub id")
    label: str | int | None = Field(
        None, description="the label that means good, by name or number; for models with several"
    )
    temperature: float = Field(
        1.0, gt=0, description="the difference of rewards that is worth a logit of 1"
    )
    max_length: int | None = Field(
        None, ge=1, description="tokens of prompt and response; default the model's own limit"
    )
    too_long: TooLong = Field(
        "missing",
        description="beyond max_length: missing gives no verdict, cut_prompt drops the beginning"
        " of the prompt; a response is never cut",
    )
    token_budget: int = Field(16384, ge=1, description="padded tokens computed at a time")
    precision: Literal["auto", "float32", "float16", "bfloat16"] = Field(
        "auto", description="auto: as stored on a GPU, float32 on a CPU"
    )


class _Found(NamedTuple):
    """A model's files and what follows from them; label: index of the output that is the reward."""

    place: Place
    stored_precision: str
    label: int
    max_length: int | None


class _Ready(NamedTuple):
    encoder: InputEncoder
    model: RewardModel


class _Reward(NamedTuple):
    """A response's reward, or why it has none."""

    value: float | None
    reason: str = ""
    cut: bool = False


class RewardModelJudge(Judge):
    """Opens its checkpoint when it is first asked, and keeps it until `close`.

    Source: Bradley and Terry 1952: the logit that i beats j is (r_i - r_j) / temperature.
    """

    Options: ClassVar[type[Options]] = RewardModelOptions
    own_memory: ClassVar[bool] = True
    requires: ClassVar[tuple[tuple[str, str], ...]] = (
        ("torch", "train"),
        ("transformers", "train"),
    )
    options: RewardModelOptions

    def __init__(self, options: Any) -> None:
        super().__init__(options)
        self._found: _Found | None = None
        self._ready: _Ready | None = None

    def check(self) -> list[Problem]:
        """What is wrong with the model's files or labels; one that the Hub does not give us."""
        return place_problems(
            self.options.model, self.options.revision, self._check_folder, self._check_hub
        )

    def prefetch(self) -> list[Prefetched]:
        """The model."""
        return bring(self.options.model, self.options.revision, EXAMPLE)

    def check_prompts(self, prompts: Sequence[Prompt]) -> list[Problem]:
        """Prompts that the template of a model in a folder refuses: one of each order of roles."""
        if not Path(self.options.model).is_dir():
            return []
        encoder = InputEncoder(load_tokenizer(self.options.model), None, self.options.too_long)
        kinds = {tuple(message.role for message in prompt.messages): prompt for prompt in prompts}
        found = [(prompt.id, encoder.encode(prompt.messages, "")) for prompt in kinds.values()]
        return [
            Problem("", f"reward_model cannot read prompt {name}: {why}", "give it other prompts")
            for name, why in found
            if isinstance(why, str)
        ]

    def check_questions(self, questions: Sequence[Question]) -> list[Problem]:
        """That there is no rating: rewards have no scale from 1 to 10."""
        hint = "use a judge that rates, such as rule or llm"
        return [Problem("", "reward_model compares responses and cannot rate one", hint)]

    def identity(self) -> Mapping[str, Any]:
        """The model at its commit, a digest of its files, and all that decides its logits."""
        from evalkit.judges.reward_model_scoring import resolve_precision

        found = self._find()
        return {
            "name": "reward_model",
            "version": self.version,
            "model": found.place.name,
            "revision": found.place.revision,
            "digest": weights_digest(found.place.folder),
            "precision": resolve_precision(self.options.precision, found.stored_precision),
            "label": found.label,
            "temperature": self.options.temperature,
            "max_length": found.max_length,
            "too_long": self.options.too_long,
        }

    def compare(self, requests: Sequence[PairRequest], progress: Progress) -> list[Verdict]:
        """Differences of rewards; every response is read once, however many it is compared with."""
        texts = list(dict.fromkeys(text for request in requests for text in _texts(request)))
        rewards = dict(zip(texts, self._rewards(texts, progress), strict=True)) if texts else {}
        return [self._verdict(*(rewards[text] for text in _texts(request))) for request in requests]

    def close(self) -> None:
        """Frees the model, so that training has the memory."""
        if self._ready is None:
            return
        self._ready = None
        import torch

        torch.cuda.empty_cache()  # does nothing where there is no GPU

    def _rewards(self, texts: Sequence[_Text], progress: Progress) -> list[_Reward]:
        encoder, model = self._loaded()
        found = [encoder.encode(*text) for text in texts]
        rewards = [_Reward(None, one if isinstance(one, str) else "") for one in found]
        inputs = {index: one for index, one in enumerate(found) if isinstance(one, Input)}
        done = len(texts) - len(inputs)
        for batch in _batches(inputs, self.options.token_budget):
            for index, reward in zip(batch, model.scores([inputs[i] for i in batch]), strict=True):
                rewards[index] = _reward(reward, inputs[index].cut)
            done += len(batch)
            progress(done, len(texts), "judging")
        return rewards

    def _verdict(self, first: _Reward, second: _Reward) -> Verdict:
        if first.value is None or second.value is None:
            return Verdict(None, first.reason or second.reason)
        difference = first.value - second.value
        return Verdict(difference / self.options.temperature, cut=first.cut or second.cut)

    def _loaded(self) -> _Ready:
        if self._ready is None:
            from evalkit.judges.reward_model_scoring import load_reward_model, resolve_precision

            found = self._find()
            folder = found.place.folder
            tokenizer = load_tokenizer(folder)
            encoder = InputEncoder(tokenizer, found.max_length, self.options.too_long)
            precision = resolve_precision(self.options.precision, found.stored_precision)
            self._ready = _Ready(encoder, load_reward_model(folder, precision, found.label))
        return self._ready

    def _find(self) -> _Found:
        if self._found is None:
            place = find_place(self.options.model, self.options.revision, EXAMPLE)
            config = config_of(place.folder)
            check_config(config, place.name, self.options.label)
            own_limit = load_tokenizer(place.folder).model_max_length
            self._found = _Found(
                place,
                stored_dtype(config),
                label_index(config, place.name, self.options.label),
                length_limit(config, own_limit, self.options.max_length),
            )
        return self._found

    def _check_folder(self, folder: Path) -> None:
        check_folder(folder)
        self._check_config(config_of(folder))

    def _check_hub(self, model: str, revision: str | None) -> None:
        check_model(model, revision)
        self._check_config(json.loads(fetch_config(model, revision).read_text("utf-8")))

    def _check_config(self, config: Mapping[str, Any]) -> None:
        check_config(config, self.options.model, self.options.label)
        length_limit(config, math.inf, self.options.max_length)


def _texts(request: PairRequest) -> tuple[_Text, _Text]:
    messages = request.prompt.messages
    return (messages, request.first), (messages, request.second)


def _batches(inputs: Mapping[int, Input], token_budget: int) -> Iterator[list[int]]:
    """Indices of inputs of similar length, the longest first: least padding, always the same."""
    batch: list[int] = []
    for index in sorted(inputs, key=lambda index: (-len(inputs[index].ids), index)):
        longest = len(inputs[batch[0]].ids) if batch else 0
        if batch and (len(batch) + 1) * longest > token_budget:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


def _reward(value: float, cut: bool) -> _Reward:
    if math.isfinite(value):
        return _Reward(value, cut=cut)
    return _Reward(None, f"the reward is {value}; another precision may help")


PLUGIN = RewardModelJudge
