"""Compares with PairRM, the reward model of the published SPPO recipes; runs on this machine."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

from pydantic import Field

from evalkit.errors import Problem
from evalkit.judges.model_place import bring, find_place, place_problems
from evalkit.judges.pair_rm_checkpoint import PairRMFiles, find_files
from evalkit.judges.pair_rm_text import source_of
from evalkit.judges.pair_rm_tokens import PairEncoder, load_tokenizer
from evalkit.records import Question
from evalkit.roles import Judge, Options, PairRequest, Prefetched, Progress, Verdict

if TYPE_CHECKING:
    from evalkit.judges.pair_rm_model import PairRM

EXAMPLE = "llm-blender/PairRM"
_SHORTEST = 8  # tokens; a segment has three around its text


class PairRMOptions(Options):
    """Which PairRM, and how it is run."""

    model: str = Field(EXAMPLE, description="a folder or a Hub id, in either layout")
    revision: str | None = Field(None, description="a commit, tag or branch of the Hub id")
    batch_size: int = Field(8, ge=1, description="pairs computed at a time")
    precision: Literal["auto", "float32", "float16", "bfloat16"] = Field(
        "auto", description="auto: float16 on a GPU, float32 on a CPU"
    )
    source_max_length: int | None = Field(
        None, ge=_SHORTEST, description="tokens of the prompt; default the model's own (1224)"
    )
    candidate_max_length: int | None = Field(
        None, ge=_SHORTEST, description="tokens of a response; default the model's own (412)"
    )


class _Found(NamedTuple):
    files: PairRMFiles
    model: str
    revision: str | None
    digest: str


class _Ready(NamedTuple):
    encoder: PairEncoder
    model: PairRM


class PairRMJudge(Judge):
    """Opens its checkpoint when it is first asked, and keeps it until `close`."""

    Options: ClassVar[type[Options]] = PairRMOptions
    own_memory: ClassVar[bool] = True
    requires: ClassVar[tuple[tuple[str, str], ...]] = (
        ("torch", "train"),
        ("transformers", "train"),
    )
    options: PairRMOptions

    def __init__(self, options: Any) -> None:
        super().__init__(options)
        self._found: _Found | None = None
        self._ready: _Ready | None = None

    def check(self) -> list[Problem]:
        """What is wrong with a folder's files; a model that the Hub does not give us."""
        return place_problems(self.options.model, self.options.revision, find_files)

    def prefetch(self) -> list[Prefetched]:
        """The model."""
        return bring(self.options.model, self.options.revision, EXAMPLE)

    def check_questions(self, questions: Sequence[Question]) -> list[Problem]:
        """That there is no rating: the model only compares."""
        hint = "use a judge that rates, such as rule or llm"
        return [Problem("", "pair_rm compares responses and cannot rate one", hint)]

    def identity(self) -> Mapping[str, Any]:
        """The model at its commit, a digest of its files, the precision and the limits."""
        from evalkit.judges.pair_rm_model import resolve_precision

        found = self._files()
        source_max, candidate_max = self._limits(found.files)
        return {
            "name": "pair_rm",
            "version": self.version,
            "model": found.model,
            "revision": found.revision,
            "digest": found.digest,
            "precision": resolve_precision(self.options.precision),
            "source_max_length": source_max,
            "candidate_max_length": candidate_max,
        }

    def compare(self, requests: Sequence[PairRequest], progress: Progress) -> list[Verdict]:
        """The model's own logits, one per order: its bias for an order is left in them."""
        if not requests:
            return []
        encoder, model = self._loaded()
        pairs = [
            encoder.encode(source_of(request.prompt.messages), request.first, request.second)
            for request in requests
        ]
        # Pairs of similar length share a batch: least padding, and the same batches every time.
        order = sorted(range(len(pairs)), key=lambda index: (-len(pairs[index].ids), index))
        verdicts = [Verdict(None)] * len(pairs)
        size = self.options.batch_size
        for start in range(0, len(order), size):
            batch = order[start : start + size]
            for index, logit in zip(batch, model.logits([pairs[i] for i in batch]), strict=True):
                verdicts[index] = _verdict(logit, pairs[index].cut)
            progress(start + len(batch), len(order), "judging")
        return verdicts

    def close(self) -> None:
        """Frees the model, so that training has the memory."""
        if self._ready is None:
            return
        self._ready = None
        import torch

        torch.cuda.empty_cache()  # does nothing where there is no GPU

    def _loaded(self) -> _Ready:
        if self._ready is None:
            from evalkit.judges.pair_rm_model import load_pair_rm, resolve_precision

            files = self._files().files
            tokenizer = load_tokenizer(files.tokenizer)
            precision = resolve_precision(self.options.precision)
            model = load_pair_rm(files, precision, tokenizer.get_vocab_size())
            self._ready = _Ready(PairEncoder(tokenizer, *self._limits(files)), model)
        return self._ready

    def _files(self) -> _Found:
        if self._found is None:
            place = find_place(self.options.model, self.options.revision, EXAMPLE)
            files = find_files(place.folder)
            self._found = _Found(files, place.name, place.revision, files.digest())
        return self._found

    def _limits(self, files: PairRMFiles) -> tuple[int, int]:
        options = self.options
        return (
            options.source_max_length or files.source_max_length,
            options.candidate_max_length or files.candidate_max_length,
        )


def _verdict(logit: float, cut: bool) -> Verdict:
    if math.isfinite(logit):
        return Verdict(logit, cut=cut)
    return Verdict(None, f"PairRM's logit is {logit}; another precision may help")


PLUGIN = PairRMJudge
