"""A model as lm-evaluation-harness sees one, answered by our scorer and engine.

Tokenisation, truncation and the handling of empty contexts are those of the
harness's own `hf` model, so that its published numbers are met.
Imported lazily: it needs lm_eval.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

from jinja2 import TemplateError
from lm_eval.api.instance import Instance
from lm_eval.api.model import TemplateLM
from lm_eval.models.utils import (
    handle_stop_sequences,
    has_bos_prefix,
    normalize_gen_kwargs,
    postprocess_generated_text,
)
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

from evalkit.errors import ScoreError
from evalkit.fingerprint import derive_seed
from evalkit.roles import Engine, GenerationRequest, Progress, Sampling, Scorer, ScoringRequest

DEFAULT_MAX_GEN_TOKS = 256  # the harness's own
# Generation arguments that are answered here, those that matter only when sampling, and the
# values of others that change nothing.
_KNOWN = frozenset({"until", "do_sample", "temperature", "top_p", "max_gen_toks"})
_SAMPLING_ONLY = frozenset({"top_k", "min_p", "typical_p"})
_NEUTRAL = {"num_beams": 1, "repetition_penalty": 1.0, "top_k": 0, "min_p": 0.0, "typical_p": 1.0}

_Pair = tuple[Any, list[int], list[int]]


class _Generation(NamedTuple):
    """One prompt of a `generate_until` task, ready for the engine."""

    request: GenerationRequest
    sampling: Sampling
    until: list[str]


class ScoringLM(TemplateLM):
    """Log-likelihoods from a Scorer and text from an Engine, each opened on first use.

    name: what stands for the model in request caches and result files.
    max_length: the longest input in tokens; longer ones lose their left end.
    """

    def __init__(
        self,
        tokenizer: Any,
        *,
        open_scorer: Callable[[], Scorer],
        open_engine: Callable[[], Engine],
        max_length: int,
        progress: Progress,
        seed: int = 0,
        name: str = "evalkit",
    ) -> None:
        super().__init__()
        self.tokenizer = tokenizer
        self.max_length = max_length
        self.max_gen_toks = DEFAULT_MAX_GEN_TOKS
        self._scorer = cache(open_scorer)
        self._engine = cache(open_engine)
        self._progress = progress
        self._seed = seed
        self._name = name

    @property
    def eot_token_id(self) -> int:
        """The end-of-text token."""
        return int(self.tokenizer.eos_token_id)

    @property
    def prefix_token_id(self) -> int:
        """What stands in for an empty context: BOS, else the end-of-text token."""
        bos = self.tokenizer.bos_token_id
        return self.eot_token_id if bos is None else int(bos)

    @property
    def tokenizer_name(self) -> str:
        """The key of the harness's request cache: no path, hence nothing a new model can share."""
        return self._name

    def get_model_info(self) -> dict[str, str]:
        """What the harness copies into the `config` of its results."""
        return {"model_name": self._name}

    def tok_encode(
        self, string: str, add_special_tokens: bool | None = None, **kwargs: Any
    ) -> list[int]:
        """Token ids; a string that begins with BOS, as templates make it, gets no second one."""
        options = {} if add_special_tokens is None else {"add_special_tokens": add_special_tokens}
        prefix = self.tokenizer.decode([self.prefix_token_id])
        if add_special_tokens is None and has_bos_prefix(string, prefix):
            options["add_special_tokens"] = False
        ids: list[int] = self.tokenizer.encode(string, **options)
        return ids

    def apply_chat_template(
        self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True
    ) -> str:
        """The prompt of a conversation; its system turn is dropped if the template refuses it."""
        try:
            return self._rendered(chat_history, add_generation_prompt)
        except TemplateError:
            rest = [turn for turn in chat_history if turn["role"] != "system"]
            return self._rendered(rest, add_generation_prompt)

    def _rendered(self, turns: list[dict[str, str]], add_generation_prompt: bool) -> str:
        text: str = self.tokenizer.apply_chat_template(
            turns,
            tokenize=False,
            add_generation_prompt=add_generation_prompt,
            continue_final_message=not add_generation_prompt,
        )
        return text

    def loglikelihood(
        self, requests: list[Instance], disable_tqdm: bool = True
    ) -> list[tuple[float, bool]]:
        """Log-probability (nats) of each continuation, and whether greedy decoding gives it."""
        return super().loglikelihood(requests, disable_tqdm=True)

    def loglikelihood_rolling(
        self, requests: list[Instance], disable_tqdm: bool = True
    ) -> list[float]:
        """Log-probability of whole strings, in windows that predict every token once."""
        pairs: list[_Pair] = []
        owners: list[int] = []
        for owner, request in enumerate(requests):
            (string,) = request.args
            windows = get_rolling_token_windows(
                token_list=self.tok_encode(string),
                prefix_token=self.prefix_token_id,
                max_seq_len=self.max_length,
                context_len=1,
            )
            for window in windows:
                pairs.append((None, *make_disjoint_window(window)))
                owners.append(owner)
        totals = [0.0] * len(requests)
        for owner, (logp, _) in zip(owners, self._loglikelihood_tokens(pairs), strict=True):
            totals[owner] += logp
        return totals

    def _loglikelihood_tokens(
        self, requests: Sequence[_Pair], **kwargs: Any
    ) -> list[tuple[float, bool]]:
        # All continuations of one context become one request, so that it is computed once.
        groups: dict[tuple[int, ...], dict[tuple[int, ...], None]] = defaultdict(dict)
        places: list[tuple[tuple[int, ...], tuple[int, ...]]] = []
        for texts, context, continuation in requests:
            prompt, kept = self._truncated(texts, context, continuation)
            groups[prompt][kept] = None
            places.append((prompt, kept))
        asked = [ScoringRequest(prompt, tuple(kept)) for prompt, kept in groups.items()]
        scored = self._scorer().score(asked, self._progress) if asked else []
        answers = {
            (request.prompt_token_ids, continuation): (score.logp, score.is_greedy)
            for request, scores in zip(asked, scored, strict=True)
            for continuation, score in zip(request.continuations, scores, strict=True)
        }
        return [answers[place] for place in places]

    def _truncated(
        self, texts: Any, context: list[int], continuation: list[int]
    ) -> tuple[tuple[int, ...], tuple[int, ...]]:
        if not continuation or len(continuation) > self.max_length:
            raise ScoreError(
                f"a continuation of {len(continuation)} tokens cannot be scored with a model of "
                f"{self.max_length}: {texts!r:.200}",
                "leave this item out of the task, or take a model with a longer context",
            )
        # The last token is never an input, hence one token more than the model's length.
        whole = (context + continuation)[-(self.max_length + 1) :]
        return tuple(whole[: -len(continuation)]), tuple(continuation)

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = True) -> list[str]:
        """One response per request, cut before the first of its stop strings."""
        end = self.tokenizer.decode([self.eot_token_id])
        seen: dict[tuple[object, ...], int] = defaultdict(int)
        jobs = [self._generation(request, end, seen) for request in requests]
        batches: dict[Sampling, list[int]] = defaultdict(list)
        for index, job in enumerate(jobs):
            batches[job.sampling].append(index)
        texts = [""] * len(jobs)
        for sampling, indices in batches.items():
            batch = [jobs[index].request for index in indices]
            responses = self._engine().generate(batch, sampling, self._progress)
            for index, (response, *_) in zip(indices, responses, strict=True):
                texts[index] = postprocess_generated_text(response.text, jobs[index].until, None)
        return texts

    def _generation(
        self, request: Instance, end: str, seen: dict[tuple[object, ...], int]
    ) -> _Generation:
        context, arguments = request.args
        arguments = normalize_gen_kwargs(arguments, self.max_gen_toks)
        until = handle_stop_sequences(arguments["until"], eos=end)
        sampling = _sampling(arguments)
        room = self.max_length - sampling.max_new_tokens
        if room <= 0:
            raise ScoreError(
                f"task {request.task_name} asks for {sampling.max_new_tokens} new tokens of a "
                f"model of {self.max_length}",
                "lower max_gen_toks in the task's generation_kwargs",
            )
        identity = (request.task_name, request.doc_id, request.idx)
        seen[identity] += 1  # a repeated request is another draw
        return _Generation(
            GenerationRequest(
                prompt_token_ids=tuple(self._encode_context(context)[-room:]),
                seed=derive_seed(self._seed, *identity, seen[identity]),
                stop=tuple(term for term in until if term and term != end),
            ),
            sampling,
            until,
        )

    def _encode_context(self, context: str) -> list[int]:
        # Generation looks for BOS itself, not for its stand-in, as the harness's own model does.
        if has_bos_prefix(context, getattr(self.tokenizer, "bos_token", None)):
            return self.tok_encode(context, add_special_tokens=False)
        ids: list[int] = self.tokenizer.encode(context)
        return ids


def _sampling(arguments: Mapping[str, Any]) -> Sampling:
    """The engine's settings for the harness's (normalised) generation arguments.

    Raises:
        ScoreError: an argument that would change the result and that engines do not have.
    """
    sampled = bool(arguments.get("do_sample"))
    temperature = float(arguments.get("temperature", 0.0)) if sampled else 0.0
    if sampled and temperature == 0.0:
        raise ScoreError(
            "a task asks to sample at temperature 0",
            "set temperature, or do_sample: false, in its generation_kwargs",
        )
    for key, value in arguments.items():
        ignored = key in _KNOWN or (key in _SAMPLING_ONLY and not sampled)
        if not ignored and _NEUTRAL.get(key, object()) != value:
            raise ScoreError(
                f"a task asks for the generation argument {key}={value}, which engines do not have",
                "remove it from the task's generation_kwargs",
            )
    top_p = float(arguments.get("top_p", 1.0)) if sampled else 1.0
    return Sampling(temperature, top_p, int(arguments["max_gen_toks"]))
