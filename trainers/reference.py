"""Log-probabilities under the reference, once per iteration, with no second model in memory.

The reference is the checkpoint that training starts from. Its pass has the batches, layouts,
precision and kernels of the first epoch: there, log-ratios start at exactly zero where passes are
deterministic. Later epochs shuffle examples into other passes, which differ by rounding alone.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch
import transformers
from torch.distributed.fsdp import FSDPModule

from evalkit.console import say
from evalkit.fingerprint import fingerprint
from evalkit.loading import load_model, weights_digest
from evalkit.records import TrainingExample
from evalkit.roles import Progress, ScoringRequest
from evalkit.scoring import ScoringModel, choose, default_token_budget
from evalkit.trainers import memory, sharding
from evalkit.trainers.adapters import adapter_digest, add_adapter, frozen_model
from evalkit.trainers.batches import (
    Piece,
    epoch_order,
    idle_piece,
    n_processes,
    pack,
    share_of,
)
from evalkit.trainers.distribution import WAIT
from evalkit.trainers.reference_cache import Logps, PassJournal, ReferenceCache, split
from evalkit.training_settings import TrainingSettings

T = TypeVar("T")


def reference_logps(
    examples: Sequence[TrainingExample],
    start: str | Path,
    settings: TrainingSettings,
    seed: int,
    progress: Progress,
    cache: Path | None = None,
    adapter: Path | None = None,
) -> list[TrainingExample]:
    """The examples with what they have under the checkpoint in folder `start`, by token too.

    Of several processes each scores the batches that it will train on in the first epoch.

    adapter: folder of an adapter that belongs to the reference, too.
    cache: folder in which finished batches, then the finished pass are kept under weights, token
        ids (as they were cut), batches, precision, kernel and layout; what it holds of others is
        removed once this pass is done.

    Raises:
        PrerequisiteError: an example does not fit into memory.
    """
    ranks = _Ranks.joined()
    model = training_model(start, settings, seed, adapter, examples, trains=False)
    kept = None
    if cache is not None:
        digest = None if adapter is None else adapter_digest(adapter)
        kept = ReferenceCache(cache, _key(examples, start, settings, seed, model, digest))
    logps = None if kept is None else kept.load(examples)
    if not all(ranks.of_each(logps is not None)):  # also where folders are not shared
        journal = None if kept is None else kept.journal(ranks.own)
        scored = dict(score_batches(model, examples, settings, seed, progress, ranks, journal))
        for other in ranks.of_each(scored):
            scored |= other
        logps = [scored[index] for index in range(len(examples))]
        if kept is not None and ranks.writes:
            kept.keep(logps)
    assert logps is not None
    ranks.wait()
    if kept is not None and ranks.writes:
        kept.remove_others()
    return [
        replace(example, reference_logps=tuple(one.sums), reference_token_logps=one.tokens)
        for example, one in zip(examples, logps, strict=True)
    ]


def training_model(
    start: str | Path,
    settings: TrainingSettings,
    seed: int = 0,
    adapter: Path | None = None,
    examples: Sequence[TrainingExample] = (),
    trains: bool = True,
) -> ScoringModel:
    """The checkpoint without dropout, as both passes use it: in float32, or under an adapter.

    In a launch that shards weights no process but the first holds it whole, nor that one on a GPU.

    seed: of a new adapter. adapter: folder of one that goes on training.
    examples: whose lengths decide what layout and attention kernel `auto` stands for.
    trains: whether it is to be trained, or only to score.
    """
    shards = sharding.launch_shards() if settings.base_precision != "nf4" else None
    if shards is not None:
        _Ranks.joined()
    if shards == "deepspeed" and trains:
        with sharding.read_by_deepspeed():
            model = _loaded(start, settings)
    elif shards is not None:
        with sharding.read_by_first():
            model = _loaded(start, settings, device="cpu")
    else:
        with sharding.read_by_all():
            model = _loaded(start, settings)
    disable_dropout(model)
    if settings.adapter is not None:
        add_adapter(model, settings.adapter, seed, adapter)
    empties = shards == "fsdp" or (shards is not None and not trains)
    weights = sharding.empty(model) if empties else None
    requests = [ScoringRequest(e.prompt_token_ids, e.continuations) for e in examples]
    chosen = choose(model, requests, settings.layout, settings.attention, settings.precision)
    if chosen.attention != model.config._attn_implementation:
        model.set_attn_implementation(chosen.attention)
    scoring_model = ScoringModel(model, chosen.layout, settings.precision)
    scoring_model.recompute_activations(settings.gradient_checkpointing is True)
    if weights is not None:
        sharding.fill(scoring_model, model, weights)
    return scoring_model


def _loaded(start: str | Path, settings: TrainingSettings, **place: Any) -> Any:
    attention = None if settings.attention == "auto" else settings.attention
    if settings.adapter is None:
        return load_model(start, dtype="float32", attention=attention, **place).model
    return frozen_model(start, settings, attention=attention, **place)


def disable_dropout(model: torch.nn.Module) -> None:
    """Sets every dropout probability in the model to zero; its config keeps what it says."""
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        for name, value in vars(module).items():
            if isinstance(value, float) and ("dropout" in name or name.endswith("pdrop")):
                setattr(module, name, 0.0)


def score_batches(
    model: ScoringModel,
    examples: Sequence[TrainingExample],
    settings: TrainingSettings,
    seed: int,
    progress: Progress,
    ranks: _Ranks,
    journal: PassJournal | None,
) -> Iterator[tuple[int, Logps]]:
    """Each example's index and log-probabilities, batch by batch of this process's first epoch.

    Where weights are sharded, processes gather them from each other in every pass: one that has
    less to do makes idle passes.
    """
    budget = settings.token_budget or default_token_budget(model.model.device.type, training=True)
    budgets = memory.TokenBudget(budget, None if journal is None else journal.budget_file)
    order, size = epoch_order(len(examples), seed, epoch=0), share_of(settings)
    sharded = isinstance(model, FSDPModule)
    model.eval()
    for number in range(ranks.own, _rounds(len(order), size, ranks) * ranks.total, ranks.total):
        indices = order[number * size : (number + 1) * size]
        batch = [examples[index] for index in indices]
        logps = None if journal is None or not batch else journal.get(number, batch)
        wanted = batch if logps is None else []
        idle = 0
        if sharded:
            own = len(pack(wanted, budgets.at(number), model.layout, settings.micro_batch_size))
            idle = max(ranks.of_each(own)) - own
        if logps is None:
            logps = _score(model, wanted, settings, budgets, number) if wanted else []
        if wanted and journal is not None:
            journal.put(number, logps)
        for _ in range(idle):
            _score_pass(model, idle_piece(examples, model.layout))
        yield from zip(indices, logps, strict=True)
        progress(min((number + 1) * size, len(order)), len(order), "reference")


def _rounds(n_examples: int, size: int, ranks: _Ranks) -> int:
    """How often all processes score a batch each, the last time perhaps not all of them."""
    return -(-n_examples // (size * ranks.total))


def _score(
    model: ScoringModel,
    batch: list[TrainingExample],
    settings: TrainingSettings,
    budgets: memory.TokenBudget,
    number: int,
) -> list[Logps]:
    """One batch in passes within the budget, which is lowered until they fit into memory."""
    while True:
        passes = pack(batch, budgets.at(number), model.layout, settings.micro_batch_size)
        logps: list[list[Logps]] = []

        def work(passes: list[Piece] = passes, logps: list[list[Logps]] = logps) -> None:
            for piece in passes:
                logps.append(_score_pass(model, piece))

        if not memory.ran_out_of_memory(work):
            by_index = {
                index: one
                for piece, found in zip(passes, logps, strict=True)
                for index, one in zip(piece.indices, found, strict=True)
            }
            return [by_index[index] for index in range(len(batch))]
        failed = passes[len(logps)]
        tokens = memory.smaller_budget(budgets.at(number), failed)
        if tokens == 0:
            raise memory.too_large(failed)
        budgets.lower(number, tokens)
        if isinstance(model, FSDPModule):
            raise memory.others_wait("in the reference pass", tokens)
        say(
            f"note: memory ran out: the reference pass goes on with at most {tokens} tokens at once"
        )


def _score_pass(model: ScoringModel, piece: Piece) -> list[Logps]:
    with torch.no_grad():
        scored = model(piece.packed.to(model.model.device))
    sums, tokens = (
        array("f", values.float().cpu().numpy().tobytes())
        for values in (scored.logp_N, scored.token_logp_S)
    )
    return split(piece.examples, sums, tokens)


class _Ranks(NamedTuple):
    """The processes that share the pass; own: the number of this one.

    writes: whether this one writes the files, of all that share a disk.
    """

    own: int = 0
    total: int = 1
    writes: bool = True

    @classmethod
    def joined(cls) -> _Ranks:
        """Joins the other processes, if there are any, as the Trainer will do."""
        if n_processes() == 1:
            return cls()
        from accelerate import PartialState

        state = PartialState(cpu=not torch.cuda.is_available(), timeout=WAIT)
        return cls(state.process_index, state.num_processes, state.is_local_main_process)

    def of_each(self, value: T) -> list[T]:
        """What each process gives here, in their order."""
        if self.total == 1:
            return [value]
        from accelerate.utils import gather_object

        return list(gather_object([value]))

    def wait(self) -> None:
        """Waits until all are here."""
        if self.total > 1:
            torch.distributed.barrier()


def _key(
    examples: Sequence[TrainingExample],
    start: str | Path,
    settings: TrainingSettings,
    seed: int,
    model: ScoringModel,
    adapter: str | None,
) -> str:
    decides = {"precision", "token_budget", "micro_batch_size", "adapter"}
    return fingerprint(
        {
            "weights": weights_digest(start),
            "tokens": _tokens_digest(examples),
            "settings": settings.model_dump(include=decides),
            "adapter": adapter,
            "order": seed,
            "batch": share_of(settings),
            "kernel": model.config._attn_implementation,
            "layout": model.layout,
            "device": model.model.device.type,
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        }
    )


def _tokens_digest(examples: Sequence[TrainingExample]) -> str:
    """sha256 (hex) over all token ids, and where prompts and continuations end."""
    total = hashlib.sha256()
    for example in examples:
        total.update(array("i", [len(example.continuations)]).tobytes())
        for ids in (example.prompt_token_ids, *example.continuations):
            total.update(array("i", [len(ids), *ids]).tobytes())
    return total.hexdigest()
