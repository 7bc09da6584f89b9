"""Training texts against evaluation items, both named on the command line: no recipe, no model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from evalkit import registry
from evalkit.contamination.overlap import Overlap, TrainingText, find_overlap
from evalkit.errors import RecipeError
from evalkit.pipeline import evaluation, plugins, training_texts
from evalkit.pipeline.groups import GROUPS
from evalkit.recipe_document import plugin_data
from evalkit.recipe_file import SUFFIXES, read_recipe
from evalkit.roles import EvaluationItem, PluginRef, Progress
from evalkit.rundir import PLAN, RunDir


def check_contamination(
    training: Sequence[str], against: Sequence[str], ngram: int, progress: Progress
) -> Overlap:
    """What of the items stands in the training texts.

    training: run folders, or data (a file, a folder, a Hub id, or a source `NAME:OPTION=VALUE`).
    against: recipes, benchmarks (`NAME:OPTION=VALUE,...`), or data whose rows are the items.

    Raises:
        RecipeError: something is not there, cannot be read, or has no items.
    """
    refs = [(text, None if _is_run(text) else data_ref(text)) for text in training]
    items = [item for text in against for item in _items(text)]
    if not items:
        raise RecipeError(f"{', '.join(against)} has no items to look for")
    return find_overlap(items, _texts(refs), ngram, progress)


def data_ref(text: str) -> PluginRef:
    """The source that a file, a folder, a Hub id or `NAME:OPTION=VALUE` stands for."""
    if _is_plugin("sources", text):
        return PluginRef.model_validate(plugin_data(text, text))
    path = Path(text).expanduser()
    is_id = text.count("/") == 1 and not path.suffix and not text.startswith((".", "/", "~"))
    if is_id and not path.exists():
        return PluginRef.model_validate({"name": "dataset", "dataset": text})
    return PluginRef.model_validate({"name": "file", "path": text})


def _is_run(text: str) -> bool:
    return (Path(text) / PLAN).is_file()


def _is_plugin(kind: str, text: str) -> bool:
    name, colon, _ = text.partition(":")
    is_file = name.endswith(".py")
    known = is_file or name.replace("-", "_") in registry.names(kind)
    return known and (bool(colon) or not Path(text).exists())


def _texts(refs: Sequence[tuple[str, PluginRef | None]]) -> Iterator[TrainingText]:
    for text, ref in refs:
        prefix = f"{text}: " if len(refs) > 1 else ""
        if ref is None:
            yield from _of_run(Path(text), prefix)
        else:
            yield from training_texts.of_source(_opened(ref, text), prefix)


def _of_run(path: Path, prefix: str) -> Iterator[TrainingText]:
    run = RunDir(path)
    steps = [name for name in run.finished() if (run.folder(name) / GROUPS).is_file()]
    gathered = [name for name in steps if name.endswith("-responses")]
    if not gathered:
        raise RecipeError(f"{path} has not gathered any responses to train on yet")
    for name in gathered:
        yield from training_texts.of_groups(run.folder(name), f"{prefix}{name}/")


def _items(text: str) -> Iterator[EvaluationItem]:
    if text.endswith(SUFFIXES):
        refs: Sequence[PluginRef] = read_recipe(Path(text)).recipe.evaluation.benchmarks
        if not refs:
            raise RecipeError(f"{text} names no benchmark", "add 'evaluation: {benchmarks: [...]}'")
        for ref in refs:
            yield from _of_benchmark(ref)
    elif _is_plugin("benchmarks", text):
        yield from _of_benchmark(PluginRef.model_validate(plugin_data(text, text)))
    else:
        yield from _of_rows(text)


def _of_benchmark(ref: PluginRef) -> list[EvaluationItem]:
    benchmark = plugins.make("benchmarks", ref)
    if problems := plugins.missing_packages(benchmark) or benchmark.check():
        raise RecipeError(f"{ref.name} cannot be asked for its items", problems=problems)
    found: list[EvaluationItem] | None = benchmark.items(evaluation.open_source)
    if found is None:
        raise RecipeError(f"{ref.name} cannot say what its items are", "give its data as a file")
    return found


def _of_rows(text: str) -> Iterator[EvaluationItem]:
    """Each row as an item whose text is all text in it, in its order; its number is its id."""
    source = _opened(data_ref(text), text)
    if not hasattr(source, "table"):
        for prompt in source.prompts():
            joined = "\n".join(message.content for message in prompt.messages)
            yield EvaluationItem(prompt.id, text, (joined,))
        return
    for number, row in enumerate(source.table().rows, start=1):
        yield EvaluationItem(str(number), text, ("\n".join(_strings(row.values)),))


def _opened(ref: PluginRef, text: str) -> Any:
    source = plugins.make("sources", ref)
    if lacking := plugins.missing_packages(source):
        raise RecipeError(f"{text} cannot be read here", problems=lacking)
    return source


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _strings(inner)
    elif isinstance(value, Sequence):
        for inner in value:
            yield from _strings(inner)
