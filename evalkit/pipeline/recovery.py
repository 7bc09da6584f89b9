"""Steps `VARIANT-recovery`: how much of its parent's scores a quantized variant keeps."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from evalkit.console import warn
from evalkit.errors import EvalkitError, Problem, ScoreError
from evalkit.family import Member, ModelFacts
from evalkit.journal import Journal
from evalkit.leaderboard import Column, definition_for
from evalkit.loading import file_digest
from evalkit.metrics.recovery import CONFIDENCE, DRAWS, Recovery, Stratum, Task, recoveries
from evalkit.pipeline import checkpoints, conversations, evaluation
from evalkit.pipeline.conversations import Conversation
from evalkit.pipeline.layout import final_checkpoint, step_of, variant_name
from evalkit.pipeline.step import Step, StepContext
from evalkit.recipe import Recipe
from evalkit.records import ResultSet, Scale
from evalkit.roles import PluginRef, ScoringRequest
from evalkit.stats import check_alike, items_of

FILE = "recovery.json"
JOURNAL = "journal.jsonl"
TOPS: Mapping[Scale, float] = {"percent": 100.0, "rating": 10.0, "unit": 1.0}


def step_name(variant: str) -> str:
    """Name of the step that compares a variant with its parent."""
    return f"{variant}-recovery"


def step_names(recipe: Recipe) -> list[str]:
    """Of all variants."""
    parent = final_checkpoint(recipe)
    return [step_name(variant_name(parent, ref.key)) for ref in recipe.variants]


def check(recipe: Recipe) -> Iterator[Problem]:
    """A gate that nothing can decide."""
    if recipe.recovery.min is not None and not (recipe.variants and recipe.evaluation.benchmarks):
        lacking = "benchmarks" if recipe.variants else "variants"
        key = "evaluation: {benchmarks: [...]}" if recipe.variants else "variants: [...]"
        message = f"a gate of recovery needs {lacking}, and there are none"
        yield Problem("min", message, f"add '{key}', or remove recovery.min")


def step(recipe: Recipe, ref: PluginRef) -> Step:
    """The step that measures what one variant of the last checkpoint keeps."""
    parent = final_checkpoint(recipe)
    variant = variant_name(parent, ref.key)
    pair = (parent, variant)
    texts = recipe.recovery.texts
    return Step(
        name=step_name(variant),
        kind="recovery",
        title=f"compare {variant} with {parent}: scores kept, response perplexity",
        settings={
            "seed": recipe.seed,
            "texts": texts,
            **(conversations.settings(recipe) if texts else {}),
        },
        needs=(
            *(step_of(recipe, name) for name in pair),
            *(evaluation.step_name(n, b) for n in pair for b in recipe.evaluation.benchmarks),
            *(conversations.needs(recipe, parent) if texts else ()),
        ),
        work=lambda context: _measure(context, parent, variant),
        halt=partial(why_not_on, recipe.recovery.min, variant, parent),
    )


def _measure(context: StepContext, parent: str, variant: str) -> Mapping[str, Any]:
    lines, skipped = _scores(context, parent, variant)
    found = {
        "parent": parent,
        "variant": variant,
        "lines": [line._asdict() for line in lines],
        "skipped": skipped,
        "perplexity": _perplexities(context, parent, variant),
        "method": f"paired bootstrap ({DRAWS} draws, seed {context.recipe.seed})",
        "confidence": CONFIDENCE,
    }
    file = context.folder / FILE
    file.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    average = lines[-1]._asdict() if lines else None
    warn_of(context.recipe.recovery.min, average, variant, parent)
    return {"digest": file_digest(file), "average": average}


# --- scores ---


def _scores(
    context: StepContext, parent: str, variant: str
) -> tuple[list[Recovery], dict[str, str]]:
    """The lines of the table, the average last, and the columns that are not in it, with why."""
    members = [_member(context, name) for name in (parent, variant)]
    tasks, skipped = [], {}
    columns = definition_for(members).columns if members[0].results else ()
    for column in columns:
        try:
            tasks.append(_task(column, *members))
        except ScoreError as error:
            skipped[column.heading] = error.message
    return (recoveries(tasks, context.recipe.seed) if tasks else []), skipped


def _member(context: StepContext, name: str) -> Member:
    """A checkpoint with its results, items included, and nothing else."""
    results = [
        evaluation.read_result(
            context.run.folder(evaluation.step_name(name, ref)), with_samples=True
        )
        for ref in context.recipe.evaluation.benchmarks
    ]
    unknown = ModelFacts(None, None, None, None)
    place = checkpoints.checkpoint_of(context, name)
    return Member(place, "variant", name, None, unknown, results=tuple(results))


def _task(column: Column, parent: Member, variant: Member) -> Task:
    """The items behind a column's number, of both.

    Raises:
        ScoreError: they were not both measured so, item by item.
    """
    before, after = column.made_of(parent), column.made_of(variant)
    if not before or len(before) != len(after):
        raise ScoreError("not measured of both")
    scale, score = before[0].score.scale, before[0].score
    if scale not in TOPS or not score.higher_is_better:
        raise ScoreError("no score of which a part can be kept")
    guessing = [part.guessing for part in column.parts] or [0.0]
    strata = []
    for one, other, chance in zip(before, after, guessing, strict=True):
        named = (one.score.task, one.score.metric)
        check_alike(one.result, other.result, *named)
        strata.append(_stratum(one.result, other.result, *named, chance, column.weights))
    return Task(column.heading, tuple(strata), TOPS[scale], column.guessing)


def _stratum(
    a: ResultSet, b: ResultSet, task: str, metric: str, guessing: float, weights: str
) -> Stratum:
    items_a, items_b = items_of(a, task, metric), items_of(b, task, metric)
    shared = sorted(items_a.keys() & items_b.keys())
    if not shared:
        raise ScoreError("not measured item by item")
    parent_S, variant_S = ([items[key] for key in shared] for items in (items_a, items_b))
    return Stratum(parent_S, variant_S, len(shared) if weights == "items" else 1.0, guessing)


# --- perplexity ---


def _perplexities(context: StepContext, parent: str, variant: str) -> dict[str, Any] | None:
    """Of the responses of held-out conversations under both; None where there are none."""
    most = context.recipe.recovery.texts
    every = conversations.conversations(context, parent)
    kept = conversations.without_items(context, parent, every)
    _warn_of_items(context, variant, len(every) - len(kept))
    texts = conversations.held_out(kept, most)
    if not texts:
        return None
    found = {name: _perplexity(context, name, texts) for name in (parent, variant)}
    return {
        "parent": found[parent],
        "variant": found[variant],
        "conversations": len(texts),
        "tokens": sum(len(one.response_token_ids) for one in texts),
    }


def _warn_of_items(context: StepContext, variant: str, left_out: int) -> None:
    """Benchmarks that came later may ask what the variant was calibrated on."""
    calibrated = context.result(variant)
    if calibrated["calibration_samples"] and left_out > calibrated["calibration_left_out"]:
        warn(
            f"{variant} may have been calibrated on evaluation items of benchmarks that were added"
            f" since: --redo {variant} makes it without them"
        )


def _perplexity(context: StepContext, name: str, texts: Sequence[Conversation]) -> float:
    """exp of the mean negative log-probability (nats) of a response's token."""
    requests = [ScoringRequest(one.prompt_token_ids, (one.response_token_ids,)) for one in texts]
    journal = Journal(context.scratch / f"{name}-{JOURNAL}")
    scorer = checkpoints.open_scorer(checkpoints.checkpoint_of(context, name), journal)
    scores = [score for (score,) in scorer.score(requests, context.progress)]
    nats = -sum(score.logp for score in scores)
    return math.exp(nats / sum(score.n_tokens for score in scores))


# --- the gate ---


def why_not_on(
    least: float | None, variant: str, parent: str, result: Mapping[str, Any]
) -> EvalkitError | None:
    """What ends the run of a variant that surely keeps less than is asked; else None."""
    average = result["average"]
    if least is None or average is None or average["high"] is None or average["high"] >= least:
        return None
    return EvalkitError(
        f"the gate of recovery ends the run: {_told(average, least, variant, parent)}",
        "everything so far is kept: leave the variant out, take a calibrated scheme, or go on with"
        f" --set recovery.min={math.floor(100 * average['high']) / 100:g}",
    )


def warn_of(
    least: float | None, average: Mapping[str, Any] | None, variant: str, parent: str
) -> None:
    """Says that it is open, or not known, whether a variant keeps what is asked."""
    if least is None:
        return
    if average is None or average["low"] is None:
        warn(f"nothing was measured that says how much of {parent} {variant} keeps")
    elif average["low"] < least <= average["high"]:
        warn(f"{_told(average, least, variant, parent)}; the interval leaves it open")


def _told(average: Mapping[str, Any], least: float, variant: str, parent: str) -> str:
    share, low, high = (100 * average[key] for key in ("share", "low", "high"))
    kept = f"{share:.1f} % [{low:.1f}, {high:.1f}]"
    asked = f"at least {100 * least:g} % is asked"
    return f"{variant} keeps {kept} of the suite average of {parent}, {asked}"


def read_recovery(folder: Path) -> dict[str, Any]:
    """What a finished step found."""
    found: dict[str, Any] = json.loads((folder / FILE).read_text("utf-8"))
    return found
