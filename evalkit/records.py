"""The nouns that travel between rooms: prompts, responses, checkpoints, scores.

All are frozen, know no file format but JSON, and import nothing heavy.
`to_json` and `from_json` turn any of them into plain JSON values and back.
"""

import dataclasses
import json
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

T = TypeVar("T")
FinishReason = Literal["stop", "length", "gold"]
Scale = Literal["percent", "rating", "unit", "nats", "ratio", "count"]


@dataclass(frozen=True)
class Message:
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True)
class Prompt:
    """What a model is asked; the last message is the user's.

    gold: the human (or otherwise given) response, where the data has one.
    rejected: a response the data calls worse than `gold`, where it has one.
    rule: how a rule judge checks a response (see `rules.py`), where it can.
    """

    id: str
    messages: tuple[Message, ...]
    gold: str | None = None
    rejected: str | None = None
    rule: Mapping[str, Any] | None = None
    category: str = ""


@dataclass(frozen=True)
class Turn:
    """One user turn of a multi-turn question, with its reference answer and rule if any."""

    content: str
    reference: str | None = None
    rule: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Question:
    """A question of several turns, the model answering after each (MT-Bench)."""

    id: str
    category: str
    turns: tuple[Turn, ...]


@dataclass(frozen=True)
class Response:
    """One response, its token ids exactly as sampled (the end-of-turn token included).

    finish_reason: `stop` ended by itself, `length` was cut (no end token is
    ever added to it), `gold` came from the data.
    """

    text: str
    token_ids: tuple[int, ...]
    finish_reason: FinishReason


@dataclass(frozen=True)
class PromptGroup:
    """One prompt with its K responses and what was found out about them.

    seed: that the responses were sampled with; None where none were.
    pair_logits: K x K; entry [i][j] is the judge's logit that response i beats
        j when i is shown first; the diagonal is 0; None where the judge failed.
    pair_probs: K x K; estimated probability that response i beats j, order bias removed.
    win_probs: K; estimated probability that response i beats the policy that sampled it.
    """

    prompt: Prompt
    prompt_token_ids: tuple[int, ...]
    responses: tuple[Response, ...]
    pair_logits: tuple[tuple[float | None, ...], ...] | None = None
    pair_probs: tuple[tuple[float | None, ...], ...] | None = None
    win_probs: tuple[float, ...] | None = None
    seed: int | None = None


@dataclass(frozen=True)
class TrainingExample:
    """One prompt with the continuations a method trains on.

    targets: one number per continuation, whose meaning is the method's own
        (SPPO: win probability; pair methods: 1 for chosen, 0 for rejected).
    finish_reasons: how each continuation ended; `gold` ones were not sampled by the policy.
    truncated: which continuations were cut to the length limit; None where none was.
    reference_logps: summed log-probability (nats) of each continuation under
        the reference, None until the reference pass has run.
    reference_token_logps: the same token by token, one float32 array per continuation.
    earlier: whether the sampled ones are an older policy's, and not the reference's.
    """

    prompt_id: str
    prompt_token_ids: tuple[int, ...]
    continuations: tuple[tuple[int, ...], ...]
    targets: tuple[float, ...]
    finish_reasons: tuple[FinishReason, ...]
    reference_logps: tuple[float, ...] | None = None
    reference_token_logps: tuple[Sequence[float], ...] | None = None
    truncated: tuple[bool, ...] | None = None
    earlier: bool = False


@dataclass(frozen=True)
class Checkpoint:
    """Loadable weights, and the Checkpoint they came from.

    name: its name within the family (`base`, `iter1`, `iter2-w4a16_gptq`).
    path: a folder, or a Hub id together with `revision`.
    digest: sha256 over the weight files.
    precision: `float32`, `bfloat16`, or the name of a quantization scheme.
    parent: family name of the Checkpoint this one was made from.
    """

    name: str
    path: str
    digest: str
    precision: str
    revision: str | None = None
    parent: str | None = None


@dataclass(frozen=True)
class Score:
    """One measured number.

    value: on `scale` (`percent` is 0..100, `rating` 1..10, `unit` 0..1).
    stderr, ci_low, ci_high: on the same scale; None where undefined.
    n: items scored; None where another's figure does not say, never where evalkit measured.
    missing: items that gave no score (never counted as anything).
    settings: what makes it comparable or not (few_shot, filter, temperature, ...).
    """

    task: str
    metric: str
    value: float
    n: int | None
    scale: Scale
    stderr: float | None = None
    ci_low: float | None = None
    ci_high: float | None = None
    missing: int = 0
    higher_is_better: bool = True
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Sample:
    """One item's outcome: what paired comparisons and readers of a result need.

    metrics: metric name -> value on the score's scale before averaging.
    detail: prompt, response, judgement... whatever lets a person see why.
    """

    id: str
    task: str
    metrics: Mapping[str, float]
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ResultSet:
    """The Scores of one Checkpoint on one benchmark.

    provenance: harness and version, dataset digests, judge identity, seed,
    template digest, engine; never a time, a host or a path.
    clean_scores: scores of the same names over the items alone that share no words with the
        training data; empty where that was not checked (`provenance["contamination"]` says so).
    """

    benchmark: str
    checkpoint: str
    checkpoint_digest: str
    scores: tuple[Score, ...]
    provenance: Mapping[str, Any]
    samples: tuple[Sample, ...] = ()
    clean_scores: tuple[Score, ...] = ()

    def score(self, task: str, metric: str) -> Score:
        """The one score of `task` and `metric`; KeyError if there is none."""
        for score in self.scores:
            if score.task == task and score.metric == metric:
                return score
        raise KeyError(f"{self.benchmark} has no score {metric} of {task}")


@dataclass(frozen=True)
class Comparison:
    """A paired difference between two Checkpoints on the same items (`b` minus `a`)."""

    benchmark: str
    task: str
    metric: str
    a: str
    b: str
    difference: float
    ci_low: float
    ci_high: float
    p_value: float
    n: int
    method: str


@dataclass(frozen=True)
class Release:
    """What publishing one repository returned: files maps path to sha256."""

    repo_id: str
    checkpoint: str
    commit: str
    endpoint: str
    files: Mapping[str, str]
    url: str


def to_json(record: Any) -> Any:
    """Plain JSON values of a record, a mapping or a sequence of records."""
    if dataclasses.is_dataclass(record) and not isinstance(record, type):
        return {f.name: to_json(getattr(record, f.name)) for f in dataclasses.fields(record)}
    if isinstance(record, Mapping):
        return {str(key): to_json(value) for key, value in record.items()}
    if isinstance(record, Sequence) and not isinstance(record, str):
        return [to_json(value) for value in record]
    return record


def from_json(kind: type[T], value: Any) -> T:
    """The record of class `kind` that `to_json` turned into `value`.

    Raises:
        TypeError: a key that `kind` does not have, or one it needs is missing.
    """
    return typing.cast(T, _decode(kind, value))


def _decode(kind: Any, value: Any) -> Any:
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        hints = typing.get_type_hints(kind)
        unknown = set(value) - set(hints)
        if unknown:
            raise TypeError(f"{kind.__name__} has no field {sorted(unknown)}")
        return kind(**{name: _decode(hints[name], item) for name, item in value.items()})
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        inner = [argument for argument in arguments if argument is not type(None)]
        return None if value is None else (_decode(inner[0], value) if len(inner) == 1 else value)
    if origin is tuple:
        return tuple(_decode(arguments[0], item) for item in value)
    return value


def dumps(record: Any) -> str:
    """One line of canonical JSON: sorted keys, no spaces, NaN refused (ValueError)."""
    return json.dumps(
        to_json(record), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
