"""A model as lm-evaluation-harness sees one, answered by a scorer and an engine.

Tokenisation, truncation and the handling of empty contexts are those of the
harness's own `hf` model, so that its published numbers are met.
Imported lazily: it needs lm_eval.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

from jinja2 import TemplateError
from lm_eval.api.instance import Instance
from lm_eval.api.model import TemplateLM
from lm_eval.models.utils import has_bos_prefix, postprocess_generated_text
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

from evalkit.benchmarks.lm_eval_generation import DEFAULT_MAX_GEN_TOKS, Wish, wish_of
from evalkit.errors import ScoreError
from evalkit.fingerprint import derive_seed
from evalkit.roles import Engine, GenerationRequest, Progress, Sampling, Scorer, ScoringRequest

ENCODED_TOGETHER = 512  # requests whose texts the tokenizer is given at once
_Pair = tuple[Any, list[int], list[int]]
_Place = tuple[tuple[int, ...], tuple[int, ...]]
_Score = tuple[float, bool]


class Answering(NamedTuple):
    """How a model is asked.

    name: what stands for it in request caches and result files.
    max_length: the longest input in tokens; longer ones lose their left end.
    add_bos_token: whether texts are given special tokens; None: as the tokenizer has it.
    prefix_token_id: what stands in for an empty context; None: BOS, else the end-of-text token.
    """

    name: str
    max_length: int
    seed: int = 0
    add_bos_token: bool | None = None
    prefix_token_id: int | None = None


class HarnessModel(TemplateLM):
    """Log-likelihoods from a Scorer and text from an Engine, each opened on first use."""

    def __init__(
        self,
        tokenizer: Any,
        answering: Answering,
        *,
        open_scorer: Callable[[], Scorer],
        open_engine: Callable[[], Engine],
        progress: Progress,
    ) -> None:
        super().__init__()
        self.tokenizer = tokenizer
        self.max_length = answering.max_length
        self.max_gen_toks = DEFAULT_MAX_GEN_TOKS
        self._answering = answering
        self._scorer = cache(open_scorer)
        self._engine = cache(open_engine)
        self._progress = progress
        self._encodings: Mapping[str, list[int]] = {}

    @property
    def eot_token_id(self) -> int:
        """The end-of-text token."""
        return int(self.tokenizer.eos_token_id)

    @property
    def prefix_token_id(self) -> int:
        """What stands in for an empty context: BOS, else the end-of-text token."""
        for token_id in (self._answering.prefix_token_id, self.tokenizer.bos_token_id):
            if token_id is not None:
                return int(token_id)
        return self.eot_token_id

    @property
    def tokenizer_name(self) -> str:
        """The key of the harness's request cache: no path, hence nothing a new model can share."""
        return self._answering.name

    def get_model_info(self) -> dict[str, str]:
        """What the harness copies into the `config` of its results."""
        return {"model_name": self._answering.name}

    # --- text to tokens ---

    def tok_encode(
        self, string: str, add_special_tokens: bool | None = None, **kwargs: Any
    ) -> list[int]:
        """Token ids; a string that begins with BOS, as templates make it, gets no second one."""
        if add_special_tokens is not None:
            found: list[int] = self.tokenizer.encode(string, add_special_tokens=add_special_tokens)
            return found
        if string in self._encodings:
            return self._encodings[string]
        return self._encoded([string])[string]

    def _encoded(self, strings: Sequence[str]) -> dict[str, list[int]]:
        """The same of many strings, which a fast tokenizer takes side by side."""
        prefix = self.tokenizer.decode([self.prefix_token_id])
        added = self._answering.add_bos_token
        usual = {} if added is None else {"add_special_tokens": added}
        begun = {string: has_bos_prefix(string, prefix) for string in dict.fromkeys(strings)}
        found: dict[str, list[int]] = {}
        for has_bos, options in ((True, {"add_special_tokens": False}), (False, usual)):
            chosen = [string for string in begun if begun[string] == has_bos]
            if chosen:
                ids = self.tokenizer(chosen, return_attention_mask=False, **options)["input_ids"]
                found |= zip(chosen, ids, strict=True)
        return found

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

    # --- log-likelihoods ---

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = True) -> list[_Score]:
        """Log-probability (nats) of each continuation, and whether greedy decoding gives it."""
        pairs: list[_Pair] = []
        for start in range(0, len(requests), ENCODED_TOGETHER):
            pairs += self._token_pairs([r.args for r in requests[start : start + ENCODED_TOGETHER]])
        return self._loglikelihood_tokens(pairs)

    def _token_pairs(self, texts: Sequence[tuple[str, str]]) -> Iterator[_Pair]:
        """Tokens of contexts and continuations.

        Source: `TemplateLM.loglikelihood` of lm_eval 0.4.13 for the empty context.
        """
        stripped = [context.rstrip() for context, _ in texts]
        whole = [context + continuation for context, continuation in texts]
        self._encodings = self._encoded([text for text in (*stripped, *whole) if text])
        for context, continuation in texts:
            if context:
                yield (context, continuation), *self._encode_pair(context, continuation)
                continue
            ids = self.tok_encode(continuation, add_special_tokens=False)
            starts_itself = ids[:1] == [self.prefix_token_id]
            parts = (ids[:1], ids[1:]) if starts_itself else ([self.prefix_token_id], ids)
            yield (context, continuation), *parts
        self._encodings = {}

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

    def _loglikelihood_tokens(self, requests: Sequence[_Pair], **kwargs: Any) -> list[_Score]:
        # All continuations of one context become one request, so that it is computed once.
        groups: dict[tuple[int, ...], dict[tuple[int, ...], list[Any]]] = {}
        places: list[_Place] = []
        for texts, context, continuation in requests:
            prompt, kept = self._truncated(texts, context, continuation)
            groups.setdefault(prompt, {}).setdefault(kept, []).append(texts)
            places.append((prompt, kept))
        answers = dict(self._answers(groups))
        return [answers[place] for place in places]

    def _answers(
        self, groups: Mapping[tuple[int, ...], Mapping[tuple[int, ...], list[Any]]]
    ) -> Iterator[tuple[_Place, _Score]]:
        """Of every continuation; each batch goes to the harness's own cache as it comes."""
        asked = [ScoringRequest(prompt, tuple(kept)) for prompt, kept in groups.items()]
        batches = self._scorer().batches(asked) if asked else []
        done = 0
        for number, scored in self._scorer().stream(asked, range(len(batches))) if asked else ():
            for index, scores in zip(batches[number], scored, strict=True):
                prompt, continuations = asked[index]
                for continuation, score in zip(continuations, scores, strict=True):
                    answer = (score.logp, score.is_greedy)
                    for texts in filter(None, groups[prompt][continuation]):
                        self.cache_hook.add_partial("loglikelihood", texts, answer)
                    yield (prompt, continuation), answer
            done += len(scored)
            self._progress(done, len(asked), "scoring")

    def _truncated(self, texts: Any, context: list[int], continuation: list[int]) -> _Place:
        if not continuation or len(continuation) > self.max_length:
            raise ScoreError(
                f"a continuation of {len(continuation)} tokens cannot be scored with a model of "
                f"{self.max_length}: {texts!r:.200}",
                "leave this item out of the task, or take a model with a longer context",
            )
        # The last token is never an input, hence one token more than the model's length.
        whole = (context + continuation)[-(self.max_length + 1) :]
        return tuple(whole[: -len(continuation)]), tuple(continuation)

    # --- text ---

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = True) -> list[str]:
        """One response per request, cut before the first of its stop strings."""
        end = self.tokenizer.decode([self.eot_token_id])
        wishes = [wish_of(request.args[1], end) for request in requests]
        seen: dict[tuple[object, ...], int] = defaultdict(int)
        batches: dict[Sampling, list[int]] = defaultdict(list)
        asked = []
        for index, (request, wish) in enumerate(zip(requests, wishes, strict=True)):
            asked.append(self._generation(request, wish, end, seen))
            batches[wish.sampling].append(index)
        texts = [""] * len(requests)
        for sampling, indices in batches.items():
            responses = self._engine().generate(
                [asked[index] for index in indices], sampling, self._progress
            )
            for index, (response, *_) in zip(indices, responses, strict=True):
                texts[index] = postprocess_generated_text(response.text, wishes[index].until, None)
                self.cache_hook.add_partial("generate_until", requests[index].args, texts[index])
        return texts

    def _generation(
        self, request: Instance, wish: Wish, end: str, seen: dict[tuple[object, ...], int]
    ) -> GenerationRequest:
        room = self.max_length - wish.sampling.max_new_tokens
        if room <= 0:
            raise ScoreError(
                f"task {request.task_name} asks for {wish.sampling.max_new_tokens} new tokens of a "
                f"model of {self.max_length}",
                "lower max_gen_toks in the task's generation_kwargs",
            )
        identity = (request.task_name, request.doc_id, request.idx)
        seen[identity] += 1  # a repeated request is another draw
        return GenerationRequest(
            prompt_token_ids=tuple(self._encode_context(request.args[0])[-room:]),
            seed=derive_seed(self._answering.seed, *identity, seen[identity]),
            stop=tuple(term for term in wish.until if term and term != end),
        )

    def _encode_context(self, context: str) -> list[int]:
        # Generation looks for BOS itself, not for its stand-in, as the harness's own model does.
        if has_bos_prefix(context, getattr(self.tokenizer, "bos_token", None)):
            return self.tok_encode(context, add_special_tokens=False)
        added = self._answering.add_bos_token
        options = {} if added is None else {"add_special_tokens": added}
        ids: list[int] = self.tokenizer.encode(context, **options)
        return ids
