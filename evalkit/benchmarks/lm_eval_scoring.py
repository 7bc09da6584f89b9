"""`ScoringLM`: a checkpoint for lm-evaluation-harness, by itself or through its command line.

Imported lazily: it needs lm_eval and torch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import cache as once
from pathlib import Path
from typing import Any, Self

from lm_eval.api.instance import Instance
from lm_eval.models.utils import resolve_max_length
from lm_eval.utils import simple_parse_args_string

from evalkit import registry
from evalkit.benchmarks.lm_eval_model import Answering, HarnessModel
from evalkit.benchmarks.provenance import template_digest, versions
from evalkit.errors import ScoreError, did_you_mean
from evalkit.fingerprint import fingerprint
from evalkit.journal import Journal
from evalkit.journaled_models import JournaledEngine, JournaledScorer
from evalkit.loading import load_model, quick_state, weights_digest
from evalkit.records import Checkpoint
from evalkit.roles import Engine, LoadedModel, Progress, Scorer

# What the harness's command line gives to every model, and a token budget makes idle.
_UNUSED = ("batch_size", "max_batch_size")
_ARGUMENTS = (
    "pretrained revision device dtype token_budget cache engine seed max_length add_bos_token "
    "prefix_token_id"
).split()
_IDENTITY = "evalkit identity"  # under this key in the harness's own cache


class ScoringLM(HarnessModel):
    """A checkpoint whose requests are computed as one tree of the prefixes they share.

        lm_eval.simple_evaluate(model=ScoringLM("runs/mine/checkpoint"), tasks=["arc_challenge"])

    checkpoint: a folder or Hub id, a Checkpoint, or a model that is loaded already.
    engine: a plug-in's name, or an Engine that serves the checkpoint; default `transformers`, with
        the same weights in memory.
    token_budget: padded tokens per forward pass; default by device.
    cache: a folder in which finished batches are kept, by weights, template and settings.
    answering: arguments of `Answering`, which default to what the checkpoint says.
    """

    def __init__(
        self,
        checkpoint: str | Path | Checkpoint | LoadedModel,
        *,
        engine: str | Engine | None = None,
        device: str | None = None,
        dtype: str = "auto",
        token_budget: int | None = None,
        revision: str | None = None,
        cache: str | Path | None = None,
        progress: Progress = lambda done, total, note="": None,
        **answering: Any,
    ) -> None:
        self._in_memory = isinstance(checkpoint, LoadedModel)
        self._weights: Any
        if isinstance(checkpoint, LoadedModel):
            self._loaded, self._weights = checkpoint, lambda: _digest_of(checkpoint.model)
        else:
            place = str(checkpoint)
            if isinstance(checkpoint, Checkpoint):
                place, revision = checkpoint.path, checkpoint.revision
            before = quick_state(place) if Path(place).is_dir() else None
            self._loaded = load_model(place, revision=revision, dtype=dtype, device=device)
            self._weights = once(lambda: _digest_at(place, revision, before))
        model, tokenizer = self._loaded
        self._token_budget = token_budget
        self._cache = None if cache is None else Path(cache)
        self._kept_for = None if cache is None else self._weights()
        self._chosen_engine = engine
        limit = resolve_max_length(model.config, tokenizer)
        given = {key: value for key, value in answering.items() if value is not None}
        super().__init__(
            tokenizer,
            Answering(**{"name": _name(model), "max_length": limit, **given}),
            open_scorer=self._open_scorer,
            open_engine=self._open_engine,
            progress=progress,
        )

    @classmethod
    def create_from_arg_obj(
        cls, arg_dict: dict[str, Any], additional_config: dict[str, Any] | None = None
    ) -> Self:
        """From the harness's command line: `--model_args pretrained=...`.

        Raises:
            ScoreError: an argument that this model does not have, or no `pretrained`.
        """
        more = {k: v for k, v in (additional_config or {}).items() if v is not None}
        given = {k: v for k, v in {**more, **arg_dict}.items() if k not in _UNUSED}
        unknown = sorted(set(given) - set(_ARGUMENTS))
        if unknown:
            raise ScoreError(
                f"--model evalkit has no argument '{unknown[0]}'",
                did_you_mean(unknown[0], _ARGUMENTS),
            )
        if "pretrained" not in given:
            hint = "--model_args pretrained=FOLDER, or a model's name on the Hub"
            raise ScoreError("--model evalkit is not told which checkpoint", hint)
        return cls(given.pop("pretrained"), **given)

    @classmethod
    def create_from_arg_string(
        cls, arg_string: str, additional_config: dict[str, Any] | None = None
    ) -> Self:
        """The same of `pretrained=...,dtype=...`."""
        return cls.create_from_arg_obj(simple_parse_args_string(arg_string), additional_config)

    def identity(self) -> Mapping[str, Any]:
        """Everything but the request that decides an answer; neither a name nor a path."""
        model = self._loaded.model
        return {
            "weights": self._weights(),
            "chat_template": template_digest(self.tokenizer),
            "answering": self._answering._replace(name="")._asdict(),
            "dtype": str(model.dtype),
            "device": model.device.type,
            "token_budget": self._token_budget,
            "versions": versions("torch", "transformers"),
        }

    def set_cache_hook(self, cache_hook: Any) -> None:
        """Takes the harness's own cache (`--use_cache`), which knows requests but no models.

        Raises:
            ScoreError: it holds answers of another model, template or setting, or of unknown ones.
        """
        kept = cache_hook.dbdict
        if kept is not None:
            mine = fingerprint(self.identity())
            if len(kept) == 0:
                kept[_IDENTITY] = mine
            if kept.get(_IDENTITY) != mine:
                raise ScoreError(
                    "the cache holds answers of another model, chat template or setting",
                    "give another --use_cache, or --model_args cache=FOLDER, which keeps apart",
                )
        super().set_cache_hook(cache_hook)

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = True) -> list[str]:
        """One response per request, cut before the first of its stop strings."""
        self._follow_weights()
        return super().generate_until(requests, disable_tqdm)

    def _loglikelihood_tokens(self, requests: Sequence[Any], **kwargs: Any) -> list[Any]:
        self._follow_weights()
        return super()._loglikelihood_tokens(requests, **kwargs)

    def _follow_weights(self) -> None:
        """Has a model in memory that was trained on since answer from a journal of its own."""
        if self._cache is not None and self._weights() != self._kept_for:
            self._kept_for = self._weights()
            self._scorer.cache_clear()
            self._engine.cache_clear()

    def _open_scorer(self) -> Scorer:
        from evalkit.scoring import CheckpointScorer

        scorer = CheckpointScorer(self._loaded, self._token_budget)
        journal = self._journal({"kind": "scores"})
        return scorer if journal is None else JournaledScorer(lambda: scorer, journal)

    def _open_engine(self) -> Engine:
        engine = self._chosen_engine
        if not isinstance(engine, Engine):
            plugin = registry.load("engines", engine or "transformers")
            if plugin.own_memory:
                self._check_files(str(engine))
            where = str(self._loaded.model.name_or_path)
            place = Checkpoint(self._answering.name, where, "", str(self._loaded.model.dtype))
            engine = plugin(plugin.Options()).serve(place, lambda: self._loaded)
        journal = self._journal({"kind": "text", "engine": engine.identity()})
        return engine if journal is None else JournaledEngine(engine, journal)

    def _check_files(self, engine: str) -> None:
        """Raises ScoreError unless an engine that loads the files itself finds these weights."""
        if self._in_memory:
            raise ScoreError(
                f"the engine {engine} reads weights from files, and this model is in memory",
                "save it and give the folder, or leave `engine` out",
            )
        self._weights.cache_clear()
        self._weights()

    def _journal(self, kind: Mapping[str, Any]) -> Journal | None:
        if self._cache is None:
            return None
        self._cache.mkdir(parents=True, exist_ok=True)
        return Journal(self._cache / f"{fingerprint({**self.identity(), **kind})}.jsonl")


def _name(model: Any) -> str:
    """The last part of where it came from: the harness names its result files after it."""
    return Path(str(model.name_or_path or model.config.model_type)).name


def _digest_at(place: str, revision: str | None, before: str | None) -> str:
    """Of the files that a model was loaded from; before: a folder's state when it was."""
    folder = Path(place)
    if not folder.is_dir():
        from huggingface_hub import snapshot_download

        folder = Path(snapshot_download(place, revision=revision, local_files_only=True))
    digest = weights_digest(folder)
    if before is not None and quick_state(folder) != before:
        raise ScoreError(
            f"{place} was written over since it was loaded: nothing tells whose answers these are",
            "make the ScoringLM anew",
        )
    return digest


def _digest_of(model: Any) -> str:
    """sha256 of the weights of a model in memory, and of its configuration."""
    import torch

    total = hashlib.sha256(model.config.to_json_string().encode())
    for name, tensor in sorted(model.state_dict().items()):
        total.update(f"{name}\0{tensor.dtype}\0".encode())
        flat = tensor.detach().cpu().contiguous().flatten()
        total.update(flat.view(torch.uint8).numpy())
    return total.hexdigest()


def register() -> None:
    """Makes `--model evalkit` known to the harness; more than once does no harm."""
    from lm_eval.api.registry import model_registry

    if "evalkit" not in model_registry:
        model_registry.register("evalkit")(ScoringLM)
