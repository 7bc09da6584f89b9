"""Measures a card's model again, as its records say it was measured, perhaps on fewer items."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, NamedTuple

from evalkit import __version__, registry
from evalkit.card_reading.model_names import model_key
from evalkit.cards import records_of
from evalkit.errors import CardError
from evalkit.family import Family, Member, ModelFacts
from evalkit.pipeline import evaluation
from evalkit.pipeline.card_sources import OpenedCard
from evalkit.pipeline.composing import ModelFlags, compose, read_model
from evalkit.pipeline.layout import BASE
from evalkit.pipeline.recorded_options import trusted
from evalkit.pipeline.run import Orders, perform, prepare
from evalkit.recipe import as_data
from evalkit.recipe_document import apply_overrides, plugin_data, plugin_text
from evalkit.records import Checkpoint, ResultSet, Score
from evalkit.roles import PluginRef
from evalkit.rundir import RUNS
from evalkit.score_records import ScoreRecord, Store

_UNSEEN = ModelFacts(None, None, None, None)
_TAKEN = {"--benchmark": "benchmarks", "--judge": "judges", "--engine": "engines"}


@dataclass(frozen=True)
class Remeasure:
    """What is measured again, and how.

    model: a folder or a Hub id; default the card's own. flags: in place of what the records say.
    limit: so many items of each benchmark at most.
    """

    model: str = ""
    flags: ModelFlags = field(default_factory=ModelFlags)
    limit: int | None = None
    orders: Orders = field(default_factory=Orders)


class _Asked(NamedTuple):
    """What a command asks for, and what it sets."""

    flags: ModelFlags
    overrides: tuple[str, ...] = ()


def measured(opened: OpenedCard, store: Store, wanted: Remeasure) -> list[ScoreRecord]:
    """Records of what was measured now.

    Raises:
        CardError: it is not known which model, or how it was measured.
        RecipeError: the model or a benchmark is none.
    """
    text = wanted.model or opened.model
    if not text:
        raise CardError(
            f"{opened.name} lies beside no weights: there is no model to measure again",
            "name it with --model FOLDER or --model org/name",
        )
    own = [one for one in store.records.values() if model_key(one.model) in
           {model_key(name) for name in opened.names}]  # fmt: skip
    found: list[ScoreRecord] = []
    for number, asked in enumerate(_asked(own, wanted)):
        results, recipe = _measure(text, _limited(asked, wanted.limit), wanted, number)
        title = own[0].model if own else opened.card.title
        found += records_of(family_of(title, [_called(one, own) for one in results], recipe))
    return [_without_limit(one) for one in found] if wanted.limit else found


def _asked(records: Sequence[ScoreRecord], wanted: Remeasure) -> list[_Asked]:
    """What to measure: as the flags say, else as each record does, alike ones together."""
    if wanted.flags.benchmark:
        return [_Asked(wanted.flags)]
    told = [one.source.get("command") for one in records if one.origin == "measured"]
    commands = dict.fromkeys(one for one in told if isinstance(one, str))
    if not commands:
        raise CardError(
            "no record of the card says how its numbers were measured",
            "say it: --benchmark NAME:OPTION=VALUE,..., and --judge where one is needed",
        )
    together: dict[tuple[Any, ...], list[str]] = {}
    for command in commands:
        flags, overrides = _flags_of(command)
        key = (flags.judge, flags.engine, overrides)
        together.setdefault(key, []).extend(flags.benchmark)
    return [
        _Asked(ModelFlags(benchmark=tuple(benchmarks), judge=judge, engine=engine), overrides)
        for (judge, engine, overrides), benchmarks in together.items()
    ]


def _flags_of(command: str) -> _Asked:
    """The flags of a recorded command, as far as a stranger's card may decide them."""
    words = shlex.split(command)
    if words[:2] != ["evalkit", "evaluate"]:
        raise CardError(f"a record's command is not one of evalkit's: {command}")
    said: dict[str, list[str]] = {}
    for flag, text in zip(words[3::2], words[4::2], strict=False):
        if flag in _TAKEN:
            text = plugin_text(trusted(_TAKEN[flag], plugin_data(text, flag), command))
        elif flag != "--set" or not text.startswith("seed="):
            raise CardError(f"a record's command has a flag that is not expected: {flag}")
        said.setdefault(flag, []).append(text)
    flags = ModelFlags(
        benchmark=tuple(said.get("--benchmark", ())),
        judge=next(iter(said.get("--judge", ())), None),
        engine=next(iter(said.get("--engine", ())), None),
    )
    return _Asked(flags, tuple(said.get("--set", ())))


def _limited(asked: _Asked, limit: int | None) -> _Asked:
    if limit is None:
        return asked
    texts = [
        plugin_text(_at_most(plugin_data(text, "--benchmark"), limit))
        for text in asked.flags.benchmark
    ]
    return asked._replace(flags=replace(asked.flags, benchmark=tuple(texts)))


def _at_most(data: str | Mapping[str, Any], limit: int) -> dict[str, Any]:
    """A benchmark's options with so many items at most, of its own or of its source."""
    found: dict[str, Any] = {"name": data} if isinstance(data, str) else dict(data)
    fields = registry.load("benchmarks", found["name"]).Options.model_fields
    if "limit" in fields:
        found["limit"] = min(limit, found.get("limit") or limit)
    for name, known in fields.items():
        if known.annotation is PluginRef:
            default = as_data(known.default) if isinstance(known.default, PluginRef) else {}
            source = found.get(name, default)
            source = {"name": source} if isinstance(source, str) else dict(source)
            found[name] = {**source, "count": min(limit, source.get("count") or limit)}
    return found


def _measure(
    text: str, asked: _Asked, wanted: Remeasure, number: int
) -> tuple[list[ResultSet], Mapping[str, Any]]:
    """The results of a run of its own, and its recipe; a cut-off one goes on."""
    model = read_model(text, asked.flags.revision)
    part = f"-{number + 1}" if number else ""
    name = f"{model.name}-verify-{wanted.limit or 'all'}{part}"
    document = compose(model, asked.flags, own=False, name=name)
    apply_overrides(document, asked.overrides)
    orders = replace(wanted.orders, out=(wanted.orders.out or RUNS) / name)
    ready = prepare("evaluate", document, orders)
    perform(ready, orders)
    recipe = ready.file.recipe
    folders = [
        ready.run.folder(evaluation.step_name(BASE, ref)) for ref in recipe.evaluation.benchmarks
    ]
    return [evaluation.read_result(folder) for folder in folders], as_data(recipe)


def _called(result: ResultSet, recorded: Sequence[ScoreRecord]) -> ResultSet:
    """The same under the recorded task's name: with fewer items, some suites name it otherwise."""
    tasks = {one.score.task for one in recorded if one.benchmark == result.benchmark}
    now = {score.task for score in result.scores}
    if len(tasks) != 1 or len(now) != 1 or not now - tasks:
        return result
    (task,) = tasks
    return replace(result, scores=tuple(replace(one, task=task) for one in result.scores))


def family_of(
    title: str, results: Sequence[ResultSet], recipe: Mapping[str, Any] = MappingProxyType({})
) -> Family:
    """A family of one model that only its results are known of."""
    member = Member(Checkpoint(title, "", "", ""), "imported", title, None, _UNSEEN,
                    tuple(results))  # fmt: skip
    return Family(title, (member,), (), {}, recipe, None, {"evalkit": __version__}, False)


def _without_limit(record: ScoreRecord) -> ScoreRecord:
    """A record that compares with one of more items: the limit was ours."""
    settings = {k: v for k, v in record.score.settings.items() if k != "limit"}
    score: Score = replace(record.score, settings=settings)
    return replace(record, score=score)
